// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync_test

import (
	"fmt"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/kube/scheme"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

// follow begins to watch who has access to a namespace. What it returns reads all changes until the namespace has as
// many contributors' bindings and names, and fails wherever somebody was without any. Two names of one person are given
// as one.
func follow(t *testing.T, namespace string, never ...[]string) (until func(users ...string)) {
	t.Helper()
	kinds, err := scheme.New()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.NewWithWatch(cluster.Use(t).Config(), client.Options{Scheme: kinds})
	if err != nil {
		t.Fatal(err)
	}
	var list rbacv1.RoleBindingList
	if err := c.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	there := map[string]string{}
	note := func(b *rbacv1.RoleBinding, gone bool) {
		if delete(there, b.Name); !gone && render.IsContributorBinding(b) {
			there[b.Name] = b.Subjects[0].Name
		}
	}
	for i := range list.Items {
		note(&list.Items[i], false)
	}
	changes, err := c.Watch(t.Context(), &rbacv1.RoleBindingList{}, client.InNamespace(namespace), &client.ListOptions{Raw: optionsFrom(list.ResourceVersion)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(changes.Stop)
	return func(users ...string) {
		t.Helper()
		for {
			have := slices.Sorted(func(yield func(string) bool) {
				for _, user := range there {
					if !yield(user) {
						return
					}
				}
			})
			for _, person := range never {
				if !slices.ContainsFunc(person, func(name string) bool { return slices.Contains(have, name) }) {
					t.Fatalf("for a moment, %q had no access: %v", person, there)
				}
			}
			if slices.Equal(have, users) {
				return
			}
			select {
			case event := <-changes.ResultChan():
				if b, ok := event.Object.(*rbacv1.RoleBinding); ok {
					note(b, event.Type == watch.Deleted)
				}
			case <-t.Context().Done():
				t.Fatal("the test ended")
			}
		}
	}
}

func TestSync_nobodyWhoStaysIsWithoutAccessForAMoment(t *testing.T) {
	c := start(t)
	team := testkit.Name(t, "team")
	person := func(name, role string) string {
		return fmt.Sprintf("contributors: [{name: %s, role: %s, id: '7'}, {name: bob@example.com, role: edit}, {name: zoe@example.com, role: view}]", name, role)
	}
	s := newSync(t, c, listOf(entry(team, person("ann@example.com", "edit"))), "{}")
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
	awaitAccess(t, c, team, at("ann:edit", "bob:edit", "zoe:view")...)
	until := follow(t, team, []string{"ann@example.com", "anna@example.org"}, []string{"bob@example.com"}, []string{"zoe@example.com"})

	declare(t, c, s.Name, listOf(entry(team, person("ann@example.com", "view"))))
	awaitAccess(t, c, team, at("ann:view", "bob:edit", "zoe:view")...)
	until("ann@example.com", "ann@example.com", "bob@example.com", "zoe@example.com") // both roles, before one goes
	until("ann@example.com", "bob@example.com", "zoe@example.com")

	// The same person with another name is one change, and comes before going.
	editSync(t, c, s, func(s *berthv1alpha1.ProfileSync) { s.Spec.Mode = berthv1alpha1.SyncPlan })
	declare(t, c, s.Name, listOf(entry(team, person("anna@example.org", "view"))))
	awaitSync(t, c, s, berthv1alpha1.ConditionApproved, berthv1alpha1.ReasonApprovalPending)
	if s.Status.Plan.Actions != 1 {
		t.Errorf("the plan is %+v", s.Status.Plan)
	}
	approve(t, c, s, s.Status.Plan.Digest)
	awaitAccess(t, c, team, "anna@example.org:view", "bob@example.com:edit", "zoe@example.com:view")
	until("ann@example.com", "anna@example.org", "bob@example.com", "zoe@example.com")
	until("anna@example.org", "bob@example.com", "zoe@example.com")
}

func TestSync_policiesFollowTheMeshMode(t *testing.T) {
	c := installed(t)
	controllers := launch(t)
	team := testkit.Name(t, "team")
	s := newSync(t, c, listOf(entry(team, people("ann:edit"))), "{}")
	targets := func(want int) {
		t.Helper()
		testkit.Eventually(t, controllertest.Patience, func() error {
			found := policies(t, c, team)
			for name, policy := range found {
				if len(policy.Spec.TargetRefs) != want {
					return fmt.Errorf("policy %s is for %v", name, policy.Spec.TargetRefs)
				}
			}
			if len(found) != 1 {
				return fmt.Errorf("the policies are %v", found)
			}
			return nil
		})
	}
	targets(0)
	controllers.Stop(t)
	controllers = launch(t, controllertest.WithConfig(func(c *render.Config) { c.MeshMode = render.MeshAmbient }))
	targets(1)
	declare(t, c, s.Name, listOf(entry(team, people("bob:edit"))))
	awaitAccess(t, c, team, at("bob:edit")...)
	targets(1)
	controllers.Stop(t)
	launch(t)
	targets(0)
}

// optionsFrom has a watch begin where a list ended.
func optionsFrom(version string) *metav1.ListOptions {
	return &metav1.ListOptions{ResourceVersion: version}
}
