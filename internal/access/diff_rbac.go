// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/identity"
)

// diffRBAC compares what each subject may do in each namespace.
func diffRBAC(before, after *Engine) []Change {
	changed := changedRoles(before.rbac, after.rbac)
	subjects := map[string]rbacv1.Subject{}
	for _, s := range slices.Concat(before.rbac.Subjects(), after.rbac.Subjects()) {
		subjects[s.Kind+identity.Key(s)] = s
	}
	var changes []Change
	for _, key := range slices.Sorted(maps.Keys(subjects)) {
		s := subjects[key]
		was, is := scoped(before.rbac, s), scoped(after.rbac, s)
		scopes := map[string]bool{}
		for scope := range was {
			scopes[scope] = true
		}
		for scope := range is {
			scopes[scope] = true
		}
		for _, scope := range slices.Sorted(maps.Keys(scopes)) {
			if slices.Equal(was[scope].roles(), is[scope].roles()) && !slices.ContainsFunc(is[scope].roles(), func(r rbac.Ref) bool { return changed[r] }) {
				continue
			}
			if c, differs := compared(s, scope, was, is); differs {
				c.Outsider = after.isOutsider(s, scope) || scope == "" && after.isPerson(s)
				changes = append(changes, c)
			}
		}
	}
	return changes
}

// isPerson says whether a subject is none of the platform's service accounts or groups: whoever gains something everywhere
// gains it in namespaces of tenants.
func (e *Engine) isPerson(s rbacv1.Subject) bool {
	if namespace, _, ok := identity.ServiceAccount(s); ok {
		return e.isTenant(namespace)
	}
	return s.Name != rbac.GroupMasters
}

// changedRoles are the roles whose rules differ.
func changedRoles(before, after *rbac.Authorizer) map[rbac.Ref]bool {
	changed := map[rbac.Ref]bool{}
	for _, role := range slices.Concat(before.Roles(), after.Roles()) {
		was, _ := before.Rules(role)
		is, _ := after.Rules(role)
		if !equality.Semantic.DeepEqual(rbac.Policies(was), rbac.Policies(is)) {
			changed[role] = true
		}
	}
	return changed
}

// holdings are what a subject has in one namespace.
type holdings struct {
	held  []rbac.Holding
	rules []rbacv1.PolicyRule
}

// roles are their roles, sorted and each once.
func (h *holdings) roles() []rbac.Ref {
	if h == nil {
		return nil
	}
	var refs []rbac.Ref
	for _, held := range h.held {
		refs = append(refs, held.Role)
	}
	slices.SortFunc(refs, func(a, b rbac.Ref) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(refs)
}

// scoped is what a subject has, by namespace; with an empty one what it has everywhere. A user's groups are subjects of
// their own.
func scoped(a *rbac.Authorizer, s rbacv1.Subject) map[string]*holdings {
	user := rbac.Of(s)
	if s.Kind != rbacv1.GroupKind {
		user.Groups = nil
	}
	found := map[string]*holdings{}
	for _, h := range a.Holds(user) {
		in := found[h.Binding.Namespace]
		if in == nil {
			in = &holdings{}
			found[h.Binding.Namespace] = in
		}
		rules, _ := a.Rules(h.Role)
		in.held, in.rules = append(in.held, h), append(in.rules, rbac.Policies(rules)...)
	}
	return found
}

// compared is what s gains and loses in a namespace. What it has everywhere, it has there too.
func compared(s rbacv1.Subject, scope string, was, is map[string]*holdings) (Change, bool) {
	rules := func(of map[string]*holdings) []rbacv1.PolicyRule {
		var all []rbacv1.PolicyRule
		for _, in := range slices.Compact([]string{"", scope}) {
			if of[in] != nil {
				all = append(all, of[in].rules...)
			}
		}
		return all
	}
	own := func(of map[string]*holdings) []rbacv1.PolicyRule {
		if of[scope] == nil {
			return nil
		}
		return of[scope].rules
	}
	c := Change{Namespace: scope, Layer: layerRBAC, Who: whoText(s), Gains: beyond(rules(was), own(is)), Loses: beyond(rules(is), own(was))}
	if len(c.Gains) > 0 {
		for _, h := range is[scope].held {
			if was[scope] == nil || !slices.ContainsFunc(was[scope].held, func(other rbac.Holding) bool { return other.Binding == h.Binding }) {
				c.By = append(c.By, h.Binding.String())
			}
		}
		if len(c.By) == 0 { // the binding was there, and its role has more in it
			for _, h := range is[scope].held {
				c.By = append(c.By, h.Role.String())
			}
		}
		slices.Sort(c.By)
		c.By = slices.Compact(c.By)
	}
	return c, len(c.Gains)+len(c.Loses) > 0
}

// beyond is what of rules others do not cover, as text. What is too large to compare counts as all of it.
func beyond(others, rules []rbacv1.PolicyRule) []string {
	missing, err := rbac.Covers(others, rules)
	if err != nil {
		missing = rules
	}
	byResource := map[string]map[string]bool{}
	add := func(resource string, verbs []string) {
		if byResource[resource] == nil {
			byResource[resource] = map[string]bool{}
		}
		for _, verb := range verbs {
			byResource[resource][verb] = true
		}
	}
	for _, rule := range missing {
		for _, path := range rule.NonResourceURLs {
			add(path, rule.Verbs)
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				add(resourceText(group, resource, rule.ResourceNames), rule.Verbs)
			}
		}
	}
	return joined(byResource)
}

func resourceText(group, resource string, names []string) string {
	text := resource
	if group != "" {
		text += "." + group
	}
	if len(names) > 0 {
		text += " " + strings.Join(names, ", ")
	}
	return text
}

// joined puts together what has the same verbs: "get, list: configmaps, pods".
func joined(byResource map[string]map[string]bool) []string {
	byVerbs := map[string][]string{}
	for _, resource := range slices.Sorted(maps.Keys(byResource)) {
		verbs := strings.Join(slices.Sorted(maps.Keys(byResource[resource])), ", ")
		byVerbs[verbs] = append(byVerbs[verbs], resource)
	}
	var out []string
	for _, verbs := range slices.Sorted(maps.Keys(byVerbs)) {
		out = append(out, verbs+": "+strings.Join(byVerbs[verbs], ", "))
	}
	return out
}

// whoText names a subject.
func whoText(s rbacv1.Subject) string {
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		return "service account " + s.Namespace + "/" + s.Name
	case rbacv1.GroupKind:
		return "group " + s.Name
	}
	return s.Name
}
