// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package rbac decides what Kubernetes' RBAC lets somebody do, as its API server would, and says by which binding. It
// works on a snapshot, so it also answers for clusters that are not there yet. Of the API server's authorizers it has
// RBAC and the group system:masters; nodes and webhooks it knows nothing of.
package rbac

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"berth.dev/berth/internal/identity"
	"berth.dev/berth/internal/snapshot"
)

// Kinds of what a Ref names.
const (
	KindRole               = "Role"
	KindClusterRole        = "ClusterRole"
	KindRoleBinding        = "RoleBinding"
	KindClusterRoleBinding = "ClusterRoleBinding"
)

// Ref names a role or a binding. The Namespace is empty for those of the whole cluster.
type Ref struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// String is such as "RoleBinding risk/default-editor".
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

func (r Ref) compare(other Ref) int {
	return cmp.Or(strings.Compare(r.Kind, other.Kind), strings.Compare(r.Namespace, other.Namespace), strings.Compare(r.Name, other.Name))
}

// Binding gives a role to subjects.
type Binding struct {
	Binding Ref `json:"binding"`
	Role    Ref `json:"role"`
	// Missing is set where there is no such role: the binding gives nothing until somebody makes one.
	Missing  bool             `json:"missing,omitempty"`
	Subjects []rbacv1.Subject `json:"subjects"`

	role  *role
	place int // in the order of all
}

// Authorizer answers questions about one snapshot. It never changes, and any number may ask it at once.
type Authorizer struct {
	roles    map[Ref]*role
	bindings []*Binding
	held     map[principal][]holding
	invalid  []Ref
}

// A principal is what a subject is compared by: the name of a user or of a group.
type principal struct {
	group bool
	name  string
}

// A holding is a binding that has the principal as a subject.
type holding struct {
	*Binding
	subject int
}

// New returns the Authorizer of s. What is there twice counts as both.
func New(s *snapshot.Snapshot) *Authorizer {
	a := &Authorizer{held: map[principal][]holding{}}
	a.roles, a.invalid = resolve(s.Roles, s.ClusterRoles)
	for _, b := range s.ClusterRoleBindings {
		a.bind(Ref{Kind: KindClusterRoleBinding, Name: b.Name}, b.RoleRef, b.Subjects)
	}
	for _, b := range s.RoleBindings {
		if b.Namespace != "" { // else it is no RoleBinding of any cluster, and must not pass for one of them all
			a.bind(Ref{Kind: KindRoleBinding, Namespace: b.Namespace, Name: b.Name}, b.RoleRef, b.Subjects)
		}
	}
	// Those of the whole cluster come first: their namespace is empty.
	slices.SortFunc(a.bindings, func(x, y *Binding) int {
		if c := cmp.Or(strings.Compare(x.Binding.Namespace, y.Binding.Namespace), strings.Compare(x.Binding.Name, y.Binding.Name)); c != 0 {
			return c
		}
		return strings.Compare(canonical(x), canonical(y))
	})
	for i, b := range a.bindings {
		b.place = i
		a.index(b)
	}
	return a
}

func (a *Authorizer) bind(ref Ref, to rbacv1.RoleRef, subjects []rbacv1.Subject) {
	b := &Binding{Binding: ref, Role: Ref{Kind: to.Kind, Name: to.Name}, Subjects: subjects}
	if to.Kind == KindRole {
		b.Role.Namespace = ref.Namespace
	}
	if to.Kind != KindRole || ref.Kind == KindRoleBinding { // a ClusterRoleBinding finds no Role
		b.role = a.roles[b.Role]
	}
	b.Missing = b.role == nil
	a.bindings = append(a.bindings, b)
}

// index adds b to what its subjects hold. Bindings have to come in order.
func (a *Authorizer) index(b *Binding) {
	for i, subject := range b.Subjects {
		p, ok := principalOf(subject, b.Binding.Namespace)
		if !ok {
			continue
		}
		held := a.held[p]
		if n := len(held); n > 0 && held[n-1].Binding == b {
			continue // named twice
		}
		a.held[p] = append(held, holding{b, i})
	}
}

// principalOf says whom subject means in a binding of that namespace. API groups are not compared, as Kubernetes does
// not. What has no name is nobody.
func principalOf(subject rbacv1.Subject, namespace string) (principal, bool) {
	if subject.Name == "" {
		return principal{}, false
	}
	switch subject.Kind {
	case rbacv1.UserKind:
		return principal{name: subject.Name}, true
	case rbacv1.GroupKind:
		return principal{group: true, name: subject.Name}, true
	case rbacv1.ServiceAccountKind:
		of := cmp.Or(subject.Namespace, namespace)
		return principal{name: serviceAccountPrefix + of + ":" + subject.Name}, of != ""
	}
	return principal{}, false
}

// subject is how p is written.
func (p principal) subject() rbacv1.Subject {
	if p.group {
		return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: p.name}
	}
	user := rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: p.name}
	if namespace, name, ok := identity.ServiceAccount(user); ok {
		return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}
	}
	return user
}

func comparePrincipals(p, q principal) int {
	if p.group != q.group {
		if q.group {
			return -1
		}
		return 1
	}
	return strings.Compare(p.name, q.name)
}

// Bindings are all there are: ClusterRoleBindings by name, then RoleBindings by namespace and name.
func (a *Authorizer) Bindings() []Binding {
	all := make([]Binding, 0, len(a.bindings))
	for _, b := range a.bindings {
		all = append(all, *b)
	}
	return all
}

// Subjects are all whom any binding names: users, with service accounts among them, and then groups, each by name.
func (a *Authorizer) Subjects() []rbacv1.Subject {
	var all []rbacv1.Subject
	for _, p := range a.principals() {
		all = append(all, p.subject())
	}
	return all
}

func (a *Authorizer) principals() []principal {
	all := make([]principal, 0, len(a.held))
	for p := range a.held {
		all = append(all, p)
	}
	slices.SortFunc(all, comparePrincipals)
	return all
}

// canonical orders what has the same name.
func canonical(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return "" // these are values that came from JSON
	}
	return string(text)
}
