// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package v1beta1 is the kubeflow.org/v1beta1 API: the same Profile as v1, for clients that still use it.
//
// +kubebuilder:object:generate=true
// +groupName=kubeflow.org
package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

var (
	// GroupVersion is the group and version of this package.
	GroupVersion = schema.GroupVersion{Group: "kubeflow.org", Version: "v1beta1"}

	// AddToScheme registers the kinds of this package.
	AddToScheme = func(s *runtime.Scheme) error {
		s.AddKnownTypes(GroupVersion, &Profile{}, &ProfileList{})
		metav1.AddToGroupVersion(s, GroupVersion)
		return nil
	}
)

// Profile gives one team its own namespace of the same name, with the owner in it, access for the owner and the
// people invited, and a budget.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster
// +kubebuilder:subresource:status
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
	Spec kubeflowv1.ProfileSpec `json:"spec,omitempty"`
	// status is what the controller last saw and did.
	// +optional
	Status kubeflowv1.ProfileStatus `json:"status,omitempty"`
}

// ProfileList is a list of Profiles.
//
// +kubebuilder:object:root=true
type ProfileList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Profile `json:"items"`
}
