// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// hostileOwners are names that somebody may put into a profile. All of them are text that the API server stores.
var hostileOwners = map[string]string{
	"a command substitution":    "$(touch pwned)@example.com",
	"backticks":                 "`touch pwned`",
	"a quote and a command":     "'; touch pwned; '",
	"double quotes":             `"; touch pwned; "`,
	"a new line and a command":  "ann\ntouch pwned\n",
	"the keys of a terminal":    "ann\x03touch pwned\r\x1b[A\x04",
	"an option":                 "--all",
	"more than 253 bytes":       strings.Repeat("very-long-", 200) + "@example.com",
	"letters of many languages": "Zoë-山田-😀@example.com",
	"text that runs backwards":  "ann\u202emoc.elpmaxe",
	"a blank":                   " ",
}

func TestProfile_ofAnOwnerWithAHostileName(t *testing.T) {
	cfg := cluster.Use(t).Config()
	c := controllertest.Client(t, cfg)
	controllertest.Start(t, cfg)
	for title, owner := range hostileOwners {
		t.Run(title, func(t *testing.T) {
			name := testkit.Name(t, "hostile")
			controllertest.Create(t, c, controllertest.Profile(name, controllertest.WithQuota("requests.cpu", "4"), ownedBy(owner)))
			controllertest.AwaitReady(t, c, name)
			wantTenant(t, c, name, owner)
		})
	}
}

func ownedBy(owner string) func(*kubeflowv1.Profile) {
	return func(p *kubeflowv1.Profile) { p.Spec.Owner.Name = owner }
}

// The message names a command that adopts the namespace. An administrator will paste it into a shell.
func TestAdoptionCommand_isSafeToPaste(t *testing.T) {
	cfg := cluster.Use(t).Config()
	c := controllertest.Client(t, cfg)
	controllertest.Start(t, cfg)
	for title, owner := range hostileOwners {
		t.Run(title, func(t *testing.T) {
			name := testkit.Name(t, "foreign")
			if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
				t.Fatal(err)
			}
			controllertest.Create(t, c, controllertest.Profile(name, controllertest.WithQuota("requests.cpu", "4"), ownedBy(owner)))
			message := controllertest.AwaitCondition(t, c, name, "Ready", metav1.ConditionFalse, kubeflowv1.ReasonNamespaceNotOwned)
			for _, r := range message {
				if !unicode.IsPrint(r) {
					t.Errorf("%q would reach the terminal: %q", r, message)
				}
			}
			_, command, found := strings.Cut(message, "run: ")
			if !found {
				t.Fatalf("no command in %q", message)
			}
			args := paste(t, command)
			key, value, _ := strings.Cut(args[len(args)-1], "=")
			if key != "berth.dev/adopt" || value != owner || args[2] != name {
				t.Errorf("the command's words are %q", args)
			}
			// What it does is what the profile waits for.
			ns := &corev1.Namespace{}
			if err := c.Get(t.Context(), client.ObjectKey{Name: name}, ns); err != nil {
				t.Fatal(err)
			}
			ns.Annotations = map[string]string{key: value}
			if err := c.Update(t.Context(), ns); err != nil {
				t.Fatal(err)
			}
			controllertest.AwaitReady(t, c, name)
		})
	}
}

// paste has a shell run the command, with a kubectl that only shows its arguments, and returns those.
func paste(t *testing.T, command string) (args []string) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\nfor a in \"$@\"; do printf '%s\\0' \"$a\"; done\n"
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	shell := exec.CommandContext(t.Context(), "bash", "-c", command)
	shell.Dir, shell.Env = dir, []string{"PATH=" + dir + ":/usr/bin:/bin", "LC_ALL=C.UTF-8"}
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "pwned")); err == nil {
		t.Fatalf("pasting the command did what the profile's author wanted: %s", command)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

func TestController_survivesHugeInput(t *testing.T) {
	t.Parallel() // on a cluster of its own, whose every namespace would get the labels
	labels := filepath.Join(t.TempDir(), "labels.yaml")
	var text strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&text, "example.com/label-%05d: value-%05d\n", i, i)
	}
	if err := os.WriteFile(labels, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	huge, err := json.Marshal(map[string]any{"awsIamRole": strings.Repeat("x", 200_000), "more": make([]int, 100_000)})
	if err != nil {
		t.Fatal(err)
	}
	cfg := testkit.StartCluster(t).Config()
	c := controllertest.Client(t, cfg)
	log := controllertest.Logs(t)

	name := testkit.Name(t, "huge")
	controllers := controllertest.Start(t, cfg, controllertest.WithLabelsFile(labels))
	controllertest.Create(t, c, controllertest.Profile(name, func(p *kubeflowv1.Profile) {
		p.Spec.Plugins = []kubeflowv1.Plugin{{Kind: "AwsIamForServiceAccount", Spec: raw(string(huge))}}
	}))
	// More annotations than an object may have: the API server says so, and so does the status.
	message := controllertest.AwaitCondition(t, c, name, "NamespaceReady", metav1.ConditionFalse, kubeflowv1.ReasonApplyFailed)
	if !strings.Contains(message, "annotations") {
		t.Errorf("message %q", message)
	}
	controllers.Stop(t)

	controllertest.Start(t, cfg)
	controllertest.AwaitCondition(t, c, name, "NamespaceReady", metav1.ConditionTrue, kubeflowv1.ReasonReady)
	message = controllertest.AwaitCondition(t, c, name, "PluginsReady", metav1.ConditionFalse, kubeflowv1.ReasonPluginInvalid)
	if len(message) > 4096 {
		t.Errorf("the message about the plugin has %d bytes", len(message))
	}
	if panics := log.Lines("panic"); len(panics) > 0 {
		t.Errorf("panics: %v", panics)
	}
}
