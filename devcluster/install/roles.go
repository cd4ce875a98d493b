// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"encoding/json"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// Roles creates or updates the ClusterRoles of a manifest. They are aggregated by kube-controller-manager: see
// AwaitAggregation.
func (i *Installer) Roles(ctx context.Context, manifest []byte) error {
	roles, err := parse(manifest)
	if err != nil {
		return err
	}
	return i.apply(ctx, clusterRoleResource, roles)
}

// AwaitAggregation waits until every aggregated ClusterRole holds the rules of the roles it selects.
func (i *Installer) AwaitAggregation(ctx context.Context) error {
	return poll(ctx, func() error {
		list, err := i.dynamic.Resource(clusterRoleResource).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		roles := make([]rbacv1.ClusterRole, len(list.Items))
		for n := range list.Items {
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[n].Object, &roles[n]); err != nil {
				return err
			}
		}
		return unaggregated(roles)
	})
}

// unaggregated names the first role that lacks a rule of a role it selects. Selection goes through several stages
// (view, edit, admin); where no single stage lacks anything, nothing is missing over all of them.
func unaggregated(roles []rbacv1.ClusterRole) error {
	for _, role := range roles {
		if role.AggregationRule == nil {
			continue
		}
		has := map[string]bool{}
		for _, rule := range role.Rules {
			has[key(rule)] = true
		}
		for _, selector := range role.AggregationRule.ClusterRoleSelectors {
			selector, err := metav1.LabelSelectorAsSelector(&selector)
			if err != nil {
				return err
			}
			for _, part := range roles {
				if part.Name == role.Name || !selector.Matches(labels.Set(part.Labels)) {
					continue
				}
				for _, rule := range part.Rules {
					if !has[key(rule)] {
						return fmt.Errorf("ClusterRole %q lacks rules of %q", role.Name, part.Name)
					}
				}
			}
		}
	}
	return nil
}

func key(rule rbacv1.PolicyRule) string {
	encoded, _ := json.Marshal(rule) // a struct of strings always encodes
	return string(encoded)
}
