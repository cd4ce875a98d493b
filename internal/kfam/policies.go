// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/render"
)

// admit lets the subjects of binding in through the mesh.
func (c *contributors) admit(ctx context.Context, p *kubeflowv1.Profile, binding *rbacv1.RoleBinding) error {
	if c.config.ContributorPolicies == render.PolicyAggregated {
		return c.aggregate(ctx, p)
	}
	config, err := c.configFor(ctx, p, roleOf(binding))
	if err != nil {
		return err
	}
	policy, possible := render.ContributorPolicy(p, config, binding)
	if !possible {
		return nil
	}
	// One that is there and stays somebody else's is for the controller to put right.
	policy.Foreign = func(live metav1.Object) bool { return !render.IsOurs(live, p) }
	return withoutMesh(retry.RetryOnConflict(retry.DefaultRetry, func() error {
		_, err := c.writer.Ensure(ctx, policy)
		return err
	}))
}

// aggregate brings the one policy of p's namespace in line with the RoleBindings there. The policy is looked at before
// the bindings, past the index: another process, which knows of bindings that came later, may have written it, and then
// they are among the bindings, too. It is written only if it is still the one that was looked at.
func (c *contributors) aggregate(ctx context.Context, p *kubeflowv1.Profile) error {
	unlock, err := c.busy.Lock(ctx, p.Name)
	if err != nil {
		return err
	}
	defer unlock()
	return withoutMesh(retry.RetryOnConflict(manyWriters, func() error {
		looked := &metav1.PartialObjectMetadata{}
		looked.SetGroupVersionKind(render.AuthorizationPolicyKind)
		err := c.client.Get(ctx, client.ObjectKey{Namespace: p.Name, Name: render.InviteesPolicyName}, looked)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("read the policy of the contributors of profile %q: %w", p.Name, err)
		}
		bindings, err := c.liveBindings(ctx, p.Name)
		if err != nil {
			return err
		}
		config, err := c.configFor(ctx, p, rolesOf(bindings)...)
		if err != nil {
			return err
		}
		policy := render.InviteesPolicy(p, config, bindings)
		overtaken := false
		policy.Foreign = func(live metav1.Object) bool {
			overtaken = live.GetResourceVersion() != looked.ResourceVersion
			return overtaken
		}
		ops, err := c.writer.Plan(ctx, p.UID, []render.Object{policy}, nil)
		for _, op := range ops {
			if err == nil {
				_, err = c.writer.Do(ctx, op)
			}
		}
		if err == nil && overtaken {
			err = apierrors.NewConflict(schema.GroupResource{Resource: "authorizationpolicies"}, policy.GetName(), errors.New("somebody else wrote it"))
		}
		return err
	}))
}

// manyWriters lets as many replicas as anybody runs write one object in turn.
var manyWriters = wait.Backoff{Steps: 12, Duration: 5 * time.Millisecond, Factor: 1.6, Jitter: 0.5, Cap: time.Second}

// withoutMesh is err, unless it says that the cluster has no mesh: then there is nobody to be kept out by it.
func withoutMesh(err error) error {
	if meta.IsNoMatchError(err) {
		return nil
	}
	return err
}

// policiesOf are the names of the policies of bindings.
func policiesOf(bindings ...*rbacv1.RoleBinding) map[string]bool {
	names := map[string]bool{}
	for _, binding := range bindings {
		names[render.ContributorPolicyName(binding.Name)] = true
	}
	return names
}

// removePolicies removes the policies of those names that belong to no RoleBinding any more, and counts them. It returns
// when the index knows that deleted are gone.
func (c *contributors) removePolicies(ctx context.Context, namespace string, names map[string]bool, deleted []*rbacv1.RoleBinding) (found int, err error) {
	for _, name := range slices.Sorted(maps.Keys(names)) {
		again := false
		err := withoutMesh(retry.RetryOnConflict(retry.DefaultRetry, func() error {
			// The index learns of what was deleted while the policy is being read.
			policy, err := c.policy(ctx, namespace, name, again)
			again = true
			c.index.awaitGone(ctx, deleted)
			if err != nil || policiesOf(c.index.contributorBindings(namespace)...)[name] {
				return client.IgnoreNotFound(err)
			}
			removed, err := c.removePolicy(ctx, policy)
			if removed {
				found++
			}
			return err
		}))
		if err != nil {
			return found, fmt.Errorf("delete AuthorizationPolicy %q: %w", name, err)
		}
	}
	c.index.awaitGone(ctx, deleted)
	return found, nil
}

// policy reads a policy, to be removed in the version that was read: first from the API server's memory, which costs it
// less and may be a moment behind. What is not a contributor's there, or was found to have changed, is read as it is.
func (c *contributors) policy(ctx context.Context, namespace, name string, fresh bool) (*metav1.PartialObjectMetadata, error) {
	read := func(version string) (*metav1.PartialObjectMetadata, error) {
		policy := &metav1.PartialObjectMetadata{}
		policy.SetGroupVersionKind(render.AuthorizationPolicyKind)
		return policy, c.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, policy,
			&client.GetOptions{Raw: &metav1.GetOptions{ResourceVersion: version}})
	}
	if !fresh {
		if policy, err := read("0"); err == nil && render.IsContributorPolicy(policy) {
			return policy, nil
		}
	}
	return read("")
}

// removeStray removes policies that are want's by their annotations and belong to no RoleBinding, such as the rest of a
// pair whose other half was deleted by hand. Those named are dealt with already.
func (c *contributors) removeStray(ctx context.Context, want wanted, named map[string]bool) (found bool, err error) {
	var policies metav1.PartialObjectMetadataList
	policies.SetGroupVersionKind(render.AuthorizationPolicyKind.GroupVersion().WithKind(render.AuthorizationPolicyKind.Kind + "List"))
	// From the API server's memory, which may be a moment behind: a rest is older than that.
	err = withoutMesh(c.client.List(ctx, &policies, client.InNamespace(want.namespace),
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: "0"}}))
	if err != nil {
		return false, fmt.Errorf("list the policies of namespace %q: %w", want.namespace, err)
	}
	paired := policiesOf(c.index.contributorBindings(want.namespace)...)
	for i := range policies.Items {
		policy := &policies.Items[i]
		if policy.Annotations[kubeflowv1.UserAnnotation] != want.contributor.Subject.Name ||
			policy.Annotations[kubeflowv1.RoleAnnotation] != want.contributor.Role || paired[policy.Name] || named[policy.Name] {
			continue
		}
		removed, err := c.removePolicy(ctx, policy)
		if err != nil {
			return found, fmt.Errorf("delete AuthorizationPolicy %q: %w", policy.Name, err)
		}
		found = found || removed
	}
	return found, nil
}

// removePolicy removes a policy of a contributor, as it was looked at: what has taken its place since is somebody
// else's. Other policies are left alone whatever they are called: whoever may make a RoleBinding chooses their names.
func (c *contributors) removePolicy(ctx context.Context, policy *metav1.PartialObjectMetadata) (bool, error) {
	if !render.IsContributorPolicy(policy) {
		return false, nil
	}
	gone := &securityv1beta1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: policy.Namespace, Name: policy.Name}}
	err := c.client.Delete(ctx, gone, client.Preconditions{UID: &policy.UID, ResourceVersion: &policy.ResourceVersion})
	return err == nil, client.IgnoreNotFound(err)
}
