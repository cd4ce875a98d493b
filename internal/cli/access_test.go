// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

const (
	accessExamples = "../../examples/access/"
	accessCluster  = accessExamples + "cluster"
)

// ranAccess is what berth access printed, to standard output and then to standard error, and its exit code.
func ranAccess(t *testing.T, args ...string) (out, told string, code int) {
	t.Helper()
	return ranCommand(t, append([]string{"access"}, args...)...)
}

// ranCommand is the same of any command.
func ranCommand(t *testing.T, args ...string) (out, told string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	root := Root()
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	var exit *ExitError
	switch {
	case errors.As(err, &exit):
		code = exit.Code
		if exit.Err != nil {
			stderr.WriteString("Error: " + exit.Err.Error() + "\n")
		}
	case err != nil:
		stderr.WriteString("Error: " + err.Error() + "\n")
		code = 1
	}
	return stdout.String(), stderr.String(), code
}

func TestAccess_golden(t *testing.T) {
	cases := map[string]string{
		"can-enter":       "can alice@example.com GET /notebook/alice-research/nb1/lab --via gateway",
		"can-deploy-json": "can rob@example.com create inferenceservices -n risk-modeling -o json",
		"can-header":      "can nobody GET /v1/models --to risk-modeling/nb1 --caller payments-engineering/default-editor --header kubeflow-userid=rita@example.com",
		"why-enter":       "why rob@example.com GET /notebook/alice-research/nb1/lab --via gateway",
		"why-deploy":      "why rob@example.com create inferenceservices -n risk-modeling",
		"who":             "who -n risk-modeling",
		"who-deploys":     "who create inferenceservices -n risk-modeling",
		"what":            "what rob@example.com",
		"what-account":    "what system:serviceaccount:risk-modeling:default-editor",
		"what-nobody":     "what stranger@example.com",
		"diff-forgotten":  "diff -f " + accessExamples + "forgotten-scope.yaml",
		"diff-models":     "diff -f " + accessExamples + "read-models.yaml",
		"diff-bob":        "diff -f " + accessExamples + "read-only-bob.yaml",
		"diff-delete":     "diff --delete " + accessExamples + "read-only-bob.yaml",
		"lint":            "lint",
	}
	for name, line := range cases {
		t.Run(name, func(t *testing.T) {
			out, told, code := ranAccess(t, append(strings.Fields(line), "--from", accessCluster)...)
			golden(t, "access/"+name+".txt", fmt.Sprintf("%s%s[%d]\n", out, told, code))
		})
	}
}

// A question that makes no sense is no answer.
func TestAccess_badQuestions(t *testing.T) {
	empty := t.TempDir()
	cases := map[string]struct{ line, told string }{
		"nothing there":      {"can a get pods --from " + empty, "no .yaml or .json file"},
		"no directory":       {"can a get pods --from " + filepath.Join(empty, "none"), "no such file"},
		"no path":            {"can a GET pods --via gateway --from " + accessCluster, "go with METHOD PATH"},
		"another way in":     {"can a GET / --via window --from " + accessCluster, "the way in is gateway"},
		"a bad header":       {"can a GET / --via gateway --header x --from " + accessCluster, "NAME=VALUE"},
		"a pattern as user":  {"can * GET / --via gateway --from " + accessCluster, "*"},
		"another output":     {"can a get pods -o yaml --from " + accessCluster, "-o is text or json"},
		"no namespace":       {"who --from " + accessCluster, "-n"},
		"who does what":      {"who create --from " + accessCluster, "Name a resource"},
		"no change":          {"diff --from " + accessCluster, "what would change"},
		"a change of naught": {"diff -f access_test.go --from " + accessCluster, "access_test.go"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if out, told, code := ranAccess(t, strings.Fields(tc.line)...); code != exitUnanswered || !strings.Contains(told, tc.told) {
				t.Errorf("exit code %d:\n%s%s", code, out, told)
			}
		})
	}
}

func TestAccess_cluster(t *testing.T) {
	cluster := testkit.StartCluster(t)
	c := controllertest.Client(t, cluster.Config())
	applyFiles(t, c, accessCluster, accessExamples+"read-models.yaml")
	t.Run("agrees with the API server", func(t *testing.T) { agreesWithTheAPIServer(t, c, cluster.Kubeconfig) })
	t.Run("snapshot", func(t *testing.T) { writesSnapshot(t, c, cluster.Kubeconfig) })
}

// The example is asked of the API server, too: a workload of one tenant reads the models of another, and nothing else.
func agreesWithTheAPIServer(t *testing.T, c client.Client, kubeconfig string) {
	t.Helper()
	const user = "system:serviceaccount:payments-engineering:default-editor"
	for _, question := range []struct {
		line string
		q    rbac.Question
		yes  bool
	}{
		{"get inferenceservices.serving.kserve.io", rbac.Question{Verb: "get", Group: "serving.kserve.io", Resource: "inferenceservices"}, true},
		{"list inferenceservices.serving.kserve.io", rbac.Question{Verb: "list", Group: "serving.kserve.io", Resource: "inferenceservices"}, true},
		{"watch inferenceservices.serving.kserve.io", rbac.Question{Verb: "watch", Group: "serving.kserve.io", Resource: "inferenceservices"}, false},
		{"delete inferenceservices.serving.kserve.io", rbac.Question{Verb: "delete", Group: "serving.kserve.io", Resource: "inferenceservices"}, false},
		{"get secrets", rbac.Question{Verb: "get", Resource: "secrets"}, false},
		{"list notebooks.kubeflow.org", rbac.Question{Verb: "list", Group: "kubeflow.org", Resource: "notebooks"}, false},
	} {
		line := append([]string{"can", user}, strings.Fields(question.line)...)
		out, told, code := ranAccess(t, append(line, "-n", "risk-modeling", "--kubeconfig", kubeconfig)...)
		if (code == 0) != question.yes || code == exitUnanswered {
			t.Errorf("%s: exit code %d:\n%s%s", question.line, code, out, told)
		}
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user, Groups: rbac.SignedIn(user).Groups,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: "risk-modeling", Verb: question.q.Verb, Group: question.q.Group, Resource: question.q.Resource,
			},
		}}
		if err := c.Create(t.Context(), review); err != nil {
			t.Fatal(err)
		}
		if review.Status.Allowed != question.yes {
			t.Errorf("%s: the API server says %t", question.line, review.Status.Allowed)
		}
	}
}

// What was written down answers as the cluster does, and has no secret.
func writesSnapshot(t *testing.T, c client.Client, path string) {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "risk-modeling", Name: "db"}, StringData: map[string]string{"password": "hunter2-hunter2"}}
	if err := c.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "now")
	kubeconfig := []string{"--kubeconfig", path}
	if out, told, code := ranAccess(t, append([]string{"snapshot", "-o", dir}, kubeconfig...)...); code != 0 {
		t.Fatalf("exit code %d:\n%s%s", code, out, told)
	}
	for _, line := range []string{"who -n risk-modeling --all", "what rob@example.com -o json", "why rob@example.com GET /notebook/risk-modeling/nb1/lab --via gateway"} {
		live, _, _ := ranAccess(t, append(strings.Fields(line), kubeconfig...)...)
		written, told, _ := ranAccess(t, append(strings.Fields(line), "--from", dir)...)
		if d := cmp.Diff(live, written); d != "" || live == "" {
			t.Errorf("%s: -cluster, +snapshot:\n%s%s", line, d, told)
		}
	}
	if _, told, code := ranAccess(t, append([]string{"snapshot", "-o", dir}, kubeconfig...)...); code != 1 || !strings.Contains(told, "not empty") {
		t.Errorf("a second snapshot over the first: exit code %d, %s", code, told)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte("hunter2")) || bytes.Contains(data, []byte("\nkind: Secret\n")) || bytes.Contains(data, []byte("aHVudGVyMi")) {
			t.Errorf("there is a secret in %s", file)
		}
	}
}

// applyFiles applies the objects of files, and of the files of directories, with the namespaces that they are in. Pods are
// left out, which need images, and roles, which the devcluster has.
func applyFiles(t *testing.T, c client.Client, paths ...string) {
	t.Helper()
	for _, path := range paths {
		files, err := filepath.Glob(filepath.Join(path, "*.yaml"))
		if err != nil || len(files) == 0 {
			files = []string{path}
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for document := range strings.SplitSeq(string(data), "\n---\n") {
				object := &unstructured.Unstructured{}
				if err := yaml.UnmarshalStrict([]byte(document), &object.Object); err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				if !slices.Contains([]string{"Pod", "ClusterRole"}, object.GetKind()) {
					applyOne(t, c, object)
				}
			}
		}
	}
}

func applyOne(t *testing.T, c client.Client, object *unstructured.Unstructured) {
	t.Helper()
	if name := object.GetNamespace(); name != "" {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := c.Create(t.Context(), ns); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	if err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("test"), client.ForceOwnership); err != nil {
		t.Fatal(err)
	}
}
