// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package v1

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// Profile gives one team its own namespace of the same name, with the owner in it, access for the owner and the
// people invited, and a budget.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:printcolumn:name="Owner",type=string,JSONPath=`.spec.owner.name`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:optionalOldSelf=true,rule="oldSelf.hasValue() || (size(self.metadata.name) <= 63 && !self.metadata.name.contains('.'))",message="metadata.name becomes the name of a namespace: use at most 63 lower-case letters, digits and dashes, and no dots"
// +kubebuilder:validation:XValidation:optionalOldSelf=true,rule="oldSelf.hasValue() || !(self.metadata.name.startsWith('kube-') || self.metadata.name in ['default', 'kubeflow', 'kubeflow-system', 'istio-system', 'knative-serving', 'knative-eventing', 'cert-manager', 'auth', 'oauth2-proxy', 'profiles-system', 'berth-system'])",message="metadata.name is reserved for a namespace of the platform itself: choose another name"
// +kubebuilder:validation:XValidation:optionalOldSelf=true,rule="(has(self.spec) && has(self.spec.owner)) || (oldSelf.hasValue() && !(has(oldSelf.value().spec) && has(oldSelf.value().spec.owner)))",message="spec.owner is missing: say who owns the profile, for example {kind: User, name: alice@example.com}"
type Profile struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the team is given.
	// +optional
	Spec ProfileSpec `json:"spec,omitempty"`
	// status is what the controller last saw and did.
	// +optional
	Status ProfileStatus `json:"status,omitempty"`
}

// ProfileList is a list of Profiles.
//
// +kubebuilder:object:root=true
type ProfileList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Profile `json:"items"`
}

// ProfileSpec is the desired state of a Profile.
type ProfileSpec struct {
	// owner is the user, group or service account that the namespace belongs to: bound to the ClusterRole
	// kubeflow-admin there, and let in through the mesh. Changing it moves everything to the new owner.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.kind in ['User', 'Group', 'ServiceAccount']",message="spec.owner.kind must be User, Group or ServiceAccount"
	// +kubebuilder:validation:XValidation:rule="size(self.name) > 0",message="spec.owner.name must not be empty: it is the name of the user, group or service account"
	// +kubebuilder:validation:XValidation:rule="!self.name.contains('*')",message="spec.owner.name must not contain '*': the mesh would read it as a wildcard and let others in"
	// +kubebuilder:validation:XValidation:rule="self.kind != 'ServiceAccount' || (has(self.namespace) && size(self.namespace) > 0)",message="spec.owner.namespace must name the namespace of the service account"
	Owner rbacv1.Subject `json:"owner,omitempty"`

	// plugins bind the namespace to identities outside the cluster. Known kinds: WorkloadIdentity (Google Cloud) and
	// AwsIamForServiceAccount (AWS). Unknown kinds are reported in status and otherwise ignored.
	// +optional
	Plugins []Plugin `json:"plugins,omitempty"`

	// resourceQuotaSpec is the budget of the namespace, kept as the ResourceQuota kf-resource-quota. Without limits
	// in hard there is no quota.
	// +optional
	// +kubebuilder:default={}
	ResourceQuotaSpec ResourceQuotaSpec `json:"resourceQuotaSpec,omitempty"`
}

// Plugin is one plugin of a Profile.
type Plugin struct {
	// apiVersion is ignored.
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`
	// kind is WorkloadIdentity or AwsIamForServiceAccount.
	// +optional
	Kind string `json:"kind,omitempty"`
	// spec depends on the kind: {gcpServiceAccount: NAME@PROJECT.iam.gserviceaccount.com} for WorkloadIdentity,
	// {awsIamRole: ARN, annotateOnly: false} for AwsIamForServiceAccount.
	// +optional
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Spec *runtime.RawExtension `json:"spec,omitempty"`
}

// ResourceQuotaSpec has the JSON of core/v1 ResourceQuotaSpec. Its quantities stay text until they are used, so that
// one profile with a quantity nobody can parse can't keep the others from being read.
type ResourceQuotaSpec struct {
	// hard is the set of limits for each named resource, for example requests.cpu: "50".
	// +optional
	// +kubebuilder:validation:MaxProperties=256
	Hard map[corev1.ResourceName]Quantity `json:"hard,omitempty"`
	// scopes that must match each object tracked by the quota.
	// +optional
	// +listType=atomic
	Scopes []corev1.ResourceQuotaScope `json:"scopes,omitempty"`
	// scopeSelector is like scopes, expressed with operators and values.
	// +optional
	ScopeSelector *corev1.ScopeSelector `json:"scopeSelector,omitempty"`
}

// ProfileStatus is the observed state of a Profile.
type ProfileStatus struct {
	// conditions say what works and what does not. Ready sums up the others; each part (NamespaceReady, AccessReady,
	// MeshReady, QuotaReady, PluginsReady) has its own.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// class is the ProfileClass whose parts the profile has; left out for the built-in one.
	// +optional
	Class *ClassStatus `json:"class,omitempty"`

	// plugins are the cloud identities that were, or may have been, bound, so that dropping a plugin from the spec
	// can take it back.
	// +optional
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=identity
	Plugins []PluginStatus `json:"plugins,omitempty"`
}

// ClassStatus is the ProfileClass that a profile has.
type ClassStatus struct {
	// name of the class.
	// +required
	Name string `json:"name"`
	// generation of the class that was last worked with.
	// +optional
	Generation int64 `json:"generation,omitempty"`
}

// PluginPhase says how far a plugin got.
// +kubebuilder:validation:Enum=Applying;Applied;Revoking
type PluginPhase string

const (
	// PluginApplying is recorded before the provider is called: the binding may exist.
	PluginApplying PluginPhase = "Applying"
	// PluginApplied means that the provider confirmed the binding.
	PluginApplied PluginPhase = "Applied"
	// PluginRevoking means that the binding is being taken back and may still exist.
	PluginRevoking PluginPhase = "Revoking"
)

// PluginStatus is one cloud identity bound to the service account default-editor.
type PluginStatus struct {
	// kind of the plugin.
	// +required
	Kind string `json:"kind"`
	// identity is the role ARN or the Google service account.
	// +required
	Identity string `json:"identity"`
	// namespaceUID is the namespace that the identity was bound for.
	// +optional
	NamespaceUID types.UID `json:"namespaceUID,omitempty"`
	// phase says how far the plugin got.
	// +required
	Phase PluginPhase `json:"phase"`
}
