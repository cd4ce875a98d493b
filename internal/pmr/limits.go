// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"fmt"
)

// Limits say how much a list may change without somebody being asked.
type Limits struct {
	// MaxRemovals and MaxRemovalPercent: more removals than the greater of the two wait for approval. The percentage is of
	// the contributors, or profiles, that the sync has under it.
	MaxRemovals, MaxRemovalPercent int
	// AllowEmpty lets a list without profiles take everything away.
	AllowEmpty bool
	// AllowNewAdmins lets somebody become admin, or owner, of a profile that is there.
	AllowNewAdmins bool
	// AllowLastAdmin lets a profile lose the last contributor who is admin.
	AllowLastAdmin bool
}

// DefaultLimits are those of a sync that says nothing.
func DefaultLimits() Limits { return Limits{MaxRemovals: 5, MaxRemovalPercent: 20} }

// Limits that hold actions.
const (
	// LimitEmpty: the list has no profiles, and the sync has some.
	LimitEmpty = "EmptyList"
	// LimitShrunken: too many profiles are listed no more.
	LimitShrunken = "ShrunkenList"
	// LimitRemovals: too many contributors would lose their access.
	LimitRemovals = "TooManyRemovals"
	// LimitLastAdmin: a profile would lose its last contributor who is admin.
	LimitLastAdmin = "LastAdmin"
	// LimitNewAdmin: somebody would become admin or owner of a profile that is there.
	LimitNewAdmin = "NewAdmin"
	// LimitDeletion: a profile would be deleted.
	LimitDeletion = "Deletion"
)

// hold marks the actions that the limits do not let through. What gives access to members goes on.
func (l Limits) hold(plan *Plan, has managed) {
	removals, stale := 0, 0
	for i := range plan.Actions {
		a := &plan.Actions[i]
		if a.Drift {
			continue
		}
		switch a.Type { //nolint:exhaustive // the others take nothing away
		case RemoveContributor, RepairContributor:
			if takesAway(a) {
				removals++
			}
		case RevokeAccess:
			removals += len(a.Bindings)
		case MarkStale:
			stale++
		}
	}
	exceed := func(limit, format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		plan.Exceeded = append(plan.Exceeded, limit+": "+text)
	}
	shrinks := ""
	switch most := l.most(has.profiles); {
	case plan.Profiles == 0 && stale > 0 && !l.AllowEmpty:
		shrinks = LimitEmpty
		exceed(LimitEmpty, "the list has no profiles, and %d are under this sync", has.profiles)
	case stale > most && (plan.Profiles > 0 || !l.AllowEmpty):
		shrinks = LimitShrunken
		exceed(LimitShrunken, "%d of %d profiles are listed no more: at most %d may go at once", stale, has.profiles, most)
	}
	tooMany := false
	if most := l.most(has.contributors); removals > most && (plan.Profiles > 0 || !l.AllowEmpty) {
		tooMany = true
		exceed(LimitRemovals, "%d of %d contributors would lose their access: at most %d may at once", removals, has.contributors, most)
	}
	for i := range plan.Actions {
		a := &plan.Actions[i]
		switch {
		case a.Held != "" || a.Drift:
		case shrinks != "" && (takesAway(a) || ofStale(a)):
			a.Held = shrinks
		case tooMany && (takesAway(a) || a.Type == RevokeAccess):
			a.Held = LimitRemovals
		}
	}
}

// most is how many of count may go at once.
func (l Limits) most(count int) int { return max(l.MaxRemovals, count*l.MaxRemovalPercent/100) }

// ofStale says whether a is done to a profile for not being listed.
func ofStale(a *Action) bool {
	switch a.Type { //nolint:exhaustive // the others are done to those that are listed
	case MarkStale, RevokeAccess, Quarantine, MarkDeletable, DeleteProfile:
		return true
	}
	return false
}

// takesAway says whether a ends somebody's access that was to last.
func takesAway(a *Action) bool {
	return (a.Type == RemoveContributor || a.Type == RepairContributor) && a.Risk == HighRisk && !a.expired
}
