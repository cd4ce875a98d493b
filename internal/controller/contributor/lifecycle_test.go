// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package contributor_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// adoptedTeam is a profile in a namespace that was there before and outlives it.
func adoptedTeam(t *testing.T, c client.Client, changes ...func(*kubeflowv1.Profile)) *kubeflowv1.Profile {
	t.Helper()
	name := testkit.Name(t, "adopted")
	create(t, c, namespace(name, map[string]string{kubeflowv1.OwnerAnnotation: controllertest.Owner}))
	p := controllertest.Create(t, c, controllertest.Profile(name, changes...))
	controllertest.AwaitReady(t, c, name)
	return p
}

// canary has a policy made in another namespace: what was to be done before is done.
func canary(t *testing.T, c client.Client) {
	t.Helper()
	p := team(t, c)
	b := create(t, c, binding(p.Name, "canary", user(bob)))
	awaitPolicies(t, c, p, perContributor(map[string]string{"canary": lets(bob)}))
	// Once more, for the looks that the controllers' own writes bring about.
	edit(t, c, b, func(b *rbacv1.RoleBinding) { b.Subjects = []rbacv1.Subject{user(alice)} })
	awaitPolicies(t, c, p, perContributor(map[string]string{"canary": lets(alice)}))
}

// What was there stays somebody else's, brought in line; what is ours goes with the profile.
func adopted(t *testing.T, c client.Client) {
	p := adoptedTeam(t, c)
	theirs := kubeflows(p.Name, "alice-edit", "somebody-else")
	create(t, c, theirs)
	create(t, c, binding(p.Name, "alice-edit", user(alice)))
	create(t, c, binding(p.Name, "bob-edit", user(bob)))
	foreign := strings.Replace(lets(alice), "ours:", "foreign:", 1)
	awaitPolicies(t, c, p, perContributor(map[string]string{"alice-edit": foreign, "bob-edit": lets(bob)}))

	controllertest.Delete(t, c, p.Name)
	controllertest.AwaitGone(t, c, controllertest.Profile(p.Name))
	awaitPolicies(t, c, p, map[string]string{"alice-edit": foreign})
}

func notHeld(t *testing.T, c client.Client) {
	name := testkit.Name(t, "foreign")
	create(t, c, namespace(name, nil))
	p := controllertest.Create(t, c, controllertest.Profile(name))
	theirs := kubeflows(name, "alice-edit", "somebody-else")
	theirs.Labels = map[string]string{kubeflowv1.ManagedByLabel: "berth"}
	create(t, c, theirs)
	create(t, c, binding(name, "alice-edit", user(alice)))
	create(t, c, binding(name, "bob-edit", user(bob)))
	canary(t, c)
	awaitPolicies(t, c, p, map[string]string{"alice-edit": strings.Replace(lets("somebody-else"), "ours:", "half ours:", 1)})

	// Given to the profile, it is.
	ns := namespace(name, nil)
	edit(t, c, ns, func(ns *corev1.Namespace) {
		ns.Annotations = map[string]string{kubeflowv1.AdoptAnnotation: controllertest.Owner}
	})
	// What says that it is ours is made so.
	awaitPolicies(t, c, p, perContributor(map[string]string{"alice-edit": lets(alice), "bob-edit": lets(bob)}))
}

// Nothing is written for a profile that is being deleted, for whatever reason it is still there.
func deleting(t *testing.T, c client.Client) {
	p := adoptedTeam(t, c, func(p *kubeflowv1.Profile) { p.Finalizers = []string{"example.com/held"} })
	create(t, c, binding(p.Name, "alice-edit", user(alice)))
	awaitPolicies(t, c, p, perContributor(map[string]string{"alice-edit": lets(alice)}))
	controllertest.Delete(t, c, p.Name)
	awaitPolicies(t, c, p, map[string]string{})
	create(t, c, binding(p.Name, "bob-edit", user(bob)))
	canary(t, c)
	awaitPolicies(t, c, p, map[string]string{})
	controllertest.Change(t, c, p.Name, func(p *kubeflowv1.Profile) { p.Finalizers = nil })
	controllertest.AwaitGone(t, c, p)
}

// What is to outlive the profile does: nothing is tied to it again, nor made, while it is going.
func orphaning(t *testing.T, c client.Client) {
	p := controllertest.Create(t, c, controllertest.Profile(testkit.Name(t, "team"), func(p *kubeflowv1.Profile) {
		p.Finalizers = []string{"example.com/held"}
	}))
	controllertest.AwaitReady(t, c, p.Name)
	create(t, c, binding(p.Name, "alice-edit", user(alice)))
	awaitPolicies(t, c, p, perContributor(map[string]string{"alice-edit": lets(alice)}))
	if err := c.Delete(t.Context(), p, client.PropagationPolicy(metav1.DeletePropagationOrphan)); err != nil {
		t.Fatal(err)
	}
	left := map[string]string{"alice-edit": strings.Replace(lets(alice), "ours:", "half ours:", 1), "ns-access-istio": "half ours:"}
	awaitPolicies(t, c, p, left)
	create(t, c, binding(p.Name, "bob-edit", user(bob)))
	canary(t, c)
	awaitPolicies(t, c, p, left)
	controllertest.Change(t, c, p.Name, func(p *kubeflowv1.Profile) { p.Finalizers = nil })
	controllertest.AwaitGone(t, c, controllertest.Profile(p.Name))
	awaitPolicies(t, c, p, left)
}

// A namespace that somebody deletes is made anew, empty.
func namespaceGoes(t *testing.T, c client.Client) {
	p := team(t, c)
	create(t, c, binding(p.Name, "alice-edit", user(alice)))
	awaitPolicies(t, c, p, perContributor(map[string]string{"alice-edit": lets(alice)}))
	remove(t, c, namespace(p.Name, nil))
	awaitPolicies(t, c, p, perContributor(nil))
	controllertest.AwaitReady(t, c, p.Name)
	create(t, c, binding(p.Name, "bob-edit", user(bob)))
	awaitPolicies(t, c, p, perContributor(map[string]string{"bob-edit": lets(bob)}))
}

func profileGoes(t *testing.T, c client.Client) {
	p := team(t, c)
	create(t, c, binding(p.Name, "alice-edit", user(alice)))
	awaitPolicies(t, c, p, perContributor(map[string]string{"alice-edit": lets(alice)}))
	controllertest.Delete(t, c, p.Name)
	controllertest.AwaitGone(t, c, controllertest.Profile(p.Name))
	controllertest.AwaitGone(t, c, namespace(p.Name, nil))
}
