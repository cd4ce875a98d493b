// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// InferenceAccess lets the platform reach each InferenceService: a policy of the mesh for each.
type InferenceAccess struct {
	// gateway lets the ingress gateway in, and with it everybody whom the gateway lets through.
	// +optional
	// +kubebuilder:default=true
	Gateway *bool `json:"gateway,omitempty"`
	// activator lets Knative's activator and its local gateway in, which stand before services that scale to zero.
	// +optional
	// +kubebuilder:default=true
	Activator *bool `json:"activator,omitempty"`
	// callers are mesh identities that may call, without the scheme spiffe://.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:Pattern=`^[^*]+$`
	Callers []string `json:"callers,omitempty"`
	// callerNamespaces are namespaces whose workloads may call.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	CallerNamespaces []string `json:"callerNamespaces,omitempty"`
	// methods and paths that may be called; all where they are left out.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	Methods []string `json:"methods,omitempty"`
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	Paths []string `json:"paths,omitempty"`
}

// Role is a role that contributors may have.
//
// +kubebuilder:validation:XValidation:rule="!(self.name in ['admin', 'edit', 'view'])",message="admin, edit and view are roles of every class: choose another name"
type Role struct {
	// name of the role, as given to the access-management API.
	// +required
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// clusterRole is bound in the namespace. The controller and the access-management API need the right to bind it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ClusterRole string `json:"clusterRole"`
	// mesh is what the role may do through the mesh: each entry allows its methods on its paths. Without any entry, all.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Mesh []MeshOperation `json:"mesh,omitempty"`
	// description says to people what the role is for.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Description string `json:"description,omitempty"`
}

// MeshOperation is methods on paths.
type MeshOperation struct {
	// methods such as GET; all where they are left out.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	Methods []string `json:"methods,omitempty"`
	// paths such as /notebook/*; all where they are left out. A star at the beginning or the end stands for anything.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	Paths []string `json:"paths,omitempty"`
}

// ServiceAccounts are settings of the namespace's ServiceAccounts.
type ServiceAccounts struct {
	// defaultEditor is about default-editor, under which the team's notebooks, pipelines and models run.
	// +optional
	DefaultEditor *ServiceAccountSettings `json:"defaultEditor,omitempty"`
	// defaultViewer is about default-viewer.
	// +optional
	DefaultViewer *ServiceAccountSettings `json:"defaultViewer,omitempty"`
	// additional ServiceAccounts.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(a, !(a.name in ['default', 'default-editor', 'default-viewer', 'berth-credentials']))",message="default, default-editor, default-viewer and berth-credentials are there already: choose another name"
	Additional []AdditionalServiceAccount `json:"additional,omitempty"`
}

// ServiceAccountSettings are settings of a ServiceAccount. What others set besides stays.
type ServiceAccountSettings struct {
	// imagePullSecrets are names of secrets in the namespace with which images are pulled.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	ImagePullSecrets []string `json:"imagePullSecrets,omitempty"`
	// automountServiceAccountToken says whether pods get a token of the account by themselves.
	// +optional
	AutomountServiceAccountToken *bool `json:"automountServiceAccountToken,omitempty"`
	// annotations of the account.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('berth.dev/'))",message="annotations under berth.dev/ can't be set here"
	Annotations map[string]string `json:"annotations,omitempty"`
}

// AdditionalServiceAccount is one more ServiceAccount.
type AdditionalServiceAccount struct {
	ServiceAccountSettings `json:",inline"`

	// name of the ServiceAccount.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// clusterRole is bound to the account in the namespace; none where it is left out. The controller needs the right to
	// bind it.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ClusterRole string `json:"clusterRole,omitempty"`
}
