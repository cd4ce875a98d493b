// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ProfileSyncStatus is what came of a sync. It does not grow with the list.
type ProfileSyncStatus struct {
	// observedGeneration is the generation that the rest is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// source is what was read last.
	// +optional
	Source *SyncSourceStatus `json:"source,omitempty"`
	// profiles and contributors count what the list asks for; stale counts profiles that are listed no more.
	// +optional
	Profiles int32 `json:"profiles"`
	// +optional
	Contributors int32 `json:"contributors"`
	// +optional
	Stale int32 `json:"stale"`
	// plan is what is left to be done.
	// +optional
	Plan *SyncPlanStatus `json:"plan,omitempty"`
	// approval is the last one that was given.
	// +optional
	Approval *SyncApproval `json:"approval,omitempty"`
	// lastAppliedTime is when something was last changed in the cluster.
	// +optional
	LastAppliedTime *metav1.Time `json:"lastAppliedTime,omitempty"`
	// lastHandledSyncNow is the value of berth.dev/sync-now that was last heeded.
	// +optional
	LastHandledSyncNow string `json:"lastHandledSyncNow,omitempty"`
	// conditions are SourceReady, Verified, Valid, WithinLimits, Approved, Applied and, which sums them up, Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// SyncSourceStatus is what was read.
type SyncSourceStatus struct {
	// revision names what was read, such as main@sha1:0123….
	// +optional
	Revision string `json:"revision,omitempty"`
	// commit is the one that was accepted last; no older one is taken after it.
	// +optional
	Commit string `json:"commit,omitempty"`
	// signer is the fingerprint of the key that signed it, where signatures are asked for.
	// +optional
	Signer string `json:"signer,omitempty"`
	// time at which the commit was made, or the file changed, as far as that is known.
	// +optional
	Time *metav1.Time `json:"time,omitempty"`
}

// SyncPlanStatus is what is left to be done.
type SyncPlanStatus struct {
	// digest names the plan; approving it lets all of it through, once.
	// +required
	Digest string `json:"digest"`
	// actions counts what is to be done, of which held waits for approval and drift is only reported.
	// +optional
	Actions int32 `json:"actions"`
	// +optional
	Held int32 `json:"held"`
	// +optional
	Drift int32 `json:"drift"`
	// refused counts what can't be done, such as for a profile with a reserved name.
	// +optional
	Refused int32 `json:"refused"`
}

// SyncApproval is an approval.
type SyncApproval struct {
	// digest of the plan.
	// +required
	Digest string `json:"digest"`
	// want is a hash of the list that it is about.
	// +required
	Want string `json:"want"`
	// held is how many actions it let through.
	// +required
	Held int32 `json:"held"`
	// time is when it was noted. What could not be carried out within an hour needs another approval.
	// +optional
	Time *metav1.Time `json:"time,omitempty"`
	// done is set when all of them were carried out, or the hour is over.
	// +optional
	Done bool `json:"done,omitempty"`
}

// Conditions of a ProfileSync, besides Ready.
const (
	// ConditionSourceReady says whether the source could be read.
	ConditionSourceReady = "SourceReady"
	// ConditionVerified says whether what was read is signed by a known key, where that is asked for.
	ConditionVerified = "Verified"
	// ConditionValid says whether the list can be used. As long as it is not, the last good one stays in force.
	ConditionValid = "Valid"
	// ConditionWithinLimits says whether the limits let the whole plan through.
	ConditionWithinLimits = "WithinLimits"
	// ConditionApproved says whether nothing waits for approval.
	ConditionApproved = "Approved"
	// ConditionClusterReady says whether the cluster of spec.kubeConfig answers. One that does not is never taken for empty.
	ConditionClusterReady = "ClusterReady"
	// ConditionApplied says whether the cluster is as the list asks, except for what waits.
	ConditionApplied = "Applied"
)

// Reasons of conditions of a ProfileSync, besides those that say why a source can't be read.
const (
	// ReasonSucceeded means that it is so.
	ReasonSucceeded = "Succeeded"
	// ReasonNotAskedFor means that signatures are not asked for.
	ReasonNotAskedFor = "NotAskedFor"
	// ReasonSuspended means that spec.suspend is set.
	ReasonSuspended = "Suspended"
	// ReasonListInvalid means that the list has errors; the last good one stays in force.
	ReasonListInvalid = "ListInvalid"
	// ReasonNoList means that there was no good list since the controller started: nothing is changed.
	ReasonNoList = "NoList"
	// ReasonLimitExceeded means that a limit holds back a part of the plan.
	ReasonLimitExceeded = "LimitExceeded"
	// ReasonApprovalPending means that something waits for approval.
	ReasonApprovalPending = "ApprovalPending"
	// ReasonApplying means that namespaces are still being made.
	ReasonApplying = "Applying"
	// ReasonApplyFailed means that something could not be written; it is tried again.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonRefused means that something of the list can't be done, such as a reserved name.
	ReasonRefused = "Refused"
	// ReasonDriftReported means that something was changed by hand and is left so, as spec.drift says.
	ReasonDriftReported = "DriftReported"
	// ReasonReportOnly means that spec.mode is Report and there are differences.
	ReasonReportOnly = "ReportOnly"
	// ReasonUnreachable means that a cluster can't be read.
	ReasonUnreachable = "Unreachable"
	// ReasonStale, on a Profile, means that it is listed no more.
	ReasonStale = "Stale"
)
