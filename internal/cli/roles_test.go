// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"berth.dev/berth/internal/access/coverage"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// roles runs berth roles, and returns what it prints to standard output and standard error, and its exit code.
func roles(t *testing.T, args ...string) (out, told string, code int) {
	t.Helper()
	return ranCommand(t, append([]string{"roles"}, args...)...)
}

// distribution is a directory with the roles and the kinds of a distribution of Kubeflow.
func distribution(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, from := range []string{"../../devcluster/manifests", "../access/coverage/testdata/distribution"} {
		if err := os.CopyFS(filepath.Join(dir, filepath.Base(from)), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func writeInto(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRoles_golden(t *testing.T) {
	dir := distribution(t)
	narrow := writeInto(t, t.TempDir(), "policy.yaml", "apiVersion: config.berth.dev/v1alpha1\nkind: RolePolicy\ngroups: [{name: serving.kserve.io, edit: [get, patch]}]\n")
	cases := map[string]struct {
		args []string
		code int
	}{
		"check":           {[]string{"check", "--from", dir}, 1},
		"check-notes":     {[]string{"check", "--from", dir, "--notes"}, 1},
		"check-json":      {[]string{"check", "--from", dir, "-o", "json", "--policy", narrow}, 1},
		"generate":        {[]string{"generate", "--from", dir}, 0},
		"generate-narrow": {[]string{"generate", "--from", dir, "--policy", narrow, "-o", "yaml"}, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			out, told, code := roles(t, tc.args...)
			if code != tc.code || told != "" {
				t.Errorf("exit code %d, %s", code, told)
			}
			golden(t, "roles/"+name+".txt", out)
			const terminal = 100
			for line := range strings.Lines(out) {
				if strings.HasPrefix(name, "check") && name != "check-json" && len(line) > terminal {
					t.Errorf("%d columns: %s", len(line), line)
				}
			}
		})
	}
}

// What is generated, written to the directory, is what was missing; what is accepted is no error.
func TestRoles_checkedAgain(t *testing.T) {
	dir := distribution(t)
	out, _, _ := roles(t, "generate", "--from", dir)
	writeInto(t, dir, "generated.yaml", out)
	policy := strings.Replace(string(coverage.DefaultText), "accepted:\n", "accepted:\n- {role: view, group: kubeflow.org, resources: [viewers], verbs: [create, delete]}\n", 1)
	out, told, code := roles(t, "check", "--from", dir, "--policy", writeInto(t, t.TempDir(), "policy.yaml", policy))
	if code != 0 || told != "" || !strings.Contains(out, "0 errors, 2 warnings") {
		t.Errorf("exit code %d, %s%s", code, out, told)
	}
	// Its own roles do not count, so that the same is generated each time.
	again, _, _ := roles(t, "generate", "--from", dir)
	first, err := os.ReadFile(filepath.Join(dir, "generated.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(first), again); diff != "" {
		t.Errorf("generated again (-first +second):\n%s", diff)
	}
}

func TestRoles_policyIsTheDefault(t *testing.T) {
	out, told, code := roles(t, "policy")
	if code != 0 || told != "" {
		t.Fatalf("exit code %d, %s", code, told)
	}
	if p, err := coverage.ReadPolicy([]byte(out)); err != nil || !cmp.Equal(p, coverage.DefaultPolicy()) {
		t.Errorf("printed %s (error %v)", out, err)
	}
}

func TestRoles_mistakes(t *testing.T) {
	dir := t.TempDir()
	writeInto(t, dir, "roles.yaml", "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: kubeflow-view}\n")
	wide := writeInto(t, t.TempDir(), "policy.yaml", "apiVersion: config.berth.dev/v1alpha1\nkind: RolePolicy\ngroups: [{name: rbac.authorization.k8s.io}]\n")
	cases := map[string]struct {
		args []string
		want string
	}{
		"no kinds":             {[]string{"check", "--from", dir}, "kubectl get crds -o yaml"},
		"no directory":         {[]string{"check", "--from", filepath.Join(dir, "lost")}, "lost"},
		"an unknown format":    {[]string{"check", "--from", dir, "-o", "xml"}, "text or json"},
		"a format of others":   {[]string{"generate", "--from", dir, "-o", "json"}, "-o is yaml"},
		"no policy":            {[]string{"check", "--from", dir, "--policy", "/lost.yaml"}, "/lost.yaml"},
		"a policy for RBAC":    {[]string{"generate", "--from", dir, "--policy", wide}, "not for policies to give"},
		"a word too many":      {[]string{"check", "word"}, "word"},
		"an unknown command":   {[]string{"check", "--nope"}, "nope"},
		"a cluster that isn't": {[]string{"check", "--kubeconfig", "/lost/config"}, "/lost/config"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if out, told, code := roles(t, tc.args...); code != 1 || out != "" || !strings.Contains(told, tc.want) {
				t.Errorf("exit code %d, %s%s", code, out, told)
			}
		})
	}
}

// Names in files are others' to choose: none of them reaches the terminal as a command for it.
func TestRoles_hostileNames(t *testing.T) {
	dir := distribution(t)
	writeInto(t, dir, "hostile.yaml", `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: "evil\e[2J\nname"
  labels: {rbac.authorization.kubeflow.org/aggregate-to-kubeflow-view: "true"}
rules:
- {apiGroups: ["bad\e[31m"], resources: ["x\e]0;title\a"], verbs: [create]}
`)
	out, _, code := roles(t, "check", "--from", dir, "--notes")
	if code != 1 || strings.ContainsAny(out, "\x1b\a") {
		t.Errorf("exit code %d: %q", code, out)
	}
}

// On a cluster: found, generated, applied, and found no more; and the API server agrees.
func TestRoles_onACluster(t *testing.T) {
	cluster := testkit.StartCluster(t, testkit.WithCRDs("../controller/rolecoverage/testdata/crds"))
	c := controllertest.Client(t, cluster.Config())
	for _, name := range []string{"kubeflow-kserve-edit", "kubeflow-kserve-view"} {
		if err := c.Delete(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	policy := writeInto(t, t.TempDir(), "policy.yaml", "apiVersion: config.berth.dev/v1alpha1\nkind: RolePolicy\ngroups: [{name: serving.kserve.io}]\n"+
		"accepted:\n- {role: view, group: kubeflow.org, resources: [viewers], verbs: [create, delete]}\n- {role: view, group: pipelines.kubeflow.org, resources: [visualizations], verbs: [create]}\n")
	on := []string{"--kubeconfig", cluster.Kubeconfig, "--policy", policy}
	out, _, code := roles(t, append([]string{"check", "-o", "json"}, on...)...)
	var got struct{ Findings []coverage.Finding }
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 1 || len(got.Findings) == 0 || got.Findings[0].Resource != "trainedmodels" || got.Findings[0].Code != coverage.CodeNoRole {
		t.Fatalf("exit code %d: %s (error %v)", code, out, err)
	}
	out, told, code := roles(t, append([]string{"generate"}, on...)...)
	if code != 0 || told != "" {
		t.Fatalf("exit code %d, %s", code, told)
	}
	for doc := range strings.SplitSeq(strings.TrimPrefix(out, "---\n"), "---\n") {
		role := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &role.Object); err != nil {
			t.Fatal(err)
		}
		if err := c.Create(t.Context(), role); err != nil {
			t.Fatal(err)
		}
	}
	out, told, code = roles(t, append([]string{"check"}, on...)...)
	if code != 0 || !strings.HasPrefix(out, "0 errors, ") {
		t.Errorf("exit code %d: %s%s", code, out, told)
	}
	testkit.Eventually(t, controllertest.Patience, func() error { // Kubernetes puts them together
		role := &rbacv1.ClusterRole{}
		if err := c.Get(t.Context(), client.ObjectKey{Name: "kubeflow-edit"}, role); err != nil {
			return err
		}
		for _, rule := range role.Rules {
			if rule.Resources[0] == "trainedmodels" && rule.Verbs[0] == "create" {
				return nil
			}
		}
		return fmt.Errorf("kubeflow-edit has no such rule: %v", role.Rules)
	})
}
