// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/render"
)

// StaleRules are what becomes of profiles that are listed no more.
type StaleRules struct {
	// RevokeAfter is how long contributors keep their access.
	RevokeAfter time.Duration
	// QuarantineAfter is how long it takes until notebooks are stopped and no new pod is let in; nil for never.
	QuarantineAfter *time.Duration
	// GracePeriod is how long it takes until the profile may be deleted.
	GracePeriod time.Duration
	// Delete lets profiles be deleted that somebody approved of by name.
	Delete bool
}

// Stale is what is noted of a profile that is listed no more.
type Stale struct {
	// Since is when it was first found not to be listed; the others are when they were done, zero where they were not.
	Since       time.Time  `json:"since"`
	Revoked     *time.Time `json:"revoked,omitempty"`
	Quarantined *time.Time `json:"quarantined,omitempty"`
	Deletable   *time.Time `json:"deletable,omitempty"`
}

// StaleOf is what is noted of p, or nil where it is listed, or was when it was last looked at.
func StaleOf(p *kubeflowv1.Profile) *Stale {
	text, found := p.Annotations[berthv1alpha1.StaleAnnotation]
	if !found {
		return nil
	}
	stale := &Stale{}
	if json.Unmarshal([]byte(text), stale) != nil {
		return &Stale{} // as if it had just begun
	}
	return stale
}

// Encode is the annotation's value.
func (s Stale) Encode() string {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err) // it has times only
	}
	return string(data)
}

// unlisted plans what is next for a profile that the list does not have.
func (d *differ) unlisted(h *HaveProfile) {
	owner := h.sync()
	if owner != d.rules.Sync && (owner != "" || !d.rules.AllStale) || !h.Profile.DeletionTimestamp.IsZero() {
		return
	}
	d.managed.profiles++
	bindings := contributorBindings(h)
	d.managed.contributors += len(bindings)

	name, rules, now := h.Profile.Name, d.rules.Stale, d.rules.Now
	stale := StaleOf(h.Profile)
	since := now
	if stale == nil || stale.Since.IsZero() {
		d.add(Action{Type: MarkStale, Profile: name, Risk: LowRisk, Reason: "it is listed no more"})
		stale = &Stale{}
	} else {
		since = stale.Since
	}
	due := func(after time.Duration) bool {
		moment := since.Add(after)
		d.later(moment)
		return !moment.After(now)
	}
	// Whoever is invited to a stale profile by other ways loses the access again.
	stray := strayNames(h)
	if (len(bindings) > 0 || len(stray) > 0 || stale.Revoked == nil) && due(rules.RevokeAfter) {
		d.add(Action{
			Type: RevokeAccess, Profile: name, Risk: HighRisk, Reason: "it is listed no more since " + since.UTC().Format(time.RFC3339),
			Bindings: bindings, Policies: stray,
		})
	}
	if rules.QuarantineAfter != nil && stale.Quarantined == nil && due(*rules.QuarantineAfter) {
		d.add(Action{Type: Quarantine, Profile: name, Risk: HighRisk, Reason: "it is listed no more since " + since.UTC().Format(time.RFC3339)})
	}
	if !due(rules.GracePeriod) {
		return
	}
	if stale.Deletable == nil {
		d.add(Action{Type: MarkDeletable, Profile: name, Risk: LowRisk, Reason: "its grace period is over"})
	}
	if rules.Delete {
		a := Action{Type: DeleteProfile, Profile: name, Risk: HighRisk, Reason: "its grace period is over"}
		if h.Profile.Annotations[berthv1alpha1.ApproveDeletionAnnotation] != string(h.Profile.UID) {
			a.Held = LimitDeletion
		}
		d.add(a)
	}
}

func byName(a, b *rbacv1.RoleBinding) int { return cmp.Compare(a.Name, b.Name) }

// contributorBindings are the RoleBindings through which contributors have access.
func contributorBindings(h *HaveProfile) []*rbacv1.RoleBinding {
	var bindings []*rbacv1.RoleBinding
	for _, b := range h.Bindings {
		if render.IsContributorBinding(b) && b.DeletionTimestamp.IsZero() {
			bindings = append(bindings, b)
		}
	}
	slices.SortFunc(bindings, byName)
	return bindings
}

// strayNames are the AuthorizationPolicies of contributors that others made: those that Berth made go with their
// bindings.
func strayNames(h *HaveProfile) []string {
	var names []string
	for _, policy := range h.Policies {
		if render.IsContributorPolicy(policy) && !render.IsOurs(policy, h.Profile) {
			names = append(names, policy.GetName())
		}
	}
	return sorted(names)
}
