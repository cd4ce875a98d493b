// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package access decides who may do what with profiles and their contributors. It is pure: what it has to know of the
// cluster is handed to it.
package access

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/identity"
)

// Caller is who asks, as far as that could be verified.
type Caller struct {
	identity.User

	// Platform is set for a trusted workload that asks without naming a user, as Kubeflow's dashboard does to read and
	// to sign people up.
	Platform bool
}

// Known says whether there is anybody to decide about.
func (c Caller) Known() bool { return c.Platform || !c.IsNobody() }

// Admins are the people who may manage every profile.
type Admins struct {
	users, groups []string
}

const groupPrefix = "group:"

// ParseAdmins reads a list with commas of users and of groups, which are written group:NAME.
func ParseAdmins(list string) (Admins, error) {
	var admins Admins
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		name, isGroup := strings.CutPrefix(entry, groupPrefix)
		if err := identity.CheckName(name); err != nil {
			return Admins{}, fmt.Errorf("cluster admin %q: %w", entry, err)
		}
		if isGroup {
			admins.groups = append(admins.groups, name)
		} else {
			admins.users = append(admins.users, name)
		}
	}
	return admins, nil
}

// Has says whether u is among them.
func (a Admins) Has(u identity.User) bool {
	if u.IsNobody() {
		return false
	}
	return slices.Contains(a.users, u.Name) ||
		slices.ContainsFunc(u.Groups, func(group string) bool { return slices.Contains(a.groups, group) })
}

// Answer is what the rules alone say.
type Answer string

const (
	// Yes is final.
	Yes Answer = "yes"
	// No is final, too.
	No Answer = "no"
	// IfMayBind leaves it to RBAC: yes for whoever may create RoleBindings in the profile's namespace.
	IfMayBind Answer = "if the caller may create RoleBindings"
)

// Manage decides whether caller may manage the contributors of profile p, or delete it. p is nil where there is no such
// profile: then only cluster admins may, to clean up.
func Manage(caller Caller, admins Admins, p *kubeflowv1.Profile) Answer {
	switch {
	case caller.IsNobody():
		return No
	case admins.Has(caller.User):
		return Yes
	case p == nil:
		return No
	case caller.Is(p.Spec.Owner):
		return Yes
	}
	return IfMayBind
}

// Remove decides whether caller may take the access of contributor in p away: whoever manages p, and everybody their
// own.
func Remove(caller Caller, admins Admins, p *kubeflowv1.Profile, contributor rbacv1.Subject) Answer {
	if p != nil && contributor.Kind != rbacv1.GroupKind && caller.Is(contributor) {
		return Yes
	}
	return Manage(caller, admins, p)
}

// Create says why caller may not create the profile p, or nil. People create profiles for themselves. What else a
// profile may ask for is money and rights, cloud identities above all, which only cluster admins give.
func Create(caller Caller, admins Admins, p *kubeflowv1.Profile) error {
	if admins.Has(caller.User) {
		return nil
	}
	if !caller.Known() {
		return fmt.Errorf("nobody is signed in: sign in to create a profile")
	}
	if field := beyondOwner(p); field != "" {
		return fmt.Errorf("only a cluster admin may set %s of a profile: leave it out, or ask one", field)
	}
	if caller.Platform {
		if p.Spec.Owner.Kind != rbacv1.UserKind {
			return fmt.Errorf("spec.owner.kind is %q: the dashboard signs up people, so use User", p.Spec.Owner.Kind)
		}
		return nil
	}
	if p.Spec.Owner.Kind == rbacv1.GroupKind || !caller.Is(p.Spec.Owner) {
		return fmt.Errorf("spec.owner is the %s %q: you may create a profile for yourself only, as %q; ask a cluster admin for others",
			p.Spec.Owner.Kind, p.Spec.Owner.Name, caller.Name)
	}
	return nil
}

// beyondOwner names the first field of p that says more than the name and the owner.
func beyondOwner(p *kubeflowv1.Profile) string {
	quota := p.Spec.ResourceQuotaSpec
	switch {
	case len(p.Labels) > 0:
		return "metadata.labels"
	case len(p.Annotations) > 0:
		return "metadata.annotations"
	case len(p.Finalizers) > 0:
		return "metadata.finalizers"
	case len(p.OwnerReferences) > 0:
		return "metadata.ownerReferences"
	case p.GenerateName != "":
		return "metadata.generateName"
	case len(p.Spec.Plugins) > 0:
		return "spec.plugins"
	case len(quota.Hard) > 0 || len(quota.Scopes) > 0 || quota.ScopeSelector != nil:
		return "spec.resourceQuotaSpec"
	}
	return ""
}

// SeesAll says whether caller may see everybody's access. All others see who else is where they are themselves.
func SeesAll(caller Caller, admins Admins) bool {
	return caller.Platform || admins.Has(caller.User)
}
