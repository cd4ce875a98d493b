// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync

import (
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/kube/enact"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/pmr"
)

type condition = status.Condition

func succeeded(of, message string) condition {
	return condition{Type: of, Status: metav1.ConditionTrue, Reason: berthv1alpha1.ReasonSucceeded, Message: message}
}

func failed(of, reason, message string) condition {
	return condition{Type: of, Status: metav1.ConditionFalse, Reason: reason, Message: message}
}

// longest is how long a condition's message may be: the status stays small however long the list is.
const longest = 4 << 10

// merged is the status of s with those conditions, and Ready from the first of them that is not met. Conditions that this
// pass says nothing of are gone.
func merged(s *berthv1alpha1.ProfileSync, now metav1.Time, conditions []condition) berthv1alpha1.ProfileSyncStatus {
	want := *s.Status.DeepCopy()
	want.ObservedGeneration = s.Generation
	ready := succeeded(berthv1alpha1.ConditionReady, "the cluster is as the list asks")
	for _, c := range conditions {
		if c.Status == metav1.ConditionFalse {
			ready = failed(berthv1alpha1.ConditionReady, c.Reason, c.Message)
			break
		}
	}
	all := append([]condition{ready}, conditions...)
	want.Conditions = slices.DeleteFunc(want.Conditions, func(c metav1.Condition) bool {
		return !slices.ContainsFunc(all, func(told condition) bool { return told.Type == c.Type })
	})
	for _, c := range all {
		if len(c.Message) > longest {
			c.Message = strings.ToValidUTF8(c.Message[:longest-4], "") + " ..."
		}
		meta.SetStatusCondition(&want.Conditions, metav1.Condition{
			Type: c.Type, Status: c.Status, Reason: c.Reason, Message: c.Message, ObservedGeneration: s.Generation, LastTransitionTime: now,
		})
	}
	return want
}

// suspended is the status of a sync that does nothing. What was known of its source and plan is kept.
func suspended(s *berthv1alpha1.ProfileSync, now metav1.Time) berthv1alpha1.ProfileSyncStatus {
	want := *s.Status.DeepCopy()
	want.ObservedGeneration = s.Generation
	meta.SetStatusCondition(&want.Conditions, metav1.Condition{
		Type: berthv1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: berthv1alpha1.ReasonSuspended,
		Message: "spec.suspend is set: nothing is changed", ObservedGeneration: s.Generation, LastTransitionTime: now,
	})
	return want
}

// withoutPlan is the status where there is nothing to compare, or nothing to compare with.
func withoutPlan(s *berthv1alpha1.ProfileSync, now metav1.Time, in input) berthv1alpha1.ProfileSyncStatus {
	conditions := slices.Clone(in.told)
	if in.unreachable != nil {
		conditions = append(conditions, failed(berthv1alpha1.ConditionClusterReady, berthv1alpha1.ReasonUnreachable, in.unreachable.Error()))
	}
	if in.list == nil {
		conditions = append(conditions, failed(berthv1alpha1.ConditionApplied, berthv1alpha1.ReasonNoList,
			"there was no good list since the controller started: nothing is changed"))
	}
	want := merged(s, now, conditions)
	want.LastHandledSyncNow = s.Annotations[berthv1alpha1.SyncNowAnnotation]
	return want
}

// status is the status after a pass.
func (r *Reconciler) status(s *berthv1alpha1.ProfileSync, in input, left pmr.Plan, outcomes []enact.Outcome) berthv1alpha1.ProfileSyncStatus {
	now := metav1.NewTime(r.Now())
	conditions := slices.Clone(in.told)
	if in.cluster.remote {
		conditions = append(conditions, succeeded(berthv1alpha1.ConditionClusterReady, "the cluster of spec.kubeConfig answers"))
	}
	held := left.Held()
	conditions = append(conditions, withinLimits(left), approved(left, held), applied(s, left, outcomes))
	want := merged(s, now, conditions)
	provenance := in.list.provenance
	want.Source = &berthv1alpha1.SyncSourceStatus{Revision: provenance.Revision, Commit: provenance.Commit, Signer: provenance.Signer}
	if !provenance.Time.IsZero() {
		when := metav1.NewTime(provenance.Time.UTC().Truncate(time.Second))
		want.Source.Time = &when
	}
	want.Profiles, want.Contributors, want.Stale = count(left.Profiles), count(left.Contributors), count(staleProfiles(s, in))
	want.LastHandledSyncNow = s.Annotations[berthv1alpha1.SyncNowAnnotation]
	want.Plan = nil
	if len(left.Actions) > 0 || len(left.Problems) > 0 {
		want.Plan = &berthv1alpha1.SyncPlanStatus{Digest: left.Digest(), Actions: count(len(left.Actions)), Held: count(len(held)), Refused: count(len(left.Problems))}
		if digest := left.HeldDigest(); digest != "" {
			want.Plan.Digest = digest
		}
		for _, a := range left.Actions {
			if a.Drift {
				want.Plan.Drift++
			}
		}
	}
	if want.Approval != nil && (len(held) == 0 || !r.inForce(want.Approval, in)) {
		want.Approval.Done = true
	}
	if slices.ContainsFunc(outcomes, func(o enact.Outcome) bool { return len(o.Done) > 0 }) {
		want.LastAppliedTime = &now
	}
	return want
}

func withinLimits(left pmr.Plan) condition {
	if len(left.Exceeded) == 0 {
		return succeeded(berthv1alpha1.ConditionWithinLimits, "the limits let the whole plan through")
	}
	const most = 10
	text := strings.Join(left.Exceeded[:min(most, len(left.Exceeded))], "; ")
	if more := len(left.Exceeded) - most; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return failed(berthv1alpha1.ConditionWithinLimits, berthv1alpha1.ReasonLimitExceeded, text)
}

func approved(left pmr.Plan, held []pmr.Action) condition {
	if len(held) == 0 {
		return succeeded(berthv1alpha1.ConditionApproved, "nothing waits for approval")
	}
	if held[0].Held == pmr.HeldByReport {
		return failed(berthv1alpha1.ConditionApproved, berthv1alpha1.ReasonReportOnly,
			fmt.Sprintf("%d actions would make the cluster equal to the list; spec.mode is Report, so nothing is done", len(held)))
	}
	return failed(berthv1alpha1.ConditionApproved, berthv1alpha1.ReasonApprovalPending,
		fmt.Sprintf("%d actions wait for approval; look at them with berth sync plan, and let them through with: berth sync approve %s", len(held), left.HeldDigest()))
}

func applied(s *berthv1alpha1.ProfileSync, left pmr.Plan, outcomes []enact.Outcome) condition {
	var failures []string
	waiting := 0
	for _, o := range outcomes {
		switch {
		case apierrors.IsConflict(o.Err) || apierrors.IsAlreadyExists(o.Err) || o.Waiting:
			waiting++ // somebody else was faster, or has to be
		case o.Err != nil:
			failures = append(failures, o.Err.Error())
		}
	}
	drift := 0
	for _, a := range left.Actions {
		if a.Drift {
			drift++
		}
	}
	switch {
	case len(failures) > 0:
		return failed(berthv1alpha1.ConditionApplied, berthv1alpha1.ReasonApplyFailed, firsts(failures, "profiles failed"))
	case len(left.Problems) > 0:
		var texts []string
		for _, p := range left.Problems {
			texts = append(texts, p.Profile+": "+p.Message)
		}
		return failed(berthv1alpha1.ConditionApplied, berthv1alpha1.ReasonRefused, firsts(texts, "entries of the list can't be carried out"))
	case waiting > 0:
		return failed(berthv1alpha1.ConditionApplied, berthv1alpha1.ReasonApplying, fmt.Sprintf("%d profiles are still being made or changed", waiting))
	case drift > 0 && s.Spec.Drift == "Report":
		return failed(berthv1alpha1.ConditionApplied, berthv1alpha1.ReasonDriftReported, fmt.Sprintf("%d things were changed by hand, and are left so", drift))
	}
	return succeeded(berthv1alpha1.ConditionApplied, "all that may be done is done")
}

// firsts are the first of texts, and how many there are.
func firsts(texts []string, what string) string {
	const most = 5
	return fmt.Sprintf("%d %s: %s", len(texts), what, strings.Join(texts[:min(most, len(texts))], "; "))
}

// staleProfiles counts the profiles under s that are listed no more.
func staleProfiles(s *berthv1alpha1.ProfileSync, in input) int {
	n := 0
	for name, h := range in.have.Profiles {
		if _, listed := in.list.want.Profiles[name]; !listed && h.Profile.Labels[berthv1alpha1.SyncLabel] == s.Name {
			n++
		}
	}
	return n
}

func count(n int) int32 { return int32(min(n, 1<<31-1)) } //nolint:gosec // bounded

// event records what happened to a sync or, where about is one, to a profile.
func (r *Reconciler) event(s *berthv1alpha1.ProfileSync, about runtime.Object, reason, note string) {
	var regarding runtime.Object = s
	if about != nil {
		regarding = about
	}
	r.Recorder.Eventf(regarding, nil, "Normal", reason, "Sync", "%s", status.Note(note))
}
