// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"berth.dev/berth/internal/kfam"
	"berth.dev/berth/internal/testkit"
)

// noReviews has the API server answer nobody what a caller may.
func noReviews() *fault {
	f := &fault{which: func(verb string, obj client.Object) error {
		if kindOf(obj) == "review" {
			return apierrors.NewInternalError(errors.New("no answer"))
		}
		return nil
	}}
	f.on.Store(true)
	return f
}

// eventuallyInvites waits until the caller gets that answer to an invitation.
func (a *api) eventuallyInvites(code int, ns string, as caller) {
	a.t.Helper()
	testkit.Eventually(a.t, patience, func() error {
		if got := a.send(http.MethodPost, bindingsPath, invite(ns, ben, "view"), as); got.code != code {
			return fmt.Errorf("want %d, got %d %s", code, got.code, got.body)
		}
		return nil
	})
}

// What RBAC gives, in each of its ways, is known without asking; and no longer when it is taken away.
func TestRights_areThoseOfNow(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at, through(t, at, noReviews().funcs()))
	rules := []rbacv1.PolicyRule{{Verbs: []string{"create"}, APIGroups: []string{rbacv1.GroupName}, Resources: []string{"rolebindings"}}}
	inviter := testkit.Name(t, "inviter") + "@example.com" // whom no other test knows

	cases := map[string]func(ns string) (there []client.Object, gone func() error){
		"a RoleBinding that goes": func(ns string) ([]client.Object, func() error) {
			b := handMade(ns, "by-hand", inviter, "admin")
			return []client.Object{b}, func() error { return at.client.Delete(t.Context(), b) }
		},
		"a Role that loses its rules": func(ns string) ([]client.Object, func() error) {
			role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "inviter"}, Rules: rules}
			b := handMade(ns, "by-role", inviter, "admin")
			b.RoleRef = rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name}
			return []client.Object{role, b}, func() error { role.Rules = nil; return at.client.Update(t.Context(), role) }
		},
		"a ClusterRole that goes": func(ns string) ([]client.Object, func() error) {
			role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: ns}, Rules: rules}
			b := handMade(ns, "by-cluster-role", inviter, "admin")
			b.RoleRef.Name = role.Name
			return []client.Object{role, b}, func() error { return at.client.Delete(t.Context(), role) }
		},
		"an aggregated ClusterRole that loses a part": func(ns string) ([]client.Object, func() error) {
			label := map[string]string{"of": ns}
			part := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: ns + "-part", Labels: label}, Rules: rules}
			role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: ns}, AggregationRule: &rbacv1.AggregationRule{
				ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: label}},
			}}
			b := handMade(ns, "by-aggregation", inviter, "admin")
			b.RoleRef.Name = role.Name
			return []client.Object{part, role, b}, func() error { return at.client.Delete(t.Context(), part) }
		},
		"a ClusterRoleBinding that goes": func(ns string) ([]client.Object, func() error) {
			role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: ns + "-all"}, Rules: rules}
			b := &rbacv1.ClusterRoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: ns}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
				Subjects: []rbacv1.Subject{person(inviter)},
			}
			return []client.Object{role, b}, func() error { return at.client.Delete(t.Context(), b) }
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			ns := tenant(t, at, a)
			a.wants(http.StatusServiceUnavailable, "try again", http.MethodPost, bindingsPath, invite(ns, ben, "view"), user(inviter))
			there, gone := tc(ns)
			for _, obj := range there {
				create(t, at, obj)
			}
			a.eventuallyInvites(http.StatusOK, ns, user(inviter))
			if err := gone(); err != nil {
				t.Fatal(err)
			}
			a.eventuallyInvites(http.StatusServiceUnavailable, ns, user(inviter))
		})
	}
}

// What another authorizer of the API server allows counts, too.
func TestRights_areAlsoThoseOfOtherAuthorizers(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at, through(t, at, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			if review, ok := obj.(*authorizationv1.SubjectAccessReview); ok {
				review.Status.Allowed = review.Spec.User == eve
				review.Status.Denied = slices.Contains(review.Spec.Groups, "nobody-with-this-group")
				return nil
			}
			return c.Create(ctx, obj, opts...)
		},
	}))
	ns := tenant(t, at, a)
	a.must(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(eve))
	a.wants(http.StatusForbidden, "", http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(cleo))
}

// Where an authorizer denies what RBAC allows, the server can be told to ask always.
func TestRights_canAlwaysBeAskedFor(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	f := noReviews()
	a := serve(t, at, through(t, at, f.funcs()), func(o *kfam.Options) { o.AlwaysReview = true })
	knowing := serve(t, at, through(t, at, f.funcs()))
	ns := tenant(t, at, a, knowing)
	create(t, at, handMade(ns, "admin", adminContributor, "admin"))
	knowing.eventuallyInvites(http.StatusOK, ns, user(adminContributor))
	a.wants(http.StatusServiceUnavailable, "try again", http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(adminContributor))
	f.on.Store(false)
	a.must(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(adminContributor))
}

// A server that may not see roles, as under a ClusterRole from before it looked at them, works and asks.
func TestRights_areAskedForWhereRolesCannotBeSeen(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	old := at
	account := testkit.Name(t, "old-kfam")
	data, err := os.ReadFile(roleFile)
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(data, role); err != nil {
		t.Fatal(err)
	}
	role.Name = account
	role.Rules = slices.DeleteFunc(role.Rules, func(rule rbacv1.PolicyRule) bool { return slices.Contains(rule.Resources, "clusterrolebindings") })
	create(t, at, role)
	create(t, at, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: account}})
	create(t, at, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: account}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: account},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: account}},
	})
	old.config = quiet.Use(t).ServiceAccountConfig(t, "default", account)
	a := serve(t, old)
	ns := tenant(t, at, a)
	create(t, at, handMade(ns, "admin", adminContributor, "admin"))
	a.eventuallyInvites(http.StatusOK, ns, user(adminContributor))
	a.wants(http.StatusForbidden, "", http.MethodPost, bindingsPath, invite(ns, ben, "view"), user(eve))
}
