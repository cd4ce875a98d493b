// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ProfileSync keeps profiles and their contributors equal to a declared list.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName=psync
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.status.source.revision`
// +kubebuilder:printcolumn:name="Profiles",type=integer,JSONPath=`.status.profiles`
// +kubebuilder:printcolumn:name="Held",type=integer,JSONPath=`.status.plan.held`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63 && !self.metadata.name.contains('.')",message="metadata.name becomes the value of a label: use at most 63 lower-case letters, digits and dashes"
type ProfileSync struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is where the list is, and how it is carried out.
	// +required
	Spec ProfileSyncSpec `json:"spec"`
	// status is what came of it.
	// +optional
	Status ProfileSyncStatus `json:"status,omitempty"`
}

// ProfileSyncList is a list of ProfileSyncs.
//
// +kubebuilder:object:root=true
type ProfileSyncList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ProfileSync `json:"items"`
}

// SyncMode is what a sync does about differences.
// +kubebuilder:validation:Enum=Apply;Plan;Report
type SyncMode string

const (
	// SyncApply carries out what the limits let through; the rest waits for approval.
	SyncApply SyncMode = "Apply"
	// SyncPlan has all of it wait for approval.
	SyncPlan SyncMode = "Plan"
	// SyncReport writes nothing, whatever is approved.
	SyncReport SyncMode = "Report"
)

// SyncValidation is how strictly the list is checked.
// +kubebuilder:validation:Enum=strict;compat
type SyncValidation string

// ContributorPolicy is what becomes of contributors who are not listed.
// +kubebuilder:validation:Enum=Authoritative;Additive
type ContributorPolicy string

// ProfileSyncSpec is where the list is, and how it is carried out.
type ProfileSyncSpec struct {
	// source is where the list is.
	// +required
	Source SyncSource `json:"source"`
	// interval is how often the source is looked at, and the cluster compared with it, a tenth more or less. Changes of
	// profiles and RoleBindings are noticed at once.
	// +optional
	// +kubebuilder:default="5m"
	Interval metav1.Duration `json:"interval,omitzero"`
	// suspend stops everything, except that access which has an end ends.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
	// mode is Apply, Plan or Report.
	// +optional
	// +kubebuilder:default=Apply
	Mode SyncMode `json:"mode,omitempty"`
	// validation is strict, which refuses unknown keys and duplicates, or compat, which takes what
	// github-profiles-automator takes.
	// +optional
	// +kubebuilder:default=strict
	Validation SyncValidation `json:"validation,omitempty"`
	// contributorPolicy is Authoritative, which takes contributors away who are not listed, or Additive, which leaves
	// those alone whom others added. The list may say otherwise for single profiles.
	// +optional
	// +kubebuilder:default=Authoritative
	ContributorPolicy ContributorPolicy `json:"contributorPolicy,omitempty"`
	// adopt says which profiles that are there already become the sync's own: all that are Listed, or of those only the
	// ones Annotated with berth.dev/sync-adopt: NAME.
	// +optional
	// +kubebuilder:default=Listed
	// +kubebuilder:validation:Enum=Listed;Annotated
	Adopt string `json:"adopt,omitempty"`
	// drift is Repair, which undoes what was changed by hand, or Report, which leaves it.
	// +optional
	// +kubebuilder:default=Repair
	// +kubebuilder:validation:Enum=Repair;Report
	Drift string `json:"drift,omitempty"`
	// naming of new RoleBindings is kfam, as the access-management API names them, or charm, as
	// github-profiles-automator does. Those that are there keep their names.
	// +optional
	// +kubebuilder:default=kfam
	// +kubebuilder:validation:Enum=kfam;charm
	Naming string `json:"naming,omitempty"`
	// stale is what becomes of profiles that are listed no more.
	// +optional
	// +kubebuilder:default={}
	Stale StalePolicy `json:"stale,omitempty"`
	// limits say how much may change without approval.
	// +optional
	// +kubebuilder:default={}
	Limits SyncLimits `json:"limits,omitempty"`
	// kubeConfig is another cluster that the list is for.
	// +optional
	KubeConfig *SecretKey `json:"kubeConfig,omitempty"`
	// webhook lets whoever hosts the source announce changes.
	// +optional
	Webhook *SyncWebhook `json:"webhook,omitempty"`
}

// StalePolicy is what becomes of profiles that are listed no more. Times count from when that was first seen.
type StalePolicy struct {
	// scope is Managed, which is the profiles that this sync made or adopted, or All, as github-profiles-automator has it.
	// +optional
	// +kubebuilder:default=Managed
	// +kubebuilder:validation:Enum=Managed;All
	Scope string `json:"scope,omitempty"`
	// revokeAfter is how long contributors keep their access. The owner keeps it.
	// +optional
	// +kubebuilder:default="0s"
	RevokeAfter metav1.Duration `json:"revokeAfter,omitempty"`
	// quarantineAfter is how long it takes until notebooks are stopped and no new pod is let in. Left out, that does not
	// happen.
	// +optional
	QuarantineAfter *metav1.Duration `json:"quarantineAfter,omitempty"`
	// gracePeriod is how long it takes until the profile may be deleted.
	// +optional
	// +kubebuilder:default="720h"
	GracePeriod *metav1.Duration `json:"gracePeriod,omitempty"`
	// deletionPolicy is Retain, or Delete, which deletes profiles after the grace period that somebody approved of by
	// name: berth stale approve NAME.
	// +optional
	// +kubebuilder:default=Retain
	// +kubebuilder:validation:Enum=Retain;Delete
	DeletionPolicy string `json:"deletionPolicy,omitempty"`
}

// SyncLimits say how much may change without approval.
type SyncLimits struct {
	// maxRemovals and maxRemovalPercent: where more contributors would lose their access, or more profiles are listed no
	// more, than the greater of the two, all that wait for approval.
	// +optional
	// +kubebuilder:default=5
	// +kubebuilder:validation:Minimum=0
	MaxRemovals *int32 `json:"maxRemovals,omitempty"`
	// +optional
	// +kubebuilder:default=20
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	MaxRemovalPercent *int32 `json:"maxRemovalPercent,omitempty"`
	// allowEmpty lets a list without profiles take everybody's access away.
	// +optional
	AllowEmpty bool `json:"allowEmpty,omitempty"`
	// allowNewAdmins lets people become admin or owner of profiles that are there without approval.
	// +optional
	AllowNewAdmins bool `json:"allowNewAdmins,omitempty"`
	// allowLastAdmin lets a profile lose the last contributor who is admin without approval.
	// +optional
	AllowLastAdmin bool `json:"allowLastAdmin,omitempty"`
}
