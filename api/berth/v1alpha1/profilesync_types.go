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
	Interval metav1.Duration `json:"interval,omitempty"`
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

// SyncSource is where a list is.
//
// +kubebuilder:validation:XValidation:rule="[has(self.git), has(self.http), has(self.configMap)].filter(x, x).size() == 1",message="give exactly one of git, http and configMap"
type SyncSource struct {
	// git is a repository.
	// +optional
	Git *GitSource `json:"git,omitempty"`
	// http is a file that a web server has.
	// +optional
	HTTP *HTTPSource `json:"http,omitempty"`
	// configMap is one in the namespace that the controller runs in.
	// +optional
	ConfigMap *ConfigMapSource `json:"configMap,omitempty"`
	// path is a file of the source, a directory or a pattern such as teams/**/*.yaml.
	// +optional
	// +kubebuilder:default="pmr.yaml"
	// +kubebuilder:validation:MaxLength=512
	Path string `json:"path,omitempty"`
	// overlays are files of the source that change the list, one after the other.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=512
	Overlays []string `json:"overlays,omitempty"`
	// timeout is how long reading may take.
	// +optional
	// +kubebuilder:default="60s"
	Timeout metav1.Duration `json:"timeout,omitempty"`
}

// GitSource is a git repository.
type GitSource struct {
	// url of the repository: https://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	URL string `json:"url"`
	// ref is a branch, a tag or a commit; left out, it is the repository's default branch.
	// +optional
	Ref GitRef `json:"ref,omitempty"`
	// secretRef has the credentials: username and password, bearerToken, identity with known_hosts (and
	// identityPassphrase), ca.crt, tls.crt and tls.key.
	// +optional
	SecretRef *SecretName `json:"secretRef,omitempty"`
	// verify has commits or tags signed by known keys.
	// +optional
	Verify *GitVerification `json:"verify,omitempty"`
	// allowRewrite takes commits that do not follow the one that was applied last, such as after a force-push.
	// +optional
	AllowRewrite bool `json:"allowRewrite,omitempty"`
	// insecureIgnoreHostKey trusts whatever answers at an SSH address.
	// +optional
	InsecureIgnoreHostKey bool `json:"insecureIgnoreHostKey,omitempty"`
}

// GitRef names a commit.
//
// +kubebuilder:validation:XValidation:rule="!has(self.tag) || !(has(self.branch) || has(self.commit))",message="give a tag alone, or a branch, a commit or both"
type GitRef struct {
	// branch whose newest commit is meant.
	// +optional
	// +kubebuilder:validation:MaxLength=255
	Branch string `json:"branch,omitempty"`
	// tag that is meant.
	// +optional
	// +kubebuilder:validation:MaxLength=255
	Tag string `json:"tag,omitempty"`
	// commit, in 40 hexadecimal digits. A branch beside it is where it is looked for on servers that hand out no commits
	// by their names.
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{40}$`
	Commit string `json:"commit,omitempty"`
}

// GitVerification is whose signatures count.
type GitVerification struct {
	// mode is what must be signed: the Head commit, the Tag, or TagAndHead.
	// +optional
	// +kubebuilder:default=Head
	// +kubebuilder:validation:Enum=Head;Tag;TagAndHead
	Mode string `json:"mode,omitempty"`
	// secretRef has public keys: armored PGP keys in entries that end with .asc, SSH keys in those that end with .pub.
	// +required
	SecretRef SecretName `json:"secretRef"`
}

// HTTPSource is a file that a web server has.
type HTTPSource struct {
	// url of the file.
	// +required
	// +kubebuilder:validation:Pattern=`^https?://`
	// +kubebuilder:validation:MaxLength=2048
	URL string `json:"url"`
	// secretRef has the credentials: username and password, bearerToken, ca.crt, tls.crt and tls.key.
	// +optional
	SecretRef *SecretName `json:"secretRef,omitempty"`
}

// ConfigMapSource is a ConfigMap, whose keys are the files.
type ConfigMapSource struct {
	// name of the ConfigMap.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// SecretName names a Secret in the namespace that the controller runs in.
type SecretName struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// SecretKey names an entry of a Secret in the namespace that the controller runs in.
type SecretKey struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// key of the entry.
	// +optional
	// +kubebuilder:default=kubeconfig
	Key string `json:"key,omitempty"`
}

// SyncWebhook lets a git server announce changes, at /hooks/NAME of the address that the controller hears webhooks at:
// GitHub, GitLab, Gitea, or anything that signs the body with HMAC-SHA256 in the header X-Signature.
type SyncWebhook struct {
	// secretRef has the shared secret in the entry token.
	// +required
	SecretRef SecretName `json:"secretRef"`
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
	GracePeriod metav1.Duration `json:"gracePeriod,omitempty"`
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
	// done is set when all of them were carried out.
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
