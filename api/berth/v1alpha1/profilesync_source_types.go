// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

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
	Timeout metav1.Duration `json:"timeout,omitzero"`
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
