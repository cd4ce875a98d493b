// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// With is s as it would be if the objects of change were applied: each takes the place of the one of its kind, namespace
// and name. Neither s nor change is altered.
func (s *Snapshot) With(change *Snapshot) *Snapshot {
	return s.combined(change, true)
}

// Without is s as it would be if the objects that change names were deleted.
func (s *Snapshot) Without(change *Snapshot) *Snapshot {
	return s.combined(change, false)
}

func (s *Snapshot) combined(change *Snapshot, keep bool) *Snapshot {
	out := &Snapshot{
		Namespaces:             combine(s.Namespaces, change.Namespaces, keep),
		ServiceAccounts:        combine(s.ServiceAccounts, change.ServiceAccounts, keep),
		Pods:                   combine(s.Pods, change.Pods, keep),
		Services:               combine(s.Services, change.Services, keep),
		Roles:                  combine(s.Roles, change.Roles, keep),
		RoleBindings:           combine(s.RoleBindings, change.RoleBindings, keep),
		ClusterRoles:           combine(s.ClusterRoles, change.ClusterRoles, keep),
		ClusterRoleBindings:    combine(s.ClusterRoleBindings, change.ClusterRoleBindings, keep),
		AuthorizationPolicies:  combine(s.AuthorizationPolicies, change.AuthorizationPolicies, keep),
		RequestAuthentications: combine(s.RequestAuthentications, change.RequestAuthentications, keep),
		PeerAuthentications:    combine(s.PeerAuthentications, change.PeerAuthentications, keep),
		VirtualServices:        combine(s.VirtualServices, change.VirtualServices, keep),
		IngressGateways:        combine(s.IngressGateways, change.IngressGateways, keep),
		Profiles:               combine(s.Profiles, change.Profiles, keep),
		Mesh:                   s.Mesh, meshFrom: s.meshFrom,
	}
	if change.meshFrom != "" && keep {
		out.Mesh, out.meshFrom = change.Mesh, change.meshFrom
	}
	out.Gateways = slices.DeleteFunc(slices.Clone(s.Gateways), func(g Gateway) bool {
		return slices.ContainsFunc(change.Gateways, func(other Gateway) bool { return g.Namespace == other.Namespace && g.Name == other.Name })
	})
	if keep {
		out.Gateways = append(out.Gateways, change.Gateways...)
	}
	for _, r := range slices.Concat(s.Resources, change.Resources) {
		out.putResource(r)
	}
	out.Sort()
	return out
}

// combine is list without the objects that have the names of some in change, and, if keep is set, with those.
func combine[T metav1.Object](list, change []T, keep bool) []T {
	type name struct{ namespace, name string }
	named := make(map[name]bool, len(change))
	for _, object := range change {
		named[name{object.GetNamespace(), object.GetName()}] = true
	}
	out := slices.DeleteFunc(slices.Clone(list), func(object T) bool { return named[name{object.GetNamespace(), object.GetName()}] })
	if keep {
		out = append(out, change...)
	}
	return out
}
