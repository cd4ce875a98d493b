// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"context"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/identity"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/render"
)

// remove takes want's access away, whatever its objects are called and however much of them there is. p is nil where
// the profile is gone.
func (c *contributors) remove(ctx context.Context, p *kubeflowv1.Profile, want wanted) ([]change, error) {
	unlock, err := c.busy.Lock(ctx, want.namespace+"\x00"+identity.Key(want.contributor.Subject))
	if err != nil {
		return nil, err
	}
	defer unlock()

	subject := want.contributor.Subject
	have := withRole(c.bindingsOf(want.namespace, subject), want.contributor.Role)
	changes, deleted, err := c.takeOutOf(ctx, p, have, subject)
	if apierrors.IsConflict(err) || err == nil && len(changes) == 0 {
		// The index may be a moment behind, or another process was faster.
		if have, err = c.liveBindingsOf(ctx, want.namespace, subject); err != nil {
			return changes, err
		}
		have = withRole(have, want.contributor.Role)
		more, also, failure := c.takeOutOf(ctx, p, have, subject)
		changes, deleted, err = append(changes, more...), append(deleted, also...), failure
	}
	if err != nil {
		return changes, err
	}
	// Besides those of the bindings, policies that are theirs by the annotations: such as the rest of a pair whose other
	// half was deleted by hand.
	named := policiesOf(have...)
	found, err := c.removePolicies(ctx, want.namespace, named, deleted)
	if err != nil {
		return changes, err
	}
	if found > 0 && found == len(named) {
		return changes, nil // whole pairs
	}
	stray, err := c.removeStray(ctx, want, named)
	if err != nil {
		return changes, err
	}
	if len(changes) == 0 && found == 0 && !stray {
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: rbacv1.GroupName, Resource: "rolebinding"},
			render.BindingNames(want.contributor)[0])
	}
	return changes, nil
}

func withRole(bindings []*rbacv1.RoleBinding, role string) []*rbacv1.RoleBinding {
	return slices.DeleteFunc(bindings, func(binding *rbacv1.RoleBinding) bool { return !hasRole(binding, role) })
}

// takeOutOf takes subject out of all bindings. It returns those that were deleted.
func (c *contributors) takeOutOf(ctx context.Context, p *kubeflowv1.Profile, bindings []*rbacv1.RoleBinding, subject rbacv1.Subject,
) (changes []change, deleted []*rbacv1.RoleBinding, err error) {
	for _, binding := range bindings {
		whole, err := c.takeOut(ctx, p, binding, subject)
		if err != nil {
			return changes, deleted, err
		}
		if whole {
			deleted = append(deleted, binding)
		}
		changes = append(changes, change{role: roleOf(binding)})
	}
	return changes, deleted, nil
}

// takeOut takes subject out of binding: with the binding itself, where that is for nobody else. Its policy is then left
// to be removed, by removePolicies.
func (c *contributors) takeOut(ctx context.Context, p *kubeflowv1.Profile, binding *rbacv1.RoleBinding, subject rbacv1.Subject) (deleted bool, err error) {
	others := slices.DeleteFunc(slices.Clone(binding.Subjects), func(s rbacv1.Subject) bool { return identity.Key(s) == identity.Key(subject) })
	if len(others) > 0 {
		reduced := binding.DeepCopy()
		reduced.Subjects = others
		err := c.client.Patch(ctx, reduced, client.MergeFromWithOptions(binding, client.MergeFromWithOptimisticLock{}), apply.FieldOwner)
		if err != nil {
			return false, fmt.Errorf("take a contributor out of RoleBinding %q: %w", binding.Name, err)
		}
		c.index.awaitWritten(ctx, reduced)
		if p == nil {
			return false, nil
		}
		return false, c.admit(ctx, p, reduced)
	}
	uid := binding.UID
	if err := client.IgnoreNotFound(c.client.Delete(ctx, binding, client.Preconditions{UID: &uid})); err != nil {
		return false, fmt.Errorf("delete RoleBinding %q: %w", binding.Name, err)
	}
	if c.config.ContributorPolicies == render.PolicyAggregated && p != nil {
		if err := c.aggregate(ctx, p); err != nil {
			return true, err
		}
	}
	return true, nil
}
