// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"cmp"
	"encoding/json"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/identity"
	"berth.dev/berth/internal/render"
)

// row is one entry of the list of bindings.
type row struct {
	// user and role are the annotations that clients filter by.
	user, role string
	// key tells whose access it is.
	key string
	// json is the entry as it is sent. It is encoded when the binding changes, not when it is read.
	json []byte
}

// listed is an entry of the list of bindings.
type listed struct {
	User              listedUser `json:"user"`
	ReferredNamespace string     `json:"referredNamespace"`
	RoleRef           roleRef    `json:"RoleRef"`
}

type listedUser struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Namespace is there for ServiceAccounts only, whose names alone say nothing.
	Namespace string `json:"namespace,omitempty"`
}

type roleRef struct {
	APIGroup string `json:"apiGroup"`
	Kind     string `json:"kind"`
	Name     string `json:"name"`
}

// rowsOf are the entries of the bindings that have the two annotations, the owner's included: one for each subject,
// sorted by role, then by name.
func rowsOf(bindings map[string]*rbacv1.RoleBinding) []row {
	type entry struct {
		listed

		user, role string
	}
	var entries []entry
	for _, binding := range bindings {
		user, hasUser := binding.Annotations[kubeflowv1.UserAnnotation]
		role, hasRole := binding.Annotations[kubeflowv1.RoleAnnotation]
		if !hasUser || !hasRole {
			continue
		}
		for _, subject := range binding.Subjects {
			entries = append(entries, entry{user: user, role: role, listed: listed{
				User:              listedUser{Kind: subject.Kind, Name: subject.Name, Namespace: subject.Namespace},
				ReferredNamespace: binding.Namespace,
				RoleRef:           roleRef{Kind: binding.RoleRef.Kind, Name: render.RoleShown(binding)},
			}})
		}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(
			cmp.Compare(rank(a.RoleRef.Name), rank(b.RoleRef.Name)),
			cmp.Compare(a.User.Kind, b.User.Kind), cmp.Compare(a.User.Name, b.User.Name),
			cmp.Compare(a.User.Namespace, b.User.Namespace), cmp.Compare(a.RoleRef.Kind, b.RoleRef.Kind),
			cmp.Compare(a.user, b.user), cmp.Compare(a.role, b.role))
	})
	rows := make([]row, 0, len(entries))
	for _, entry := range slices.Compact(entries) {
		encoded, err := json.Marshal(entry.listed)
		if err != nil {
			continue // strings always can be encoded
		}
		key := identity.Key(rbacv1.Subject{Kind: entry.User.Kind, Name: entry.User.Name, Namespace: entry.User.Namespace})
		rows = append(rows, row{user: entry.user, role: entry.role, key: key, json: encoded})
	}
	return rows
}

// rank is the place of a role in a list: the most powerful first, unknown ones last.
func rank(role string) int {
	if i := slices.Index(render.Roles, role); i >= 0 {
		return i
	}
	return len(render.Roles)
}

// version is the newest resource version that was seen.
type version string

// advance takes note of a version.
func (v *version) advance(seen string) {
	if !v.includes(seen) {
		*v = version(seen)
	}
}

// includes says whether v is as new as other. What can't be compared counts as included: waiting would never end.
func (v version) includes(other string) bool {
	if v == "" {
		return other == ""
	}
	order, err := resourceversion.CompareResourceVersion(string(v), other)
	return err != nil || order >= 0
}
