// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// withAuditor makes a class with a role of its own, and gives it to the profile.
func withAuditor(t *testing.T, at place, namespace string) *berthv1alpha1.ProfileClass {
	t.Helper()
	class := &berthv1alpha1.ProfileClass{
		ObjectMeta: metav1.ObjectMeta{Name: testkit.Name(t, "class")},
		Spec: berthv1alpha1.ProfileClassSpec{Roles: []berthv1alpha1.Role{{
			Name: "auditor", ClusterRole: "berth-auditor",
			Mesh: []berthv1alpha1.MeshOperation{{Methods: []string{"GET"}, Paths: []string{"/pipeline/*"}}},
		}}},
	}
	if err := at.client.Create(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	controllertest.Change(t, at.client, namespace, func(p *kubeflowv1.Profile) {
		metav1.SetMetaDataLabel(&p.ObjectMeta, berthv1alpha1.ClassLabel, class.Name)
	})
	return class
}

// A role of the profile's class is given, listed and taken like any other; it is bound to the class's ClusterRole, and
// lets in through the mesh to no more than the class says.
func TestClassRoles(t *testing.T) {
	t.Parallel()
	at := onShared(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	a.wants(http.StatusForbidden, `"auditor": use admin, edit or view`, http.MethodPost, bindingsPath, invite(ns, "eve@example.com", "auditor"), user(ann))
	class := withAuditor(t, at, ns)
	testkit.Eventually(t, controllertest.Patience, func() error { // the server knows of the profile's label
		if got := a.send(http.MethodPost, bindingsPath, invite(ns, "eve@example.com", "auditor"), user(ann)); got.code != http.StatusOK {
			return fmt.Errorf("%d %s", got.code, got.body)
		}
		return nil
	})
	if got := a.listed("?namespace="+ns+"&user=eve@example.com", user(ann)); !slices.Equal(got, []string{"User eve@example.com auditor"}) {
		t.Errorf("listed are %q", got)
	}
	binding := &rbacv1.RoleBinding{}
	key := client.ObjectKey{Namespace: ns, Name: "user-eve-example-com-clusterrole-auditor"}
	if err := at.client.Get(t.Context(), key, binding); err != nil || binding.RoleRef.Name != "berth-auditor" {
		t.Errorf("bound to %+v: %v", binding.RoleRef, err)
	}
	policy := &securityv1beta1.AuthorizationPolicy{}
	if err := at.client.Get(t.Context(), key, policy); err != nil {
		t.Fatal(err)
	}
	operation := policy.Spec.Rules[0].To[0].Operation
	if diff := cmp.Diff([]string{"GET", "/pipeline/*"}, append(slices.Clone(operation.Methods), operation.Paths...)); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}

	// Another role takes its place, as with those of every class.
	a.must(http.MethodPost, bindingsPath, invite(ns, "eve@example.com", "view"), user(ann))
	if got := a.listed("?namespace="+ns+"&user=eve@example.com", user(ann)); !slices.Equal(got, []string{"User eve@example.com view"}) {
		t.Errorf("listed are %q", got)
	}
	a.must(http.MethodPost, bindingsPath, invite(ns, "eve@example.com", "auditor"), user(ann))

	// When the class has the role no more, nobody gets in by it, and it can still be taken away.
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"roles":null}}`))
	if err := at.client.Patch(t.Context(), class, patch); err != nil {
		t.Fatal(err)
	}
	controllertest.AwaitGone(t, at.client, policy)
	a.wants(http.StatusForbidden, "use admin, edit or view", http.MethodPost, bindingsPath, invite(ns, "dan@example.com", "auditor"), user(ann))
	a.must(http.MethodDelete, bindingsPath, invite(ns, "eve@example.com", "auditor"), user(ann))
	controllertest.AwaitGone(t, at.client, binding)
}

// With one policy for all, each role has a rule of its own, those of the class included.
func TestClassRoles_aggregated(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at, aggregated)
	ns := tenant(t, at, a)
	withAuditor(t, at, ns)
	testkit.Eventually(t, controllertest.Patience, func() error {
		if got := a.send(http.MethodPost, bindingsPath, invite(ns, "eve@example.com", "auditor"), user(ann)); got.code != http.StatusOK {
			return fmt.Errorf("%d %s", got.code, got.body)
		}
		return nil
	})
	a.must(http.MethodPost, bindingsPath, invite(ns, "dan@example.com", "edit"), user(ann))
	policy := &securityv1beta1.AuthorizationPolicy{}
	if err := at.client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: invitees}, policy); err != nil {
		t.Fatal(err)
	}
	if rules := policy.Spec.Rules; len(rules) != 2 || len(rules[0].To) != 0 || len(rules[1].To) != 1 {
		t.Errorf("the rules are %v", rules)
	}
}
