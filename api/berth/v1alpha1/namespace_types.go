// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// NamespaceSettings are labels and annotations of the namespace. What is taken out of them is taken off the namespaces.
type NamespaceSettings struct {
	// labels of the namespace, over those of the controller's namespace labels file.
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(s, !s.key.startsWith('berth.dev/') && !s.key.startsWith('pod-security.kubernetes.io/') && s.key != 'kubernetes.io/metadata.name')",message="labels under berth.dev/ and kubernetes.io/metadata.name can't be set here, and those under pod-security.kubernetes.io/ are set by podSecurity"
	// +kubebuilder:validation:XValidation:rule="self.all(s, !has(s.value) || !format.labelValue().validate(s.value).hasValue())",message="the value of a label has at most 63 letters, digits, dashes, underscores and dots"
	Labels []Setting `json:"labels,omitempty"`
	// annotations of the namespace.
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(s, !s.key.startsWith('berth.dev/') && s.key != 'owner' && s.key != 'kubeflow-resource-management/owner')",message="annotations under berth.dev/ and those that name the owner can't be set here"
	Annotations []Setting `json:"annotations,omitempty"`
	// podSecurity are the levels of the Pod Security Standards.
	// +optional
	PodSecurity *PodSecurity `json:"podSecurity,omitempty"`
}

// SettingPolicy says what becomes of a value that is there already.
// +kubebuilder:validation:Enum=Authoritative;IfAbsent
type SettingPolicy string

const (
	// Authoritative puts the value in place of any other.
	Authoritative SettingPolicy = "Authoritative"
	// IfAbsent sets the value where there is none, and leaves any other.
	IfAbsent SettingPolicy = "IfAbsent"
)

// Setting is one label or annotation.
type Setting struct {
	// key of the label or annotation.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="!format.qualifiedName().validate(self).hasValue()",message="must be the key of a label, such as example.com/team"
	Key string `json:"key"`
	// value of the label or annotation.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Value string `json:"value,omitempty"`
	// policy says what becomes of a value that is there already.
	// +optional
	// +kubebuilder:default=Authoritative
	Policy SettingPolicy `json:"policy,omitempty"`
}

// PodSecurityLevel is a level of the Pod Security Standards.
// +kubebuilder:validation:Enum=privileged;baseline;restricted
type PodSecurityLevel string

// PodSecurity are the levels of the Pod Security Standards in the namespace.
type PodSecurity struct {
	// enforce is the level that pods must meet.
	// +optional
	Enforce PodSecurityLevel `json:"enforce,omitempty"`
	// audit is the level whose violations are recorded.
	// +optional
	Audit PodSecurityLevel `json:"audit,omitempty"`
	// warn is the level whose violations are told to whoever made them.
	// +optional
	Warn PodSecurityLevel `json:"warn,omitempty"`
	// version of the standards, such as v1.36, or latest.
	// +optional
	// +kubebuilder:validation:Pattern=`^(latest|v[0-9]+\.[0-9]+)$`
	Version string `json:"version,omitempty"`
}

// ResourceName is the name of a resource as in a ResourceQuota.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=317
type ResourceName string

// QuotaSettings are about the one ResourceQuota of the namespace.
//
// +kubebuilder:validation:XValidation:rule="!has(self.required) || self.required.all(k, !k.contains('/') || k.startsWith('requests.') || k.startsWith('count/') || k.contains('.storageclass.storage.k8s.io/') || k.contains('.deviceclass.resource.k8s.io/'))",messageExpression="'required names an extended resource without requests., which Kubernetes would not count: write requests.' + self.required.filter(k, k.contains('/') && !k.startsWith('requests.') && !k.startsWith('count/'))[0]"
type QuotaSettings struct {
	// default is the quota of profiles that ask for none.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.contains('/') || k.startsWith('requests.') || k.startsWith('count/') || k.contains('.storageclass.storage.k8s.io/') || k.contains('.deviceclass.resource.k8s.io/'))",messageExpression="'an extended resource is counted only under requests.: write requests.' + self.map(k, k).filter(k, k.contains('/') && !k.startsWith('requests.') && !k.startsWith('count/'))[0]"
	Default map[corev1.ResourceName]kubeflowv1.Quantity `json:"default,omitempty"`
	// max is the most that a profile may have of each resource. A profile that does not name one has this much of it.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.contains('/') || k.startsWith('requests.') || k.startsWith('count/') || k.contains('.storageclass.storage.k8s.io/') || k.contains('.deviceclass.resource.k8s.io/'))",messageExpression="'an extended resource is counted only under requests.: write requests.' + self.map(k, k).filter(k, k.contains('/') && !k.startsWith('requests.') && !k.startsWith('count/'))[0]"
	Max map[corev1.ResourceName]kubeflowv1.Quantity `json:"max,omitempty"`
	// required are resources that a profile which asks for a quota must name.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Required []ResourceName `json:"required,omitempty"`
}
