// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/identity"
	"berth.dev/berth/internal/render"
)

func contributor(kind, name, role string) render.Contributor {
	return render.Contributor{Subject: rbacv1.Subject{Kind: kind, Name: name}, Role: role}
}

// The names that Kubeflow's access-management API gives: clients and scripts rely on them.
func TestBindingNames_areKubeflows(t *testing.T) {
	for want, c := range map[string]render.Contributor{
		"user-alice-example-com-clusterrole-edit":          contributor("User", "alice@example.com", "edit"),
		"user-lalith-vaka-zq-msds-kp-org-clusterrole-edit": contributor("User", "lalith.vaka@zq.msds.kp.org", "edit"),
		"user-397401-zq-msds-kp-org-clusterrole-edit":      contributor("User", "397401@zq.msds.kp.org", "edit"),
		"user-i397401-zq-msds-kp-org-clusterrole-edit":     contributor("User", "i397401@zq.msds.kp.org", "edit"),
		"user-zed-x-1-example-com-clusterrole-view":        contributor("User", "Zed_X+1@Example.com", "view"),
		"group-ml-team-clusterrole-edit":                   contributor("Group", "ml-team", "edit"),
		"serviceaccount-bot-clusterrole-edit":              contributor("ServiceAccount", "bot", "edit"),
		"user-ke-example-com-clusterrole-kubeflow-edit":    contributor("User", "ke@example.com", "kubeflow-edit"),
		"user-clusterrole-edit":                            contributor("User", "+++", "edit"),
		"user-bj-rn-clusterrole-admin":                     contributor("User", "björn", "admin"),
		"user-a-b-clusterrole-view":                        contributor("User", "--a--b--", "view"),
	} {
		names := render.BindingNames(c)
		if names[0] != want || len(names) != 2 {
			t.Errorf("%q has the names %q, want %q first of two", c.Subject.Name, names, want)
		}
		if suffixed, found := strings.CutPrefix(names[1], want+"-"); !found || len(suffixed) != 8 {
			t.Errorf("the second name of %q is %q", c.Subject.Name, names[1])
		}
	}
}

// People who share a first name have second names of their own.
func TestBindingNames_collide(t *testing.T) {
	alike := []string{"a.b@x", "a-b@x", "a_b@x", "A.B@x", "a b@x", "a.b.x", "a@b.x"}
	seen := map[string]string{}
	for _, name := range alike {
		names := render.BindingNames(contributor("User", name, "edit"))
		if names[0] != "user-a-b-x-clusterrole-edit" {
			t.Errorf("the first name of %q is %q", name, names[0])
		}
		if other, found := seen[names[1]]; found {
			t.Errorf("%q and %q share %q", name, other, names[1])
		}
		seen[names[1]] = name
	}
	byKind := render.BindingNames(render.Contributor{Role: "edit", Subject: rbacv1.Subject{Kind: "ServiceAccount", Namespace: "ci", Name: "bot"}})
	other := render.BindingNames(render.Contributor{Role: "edit", Subject: rbacv1.Subject{Kind: "ServiceAccount", Namespace: "cd", Name: "bot"}})
	if byKind[0] != other[0] || byKind[1] == other[1] {
		t.Errorf("accounts of two namespaces have the names %q and %q", byKind, other)
	}
}

// Whatever people are called, the API server takes the names, for the policy as well, and the role stands in full.
func TestBindingNames_areAlwaysValid(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	owner := map[string]string{}
	for _, name := range randomNames(rng, 3000) {
		for _, kind := range []string{"User", "Group", "ServiceAccount"} {
			role := render.Roles[rng.IntN(len(render.Roles))]
			c := contributor(kind, name, role)
			names := render.BindingNames(c)
			if diff := cmp.Diff(names, render.BindingNames(c)); diff != "" {
				t.Fatalf("%q has other names the second time:\n%s", name, diff)
			}
			for _, n := range names {
				if problems := validation.IsDNS1123Subdomain(n); len(problems) > 0 {
					t.Fatalf("the %s %q has the name %q: %v", kind, name, n, problems)
				}
				if !strings.Contains(n, "clusterrole-"+role) || !strings.HasPrefix(n, strings.ToLower(kind)+"-") {
					t.Fatalf("the %s %q has the name %q, which does not tell the role %q", kind, name, n, role)
				}
				if render.ContributorPolicyName(n) != n {
					t.Fatalf("the policy of %q is called %q", n, render.ContributorPolicyName(n))
				}
			}
			last, who := names[len(names)-1], identity.Key(c.Subject)+role
			if other, found := owner[last]; found && other != who {
				t.Fatalf("%q and %q share %q", other, who, last)
			}
			owner[last] = who
		}
	}
}

// randomNames are names of people as nobody would choose them, and with lengths about the limits.
func randomNames(rng *rand.Rand, n int) []string {
	alphabets := []string{"abcXYZ019", "a.-_@+", "*", "äöü日本🙂", "-", "\x00\xff\n\t ", "a*b:", `"'\/`}
	names := []string{"", "*", strings.Repeat("x", 253), strings.Repeat("x", 254), strings.Repeat("-", 253), strings.Repeat("日", 300)}
	for length := 200; length < 260; length++ {
		names = append(names, strings.Repeat("y", length), strings.Repeat("a.", length/2))
	}
	for len(names) < n {
		alphabet := []rune(alphabets[rng.IntN(len(alphabets))])
		var name strings.Builder
		for range rng.IntN(30) * (1 + 20*rng.IntN(2)) {
			if rng.IntN(8) == 0 {
				alphabet = []rune(alphabets[rng.IntN(len(alphabets))])
			}
			name.WriteRune(alphabet[rng.IntN(len(alphabet))])
		}
		names = append(names, name.String())
	}
	return names
}

func TestRoleOf(t *testing.T) {
	for ref, want := range map[rbacv1.RoleRef]string{
		{Kind: "ClusterRole", Name: "kubeflow-admin"}:      "admin",
		{Kind: "ClusterRole", Name: "kubeflow-edit"}:       "edit",
		{Kind: "ClusterRole", Name: "kubeflow-view"}:       "view",
		{Kind: "ClusterRole", Name: "kubeflow-pipelines"}:  "",
		{Kind: "ClusterRole", Name: "edit"}:                "",
		{Kind: "Role", Name: "kubeflow-edit"}:              "",
		{Kind: "ClusterRole", Name: "kubeflow-"}:           "",
		{Kind: "ClusterRole", Name: "kubeflow-edit-extra"}: "",
		{}: "",
	} {
		if got := render.RoleOf(ref); got != want {
			t.Errorf("%+v: %q, want %q", ref, got, want)
		}
	}
}

func TestIsContributorBinding(t *testing.T) {
	cases := map[string]struct {
		name        string
		annotations map[string]string
		want        bool
	}{
		"both annotations":          {"x", map[string]string{"user": "a", "role": "edit"}, true},
		"empty ones":                {"x", map[string]string{"user": "", "role": ""}, true},
		"no role":                   {"x", map[string]string{"user": "a"}, false},
		"no user":                   {"x", map[string]string{"role": "edit"}, false},
		"none":                      {"x", nil, false},
		"the owner's":               {"namespaceAdmin", map[string]string{"user": "a", "role": "admin"}, false},
		"a policy that has the two": {"ns-owner-access-istio", map[string]string{"user": "a", "role": "admin"}, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := render.IsContributorBinding(bindingOf(tc.name, tc.annotations)); got != tc.want {
				t.Errorf("got %t, want %t", got, tc.want)
			}
		})
	}
}

func bindingOf(name string, annotations map[string]string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	b := &rbacv1.RoleBinding{Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kubeflow-edit"}}
	b.Name, b.Namespace, b.Annotations = name, "team-a", annotations
	return b
}

// bindingFor is an annotated binding of users.
func bindingFor(name string, users ...string) *rbacv1.RoleBinding {
	b := bindingOf(name, map[string]string{kubeflowv1.UserAnnotation: name, kubeflowv1.RoleAnnotation: "edit"})
	for _, user := range users {
		b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: "User", Name: user, APIGroup: rbacv1.GroupName})
	}
	return b
}

func TestContributorPolicyName(t *testing.T) {
	for name, same := range map[string]bool{
		"alice-edit": true, "user-alice-example-com-clusterrole-edit": true, "a.b.c": true, "contributor-bob": true,
		"contributor-bob-edit": true, strings.Repeat("a", 253): true,
		"Alice-Edit": false, "alice:edit": false, "alice@example.com": false, "-": false, "...": false, "Ä": false,
		strings.Repeat("a", 254): false, strings.Repeat("a:", 500): false, strings.Repeat("a", 199) + ":b": false,
		"ns-owner-access-istio": false, "ns-access-istio": false, "default-editor": false, "waypoint": false,
	} {
		got := render.ContributorPolicyName(name)
		if (got == name) != same {
			t.Errorf("the policy of %q is called %q, want the same name: %t", name, got, same)
		}
		if problems := validation.IsDNS1123Subdomain(got); len(problems) > 0 {
			t.Errorf("the policy of %q is called %q: %v", name, got, problems)
		}
		if slices.Contains(render.Names, got) {
			t.Errorf("the policy of %q has the place of the profile's own %q", name, got)
		}
		// No binding takes the place of another's policy by being called like it.
		if !same && render.ContributorPolicyName(got) == got {
			t.Errorf("a binding called %q shares its policy with one called %q", got, name)
		}
	}
	alike := map[string]bool{}
	for _, name := range []string{"alice:edit", "alice.:edit", "Alice-edit", "ALICE-EDIT", "alice@edit"} {
		alike[render.ContributorPolicyName(name)] = true
	}
	if len(alike) != 5 {
		t.Errorf("the policies of five bindings are called %v", alike)
	}
}
