// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"berth.dev/berth/internal/identity"
)

// Question is whether somebody may do something. Nothing in it is a pattern: the resource "*" is the resource of that
// name.
type Question struct {
	Verb string `json:"verb"`
	// Group is the API group, empty for the core's.
	Group       string `json:"group,omitempty"`
	Resource    string `json:"resource,omitempty"`
	Subresource string `json:"subresource,omitempty"`
	// Name is the object's; empty for all of them, and for those that have no name yet.
	Name string `json:"name,omitempty"`
	// Namespace is empty for all of them at once, and for resources that have none.
	Namespace string `json:"namespace,omitempty"`
	// Path is a path of the API server that is no resource, such as /metrics. The other fields but Verb are empty then.
	Path string `json:"path,omitempty"`
}

// String is such as "get pods/log in risk".
func (q Question) String() string {
	if q.Path != "" {
		return q.Verb + " " + q.Path
	}
	text := q.Verb + " " + q.resource()
	if q.Group != "" {
		text += "." + q.Group
	}
	if q.Name != "" {
		text += " " + q.Name
	}
	if q.Namespace != "" {
		text += " in " + q.Namespace
	}
	return text
}

// resource is the resource as rules write it.
func (q Question) resource() string {
	if q.Subresource == "" {
		return q.Resource
	}
	return q.Resource + "/" + q.Subresource
}

// Allow says whether whoever has rules in the namespace of q, or everywhere, may do it.
func Allow(rules []rbacv1.PolicyRule, q Question) bool {
	_, found := newRole(0, rulesFrom(Ref{}, rules)).answers(&q)
	return found
}

// answers finds the first rule of r that allows q.
func (r *role) answers(q *Question) (rule int, found bool) {
	if q.Path != "" {
		return r.first(r.urls, func(p *rbacv1.PolicyRule) bool {
			return coversPath(p.NonResourceURLs, q.Path) && names(p.Verbs, q.Verb)
		})
	}
	allows := func(p *rbacv1.PolicyRule) bool {
		return names(p.Verbs, q.Verb) && names(p.APIGroups, q.Group) &&
			(len(p.ResourceNames) == 0 || slices.Contains(p.ResourceNames, q.Name))
	}
	lists := [...][]int{r.byResource[all], r.byResource[q.resource()], nil}
	if q.Subresource != "" {
		lists[2] = r.byResource["*/"+q.Subresource]
	}
	for _, list := range lists {
		if i, ok := r.first(list, allows); ok && (!found || i < rule) {
			rule, found = i, true
		}
	}
	return rule, found
}

func (r *role) first(list []int, allows func(*rbacv1.PolicyRule) bool) (int, bool) {
	for _, i := range list {
		if allows(&r.rules[i].Policy) {
			return i, true
		}
	}
	return 0, false
}

// all is each verb, group, resource or path.
const all = "*"

func names(list []string, name string) bool {
	for _, s := range list {
		if s == all || s == name {
			return true
		}
	}
	return false
}

func coversPath(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		return pattern == path || strings.HasSuffix(pattern, all) && strings.HasPrefix(path, strings.TrimRight(pattern, all))
	})
}

// User is who asks, with exactly the groups that the API server knows them by. See SignedIn.
type User struct {
	Name   string
	Groups []string
}

// Groups that the API server gives by itself.
const (
	GroupAuthenticated   = "system:authenticated"
	GroupUnauthenticated = "system:unauthenticated"
	GroupServiceAccounts = "system:serviceaccounts"
	// GroupMasters may do everything, whatever RBAC says.
	GroupMasters = "system:masters"

	anonymous            = "system:anonymous"
	serviceAccountPrefix = "system:serviceaccount:"
)

// SignedIn is the user of that name, with the groups that an identity provider named and those that the API server adds:
// system:authenticated for everybody, and those of its namespace for a service account, which is called
// system:serviceaccount:NAMESPACE:NAME. Without a name, it is system:anonymous.
func SignedIn(name string, groups ...string) User {
	if name == "" || name == anonymous {
		return User{Name: anonymous, Groups: []string{GroupUnauthenticated}}
	}
	groups = append(slices.Clip(slices.Clone(groups)), GroupAuthenticated)
	if namespace, _, ok := identity.ServiceAccount(rbacv1.Subject{Kind: rbacv1.UserKind, Name: name}); ok {
		groups = append(groups, GroupServiceAccounts, GroupServiceAccounts+":"+namespace)
	}
	slices.Sort(groups)
	return User{Name: name, Groups: slices.Compact(groups)}
}

// Of is who a subject of Subjects is: a user or service account that has signed in, or the members of a group, of whom
// nothing else is known.
func Of(subject rbacv1.Subject) User {
	p, ok := principalOf(subject, "")
	switch {
	case !ok:
		return User{}
	case p.group:
		return User{Groups: []string{p.name}}
	}
	return SignedIn(p.name)
}

// principals are what u is compared by: the user first, then the groups by name.
func (u User) principals() []principal {
	all := make([]principal, 0, 1+len(u.Groups))
	if u.Name != "" {
		all = append(all, principal{name: u.Name})
	}
	for _, group := range u.Groups {
		if group != "" {
			all = append(all, principal{group: true, name: group})
		}
	}
	if !slices.IsSortedFunc(all, comparePrincipals) {
		slices.SortFunc(all, comparePrincipals)
	}
	return slices.Compact(all)
}

func (u User) isMaster() bool { return slices.Contains(u.Groups, GroupMasters) }
