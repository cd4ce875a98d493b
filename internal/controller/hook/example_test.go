// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package hook_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// python runs the example hook until the test ends and returns where it listens.
func python(t *testing.T, greeting string) (address string) {
	t.Helper()
	interpreter, err := exec.LookPath("python3")
	if err != nil {
		t.Fatalf("the example hook needs python3 3.7 or later in the PATH: %v", err)
	}
	cmd := exec.Command(interpreter, "-u", "../../../examples/hooks/hook.py", "0")
	cmd.Env = append(os.Environ(), "GREETING_FILE="+greeting)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // killed, it ends with an error
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	port, listening := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !listening {
		t.Fatalf("the example hook said %q (error %v)", line, err)
	}
	return "http://127.0.0.1:" + port
}

// The example does what it says, asked by its own class.
func TestExample_inPython(t *testing.T) {
	e := setUp(t)
	greeting := filepath.Join(t.TempDir(), "greeting")
	say := func(word string) {
		t.Helper()
		if err := os.WriteFile(greeting, []byte(word+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	say("hello")
	address := python(t, greeting)
	raw, err := os.ReadFile("../../../examples/hooks/class.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var class berthv1alpha1.ProfileClass
	if err := yaml.UnmarshalStrict(raw, &class); err != nil {
		t.Fatal(err)
	}
	h := class.Spec.Hooks[0]
	h.Sync.URL = strings.Replace(h.Sync.URL, "http://welcome.hooks:8080", address, 1)
	h.Finalize.URL = strings.Replace(h.Finalize.URL, "http://welcome.hooks:8080", address, 1)
	r := e.run(t, nil)
	p := e.newProfile(t, e.newClass(t, h))
	await := func(word string) {
		t.Helper()
		testkit.Eventually(t, patience, func() error {
			welcome := &corev1.ConfigMap{}
			if err := e.Get(t.Context(), client.ObjectKey{Namespace: p.Name, Name: "welcome"}, welcome); err != nil {
				return err
			}
			if welcome.Data["greeting"] != word || welcome.Data["team"] != p.Name {
				return fmt.Errorf("the ConfigMap has %v", welcome.Data)
			}
			return nil
		})
	}
	await("hello")
	e.awaitHooksReady(t, p.Name)
	say("good morning")
	r.enqueueAll(t.Context())
	await("good morning")
	if err := os.Remove(greeting); err != nil {
		t.Fatal(err)
	}
	r.enqueueAll(t.Context())
	controllertest.AwaitGone(t, e.Client, e.configMap(p.Name, "welcome"))
	controllertest.Delete(t, e.Client, p.Name)
	controllertest.AwaitGone(t, e.Client, p)
}
