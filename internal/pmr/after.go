// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"maps"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/render"
)

// After is what a cluster that has have has once plan is carried out, but for what is held and for drift that is only
// reported. It shares with have what stays as it is.
func After(plan Plan, have Have, rules Rules) Have {
	after := Have{Profiles: maps.Clone(have.Profiles), Namespaces: have.Namespaces}
	if after.Profiles == nil {
		after.Profiles = map[string]*HaveProfile{}
	}
	for from := 0; from < len(plan.Actions); {
		to, name := from, plan.Actions[from].Profile
		for to < len(plan.Actions) && plan.Actions[to].Profile == name {
			to++
		}
		if h := afterProfile(plan.Actions[from:to], after.Profiles[name], rules); h != nil {
			after.Profiles[name] = h
		} else {
			delete(after.Profiles, name)
		}
		from = to
	}
	return after
}

// afterProfile carries out the actions of one profile. It returns nil where there is none.
func afterProfile(actions []Action, h *HaveProfile, rules Rules) *HaveProfile {
	if h == nil {
		if actions[0].Type != CreateProfile {
			return nil
		}
		h = &HaveProfile{Profile: actions[0].Target}
	}
	after := &HaveProfile{
		Profile: Carry(h.Profile, actions, rules.Sync, rules.Now), Namespace: h.Namespace,
		Bindings: slices.Clone(h.Bindings), Policies: slices.Clone(h.Policies),
	}
	config := rules.ConfigOf(after.Profile.Labels[berthv1alpha1.ClassLabel])
	for i := range actions {
		a := &actions[i]
		switch {
		case a.Held != "" || a.Drift:
			continue
		case a.Type == DeleteProfile:
			return nil
		case a.Type == RepairContributor && a.Grant != nil:
			for _, binding := range a.Bindings {
				noted := binding.DeepCopy()
				delete(noted.Annotations, berthv1alpha1.ContributorIDAnnotation)
				delete(noted.Annotations, berthv1alpha1.ExpiresAnnotation)
				maps.Copy(noted.Annotations, a.Grant.Annotations())
				after.Bindings[slices.Index(after.Bindings, binding)] = noted
			}
			continue
		case a.Grant != nil:
			after.Bindings = append(after.Bindings, after.binding(a.Grant, config, rules.Sync))
		}
		after.Bindings = slices.DeleteFunc(after.Bindings, func(b *rbacv1.RoleBinding) bool { return slices.Contains(a.Bindings, b) })
		after.Policies = slices.DeleteFunc(after.Policies, func(p metav1.Object) bool { return slices.Contains(a.Policies, p.GetName()) })
	}
	return after
}

// binding is the RoleBinding that gives g.
func (h *HaveProfile) binding(g *Grant, config render.Config, sync string) *rbacv1.RoleBinding {
	names := render.BindingNames(g.Contributor)
	name := names[len(names)-1]
	for _, free := range names {
		if !slices.ContainsFunc(h.Bindings, func(b *rbacv1.RoleBinding) bool { return b.Name == free }) {
			name = free
			break
		}
	}
	binding := render.ContributorBinding(h.Profile, config, g.Contributor, name).Resource.(*rbacv1.RoleBinding) //nolint:forcetypeassert // it renders nothing else
	if !g.Restored {
		metav1.SetMetaDataLabel(&binding.ObjectMeta, berthv1alpha1.SyncLabel, sync)
	}
	for key, value := range g.Annotations() {
		metav1.SetMetaDataAnnotation(&binding.ObjectMeta, key, value)
	}
	return binding
}
