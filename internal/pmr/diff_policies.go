// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"cmp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/identity"
	"berth.dev/berth/internal/render"
)

// pairedPolicies has actions remove the AuthorizationPolicies of the bindings that they remove, and returns the names of
// all that have a binding. Those that Berth made, its controller removes by itself.
func pairedPolicies(h *HaveProfile, actions []Action) map[string]bool {
	foreign := make(map[string]bool, len(h.Policies))
	for _, policy := range h.Policies {
		if render.IsContributorPolicy(policy) && !render.IsOurs(policy, h.Profile) {
			foreign[policy.GetName()] = true
		}
	}
	if len(foreign) == 0 {
		return nil // nothing is asked of it
	}
	for i := range actions {
		for _, binding := range actions[i].Bindings {
			if name := render.ContributorPolicyName(binding.Name); foreign[name] {
				actions[i].Policies = append(actions[i].Policies, name)
			}
		}
	}
	paired := make(map[string]bool, len(h.Bindings))
	for _, binding := range h.Bindings {
		if render.IsContributorBinding(binding) {
			paired[render.ContributorPolicyName(binding.Name)] = true
		}
	}
	return paired
}

// strayPolicies plans to remove AuthorizationPolicies that let somebody in whom no RoleBinding names and the list does
// not have.
func (d *differ) strayPolicies(w *WantProfile, h *HaveProfile, wanted map[grantKey]Grant, paired map[string]bool) {
	byName := func(a, b metav1.Object) int { return cmp.Compare(a.GetName(), b.GetName()) }
	for _, policy := range slices.SortedFunc(slices.Values(h.Policies), byName) {
		if !render.IsContributorPolicy(policy) || paired[policy.GetName()] || render.IsOurs(policy, h.Profile) {
			continue
		}
		name, role := policy.GetAnnotations()[kubeflowv1.UserAnnotation], strings.ToLower(policy.GetAnnotations()[kubeflowv1.RoleAnnotation])
		subject := user(name)
		if _, listed := wanted[grantKey{identity.Key(subject), role}]; listed || identity.Key(subject) == identity.Key(w.Owner) {
			continue
		}
		d.add(Action{
			Type: RemoveContributor, Profile: w.Name, Subject: &subject, Role: role, From: "AuthorizationPolicy " + policy.GetName(), Risk: HighRisk,
			Reason: "is not listed, and is let in through the mesh", Position: &w.Source, Policies: []string{policy.GetName()},
		})
	}
}
