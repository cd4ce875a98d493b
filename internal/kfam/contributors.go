// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"context"
	"errors"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
		lost, deleted, err := c.takeOutOf(ctx, p, []*rbacv1.RoleBinding{other}, want.Subject)
		changes = append(changes, lost...)
		if err != nil {
			return changes, err
		}
		if _, err := c.removePolicies(ctx, p.Name, policiesOf(other), deleted); err != nil {
			return changes, err
		}
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
	changes, deleted, err := c.takeOutOf(ctx, p, same, want.Subject)
	if err != nil {
		return nil, changes, err
	}
	_, err = c.removePolicies(ctx, p.Name, policiesOf(same...), deleted)
	return nil, changes, err
}

// bind makes the RoleBinding of want, or finds the one that somebody else has just made.
func (c *contributors) bind(ctx context.Context, p *kubeflowv1.Profile, want render.Contributor) (made *rbacv1.RoleBinding, isNew bool, err error) {
	config, err := c.configFor(ctx, p, want.Role)
	if err != nil {
		return nil, false, err
	}
	names := render.BindingNames(want)
	for _, name := range names {
		made, ok := render.ContributorBinding(p, config, want, name).Resource.(*rbacv1.RoleBinding)
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
	if role := render.RoleShown(binding); role != "" {
		return role
	}
	return binding.Annotations[kubeflowv1.RoleAnnotation]
}

func hasRole(binding *rbacv1.RoleBinding, role string) bool { return roleOf(binding) == role }
