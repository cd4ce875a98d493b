// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync_test

import (
	"slices"
	"strings"
	"testing"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/testkit"
)

// What is wrong with github-profiles-automator, and the tests that show it absent here:
//
//	one stale profile takes the policies of all away         TestSync_leavesOtherProfilesAloneWhenOneIsStale
//	an empty list takes all access away                      TestSync_refusesAnEmptyList
//	profiles and bindings of others are removed              TestSync_leavesOtherProfilesAloneWhenOneIsStale, TestSync_additiveLeavesThoseOfOthers
//	bindings are made in namespaces of the platform          TestSync_refusesNamespacesThatAreNoProfiles
//	one bad profile ends the run                             TestSync_oneFailingProfileHoldsUpNoOther
//	names collide or are cut                                 TestSync_namesThatCollide
//	drift of roles and subjects stays                        TestSync_keepsAndReplacesWhatIsThere, TestSync_repairsWhatIsChangedByHand
//	drift of policies stays                                  TestSync_policiesFollowTheMeshMode, and the controller of contributors
//	role: Admin ends the run                                 TestSync_keepsAndReplacesWhatIsThere (capital)
//	quotas and keys of them can't be taken away              TestSync_quota
//	quantities are compared as text, for ever                TestSync_quota
//	an owner change can't be resumed                         TestSync_killedAfterAnyWriteOfAnOwnerChange
//	access goes before it comes                              TestSync_nobodyWhoStaysIsWithoutAccessForAMoment
//	the documents say that owners of stale profiles have no  TestSync_staleProfileIsDeletedAfterAllStagesAndAnApproval: they keep
//	access                                                   it, as the reference says
//	unknown keys and duplicates pass in silence              TestSync_lastGoodListStaysInForce
//	nobody learns which profile failed, and why              TestSync_oneFailingProfileHoldsUpNoOther
//	a sync that was skipped says that it succeeded           TestSync_lastGoodListStaysInForce, TestSync_withoutAListTouchesNothing
//	host keys and commits are not verified                   the tests of the git source
//	drift is noticed every five minutes                      TestSync_makesProfilesWithTheirContributors, TestSync_repairsWhatIsChangedByHand
//	one cluster only                                         TestSync_ofAnotherCluster
//	a write for each profile without a quota on each run     TestSync_quota, TestSync_unchangedListWritesNothing
//	replicas that do not lead work too                       TestControllers_secondTakesOverFromTheLeader
//	the dashboard can't remove contributors                  TestSync_makesProfilesWithTheirContributors (names)

func TestSync_namesThatCollide(t *testing.T) {
	c := start(t)
	team := testkit.Name(t, "team")
	long := strings.Repeat("very.long.name-", 12) + "@subdomain.example-corp.com"
	all := []string{
		"{name: A.B+x@Ex.com, role: edit}", "{name: a-b-x@ex.com, role: edit}", `{name: 'DOMAIN\jdoe', role: edit}`,
		"{name: İpek@x.com, role: edit}", "{name: ipek@x.com, role: view}", "{name: " + long + ", role: view}", "{name: x" + long + ", role: edit}",
	}
	want := []string{
		"A.B+x@Ex.com:edit", "a-b-x@ex.com:edit", `DOMAIN\jdoe:edit`, "İpek@x.com:edit", "ipek@x.com:view", long + ":view", "x" + long + ":edit",
	}
	for _, naming := range []string{"kfam", "charm"} {
		t.Run(naming, func(t *testing.T) {
			team := team + "-" + naming
			s := newSync(t, c, listOf(entry(team, "contributors: ["+strings.Join(all, ", ")+"]")), "{naming: "+naming+", validation: compat}")
			awaitAccess(t, c, team, want...)
			awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
			before := sortedKeys(access(t, c, team))
			syncNow(t, c, s)
			syncNow(t, c, s)
			if after := sortedKeys(access(t, c, team)); !slices.Equal(before, after) {
				t.Errorf("the bindings were %v and are %v", before, after)
			}
			// Each of two who share a name goes alone.
			declare(t, c, s.Name, listOf(entry(team, "contributors: ["+strings.Join(all[1:], ", ")+"]")))
			awaitAccess(t, c, team, want[1:]...)
		})
	}
}

func TestSync_unchangedListWritesNothing(t *testing.T) {
	var w writes
	c := start(t, w.option())
	var names, entries []string
	for range 5 {
		name := testkit.Name(t, "team")
		names = append(names, name)
		entries = append(entries, entry(name, "labels: {cost-centre: a1}", "annotations: {note: x}", people("ann:admin", "bob:view")))
	}
	s := newSync(t, c, listOf(entries...), "{}")
	inLine(t, c, names, "ann:admin", "bob:view")
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
	w.quiet(t, c, s, names...)
	version := s.ResourceVersion
	w.quiet(t, c, s, names...)
	if version == s.ResourceVersion {
		t.Error("the sync was not looked at")
	}
	applied := s.Status.LastAppliedTime
	syncNow(t, c, s)
	if !applied.Equal(s.Status.LastAppliedTime) {
		t.Errorf("something was applied at %v, after %v", s.Status.LastAppliedTime, applied)
	}
}
