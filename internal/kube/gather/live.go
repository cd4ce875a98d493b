// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package gather reads the values that the core reasons about, from a cluster or from files.
package gather

import (
	"context"
	"fmt"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/pmr"
	"berth.dev/berth/internal/render"
)

// page is how many objects are asked for at once.
const page = 500

// Live reads what a cluster has, for comparing it with a list, page by page.
func Live(ctx context.Context, reader client.Reader) (pmr.Have, error) {
	return read(func(list client.ObjectList, use func()) error { return each(ctx, reader, list, use) })
}

// Cached is Live from a cache, which has no pages. What it returns is the cache's, and not to be changed.
func Cached(ctx context.Context, cache client.Reader) (pmr.Have, error) {
	return read(func(list client.ObjectList, use func()) error {
		if err := cache.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return err
		}
		use()
		return nil
	})
}

// read reads what a cluster has by list, which calls use each time it has filled what it was given.
func read(list func(into client.ObjectList, use func()) error) (pmr.Have, error) {
	have := pmr.Have{Profiles: map[string]*pmr.HaveProfile{}, Namespaces: map[string]*corev1.Namespace{}}
	var profiles kubeflowv1.ProfileList
	err := list(&profiles, func() {
		for i := range profiles.Items {
			have.Profiles[profiles.Items[i].Name] = &pmr.HaveProfile{Profile: &profiles.Items[i]}
		}
	})
	if err != nil {
		return have, fmt.Errorf("list the profiles: %w", err)
	}
	var namespaces corev1.NamespaceList
	err = list(&namespaces, func() {
		for i := range namespaces.Items {
			place(&have, &namespaces.Items[i])
		}
	})
	if err != nil {
		return have, fmt.Errorf("list the namespaces: %w", err)
	}
	var bindings rbacv1.RoleBindingList
	err = list(&bindings, func() {
		for i := range bindings.Items {
			binding := &bindings.Items[i]
			if h := have.Profiles[binding.Namespace]; h != nil && pmr.Concerns(binding) {
				h.Bindings = append(h.Bindings, binding)
			}
		}
	})
	if err != nil {
		return have, fmt.Errorf("list the RoleBindings: %w", err)
	}
	var policies securityv1beta1.AuthorizationPolicyList
	err = list(&policies, func() {
		for _, policy := range policies.Items {
			if h := have.Profiles[policy.Namespace]; h != nil && render.IsContributorPolicy(policy) {
				h.Policies = append(h.Policies, policy)
			}
		}
	})
	if err != nil && !meta.IsNoMatchError(err) { // without a mesh there are none
		return have, fmt.Errorf("list the AuthorizationPolicies: %w", err)
	}
	return have, nil
}

// place puts a namespace to its profile.
func place(have *pmr.Have, namespace *corev1.Namespace) {
	if h := have.Profiles[namespace.Name]; h != nil {
		h.Namespace = namespace
		return
	}
	have.Namespaces[namespace.Name] = namespace
}

// each reads list page by page. The items of a page stay valid after the next is read.
func each(ctx context.Context, reader client.Reader, list client.ObjectList, use func()) error {
	next := ""
	for {
		if err := reader.List(ctx, list, client.Limit(page), client.Continue(next)); err != nil {
			return err
		}
		use()
		if next = list.GetContinue(); next == "" {
			return nil
		}
		// What was handed out must not be overwritten by the next page.
		if err := meta.SetList(list, nil); err != nil {
			return fmt.Errorf("begin another page: %w", err)
		}
	}
}
