// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"maps"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"

	"berth.dev/berth/internal/render"
)

const adminRole = "admin"

// approvedAdmins are the hashes of those who may be admin without anybody being asked: all with whom a profile begins,
// and then those who were approved or are admin already. Who is not listed any more is not among them.
func (d *differ) approvedAdmins(w *WantProfile, h *HaveProfile, before []string) []string {
	listed := map[string]bool{adminHash(w.Owner): true}
	for _, g := range w.Grants {
		if g.Role == adminRole {
			listed[adminHash(g.Subject)] = true
		}
	}
	approved := before
	if h == nil || d.rules.Limits.AllowNewAdmins {
		approved = slices.Collect(maps.Keys(listed))
	} else {
		approved = append(slices.Clone(approved), adminHash(h.Profile.Spec.Owner))
		for _, binding := range h.Bindings {
			if !isAdminBinding(binding) {
				continue
			}
			for _, subject := range binding.Subjects {
				approved = append(approved, adminHash(subject))
			}
		}
	}
	slices.Sort(approved)
	return slices.Compact(slices.DeleteFunc(approved, func(hash string) bool { return !listed[hash] }))
}

// holdAdmins marks the actions of w, from the first on, that make admins nobody approved, or leave none.
func (d *differ) holdAdmins(w *WantProfile, h *HaveProfile, approved []string, first int) {
	actions := d.plan.Actions[first:]
	if saved := SnapshotOf(h.Profile); saved != nil {
		approved = slices.Clone(approved)
		for _, c := range saved.Contributors { // they were admins before
			if c.Role == adminRole {
				approved = append(approved, adminHash(c.grant().Subject))
			}
		}
	}
	for i := range actions {
		a := &actions[i]
		if !d.makesAdmin(w, a) && a.Type != ChangeOwner || d.rules.Limits.AllowNewAdmins || slices.Contains(approved, adminHash(*a.Subject)) {
			continue
		}
		a.Held = LimitNewAdmin
		becomes := a.Role
		if a.Type == ChangeOwner {
			becomes = "owner"
		}
		d.exceeded("%s: %s would become %s of profile %q", LimitNewAdmin, a.Subject.Name, becomes, w.Name)
	}
	if d.rules.Limits.AllowLastAdmin {
		return
	}
	// Who comes only after an approval is not there yet when another goes.
	left := 0
	for _, binding := range h.Bindings {
		if isAdminBinding(binding) && binding.DeletionTimestamp.IsZero() {
			left++
		}
	}
	var losing []*Action
	for i := range actions {
		a := &actions[i]
		if a.Held != "" {
			continue
		}
		if d.makesAdmin(w, a) {
			left++
		}
		if lost := adminBindings(a); lost > 0 && a.Grant == nil || a.Type == ChangeContributor {
			left -= lost
			// What somebody made of a binding by hand is no admin that the list had.
			if lost > 0 && !a.expired && !d.makesAdmin(w, a) && a.Type != RepairContributor {
				losing = append(losing, a)
			}
		}
	}
	if len(losing) == 0 || left > 0 {
		return
	}
	for _, a := range losing {
		a.Held = LimitLastAdmin
	}
	d.exceeded("%s: profile %q would lose the last contributor who is admin", LimitLastAdmin, w.Name)
}

// makesAdmin says whether a makes a contributor of w admin.
func (d *differ) makesAdmin(w *WantProfile, a *Action) bool {
	if a.Type != AddContributor && a.Type != ChangeContributor {
		return false
	}
	clusterRole, _ := d.configOf(w).RoleNamed(a.Role)
	return clusterRole == "kubeflow-"+adminRole
}

// isAdminBinding says whether b makes a contributor admin.
func isAdminBinding(b *rbacv1.RoleBinding) bool {
	return render.RoleOf(b.RoleRef) == adminRole && render.IsContributorBinding(b)
}

// adminBindings counts the bindings of admins that a takes away.
func adminBindings(a *Action) int {
	count := 0
	for _, b := range a.Bindings {
		if isAdminBinding(b) {
			count++
		}
	}
	return count
}
