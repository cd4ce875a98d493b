// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr_test

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/pmr"
)

// Labels and annotations that others set between the plan and its being carried out stay.
func TestCarry_keysSetSince(t *testing.T) {
	rules := rulesFor("sync")
	have := pmr.After(pmr.Diff(resolved(t, one("  labels: {tier: x, old: y}\n  annotations: {note: x}\n")), pmr.Have{}, rules), pmr.Have{}, rules)
	plan := pmr.Diff(resolved(t, one("  labels: {tier: z, new: y}\n")), have, rules)
	live := have.Profiles["team"].Profile.DeepCopy()
	live.Labels["theirs"], live.Annotations["theirs"] = "stays", "stays"

	p := pmr.Carry(live, plan.Actions, "sync", now)
	if d := cmp.Diff(map[string]string{"tier": "z", "new": "y", "theirs": "stays", berthv1alpha1.SyncLabel: "sync"}, p.Labels); d != "" {
		t.Errorf("labels: -want, +got:\n%s", d)
	}
	annotations := maps.Clone(p.Annotations)
	delete(annotations, berthv1alpha1.SyncStateAnnotation)
	if d := cmp.Diff(map[string]string{"theirs": "stays"}, annotations); d != "" {
		t.Errorf("annotations: -want, +got:\n%s", d)
	}
}
