// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
)

// PolicyAction says what becomes of a Profile that breaks a rule.
// +kubebuilder:validation:Enum=Audit;Deny
type PolicyAction string

const (
	// Audit lets it in, with a warning to whoever writes it and a note in the API server's audit log.
	Audit PolicyAction = "Audit"
	// Deny refuses it.
	Deny PolicyAction = "Deny"
)

// Policy is a rule for Profiles of the class. The API server checks it when a Profile is created, and when its labels,
// annotations or spec change.
type Policy struct {
	// name of the rule.
	// +required
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// expression in CEL that is true of Profiles that keep the rule. It knows object, oldObject, request, authorizer and,
	// for short, variables.labels, variables.annotations and variables.owner (the owner's name).
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Expression string `json:"expression"`
	// message says to whoever breaks the rule what to do.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message"`
	// action says what becomes of a Profile that breaks the rule. Begin with Audit, and deny when nothing is reported
	// any more that should pass.
	// +optional
	// +kubebuilder:default=Audit
	Action PolicyAction `json:"action,omitempty"`
}

// PolicyWebhook is an admission webhook for Profiles of the class: it gets an AdmissionReview and answers it.
type PolicyWebhook struct {
	// clientConfig is where the webhook listens.
	// +required
	ClientConfig admissionregistrationv1.WebhookClientConfig `json:"clientConfig"`
	// failurePolicy says what becomes of a change when the webhook can't be asked: Fail refuses it, Ignore lets it in.
	// +optional
	// +kubebuilder:default=Fail
	// +kubebuilder:validation:Enum=Fail;Ignore
	FailurePolicy admissionregistrationv1.FailurePolicyType `json:"failurePolicy,omitempty"`
	// timeoutSeconds is how long an answer may take.
	// +optional
	// +kubebuilder:default=5
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=30
	TimeoutSeconds int32 `json:"timeoutSeconds,omitempty"`
}
