// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"cmp"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/identity"
)

// Difference is what a change means for who can do what.
type Difference struct {
	// Changes are by namespace, then by whom they are about.
	Changes []Change `json:"changes"`
	// Notes say what was not compared.
	Notes []string `json:"notes,omitempty"`
}

// Outsiders are the changes by which somebody gains access to a tenant's namespace who does not belong there.
func (d Difference) Outsiders() []Change {
	return slices.DeleteFunc(slices.Clone(d.Changes), func(c Change) bool { return !c.Outsider || len(c.Gains) == 0 })
}

// Change is what one subject gains and loses in one namespace.
type Change struct {
	// Namespace is empty for the whole cluster.
	Namespace string `json:"namespace,omitempty"`
	// Layer is RBAC or mesh.
	Layer string `json:"layer"`
	// Who is the subject: of RBAC a user, group or service account, of the mesh also kinds of callers.
	Who   string   `json:"who"`
	Gains []string `json:"gains,omitempty"`
	Loses []string `json:"loses,omitempty"`
	// By are the bindings or rules that give what is gained.
	By []string `json:"by,omitempty"`
	// Outsider is set for whoever does not belong to the tenant whose namespace it is: is neither its owner, nor a
	// contributor, nor one of its service accounts.
	Outsider bool `json:"outsider,omitempty"`
}

// Layers of a Change.
const (
	layerRBAC = "RBAC"
	layerMesh = "mesh"
)

// Diff compares who can do what before and after a change.
func Diff(before, after *Engine) Difference {
	d := Difference{Changes: diffRBAC(before, after)}
	changes, notes := diffMesh(before, after)
	d.Changes, d.Notes = append(d.Changes, changes...), notes
	slices.SortStableFunc(d.Changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(b.Layer, a.Layer), cmp.Compare(a.Who, b.Who))
	})
	return d
}

// members are who belongs to the tenant of a namespace: its owner and its contributors.
func (e *Engine) members(namespace string) map[string]bool {
	keys := map[string]bool{}
	for _, p := range e.snapshot.Profiles {
		if p.Name == namespace {
			keys[identity.Key(p.Spec.Owner)] = true
		}
	}
	for _, b := range e.bindingsIn[namespace] {
		_, user := b.Annotations[kubeflowv1.UserAnnotation]
		_, role := b.Annotations[kubeflowv1.RoleAnnotation]
		if !user || !role {
			continue
		}
		for _, s := range b.Subjects {
			keys[identity.Key(s)] = true
		}
	}
	return keys
}

// isTenant says whether a namespace is a profile's; where nothing is known of profiles, whether it may be one.
func (e *Engine) isTenant(namespace string) bool {
	if len(e.snapshot.Profiles) == 0 {
		return namespace != "" && namespace != e.snapshot.Mesh.RootNamespace && namespace != "kubeflow" && !strings.HasPrefix(namespace, "kube-")
	}
	return slices.ContainsFunc(e.snapshot.Profiles, func(p *kubeflowv1.Profile) bool { return p.Name == namespace })
}

// isOutsider says whether a subject does not belong to the tenant of namespace. What the platform runs in namespaces that
// are no tenant's belongs everywhere.
func (e *Engine) isOutsider(subject rbacv1.Subject, namespace string) bool {
	if !e.isTenant(namespace) || e.members(namespace)[identity.Key(subject)] {
		return false
	}
	if of, _, ok := identity.ServiceAccount(subject); ok {
		return of != namespace && e.isTenant(of)
	}
	return subject.Name != rbac.GroupMasters
}
