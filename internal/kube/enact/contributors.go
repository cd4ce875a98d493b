// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package enact

import (
	"context"
	"errors"
	"fmt"
	"maps"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/identity"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/pmr"
	"berth.dev/berth/internal/render"
)

// inside carries out what an action does in the namespace of p: who comes, comes before anybody goes.
func (e *enactor) inside(ctx context.Context, p *kubeflowv1.Profile, a *pmr.Action) error {
	switch {
	case a.Type == pmr.RepairContributor && a.Grant != nil:
		return e.annotate(ctx, a)
	case a.Grant != nil:
		if err := e.give(ctx, p, *a.Grant); err != nil {
			return err
		}
	}
	var errs []error
	for _, binding := range a.Bindings {
		errs = append(errs, e.take(ctx, p, binding))
	}
	for _, name := range a.Policies {
		errs = append(errs, e.removePolicy(ctx, p, name))
	}
	return errors.Join(errs...)
}

// give makes the RoleBinding of a grant, and its policy.
func (e *enactor) give(ctx context.Context, p *kubeflowv1.Profile, g pmr.Grant) error {
	config := e.ConfigOf(p.Labels[berthv1alpha1.ClassLabel])
	names := render.BindingNames(g.Contributor)
	if e.CharmNames {
		names = render.CharmNames(g.Contributor)
	}
	for _, name := range names {
		made, ok := render.ContributorBinding(p, config, g.Contributor, name).Resource.(*rbacv1.RoleBinding)
		if !ok {
			return errors.New("a binding is rendered as something else")
		}
		made.Labels = maps.Clone(made.Labels)
		if !g.Restored {
			made.Labels[berthv1alpha1.SyncLabel] = e.Sync
		}
		maps.Copy(made.Annotations, g.Annotations())
		err := e.Client.Create(ctx, made, apply.FieldOwner)
		if err == nil {
			return e.admit(ctx, p, config, made)
		}
		if !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("bind a contributor of profile %q: %w", p.Name, err)
		}
		there := &rbacv1.RoleBinding{}
		if err := e.Direct.Get(ctx, client.ObjectKeyFromObject(made), there); err != nil {
			return fmt.Errorf("read RoleBinding %q of profile %q: %w", name, p.Name, err)
		}
		if there.DeletionTimestamp.IsZero() && len(there.Subjects) == 1 && identity.Key(there.Subjects[0]) == identity.Key(g.Subject) &&
			there.RoleRef == made.RoleRef && render.IsContributorBinding(there) {
			return e.admit(ctx, p, config, there)
		}
	}
	return fmt.Errorf("bind a contributor of profile %q: the RoleBindings %q are taken by others: rename or delete the last", p.Name, names)
}

// admit lets the subject of binding in through the mesh. Where all contributors share one policy, the controller of
// contributors keeps it.
func (e *enactor) admit(ctx context.Context, p *kubeflowv1.Profile, config render.Config, binding *rbacv1.RoleBinding) error {
	policy, possible := render.ContributorPolicy(p, config, binding)
	if !possible || config.ContributorPolicies == render.PolicyAggregated {
		return nil
	}
	// One that is there and stays somebody else's is for the controller to put right.
	policy.Foreign = func(live metav1.Object) bool { return !render.IsOurs(live, p) }
	_, err := e.writer.Ensure(ctx, policy)
	if meta.IsNoMatchError(err) {
		return nil // there is no mesh to keep anybody out
	}
	return err
}

// annotate notes on a RoleBinding what the list says of the access.
func (e *enactor) annotate(ctx context.Context, a *pmr.Action) error {
	for _, binding := range a.Bindings {
		noted := binding.DeepCopy()
		for _, key := range []string{berthv1alpha1.ContributorIDAnnotation, berthv1alpha1.ExpiresAnnotation} {
			delete(noted.Annotations, key)
		}
		maps.Copy(noted.Annotations, a.Grant.Annotations())
		patch := client.MergeFromWithOptions(binding, client.MergeFromWithOptimisticLock{})
		if err := e.Client.Patch(ctx, noted, patch, apply.FieldOwner); err != nil {
			return fmt.Errorf("note what the list says of RoleBinding %q of profile %q: %w", binding.Name, binding.Namespace, err)
		}
	}
	return nil
}

// take deletes a RoleBinding as it was looked at, and its policy.
func (e *enactor) take(ctx context.Context, p *kubeflowv1.Profile, binding *rbacv1.RoleBinding) error {
	gone := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: binding.Namespace, Name: binding.Name}}
	preconditions := client.Preconditions{UID: &binding.UID, ResourceVersion: &binding.ResourceVersion}
	if err := e.Client.Delete(ctx, gone, preconditions); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete RoleBinding %q of profile %q: %w", binding.Name, p.Name, err)
	}
	return e.removePolicy(ctx, p, render.ContributorPolicyName(binding.Name))
}

// removePolicy deletes a policy of a contributor. Others are left alone, whatever they are called: whoever may make a
// RoleBinding chooses their names.
func (e *enactor) removePolicy(ctx context.Context, p *kubeflowv1.Profile, name string) error {
	policy := &securityv1beta1.AuthorizationPolicy{}
	err := e.Direct.Get(ctx, client.ObjectKey{Namespace: p.Name, Name: name}, policy)
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) || err == nil && !render.IsContributorPolicy(policy) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read AuthorizationPolicy %q of profile %q: %w", name, p.Name, err)
	}
	err = e.Client.Delete(ctx, policy, client.Preconditions{UID: &policy.UID, ResourceVersion: &policy.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete AuthorizationPolicy %q of profile %q: %w", name, p.Name, err)
	}
	return nil
}
