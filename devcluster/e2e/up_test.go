// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func TestVersion(t *testing.T) {
	output, err := exec.Command(binary(t), "version").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name, module := range map[string]string{"kubernetes": "k8s.io/kubernetes ", "etcd": "go.etcd.io/etcd/server/v3 "} {
		if want := name + ": " + requiredVersion(t, module); !strings.Contains(string(output), want+"\n") {
			t.Errorf("want a line %q in %q", want, output)
		}
	}
}

func TestUp_freshCluster(t *testing.T) {
	i := up(t)
	clients := i.clients(t)

	version, err := clients.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if want := requiredVersion(t, "k8s.io/kubernetes "); version.GitVersion != want {
		t.Errorf("the API server reports version %q, want %q", version.GitVersion, want)
	}
	if _, err := clients.Discovery().ServerResourcesForGroupVersion("security.istio.io/v1"); err != nil {
		t.Errorf("Istio's CRDs: %v", err)
	}
	rules := 0
	for _, name := range []string{"kubeflow-view", "kubeflow-edit", "kubeflow-admin"} {
		role, err := clients.RbacV1().ClusterRoles().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(role.Rules) <= rules {
			t.Errorf("ClusterRole %q has %d rules, want more than the %d of the role below it", name, len(role.Rules), rules)
		}
		rules = len(role.Rules)
	}
}

func TestUp_sideBySide(t *testing.T) {
	a, b := up(t, "--without=istio"), up(t, "--without=istio")
	if a.server == b.server {
		t.Fatalf("both clusters are at %s", a.server)
	}
	createNamespace(t, a.clients(t), "only-in-a")
	if _, err := b.clients(t).CoreV1().Namespaces().Get(t.Context(), "only-in-a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("want the other cluster not to know the namespace, got error %v", err)
	}
}

func TestUp_killedParentTakesChildrenAlong(t *testing.T) {
	dir := tempDir(t)
	i := up(t, "--dir="+dir, "--without=istio")
	if found := processesOf(t, dir); len(found) < 3 {
		t.Fatalf("want three parts at least, found %q", found)
	}

	i.kill(t)

	eventually(t, func() error {
		if left := processesOf(t, dir); len(left) > 0 {
			return fmt.Errorf("still running: %q", left)
		}
		return nil
	})
}

func TestUp_continuesOnItsDirectory(t *testing.T) {
	dir := tempDir(t)
	first := up(t, "--dir="+dir)
	createNamespace(t, first.clients(t), "kept")

	first.kill(t)
	second := up(t, "--dir="+dir)

	clients := second.clients(t)
	if _, err := clients.CoreV1().Namespaces().Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	createNamespace(t, clients, "new")
}

func TestUp_refusesADirectoryInUse(t *testing.T) {
	dir := tempDir(t)
	up(t, "--dir="+dir, "--without=istio")
	second := launch(t, "--dir="+dir, "--without=istio")
	if code := second.wait(t); code == 0 || !strings.Contains(second.stderr.String(), "in use by another devcluster") {
		t.Errorf("exit code %d, message %q", code, &second.stderr)
	}
}

func TestUp_endsCleanly(t *testing.T) {
	cases := map[string]struct {
		args []string
		end  func(*instance) error
	}{
		"on a termination signal": {
			end: func(i *instance) error { return i.cmd.Process.Signal(syscall.SIGTERM) },
		},
		"on an interrupt": {
			end: func(i *instance) error { return i.cmd.Process.Signal(os.Interrupt) },
		},
		"with its standard input": {
			args: []string{"--control"},
			end:  func(i *instance) error { return i.stdin.Close() },
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			i := up(t, append(tc.args, "--without=istio")...)
			dir := filepath.Dir(i.kubeconfig)
			if err := tc.end(i); err != nil {
				t.Fatal(err)
			}
			if code := i.wait(t); code != 0 {
				t.Errorf("exit code %d: %s", code, &i.stderr)
			}
			if left := processesOf(t, dir); len(left) > 0 {
				t.Errorf("still running: %q", left)
			}
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("the temporary directory is still there (error %v)", err)
			}
		})
	}
}

func TestUp_saysWhichPartDied(t *testing.T) {
	policy := writeFile(t, "policy.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Everything}]\n")
	i := launch(t, "--without=istio", "--audit-policy="+policy, "--audit-webhook=http://127.0.0.1:1")
	code := i.wait(t)
	for _, want := range []string{"kube-apiserver ended unexpectedly", "Everything"} {
		if code == 0 || !strings.Contains(i.stderr.String(), want) {
			t.Errorf("exit code %d, want %q in %q", code, want, &i.stderr)
		}
	}
}

func TestUp_postsAuditEvents(t *testing.T) {
	var posts atomic.Int32
	sink := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { posts.Add(1) }))
	t.Cleanup(sink.Close)
	policy := writeFile(t, "policy.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n")
	i := up(t, "--without=istio", "--audit-policy="+policy, "--audit-webhook="+sink.URL)

	before := posts.Load()
	createNamespace(t, i.clients(t), "audited")
	eventually(t, func() error {
		if posts.Load() == before {
			return fmt.Errorf("no event was posted")
		}
		return nil
	})
}

func TestUp_crdsOfTheUser(t *testing.T) {
	crds := writeFile(t, "crds.yaml", crd("Anchor")+"---\n"+crd("Buoy"))
	i := up(t, "--without=istio,berth,kubeflow-roles", "--crds="+filepath.Dir(crds))
	served, err := i.clients(t).Discovery().ServerResourcesForGroupVersion("example.com/v1")
	if err != nil {
		t.Fatal(err)
	}
	if len(served.APIResources) != 2 {
		t.Errorf("want two kinds, got %v", served.APIResources)
	}
}

func TestUp_kubeconfigFile(t *testing.T) {
	path := filepath.Join(tempDir(t), "kubeconfig")
	i := up(t, "--without=istio", "--kubeconfig="+path)
	if i.kubeconfig != path {
		t.Errorf("the kubeconfig is said to be %q, want %q", i.kubeconfig, path)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("want a file that only its owner can read, got %v (error %v)", info, err)
	}
	createNamespace(t, i.clients(t), "by-kubeconfig")
}

func TestUp_sparesAForeignKubeconfig(t *testing.T) {
	path := writeFile(t, "config", "apiVersion: v1\nkind: Config\ncontexts: [{name: work, context: {cluster: work}}]\n")
	i := launch(t, "--kubeconfig="+path)
	if code := i.wait(t); code == 0 || !strings.Contains(i.stderr.String(), "not written by devcluster") {
		t.Errorf("exit code %d, message %q", code, &i.stderr)
	}
}

func createNamespace(t *testing.T, clients *kubernetes.Clientset, name string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := clients.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// requiredVersion returns the version in go.mod of the module that begins a line.
func requiredVersion(t *testing.T, module string) string {
	t.Helper()
	content, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "require ")
		if version, found := strings.CutPrefix(line, module); found {
			return strings.Fields(version)[0]
		}
	}
	t.Fatalf("go.mod does not require %q", module)
	return ""
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(tempDir(t), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func crd(kind string) string {
	plural := strings.ToLower(kind) + "s"
	return fmt.Sprintf(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[2]s.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: %[1]s, plural: %[2]s}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
`, kind, plural)
}
