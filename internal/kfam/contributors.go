// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"context"
	"errors"
	"fmt"
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
	"berth.dev/berth/internal/cloud/keyed"
	"berth.dev/berth/internal/identity"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/render"
)

// contributors writes the RoleBindings and policies of contributors. The RoleBinding comes first, both when they are
// made and when they are removed: what a crash leaves between the two, the contributor controller mends.
type contributors struct {
	client client.Client
	writer *apply.Writer
	index  *index
	config render.Config
	// busy keeps two changes of one person's access in one namespace apart.
	busy keyed.Mutex
}

// change is what was done, for Events and the log.
type change struct {
	added bool
	role  string
}

// add gives c access to p: what is there already stays, and another role is taken away only when the new one is there.
func (c *contributors) add(ctx context.Context, p *kubeflowv1.Profile, want render.Contributor) ([]change, error) {
	unlock, err := c.busy.Lock(ctx, p.Name+"\x00"+identity.Key(want.Subject))
	if err != nil {
		return nil, err
	}
	defer unlock()

	made, changes, err := c.keep(ctx, p, want)
	if err != nil {
		return changes, err
	}
	if made == nil {
		var isNew bool
		if made, isNew, err = c.bind(ctx, p, want); err != nil {
			return changes, err
		}
		if isNew {
			changes = append(changes, change{added: true, role: want.Role})
		}
	}
	if err := c.admit(ctx, p, made); err != nil {
		return changes, err
	}
	c.index.awaitWritten(ctx, made)
	// Of two who give the same person different roles at the same time, the later wins, and not each over the other.
	for _, other := range c.bindingsOf(p.Name, want.Subject) {
		if other.UID == made.UID || hasRole(other, want.Role) || !version(made.ResourceVersion).includes(other.ResourceVersion) {
			continue
		}
		if err := c.takeOut(ctx, p, other, want.Subject); err != nil {
			return changes, err
		}
		changes = append(changes, change{role: roleOf(other)})
	}
	return changes, nil
}

// keep returns the newest binding that gives want already, or nil. Where another role came later and both are there, as
// after a change of roles that did not come to its end, want's is taken away, to be given anew as the latest: access
// there is meanwhile, by the other role.
func (c *contributors) keep(ctx context.Context, p *kubeflowv1.Profile, want render.Contributor) (kept *rbacv1.RoleBinding, changes []change, err error) {
	var newest version
	var same []*rbacv1.RoleBinding
	for _, binding := range c.bindingsOf(p.Name, want.Subject) {
		if !hasRole(binding, want.Role) {
			newest.advance(binding.ResourceVersion)
			continue
		}
		same = append(same, binding)
		if kept == nil || !version(kept.ResourceVersion).includes(binding.ResourceVersion) {
			kept = binding
		}
	}
	if kept == nil || newest == "" || version(kept.ResourceVersion).includes(string(newest)) {
		return kept, nil, nil
	}
	for _, binding := range same {
		if err := c.takeOut(ctx, p, binding, want.Subject); err != nil {
			return nil, changes, err
		}
		changes = append(changes, change{role: want.Role})
	}
	return nil, changes, nil
}

// bind makes the RoleBinding of want, or finds the one that somebody else has just made.
func (c *contributors) bind(ctx context.Context, p *kubeflowv1.Profile, want render.Contributor) (made *rbacv1.RoleBinding, isNew bool, err error) {
	names := render.BindingNames(want)
	for _, name := range names {
		made, ok := render.ContributorBinding(p, want, name).Resource.(*rbacv1.RoleBinding)
		if !ok {
			return nil, false, errors.New("a binding is rendered as something else")
		}
		err := c.client.Create(ctx, made, apply.FieldOwner)
		if err == nil {
			return made, true, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return nil, false, fmt.Errorf("bind a contributor of profile %q: %w", p.Name, err)
		}
		there := &rbacv1.RoleBinding{}
		if err := c.client.Get(ctx, client.ObjectKeyFromObject(made), there); err != nil {
			return nil, false, fmt.Errorf("read RoleBinding %q of profile %q: %w", name, p.Name, err)
		}
		if there.DeletionTimestamp.IsZero() && render.IsContributorBinding(there) && hasRole(there, want.Role) && hasSubject(there, want.Subject) {
			return there, false, nil
		}
	}
	return nil, false, failure{409, fmt.Sprintf("the RoleBindings %q are taken by others: rename or delete the last", names)}
}

// admit lets the subjects of binding in through the mesh.
func (c *contributors) admit(ctx context.Context, p *kubeflowv1.Profile, binding *rbacv1.RoleBinding) error {
	if c.config.ContributorPolicies == render.PolicyAggregated {
		c.index.awaitWritten(ctx, binding)
		return c.aggregate(ctx, p)
	}
	policy, possible := render.ContributorPolicy(p, c.config, binding)
	if !possible {
		return nil
	}
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
		policy := render.InviteesPolicy(p, c.config, bindings)
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

// remove takes want's access away, whatever its objects are called and however much of them there is. p is nil where
// the profile is gone.
func (c *contributors) remove(ctx context.Context, p *kubeflowv1.Profile, want wanted) ([]change, error) {
	unlock, err := c.busy.Lock(ctx, want.namespace+"\x00"+identity.Key(want.contributor.Subject))
	if err != nil {
		return nil, err
	}
	defer unlock()

	changes, err := c.removeFrom(ctx, p, want, c.bindingsOf(want.namespace, want.contributor.Subject))
	if apierrors.IsConflict(err) || err == nil && len(changes) == 0 {
		// The index may be a moment behind, or another process was faster.
		live, failed := c.liveBindingsOf(ctx, want.namespace, want.contributor.Subject)
		if failed != nil {
			return changes, failed
		}
		var more []change
		more, err = c.removeFrom(ctx, p, want, live)
		changes = append(changes, more...)
	}
	if err != nil {
		return changes, err
	}
	stray, err := c.removeStray(ctx, want)
	if err != nil {
		return changes, err
	}
	if len(changes) == 0 && !stray {
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: rbacv1.GroupName, Resource: "rolebinding"},
			render.BindingNames(want.contributor)[0])
	}
	return changes, nil
}

// removeFrom takes want's access out of those of bindings that give it.
func (c *contributors) removeFrom(ctx context.Context, p *kubeflowv1.Profile, want wanted, bindings []*rbacv1.RoleBinding) ([]change, error) {
	var changes []change
	for _, binding := range bindings {
		if !hasRole(binding, want.contributor.Role) {
			continue
		}
		if err := c.takeOut(ctx, p, binding, want.contributor.Subject); err != nil {
			return changes, err
		}
		changes = append(changes, change{role: want.contributor.Role})
	}
	return changes, nil
}

// takeOut takes subject out of binding: with the binding itself, where that is for nobody else.
func (c *contributors) takeOut(ctx context.Context, p *kubeflowv1.Profile, binding *rbacv1.RoleBinding, subject rbacv1.Subject) error {
	others := slices.DeleteFunc(slices.Clone(binding.Subjects), func(s rbacv1.Subject) bool { return identity.Key(s) == identity.Key(subject) })
	if len(others) > 0 {
		reduced := binding.DeepCopy()
		reduced.Subjects = others
		err := c.client.Patch(ctx, reduced, client.MergeFromWithOptions(binding, client.MergeFromWithOptimisticLock{}), apply.FieldOwner)
		if err != nil {
			return fmt.Errorf("take a contributor out of RoleBinding %q: %w", binding.Name, err)
		}
		c.index.awaitWritten(ctx, reduced)
		if p == nil {
			return nil
		}
		return c.admit(ctx, p, reduced)
	}
	uid := binding.UID
	if err := client.IgnoreNotFound(c.client.Delete(ctx, binding, client.Preconditions{UID: &uid})); err != nil {
		return fmt.Errorf("delete RoleBinding %q: %w", binding.Name, err)
	}
	if c.config.ContributorPolicies == render.PolicyAggregated && p != nil {
		c.index.awaitGone(ctx, binding)
		if err := c.aggregate(ctx, p); err != nil {
			return err
		}
	}
	policy := &securityv1beta1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{
		Namespace: binding.Namespace, Name: render.ContributorPolicyName(binding.Name),
	}}
	if err := c.deletePolicy(ctx, policy); err != nil {
		return err
	}
	c.index.awaitGone(ctx, binding)
	return nil
}

// removeStray removes policies that are want's by their annotations and belong to no RoleBinding, such as the rest of a
// pair whose other half was deleted by hand.
func (c *contributors) removeStray(ctx context.Context, want wanted) (found bool, err error) {
	var policies metav1.PartialObjectMetadataList
	policies.SetGroupVersionKind(render.AuthorizationPolicyKind.GroupVersion().WithKind(render.AuthorizationPolicyKind.Kind + "List"))
	err = withoutMesh(c.client.List(ctx, &policies, client.InNamespace(want.namespace),
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: "0"}}))
	if err != nil {
		return false, fmt.Errorf("list the policies of namespace %q: %w", want.namespace, err)
	}
	paired := map[string]bool{}
	for _, binding := range c.index.contributorBindings(want.namespace) {
		paired[render.ContributorPolicyName(binding.Name)] = true
	}
	for _, policy := range policies.Items {
		if policy.Annotations[kubeflowv1.UserAnnotation] != want.contributor.Subject.Name ||
			policy.Annotations[kubeflowv1.RoleAnnotation] != want.contributor.Role ||
			paired[policy.Name] || slices.Contains(render.Names, policy.Name) {
			continue
		}
		stray := &securityv1beta1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: policy.Namespace, Name: policy.Name, UID: policy.UID, ResourceVersion: policy.ResourceVersion}}
		if err := c.deletePolicy(ctx, stray); err != nil {
			return found, err
		}
		found = true
	}
	return found, nil
}

// deletePolicy deletes a policy that may be gone already: with a UID, only as it was looked at.
func (c *contributors) deletePolicy(ctx context.Context, policy *securityv1beta1.AuthorizationPolicy) error {
	var exactly []client.DeleteOption
	if policy.UID != "" {
		exactly = append(exactly, client.Preconditions{UID: &policy.UID, ResourceVersion: &policy.ResourceVersion})
	}
	err := withoutMesh(client.IgnoreNotFound(c.client.Delete(ctx, policy, exactly...)))
	if err != nil {
		return fmt.Errorf("delete AuthorizationPolicy %q: %w", policy.Name, err)
	}
	return nil
}

// bindingsOf are the bindings of contributors in a namespace that are subject's.
func (c *contributors) bindingsOf(namespace string, subject rbacv1.Subject) []*rbacv1.RoleBinding {
	return slices.DeleteFunc(c.index.contributorBindings(namespace), func(binding *rbacv1.RoleBinding) bool { return !hasSubject(binding, subject) })
}

// liveBindingsOf are the same, past the index.
func (c *contributors) liveBindingsOf(ctx context.Context, namespace string, subject rbacv1.Subject) ([]*rbacv1.RoleBinding, error) {
	bindings, err := c.liveBindings(ctx, namespace)
	return slices.DeleteFunc(bindings, func(binding *rbacv1.RoleBinding) bool { return !hasSubject(binding, subject) }), err
}

// liveBindings are the bindings of contributors in a namespace, past the index.
func (c *contributors) liveBindings(ctx context.Context, namespace string) ([]*rbacv1.RoleBinding, error) {
	var list rbacv1.RoleBindingList
	if err := c.client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list the RoleBindings of namespace %q: %w", namespace, err)
	}
	var bindings []*rbacv1.RoleBinding
	for i := range list.Items {
		if binding := &list.Items[i]; render.IsContributorBinding(binding) && binding.DeletionTimestamp.IsZero() {
			bindings = append(bindings, binding)
		}
	}
	return bindings, nil
}

func hasSubject(binding *rbacv1.RoleBinding, subject rbacv1.Subject) bool {
	return slices.ContainsFunc(binding.Subjects, func(s rbacv1.Subject) bool { return identity.Key(s) == identity.Key(subject) })
}

// roleOf is the role that clients know a binding by: that of its roleRef, or what its annotation says.
func roleOf(binding *rbacv1.RoleBinding) string {
	if role := render.RoleOf(binding.RoleRef); role != "" {
		return role
	}
	return binding.Annotations[kubeflowv1.RoleAnnotation]
}

func hasRole(binding *rbacv1.RoleBinding, role string) bool { return roleOf(binding) == role }
