// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Hook is a program of the platform's that is asked over HTTP what belongs into a profile's namespace. It speaks the
// protocol of Metacontroller's DecoratorController: it gets the Namespace as object and what is there of its
// attachments, and answers with the attachments, labels and annotations that are to be there.
type Hook struct {
	// name of the hook.
	// +required
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// sync is asked when something changes.
	// +required
	Sync HookEndpoint `json:"sync"`
	// finalize is asked when the profile is being deleted, until it answers with finalized: true.
	// +optional
	Finalize *HookEndpoint `json:"finalize,omitempty"`
	// finalizeTimeoutSeconds is how long a deletion waits for finalize at most.
	// +optional
	// +kubebuilder:default=300
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	FinalizeTimeoutSeconds int32 `json:"finalizeTimeoutSeconds,omitempty"`
	// attachments are the kinds that the hook may ask for. Others are refused, and so is whatever is not in the profile's
	// namespace. The controller needs the rights to write them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Attachments []HookAttachment `json:"attachments,omitempty"`
	// resyncPeriodSeconds is how often the hook is asked although nothing changed; never where it is 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	ResyncPeriodSeconds int32 `json:"resyncPeriodSeconds,omitempty"`
}

// HookEndpoint is where a hook listens.
type HookEndpoint struct {
	// url such as http://kubeflow-pipelines-profile-controller.kubeflow/sync.
	// +required
	// +kubebuilder:validation:Pattern=`^https?://`
	// +kubebuilder:validation:MaxLength=1024
	URL string `json:"url"`
	// timeoutSeconds is how long an answer may take.
	// +optional
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=60
	TimeoutSeconds int32 `json:"timeoutSeconds,omitempty"`
	// caBundle is the certificate authority of the hook, as PEM in base64; the system's where it is left out.
	// +optional
	CABundle []byte `json:"caBundle,omitempty"`
}

// UpdateMethod says what becomes of an attachment that is to be different.
// +kubebuilder:validation:Enum=OnDelete;Recreate;InPlace;RollingRecreate;RollingInPlace
type UpdateMethod string

const (
	// OnDelete leaves it until somebody deletes it.
	OnDelete UpdateMethod = "OnDelete"
	// Recreate deletes it and makes it anew.
	Recreate UpdateMethod = "Recreate"
	// InPlace changes it.
	InPlace UpdateMethod = "InPlace"
	// RollingRecreate is Recreate, one object of the hook at a time.
	RollingRecreate UpdateMethod = "RollingRecreate"
	// RollingInPlace is InPlace, one object of the hook at a time.
	RollingInPlace UpdateMethod = "RollingInPlace"
)

// HookAttachment is a kind that a hook may ask for.
type HookAttachment struct {
	// apiVersion such as apps/v1.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	APIVersion string `json:"apiVersion"`
	// resource is the kind's plural name in lower case, such as deployments.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Resource string `json:"resource"`
	// updateStrategy says what becomes of objects that are to be different.
	// +optional
	// +kubebuilder:default={}
	UpdateStrategy UpdateStrategy `json:"updateStrategy,omitempty"`
}

// UpdateStrategy says what becomes of objects that are to be different.
type UpdateStrategy struct {
	// method says how.
	// +optional
	// +kubebuilder:default=OnDelete
	Method UpdateMethod `json:"method,omitempty"`
}
