// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/identity"
	"berth.dev/berth/internal/render"
)

// held is what RoleBindings give somebody.
type held struct {
	grantKey

	subject  rbacv1.Subject
	bindings []*rbacv1.RoleBinding
	// expired is set where the list has it, and its time is over.
	expired bool
}

// access compares the contributors of one profile.
func (d *differ) access(w *WantProfile, h *HaveProfile) {
	wanted, over := d.wanted(w)
	bound, crooked := bound(w, h)
	d.managed.contributors += len(bound)
	authoritative := cmp.Or(w.Policy, d.rules.Contributors, Authoritative) == Authoritative

	if saved := SnapshotOf(h.Profile); saved != nil && !authoritative {
		// Others added them; the list neither has them nor has taken them away.
		config := d.configOf(w)
		for _, c := range saved.Contributors {
			_, known := config.RoleNamed(c.Role)
			if g := c.grant(); known && !c.Sync && !over[g.key()] {
				if _, listed := wanted[g.key()]; !listed {
					wanted[g.key()] = g
				}
			}
		}
	}
	var missing []Grant
	for _, g := range wanted {
		if _, there := bound[g.key()]; !there {
			missing = append(missing, g)
		}
	}
	var extra []held
	for _, key := range slices.SortedFunc(maps.Keys(bound), compareKeys) {
		b := bound[key]
		if g, listed := wanted[key]; listed {
			d.annotate(w, g, b)
			continue
		}
		if over[key] || authoritative || d.madeBySync(b.bindings) {
			b.expired = over[key]
			extra = append(extra, b)
		}
	}
	slices.SortFunc(missing, func(a, b Grant) int { return compareKeys(a.key(), b.key()) })

	first := len(d.plan.Actions)
	d.give(w, missing, &extra)
	for _, binding := range crooked {
		if authoritative || d.madeBySync([]*rbacv1.RoleBinding{binding}) {
			d.add(straighten(w, wanted, binding))
		}
	}
	for _, b := range extra {
		d.add(removal(w, b))
	}
	paired := pairedPolicies(h, d.plan.Actions[first:])
	if authoritative {
		d.strayPolicies(w, h, wanted, paired)
	}
}

// straighten plans to remove a binding that gives something else than its annotations say. What of it is listed is given
// by bindings of its own.
func straighten(w *WantProfile, wanted map[grantKey]Grant, binding *rbacv1.RoleBinding) Action {
	a := Action{
		Type: RepairContributor, Profile: w.Name, From: "RoleBinding " + binding.Name,
		To: strings.Join(subjectNames(binding), ", ") + " as " + binding.RoleRef.Name, Risk: LowRisk,
		Reason: "the RoleBinding gives something else than its annotations say", Position: &w.Source, Bindings: []*rbacv1.RoleBinding{binding},
	}
	for _, subject := range binding.Subjects {
		if _, listed := wanted[grantKey{identity.Key(subject), render.RoleShown(binding)}]; !listed {
			a.Risk = HighRisk // somebody loses access
		}
	}
	return a
}

func compareKeys(a, b grantKey) int {
	return cmp.Or(cmp.Compare(a.subject, b.subject), cmp.Compare(a.role, b.role))
}

func subjectNames(binding *rbacv1.RoleBinding) []string {
	var names []string
	for _, s := range binding.Subjects {
		names = append(names, s.Name)
	}
	return names
}

// wanted are the grants of w that can be given now, by their keys, and those whose time is over.
func (d *differ) wanted(w *WantProfile) (wanted map[grantKey]Grant, over map[grantKey]bool) {
	config := d.configOf(w)
	owner := identity.Key(w.Owner)
	wanted, over = make(map[grantKey]Grant, len(w.Grants)), map[grantKey]bool{}
	for _, g := range w.Grants {
		key := g.key()
		if !g.Expires.IsZero() {
			d.later(g.Expires)
		}
		if g.expired(d.rules.Now) {
			over[key] = true
			continue
		}
		if key.subject == owner {
			continue // the owner has everything
		}
		if err := identity.CheckSubject(g.Subject); err != nil {
			d.problem(w.Name, ReasonSubjectInvalid, "a contributor of profile %q: %s", w.Name, err)
			continue
		}
		if _, known := config.RoleNamed(g.Role); !known {
			d.problem(w.Name, ReasonRoleUnknown, "the role %q of a contributor of profile %q is none of %s", g.Role, w.Name, strings.Join(config.RoleNames(), ", "))
			continue
		}
		wanted[key] = g
	}
	return wanted, over
}

// bound are what the RoleBindings of contributors give, where they give what their annotations say. The others are
// crooked: who reads the annotations, such as the dashboard, would be told something that is not so.
func bound(w *WantProfile, h *HaveProfile) (bound map[grantKey]held, crooked []*rbacv1.RoleBinding) {
	bound = make(map[grantKey]held, len(h.Bindings))
	owner := identity.Key(w.Owner)
	// A cache hands them out in any order, and a plan has one.
	for _, binding := range slices.SortedFunc(slices.Values(h.Bindings), byName) {
		if !render.IsContributorBinding(binding) || !binding.DeletionTimestamp.IsZero() {
			continue
		}
		role := render.RoleShown(binding)
		if len(binding.Subjects) != 1 || role == "" || binding.Subjects[0].Name != binding.Annotations[kubeflowv1.UserAnnotation] ||
			!strings.EqualFold(role, binding.Annotations[kubeflowv1.RoleAnnotation]) {
			crooked = append(crooked, binding)
			continue
		}
		subject := binding.Subjects[0]
		key := grantKey{identity.Key(subject), role}
		if key.subject == owner {
			continue // more than everything it can't give
		}
		b := bound[key]
		b.grantKey, b.subject, b.bindings = key, subject, append(b.bindings, binding)
		bound[key] = b
	}
	return bound, crooked
}

func (d *differ) madeBySync(bindings []*rbacv1.RoleBinding) bool {
	return slices.ContainsFunc(bindings, func(b *rbacv1.RoleBinding) bool { return b.Labels[berthv1alpha1.SyncLabel] == d.rules.Sync })
}

// give plans what is missing: as a change of what the same person has too much, where there is such, and else anew.
func (d *differ) give(w *WantProfile, missing []Grant, extra *[]held) {
	config := d.configOf(w)
	for i := range missing {
		g := missing[i]
		a := Action{
			Type: AddContributor, Profile: w.Name, Subject: &missing[i].Subject, Role: g.Role, Risk: LowRisk,
			Reason: "is listed", Position: &w.Source, Grant: &missing[i],
		}
		switch {
		case g.Restored:
			a.Reason = "had access before the profile was listed no more"
		case g.Group != "":
			a.Reason = "is in the group " + g.Group
		}
		if clusterRole, _ := config.RoleNamed(g.Role); clusterRole == "kubeflow-"+adminRole {
			a.Risk = HighRisk
		}
		key := g.key()
		at := slices.IndexFunc(*extra, func(b held) bool { return !b.expired && samePerson(g, key, b) })
		if at >= 0 {
			old := (*extra)[at]
			a.Type, a.From, a.To, a.Bindings = ChangeContributor, old.subject.Name+" "+old.role, g.Subject.Name+" "+g.Role, old.bindings
			a.Reason = "is listed with another role"
			if old.subject.Name != g.Subject.Name {
				a.Reason = "is listed with another name"
			}
			*extra = slices.Delete(*extra, at, at+1)
		}
		d.add(a)
	}
}

// samePerson says whether b is of the same person as g: by name, or by the identifier noted when it was given.
func samePerson(g Grant, key grantKey, b held) bool {
	if b.grantKey.subject == key.subject {
		return true
	}
	return g.ID != "" && b.role == g.Role && slices.ContainsFunc(b.bindings, func(binding *rbacv1.RoleBinding) bool {
		return binding.Annotations[berthv1alpha1.ContributorIDAnnotation] == g.ID
	})
}

// annotate plans to note what the list says of somebody who has access already.
func (d *differ) annotate(w *WantProfile, g Grant, b held) {
	for _, binding := range b.bindings {
		from, to := notes(binding.Annotations), notes(g.Annotations())
		if from == to {
			continue
		}
		d.add(Action{
			Type: RepairContributor, Profile: w.Name, Subject: &b.subject, Role: g.Role, From: from, To: to, Risk: LowRisk,
			Reason: "the list says something else of this access", Position: &w.Source, Grant: &g, Bindings: []*rbacv1.RoleBinding{binding},
		})
	}
}

// Annotations are what is noted of g on its RoleBinding, besides whose it is.
func (g Grant) Annotations() map[string]string {
	noted := map[string]string{}
	if g.ID != "" {
		noted[berthv1alpha1.ContributorIDAnnotation] = g.ID
	}
	if !g.Expires.IsZero() {
		noted[berthv1alpha1.ExpiresAnnotation] = g.Expires.UTC().Format(time.RFC3339)
	}
	return noted
}

// notes are what is noted in annotations, as text.
func notes(annotations map[string]string) string {
	var parts []string
	for _, key := range []string{berthv1alpha1.ContributorIDAnnotation, berthv1alpha1.ExpiresAnnotation} {
		if value := annotations[key]; value != "" {
			parts = append(parts, strings.TrimPrefix(key, "berth.dev/")+" "+value)
		}
	}
	return strings.Join(parts, ", ")
}

// removal plans to take b away.
func removal(w *WantProfile, b held) Action {
	a := Action{
		Type: RemoveContributor, Profile: w.Name, Subject: &b.subject, Role: b.role, Risk: HighRisk,
		Reason: "is not listed", Position: &w.Source, Bindings: b.bindings,
	}
	if b.expired {
		a.Reason, a.Risk, a.expired = "the time is over", LowRisk, true
	}
	return a
}
