// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// Carry is live after those of actions that change the Profile itself. Held ones, and drift that is only reported, are
// left out.
func Carry(live *kubeflowv1.Profile, actions []Action, sync string, now time.Time) *kubeflowv1.Profile {
	p := live.DeepCopy()
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	before := StateOf(live)
	for _, a := range actions {
		if a.Held == "" && !a.Drift {
			a.carry(p, before, sync, now)
		}
	}
	return p
}

// carry changes p as a says. before is what the sync noted of it the last time.
func (a *Action) carry(p *kubeflowv1.Profile, before State, sync string, now time.Time) {
	switch a.Type { //nolint:exhaustive // the others are about other objects
	case AdoptProfile:
		p.Labels[berthv1alpha1.SyncLabel] = sync
		a.carryRecord(p)
	case RestoreProfile:
		if saved := SnapshotOf(p); saved != nil && saved.Quota != nil {
			p.Spec.ResourceQuotaSpec = *saved.Quota
		}
		for _, key := range staleKeys {
			delete(p.Annotations, key)
		}
	case ChangeOwner:
		p.Spec.Owner = a.Target.Spec.Owner
	case ChangeQuota:
		p.Spec.ResourceQuotaSpec = a.Target.Spec.ResourceQuotaSpec
	case ChangePlugins:
		p.Spec.Plugins = a.Target.Spec.Plugins
	case ChangeMetadata:
		// Others may have set keys of theirs since the plan was made: those stay.
		listed := StateOf(a.Target)
		p.Labels = withKeys(p.Labels, before.Labels, only(a.Target.Labels, listed.Labels))
		p.Annotations = withKeys(p.Annotations, before.Annotations, only(a.Target.Annotations, listed.Annotations))
		a.carryRecord(p)
	case UpdateRecord:
		a.carryRecord(p)
	case MarkStale:
		note(p, func(s *Stale) { s.Since = now.UTC().Truncate(time.Second) })
	case RevokeAccess:
		save(p, func(s *Snapshot) { s.add(a.Bindings, sync) })
		note(p, func(s *Stale) { s.Revoked = moment(s.Revoked, now) })
	case Quarantine:
		save(p, func(s *Snapshot) {
			if s.Quota == nil {
				s.Quota = p.Spec.ResourceQuotaSpec.DeepCopy()
			}
		})
		p.Spec.ResourceQuotaSpec = closedQuota(p.Spec.ResourceQuotaSpec)
		note(p, func(s *Stale) { s.Quarantined = moment(s.Quarantined, now) })
	case MarkDeletable:
		note(p, func(s *Stale) { s.Deletable = moment(s.Deletable, now) })
	}
}

// Unrestored is restored with the snapshot that live has: who had access stays noted until they have it again, so that
// being interrupted loses nobody.
func Unrestored(restored, live *kubeflowv1.Profile) *kubeflowv1.Profile {
	saved := SnapshotOf(live)
	if saved == nil {
		return restored
	}
	saved.Quota = nil // it is back already
	p := restored.DeepCopy()
	p.Annotations[berthv1alpha1.SnapshotAnnotation] = saved.Encode()
	return p
}

// staleKeys are the annotations of a profile that is listed no more.
var staleKeys = []string{berthv1alpha1.StaleAnnotation, berthv1alpha1.SnapshotAnnotation, berthv1alpha1.ApproveDeletionAnnotation}

func (a *Action) carryRecord(p *kubeflowv1.Profile) {
	p.Annotations[berthv1alpha1.SyncStateAnnotation] = a.Target.Annotations[berthv1alpha1.SyncStateAnnotation]
}

// only are those of pairs that have one of the keys.
func only(pairs map[string]string, keys []string) map[string]string {
	out := make(map[string]string, len(keys))
	for _, key := range keys {
		out[key] = pairs[key]
	}
	return out
}

func note(p *kubeflowv1.Profile, change func(*Stale)) {
	stale := StaleOf(p)
	if stale == nil {
		stale = &Stale{}
	}
	change(stale)
	p.Annotations[berthv1alpha1.StaleAnnotation] = stale.Encode()
}

func save(p *kubeflowv1.Profile, change func(*Snapshot)) {
	saved := SnapshotOf(p)
	if saved == nil {
		saved = &Snapshot{}
	}
	change(saved)
	p.Annotations[berthv1alpha1.SnapshotAnnotation] = saved.Encode()
}

// moment is when something was first done.
func moment(before *time.Time, now time.Time) *time.Time {
	if before != nil {
		return before
	}
	now = now.UTC().Truncate(time.Second)
	return &now
}

// closedQuota lets no new pod in. It has no scopes: they would leave other pods out.
func closedQuota(spec kubeflowv1.ResourceQuotaSpec) kubeflowv1.ResourceQuotaSpec {
	hard := maps.Clone(spec.Hard)
	if hard == nil {
		hard = map[corev1.ResourceName]kubeflowv1.Quantity{}
	}
	hard[corev1.ResourcePods] = "0"
	return kubeflowv1.ResourceQuotaSpec{Hard: hard}
}
