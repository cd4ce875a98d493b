// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"hash/maphash"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Settled remembers for which profiles there was nothing to be done, and in which versions of their objects: a list of
// thousands is compared again whenever something changes, and mostly one profile has. It is good for one list under rules
// that differ in nothing but the time, and not for several goroutines at once.
type Settled struct {
	seed maphash.Seed
	was  map[string]settled
}

// settled is one profile as it was compared.
type settled struct {
	versions uint64
	managed  managed
}

// NewSettled remembers nothing yet.
func NewSettled() *Settled { return &Settled{seed: maphash.MakeSeed(), was: map[string]settled{}} }

// profile compares a profile that is listed, unless that is known to be in vain.
func (s *Settled) profile(d *differ, w *WantProfile, h *HaveProfile, have Have) {
	versions, known := s.versions(h)
	if before, found := s.was[w.Name]; found && known && before.versions == versions {
		d.plan.Contributors += len(w.Grants)
		d.managed.profiles += before.managed.profiles
		d.managed.contributors += before.managed.contributors
		return
	}
	delete(s.was, w.Name)
	before := *d
	d.profile(w, h, have)
	// What has a time of its own is another matter later on.
	timeless := !slices.ContainsFunc(w.Grants, func(g Grant) bool { return !g.Expires.IsZero() })
	if known && timeless && len(d.plan.Actions) == len(before.plan.Actions) && len(d.plan.Problems) == len(before.plan.Problems) {
		s.was[w.Name] = settled{versions, managed{d.managed.profiles - before.managed.profiles, d.managed.contributors - before.managed.contributors}}
	}
}

// versions is a number that differs as soon as any object of h does, in whatever order they are. Without versions nothing
// is known.
func (s *Settled) versions(h *HaveProfile) (sum uint64, known bool) {
	if h == nil || h.Namespace == nil {
		return 0, false
	}
	known = true
	add := func(kind byte, obj metav1.Object) {
		known = known && obj.GetResourceVersion() != "" && obj.GetDeletionTimestamp() == nil
		var hash maphash.Hash
		hash.SetSeed(s.seed)
		_ = hash.WriteByte(kind)
		_, _ = hash.WriteString(string(obj.GetUID()))
		_ = hash.WriteByte(0)
		_, _ = hash.WriteString(obj.GetResourceVersion())
		sum += hash.Sum64()
	}
	add('p', h.Profile)
	add('n', h.Namespace)
	for _, binding := range h.Bindings {
		add('b', binding)
	}
	for _, policy := range h.Policies {
		add('a', policy)
	}
	return sum, known
}
