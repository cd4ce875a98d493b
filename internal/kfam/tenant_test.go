// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// tenant makes a profile of ann's with its namespace and returns the name of both, once all servers know it.
func tenant(t testing.TB, at place, servers ...*api) string {
	t.Helper()
	return tenantOf(t, at, rbacv1.Subject{Kind: rbacv1.UserKind, Name: ann}, servers...)
}

func tenantOf(t testing.TB, at place, owner rbacv1.Subject, servers ...*api) string {
	t.Helper()
	p := testProfile(testkit.Name(t, "kfam"), owner)
	create(t, at, p)
	if at.controllers {
		controllertest.AwaitReady(t, at.client, p.Name)
	} else {
		create(t, at, namespaceOf(p))
		if owner.Kind != rbacv1.ServiceAccountKind {
			owner.APIGroup = rbacv1.GroupName
		}
		create(t, at, handMade(p.Name, "namespaceAdmin", owner.Name, "admin", owner))
	}
	for _, a := range servers {
		a.knows(p.Name)
	}
	return p.Name
}

func testProfile(name string, owner rbacv1.Subject) *kubeflowv1.Profile {
	return &kubeflowv1.Profile{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: kubeflowv1.ProfileSpec{Owner: owner}}
}

// namespaceOf is p's namespace as the controllers make it.
func namespaceOf(p *kubeflowv1.Profile) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: p.Name, Annotations: map[string]string{kubeflowv1.MadeForAnnotation: string(p.UID), kubeflowv1.OwnerAnnotation: p.Spec.Owner.Name},
	}}
}

// knows waits until the server has heard of the profile and its namespace.
func (a *api) knows(profile string) {
	a.t.Helper()
	testkit.Eventually(a.t, patience, func() error {
		if !a.server.Holds(profile) {
			return fmt.Errorf("the server does not know profile %q yet", profile)
		}
		return nil
	})
}

func create(t testing.TB, at place, obj client.Object) {
	t.Helper()
	if err := at.client.Create(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, at place, obj client.Object) {
	t.Helper()
	if err := at.client.Delete(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
}

func get[T client.Object](t testing.TB, at place, namespace, name string, into T) T {
	t.Helper()
	if err := at.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, into); err != nil {
		t.Fatal(err)
	}
	return into
}

// invited are the RoleBindings and policies of contributors in a namespace, by kind and name: "binding a", "policy a".
func invited(t testing.TB, at place, namespace string) []string {
	t.Helper()
	var bindings rbacv1.RoleBindingList
	var policies securityv1beta1.AuthorizationPolicyList
	if err := errors.Join(at.client.List(t.Context(), &bindings, client.InNamespace(namespace)),
		at.client.List(t.Context(), &policies, client.InNamespace(namespace))); err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, b := range bindings.Items {
		if _, annotated := b.Annotations["role"]; annotated && b.Name != "namespaceAdmin" {
			names = append(names, "binding "+b.Name)
		}
	}
	for _, p := range policies.Items {
		if !strings.HasPrefix(p.Name, "ns-") {
			names = append(names, "policy "+p.Name)
		}
	}
	return names
}

// handMade is a RoleBinding as somebody makes it by hand, with Kubeflow's annotations.
func handMade(namespace, name, user, role string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	if len(subjects) == 0 {
		subjects = []rbacv1.Subject{person(user)}
	}
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{"user": user, "role": role}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kubeflow-" + role},
		Subjects:   subjects,
	}
}

// handMadePolicy is a policy as somebody makes it by hand for such a RoleBinding.
func handMadePolicy(namespace, name, user, role string) *securityv1beta1.AuthorizationPolicy {
	return &securityv1beta1.AuthorizationPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{"user": user, "role": role}},
	}
}

func person(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
}

func profileName(t testing.TB) string {
	t.Helper()
	return testkit.Name(t, "kfam")
}

// profileBody is what the dashboard sends to create a profile of a user's.
func profileBody(name, owner string) string {
	return `{"metadata":{"name":"` + name + `"},"spec":{"owner":{"kind":"User","name":"` + owner + `"}}}`
}

// eventuallyListed waits until the query finds exactly that.
func (a *api) eventuallyListed(query string, want ...string) {
	a.t.Helper()
	testkit.Eventually(a.t, patience, func() error {
		if have := a.listed(query, user(root)); !slices.Equal(have, want) {
			return fmt.Errorf("%s: want %q, have %q", query, want, have)
		}
		return nil
	})
}

// wantInvited checks the objects of contributors in a namespace, in any order.
func wantInvited(t testing.TB, at place, namespace string, want ...string) {
	t.Helper()
	slices.Sort(want)
	have := invited(t, at, namespace)
	slices.Sort(have)
	if !slices.Equal(want, have) {
		t.Errorf("in namespace %s want %q, have %q", namespace, want, have)
	}
}

// pair are the objects of a contributor, as invited lists them.
func pair(name string) []string { return []string{"binding " + name, "policy " + name} }

func objectMeta(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

func serviceAccount(namespace, name string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

// plainNamespace is one that has nothing to do with any profile.
func plainNamespace(t testing.TB, at place) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: objectMeta(testkit.Name(t, "plain"))}
	create(t, at, ns)
	return ns.Name
}
