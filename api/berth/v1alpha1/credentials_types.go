// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/runtime"
)

// Credentials are secrets that External Secrets brings into the namespace: a ServiceAccount by which it reads them, a
// SecretStore that says where they are, and ExternalSecrets. In the fields that say so, {{ .profile }} stands for the
// name of the profile.
//
// +kubebuilder:validation:XValidation:rule="has(self.vault) != has(self.provider)",message="name exactly one of vault and provider"
type Credentials struct {
	// vault is a store in Vault, read with the identity of the namespace's ServiceAccount berth-credentials.
	// +optional
	Vault *VaultStore `json:"vault,omitempty"`
	// provider is spec.provider of a SecretStore as External Secrets documents it, for other stores. Its texts may
	// contain {{ .profile }}.
	// +optional
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Provider *runtime.RawExtension `json:"provider,omitempty"`
	// serviceAccountAnnotations are annotations of the ServiceAccount berth-credentials, such as the cloud identity that
	// provider reads with. They may contain {{ .profile }}.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('berth.dev/'))",message="annotations under berth.dev/ can't be set here"
	ServiceAccountAnnotations map[string]string `json:"serviceAccountAnnotations,omitempty"`
	// operator is the ServiceAccount of External Secrets, which may ask for tokens of berth-credentials.
	// +optional
	// +kubebuilder:default={}
	Operator OperatorAccount `json:"operator,omitempty"`
	// secrets are kept as ExternalSecrets of these names.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Secrets []ExternalSecret `json:"secrets,omitempty"`
	// s3 is the profile's own key to an object store.
	// +optional
	S3 *S3Credentials `json:"s3,omitempty"`
	// pullSecret is the key to a registry, given to default-editor, default-viewer and the class's other ServiceAccounts.
	// +optional
	PullSecret *PullSecret `json:"pullSecret,omitempty"`
}

// OperatorAccount is the ServiceAccount of External Secrets.
type OperatorAccount struct {
	// namespace of the account.
	// +optional
	// +kubebuilder:default=external-secrets
	Namespace string `json:"namespace,omitempty"`
	// name of the account.
	// +optional
	// +kubebuilder:default=external-secrets
	Name string `json:"name,omitempty"`
}

// VaultStore is a store in Vault.
type VaultStore struct {
	// server is the address of Vault, such as https://vault.example.com:8200.
	// +required
	// +kubebuilder:validation:Pattern=`^https?://`
	// +kubebuilder:validation:MaxLength=1024
	Server string `json:"server"`
	// path is where the key-value engine is mounted, such as secret. It may contain {{ .profile }}.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Path string `json:"path"`
	// version of the key-value engine.
	// +optional
	// +kubebuilder:default=v2
	// +kubebuilder:validation:Enum=v1;v2
	Version string `json:"version,omitempty"`
	// namespace of Vault. It may contain {{ .profile }}.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Namespace string `json:"namespace,omitempty"`
	// mountPath is where Vault's Kubernetes authentication is mounted.
	// +optional
	// +kubebuilder:default=kubernetes
	// +kubebuilder:validation:MaxLength=512
	MountPath string `json:"mountPath,omitempty"`
	// role of Vault. It may contain {{ .profile }}, and should: whoever may make pods in the namespace can act as its
	// ServiceAccounts, so the role must not allow more than the profile may have.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Role string `json:"role"`
	// audiences of the tokens.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	Audiences []string `json:"audiences,omitempty"`
	// caBundle is the certificate authority of Vault, as PEM in base64.
	// +optional
	CABundle []byte `json:"caBundle,omitempty"`
}

// ExternalSecret is one secret and where its values come from.
type ExternalSecret struct {
	// name of the ExternalSecret, and of the Secret that it makes.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// type of the Secret.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Type string `json:"type,omitempty"`
	// refreshInterval is how often the values are read again, such as 1h.
	// +optional
	// +kubebuilder:default="1h"
	// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
	RefreshInterval string `json:"refreshInterval,omitempty"`
	// data are single values.
	// +optional
	// +listType=map
	// +listMapKey=secretKey
	// +kubebuilder:validation:MaxItems=64
	Data []SecretValue `json:"data,omitempty"`
	// extract takes all values of a remote key. It may contain {{ .profile }}.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Extract string `json:"extract,omitempty"`
}

// SecretValue is one value of a Secret.
type SecretValue struct {
	// secretKey is the key in the Secret.
	// +required
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-._a-zA-Z0-9]+$`
	SecretKey string `json:"secretKey"`
	// remoteKey is the key in the store. It may contain {{ .profile }}.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	RemoteKey string `json:"remoteKey"`
	// property of the remote key, where it holds several.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Property string `json:"property,omitempty"`
}

// S3Credentials are kept as the Secret berth-s3, with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and the bucket and
// prefix that the key is for.
type S3Credentials struct {
	// remoteKey holds the profile's own key, with the properties accessKeyId and secretAccessKey.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.contains('{{ .profile }}')",message="must contain {{ .profile }}: each profile has a key of its own"
	RemoteKey string `json:"remoteKey"`
	// bucket that the key is for.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Bucket string `json:"bucket"`
	// prefix that the key is for.
	// +optional
	// +kubebuilder:default="{{ .profile }}/"
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.contains('{{ .profile }}')",message="must contain {{ .profile }}: each profile has a prefix of its own"
	Prefix string `json:"prefix,omitempty"`
	// endpoint of the object store; that of AWS where it is left out.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Endpoint string `json:"endpoint,omitempty"`
	// region of the bucket.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Region string `json:"region,omitempty"`
}

// PullSecret is kept as the Secret berth-registry.
type PullSecret struct {
	// remoteKey holds the key to the registry as the text of a Docker configuration file. It may contain {{ .profile }}.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	RemoteKey string `json:"remoteKey"`
	// property of the remote key, where it holds several.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Property string `json:"property,omitempty"`
}
