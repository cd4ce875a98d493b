// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ProfileClass says what every profile of a class gets besides its namespace, its people and the quota that it asks
// for. A Profile names its class by the label berth.dev/class. Parts that are left out are left alone.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName=pclass
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Default",type=string,JSONPath=`.metadata.annotations.berth\.dev/is-default-class`
// +kubebuilder:printcolumn:name="Profiles",type=integer,JSONPath=`.status.profiles.total`
// +kubebuilder:printcolumn:name="Ready",type=integer,JSONPath=`.status.profiles.ready`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name != 'berth'",message="metadata.name is that of the built-in class, which has no object: choose another name"
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63 && !self.metadata.name.contains('.')",message="metadata.name becomes the value of a label: use at most 63 lower-case letters, digits and dashes"
type ProfileClass struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what profiles of the class get.
	// +optional
	// +kubebuilder:default={}
	Spec ProfileClassSpec `json:"spec,omitempty"`
	// status is how far the profiles of the class are.
	// +optional
	Status ProfileClassStatus `json:"status,omitempty"`
}

// ProfileClassList is a list of ProfileClasses.
//
// +kubebuilder:object:root=true
type ProfileClassList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ProfileClass `json:"items"`
}

// ProfileClassSpec is what profiles of a class get.
type ProfileClassSpec struct {
	// description says to people whom the class is for.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Description string `json:"description,omitempty"`

	// namespace has labels, annotations and Pod Security levels of the namespace.
	// +optional
	Namespace *NamespaceSettings `json:"namespace,omitempty"`
	// quota has defaults and ceilings of the namespace's ResourceQuota.
	// +optional
	Quota *QuotaSettings `json:"quota,omitempty"`
	// limitRange is kept as the LimitRange berth-limits: defaults for containers that ask for nothing, and how much one
	// container, pod or volume may ask for. Quantities of extended resources are named plainly here, such as
	// nvidia.com/gpu.
	// +optional
	LimitRange *corev1.LimitRangeSpec `json:"limitRange,omitempty"`
	// isolation keeps other tenants out.
	// +optional
	Isolation *Isolation `json:"isolation,omitempty"`
	// inferenceAccess lets the platform reach each InferenceService of the namespace through the mesh.
	// +optional
	InferenceAccess *InferenceAccess `json:"inferenceAccess,omitempty"`
	// roles are roles that contributors may have besides admin, edit and view.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Roles []Role `json:"roles,omitempty"`
	// serviceAccounts are settings of the ServiceAccounts of the namespace.
	// +optional
	ServiceAccounts *ServiceAccounts `json:"serviceAccounts,omitempty"`
	// credentials are secrets that External Secrets brings into the namespace.
	// +optional
	Credentials *Credentials `json:"credentials,omitempty"`
	// hooks are asked over HTTP what else belongs into the namespace.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Hooks []Hook `json:"hooks,omitempty"`
	// policies are rules for Profiles of the class, enforced by the API server.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Policies []Policy `json:"policies,omitempty"`
	// policyWebhook is asked by the API server about each change of a Profile of the class, for checks that need other
	// data than the Profile itself.
	// +optional
	PolicyWebhook *PolicyWebhook `json:"policyWebhook,omitempty"`
}

// ProfileClassStatus is how far the profiles of a class are.
type ProfileClassStatus struct {
	// observedGeneration is the generation of the class that the counts are about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// profiles counts the profiles of the class.
	// +optional
	Profiles ProfileCounts `json:"profiles,omitempty"`
	// conditions say what of the class works. Ready sums up the others.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ProfileCounts counts profiles per state.
type ProfileCounts struct {
	// total is how many profiles have the class.
	// +optional
	Total int32 `json:"total"`
	// ready is how many have all of its current generation in place.
	// +optional
	Ready int32 `json:"ready"`
	// updating is how many do not have its current generation yet.
	// +optional
	Updating int32 `json:"updating"`
	// failed is how many have its current generation and are not ready.
	// +optional
	Failed int32 `json:"failed"`
}

// Condition types of a ProfileClass.
const (
	// ConditionReady sums up the others.
	ConditionReady = "Ready"
	// ConditionPoliciesReady says whether all policies are enforced as written.
	ConditionPoliciesReady = "PoliciesReady"
	// ConditionQuotaUsable is False where pods that ask for nothing would be refused, as the class has a quota and its
	// LimitRange has no defaults for it.
	ConditionQuotaUsable = "QuotaUsable"
)

// Reasons of conditions of a ProfileClass.
const (
	// ReasonReady means that everything is as asked for.
	ReasonReady = "Ready"
	// ReasonPolicyInvalid means that the API server does not take a policy; its last good version stays in force.
	ReasonPolicyInvalid = "PolicyInvalid"
	// ReasonPolicyNotApplied means that a policy could not be written.
	ReasonPolicyNotApplied = "PolicyNotApplied"
	// ReasonQuotaWithoutDefaults means that a container without requests is refused for want of defaults.
	ReasonQuotaWithoutDefaults = "QuotaWithoutDefaults"
	// ReasonInUse means that the class is being deleted and profiles still have it.
	ReasonInUse = "InUse"
)
