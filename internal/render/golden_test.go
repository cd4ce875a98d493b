// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/render"
)

var update = flag.Bool("update", false, "write the golden files")

// Each case is a pair. NAME.in.yaml holds a Profile and, where they matter, the ProfileClasses that there are, the
// Namespace, its ServiceAccounts and what else was made for a class as they are, the names of InferenceServices, and a
// RenderConfig with what differs from the defaults. NAME.out.yaml is what `berth render` prints; where the first line of
// the input is "# shows:", only those objects of it, what a class takes off them or takes away, and the problems.
func TestGolden(t *testing.T) {
	for _, in := range inputs(t) {
		name := strings.TrimSuffix(filepath.Base(in), ".in.yaml")
		t.Run(name, func(t *testing.T) {
			p, input, shows := read(t, in)
			before := deepCopy(p, input)
			tenant := render.Profile(p, input)
			got := printed(t, tenant, shows)
			if diff := cmp.Diff(before, deepCopy(p, input)); diff != "" {
				t.Errorf("rendering changed what it was given:\n%s", diff)
			}
			if again := printed(t, render.Profile(p, input), shows); !bytes.Equal(got, again) {
				t.Errorf("rendered again, it differs:\n%s", cmp.Diff(string(got), string(again)))
			}
			golden := strings.TrimSuffix(in, ".in.yaml") + ".out.yaml"
			if *update {
				if err := os.WriteFile(golden, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v: go test ./internal/render -update writes it", err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("-want, +got; go test ./internal/render -update takes it over:\n%s", diff)
			}
			if lines := bytes.Count(want, []byte("\n")); lines > 60 && len(shows) > 0 {
				t.Errorf("%s has %d lines: show less", golden, lines)
			}
		})
	}
}

// What was rendered belongs to whoever asked: changing it must change neither what the profile says nor the next result.
func TestProfile_sharesNothingWithItsInput(t *testing.T) {
	for _, in := range inputs(t) {
		p, input, _ := read(t, in)
		before := deepCopy(p, input)
		want := printed(t, render.Profile(p, input), nil)
		for _, object := range render.Profile(p, input).Objects() {
			for _, m := range []map[string]string{object.GetLabels(), object.GetAnnotations()} {
				for key := range m {
					m[key] = "overwritten"
				}
			}
			object.SetName("overwritten")
		}
		if diff := cmp.Diff(before, deepCopy(p, input)); diff != "" {
			t.Errorf("%s: changing the result changed the input:\n%s", in, diff)
		}
		if diff := cmp.Diff(string(want), string(printed(t, render.Profile(p, input), nil))); diff != "" {
			t.Errorf("%s: changing one result changed the next:\n%s", in, diff)
		}
	}
}

func inputs(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(found) == 0 {
		t.Fatalf("found %d cases: %v", len(found), err)
	}
	return found
}

func read(t *testing.T, file string) (p *kubeflowv1.Profile, in render.Input, shows []string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	in = render.Input{Config: render.DefaultConfig(), Mesh: allKinds}
	var classes []berthv1alpha1.ProfileClass
	for document := range strings.SplitSeq(string(data), "---\n") {
		var kind metav1.TypeMeta
		decode(t, document, &kind)
		switch kind.Kind {
		case "Profile":
			p = &kubeflowv1.Profile{}
			decodeStrict(t, document, p)
		case "Namespace":
			in.Namespace = &corev1.Namespace{}
			decodeStrict(t, document, in.Namespace)
		case "ProfileClass":
			var class berthv1alpha1.ProfileClass
			decodeStrict(t, document, &class)
			classes = append(classes, class)
		case "ServiceAccount":
			account := &corev1.ServiceAccount{}
			decodeStrict(t, document, account)
			takeAccount(&in, account)
		case render.InferenceServiceKind.Kind:
			in.InferenceServices = append(in.InferenceServices, made(t, document).GetName())
		case "RenderConfig":
			decodeStrict(t, document, &struct {
				*metav1.TypeMeta
				*render.Config
			}{&kind, &in.Config})
		default:
			there := made(t, document)
			if there.GetLabels()[berthv1alpha1.PartLabel] == "" {
				t.Fatalf("%s: a document of kind %q", file, kind.Kind)
			}
			in.Placed = append(in.Placed, there)
		}
	}
	in.Class = render.ClassOf(p, classes)
	first, _, _ := strings.Cut(string(data), "\n")
	if wanted, limited := strings.CutPrefix(first, "# shows: "); limited {
		shows = strings.Split(wanted, ", ")
	}
	return p, in, shows
}

// allKinds are all kinds that a cluster may lack.
var allKinds = render.MeshKinds{
	AuthorizationPolicy: true, Gateway: true, PeerAuthentication: true, RequestAuthentication: true,
	InferenceService: true, ProfileClass: true, ExternalSecrets: "v1",
}

func takeAccount(in *render.Input, account *corev1.ServiceAccount) {
	if account.Labels[berthv1alpha1.PartLabel] != "" {
		in.Placed = append(in.Placed, account)
	}
	switch account.Name {
	case render.EditorName:
		in.Editor = account
	case render.ViewerName:
		in.Viewer = account
	default:
		if in.Accounts == nil {
			in.Accounts = map[string]*corev1.ServiceAccount{}
		}
		in.Accounts[account.Name] = account
	}
}

func made(t *testing.T, document string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	decode(t, document, &object.Object)
	return object
}

// print is what `berth render` prints of tenant, or those objects of it that are to be shown.
func printed(t *testing.T, tenant render.Tenant, shows []string) []byte {
	t.Helper()
	printed, err := tenant.YAML()
	if err != nil {
		t.Fatal(err)
	}
	documents := strings.SplitAfter("\n"+string(printed), "\n---\n")[1:]
	if len(documents) != len(tenant.Objects()) {
		t.Fatalf("%d documents of %d objects", len(documents), len(tenant.Objects()))
	}
	if shows == nil {
		return printed
	}
	var out bytes.Buffer
	seen := 0
	for i, object := range tenant.Objects() {
		name := object.GetObjectKind().GroupVersionKind().Kind + " " + object.GetName()
		if slices.Contains(shows, name) {
			seen++
			out.WriteString("---\n" + strings.TrimSuffix(documents[i], "---\n"))
			if tenant.Class.Name != "" {
				for _, key := range slices.Concat(object.AbsentLabels, object.AbsentAnnotations) {
					out.WriteString("# takes off: " + key + "\n")
				}
				for _, field := range object.Exact {
					out.WriteString("# nothing else in: " + field + "\n")
				}
			}
		}
	}
	for _, part := range tenant.Parts {
		for _, gone := range part.Absent {
			if gone.Purpose == "is not asked for any more" {
				out.WriteString("# gone: " + gone.GetObjectKind().GroupVersionKind().Kind + " " + gone.GetName() + "\n")
			}
		}
	}
	for _, problem := range tenant.Problems() {
		out.WriteString("# " + problem.Reason + ": " + problem.Message + "\n")
	}
	if absent := slices.DeleteFunc(slices.Clone(shows), func(s string) bool { return strings.HasPrefix(s, "no ") }); seen != len(absent) {
		t.Fatalf("%d of the objects to be shown are there: %q", seen, shows)
	}
	for _, object := range tenant.Objects() {
		if name := object.GetObjectKind().GroupVersionKind().Kind + " " + object.GetName(); slices.Contains(shows, "no "+name) {
			t.Errorf("there is a %s", name)
		}
	}
	return out.Bytes()
}

func deepCopy(p *kubeflowv1.Profile, in render.Input) any {
	in.Namespace = in.Namespace.DeepCopy()
	in.Editor, in.Viewer = in.Editor.DeepCopy(), in.Viewer.DeepCopy()
	in.Accounts = maps.Clone(in.Accounts)
	for name, account := range in.Accounts {
		in.Accounts[name] = account.DeepCopy()
	}
	in.Placed = slices.Clone(in.Placed)
	for i, there := range in.Placed {
		in.Placed[i], _ = there.DeepCopyObject().(render.Resource)
	}
	in.InferenceServices = slices.Clone(in.InferenceServices)
	in.Class.Spec = *in.Class.Spec.DeepCopy()
	in.Config.NamespaceLabels = maps.Clone(in.Config.NamespaceLabels)
	in.Reserved = slices.Clone(in.Reserved)
	return []any{p.DeepCopy(), in}
}

func decode(t *testing.T, document string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(document), into); err != nil {
		t.Fatalf("%v in:\n%s", err, document)
	}
}

func decodeStrict(t *testing.T, document string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(document), into); err != nil {
		t.Fatalf("%v in:\n%s", err, document)
	}
}
