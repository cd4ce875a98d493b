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
	"sigs.k8s.io/yaml"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/render"
)

var update = flag.Bool("update", false, "write the golden files")

// Each case is a pair. NAME.in.yaml holds a Profile and, where they matter, the Namespace and the service account
// default-editor as they are, and a RenderConfig with what differs from the defaults. NAME.out.yaml is what
// `berth render` prints; where the first line of the input is "# shows:", only those objects of it.
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
	in = render.Input{Config: render.DefaultConfig(), Mesh: render.MeshKinds{AuthorizationPolicy: true, Gateway: true}}
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
		case "ServiceAccount":
			in.Editor = &corev1.ServiceAccount{}
			decodeStrict(t, document, in.Editor)
		case "RenderConfig":
			decodeStrict(t, document, &struct {
				*metav1.TypeMeta
				*render.Config
			}{&kind, &in.Config})
		default:
			t.Fatalf("%s: a document of kind %q", file, kind.Kind)
		}
	}
	first, _, _ := strings.Cut(string(data), "\n")
	if wanted, limited := strings.CutPrefix(first, "# shows: "); limited {
		shows = strings.Split(wanted, ", ")
	}
	return p, in, shows
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
	in.Editor = in.Editor.DeepCopy()
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
