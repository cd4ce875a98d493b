// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

// Each case is a pair. NAME.in.yaml holds Contributors, whose RoleBinding and policy NAME.out.yaml has, or RoleBindings,
// of which it has the policies only; under a RenderConfig with aggregated policies it has the one for all.
func TestContributorGolden(t *testing.T) {
	found, err := filepath.Glob("testdata/contributors/*.in.yaml")
	if err != nil || len(found) == 0 {
		t.Fatalf("found %d cases: %v", len(found), err)
	}
	for _, in := range found {
		t.Run(strings.TrimSuffix(filepath.Base(in), ".in.yaml"), func(t *testing.T) {
			got := printedContributors(t, in)
			golden := strings.TrimSuffix(in, ".in.yaml") + ".out.yaml"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v: go test ./internal/render -update writes it", err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want, +got; go test ./internal/render -update takes it over:\n%s", diff)
			}
		})
	}
}

func printedContributors(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, config := testkit.Profile("team-a"), render.DefaultConfig()
	var objects []render.Object
	var bindings []*rbacv1.RoleBinding
	for document := range strings.SplitSeq(string(data), "---\n") {
		var kind metav1.TypeMeta
		decode(t, document, &kind)
		switch kind.Kind {
		case "RenderConfig":
			decode(t, document, &config)
		case "Contributor":
			var c render.Contributor
			decode(t, document, &c)
			made := render.ContributorBinding(p, config, c, render.BindingNames(c)[0])
			objects = append(objects, made)
			bindings = append(bindings, made.Resource.(*rbacv1.RoleBinding))
		case "RoleBinding":
			binding := &rbacv1.RoleBinding{}
			decodeStrict(t, document, binding)
			bindings = append(bindings, binding)
		default:
			t.Fatalf("%s: a document of kind %q", file, kind.Kind)
		}
	}
	refused := ""
	for _, binding := range bindings {
		if policy, possible := render.ContributorPolicy(p, config, binding); !possible {
			refused += "# refused: " + binding.Name + "\n"
		} else if config.ContributorPolicies != render.PolicyAggregated {
			objects = append(objects, policy)
		}
	}
	if config.ContributorPolicies == render.PolicyAggregated {
		objects = append(objects, render.InviteesPolicy(p, config, bindings))
	}
	if len(objects) == 0 {
		return refused
	}
	printed, err := render.Tenant{Namespace: objects[0], Parts: []render.Part{{Objects: objects[1:]}}}.YAML()
	if err != nil {
		t.Fatal(err)
	}
	return string(printed) + refused
}
