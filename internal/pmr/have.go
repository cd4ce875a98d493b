// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/render"
)

// Have is what a cluster has.
type Have struct {
	// Profiles by name.
	Profiles map[string]*HaveProfile
	// Namespaces that no Profile has the name of. Only those of wanted profiles are looked at.
	Namespaces map[string]*corev1.Namespace
}

// HaveProfile is a profile that is there. Nothing changes its objects.
type HaveProfile struct {
	Profile *kubeflowv1.Profile
	// Namespace is nil as long as there is none.
	Namespace *corev1.Namespace
	// Bindings are the RoleBindings of the namespace that Concerns, and Policies the AuthorizationPolicies of contributors.
	Bindings []*rbacv1.RoleBinding
	Policies []metav1.Object
}

// Concerns says whether binding is a contributor's, or gives such a role to others besides those that every profile has:
// the latter are told of, and left alone.
func Concerns(binding *rbacv1.RoleBinding) bool {
	if render.IsContributorBinding(binding) {
		return true
	}
	standard := []string{render.OwnerBindingName, render.EditorName, render.ViewerName}
	return render.RoleShown(binding) != "" && !slices.Contains(standard, binding.Name)
}

// sync is the name of the sync whose own the profile is, or empty.
func (h *HaveProfile) sync() string { return h.Profile.Labels[berthv1alpha1.SyncLabel] }

// State is what a sync remembers of a profile, in an annotation of it.
type State struct {
	// Labels and Annotations are the keys that the list has set, so that exactly they are taken back.
	Labels      []string `json:"labels,omitempty"`
	Annotations []string `json:"annotations,omitempty"`
	// Admins are hashes of those whose role admin is approved.
	Admins []string `json:"admins,omitempty"`
	// Want is a hash of what was asked for when the profile was last in line, where drift is reported only.
	Want string `json:"want,omitempty"`
}

// StateOf is what is remembered of p. What can't be read is nothing: then admins are new, and labels nobody's.
func StateOf(p *kubeflowv1.Profile) State {
	var state State
	if json.Unmarshal([]byte(p.Annotations[berthv1alpha1.SyncStateAnnotation]), &state) != nil {
		return State{}
	}
	return state
}

// Encode is the annotation's value.
func (s State) Encode() string {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err) // it has strings only
	}
	return string(data)
}
