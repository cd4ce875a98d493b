// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package coverage compares what a cluster serves with what Kubeflow's three roles of tenants give, finds what is missing
// and what is too much, and writes the roles that supply what is missing.
package coverage

import (
	"cmp"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/snapshot"
)

// Level is a step in which Kubeflow gives tenants rights. Each has a ClusterRole, which is put together from others by
// their labels.
type Level string

// Levels.
const (
	View  Level = "view"
	Edit  Level = "edit"
	Admin Level = "admin"
)

// levels go from the least to the most.
var levels = []Level{View, Edit, Admin}

// Role is the name of the ClusterRole of l.
func (l Level) Role() string { return "kubeflow-" + string(l) }

// Label is that by which ClusterRoles become a part of Role, with the value "true".
func (l Level) Label() string {
	return "rbac.authorization.kubeflow.org/aggregate-to-kubeflow-" + string(l)
}

// tenants is what tenants have.
type tenants struct {
	rules map[Level][]rbac.Rule
	// absent are the levels that have no ClusterRole.
	absent []Level
	// unreadable are the ClusterRoles whose aggregation Kubernetes can't read.
	unreadable []rbac.Ref
}

// resolve puts the roles of tenants together as Kubernetes does.
func resolve(roles []*rbacv1.ClusterRole) tenants {
	a := rbac.New(&snapshot.Snapshot{ClusterRoles: roles})
	t := tenants{rules: map[Level][]rbac.Rule{}, unreadable: a.Invalid()}
	for _, level := range levels {
		rules, found := a.Rules(rbac.Ref{Kind: rbac.KindClusterRole, Name: level.Role()})
		if !found {
			t.absent = append(t.absent, level)
		}
		t.rules[level] = rules
	}
	return t
}

func (t tenants) has(level Level) bool { return !slices.Contains(t.absent, level) }

// may says whether a level has a verb on all objects of a resource, which may be one like pods/log.
func (t tenants) may(level Level, group, resource, verb string) bool {
	return slices.ContainsFunc(t.rules[level], func(r rbac.Rule) bool {
		p := r.Policy
		return len(p.ResourceNames) == 0 && matches(p.APIGroups, group) && matchesResource(p.Resources, resource) && matches(p.Verbs, verb)
	})
}

// lacking are those of verbs that a level does not have.
func (t tenants) lacking(level Level, group, resource string, verbs []string) []string {
	var lacks []string
	for _, verb := range verbs {
		if !t.may(level, group, resource, verb) {
			lacks = append(lacks, verb)
		}
	}
	return lacks
}

// touches says whether some rule of a level names the resource, whatever it gives.
func (t tenants) touches(level Level, group, resource string) bool {
	return slices.ContainsFunc(t.rules[level], func(r rbac.Rule) bool {
		return matches(r.Policy.APIGroups, group) && matchesResource(r.Policy.Resources, resource) && len(r.Policy.Verbs) > 0
	})
}

// all is each group, resource or verb in a rule.
const all = "*"

func matches(list []string, name string) bool {
	return slices.Contains(list, name) || slices.Contains(list, all)
}

func matchesResource(list []string, resource string) bool {
	if matches(list, resource) {
		return true
	}
	_, sub, isSub := strings.Cut(resource, "/")
	return isSub && slices.Contains(list, all+"/"+sub)
}

// Check finds where the roles of tenants give less than p says, or more, and what in them does nothing: errors first, then by
// group and resource.
func Check(p Policy, s *snapshot.Snapshot) []Finding {
	t := resolve(s.ClusterRoles)
	c := checker{policy: p, tenants: t, served: servedBy(s)}
	for _, level := range t.absent {
		c.add(Finding{Code: CodeRoleAbsent, Role: level.Role()})
	}
	for _, r := range c.served.list {
		if p.covers(r) {
			c.resource(r)
		}
	}
	c.names()
	c.widths()
	c.aggregations(s.ClusterRoles)
	slices.SortStableFunc(c.found, Finding.compare)
	return c.found
}

// checker collects findings.
type checker struct {
	policy  Policy
	tenants tenants
	served  served
	found   []Finding
}

func (c *checker) add(f Finding) { c.found = append(c.found, f.explained()) }

// resource checks what the roles give on a kind.
func (c *checker) resource(r snapshot.Resource) {
	if !r.Namespaced {
		c.add(Finding{Code: CodeClusterScoped, Group: r.Group, Resource: r.Name, Evidence: c.namedBy(r.Group, r.Name)})
		return
	}
	wants := c.policy.wants(r, Edit)
	if len(wants) > 0 && len(c.tenants.absent) == 0 && !slices.ContainsFunc(levels, func(l Level) bool { return c.tenants.touches(l, r.Group, r.Name) }) {
		c.add(Finding{Code: CodeNoRole, Group: r.Group, Resource: r.Name, Verbs: wants, Evidence: c.misspelt(r)})
		return
	}
	reported := map[string]bool{}
	for _, level := range levels {
		if !c.tenants.has(level) {
			continue
		}
		lacks := c.tenants.lacking(level, r.Group, r.Name, c.policy.wants(r, level))
		if level == Admin { // what edit lacks, admin lacks by the same omission
			lacks = slices.DeleteFunc(lacks, func(verb string) bool { return reported[verb] })
		}
		for _, verb := range lacks {
			reported[verb] = true
		}
		if len(lacks) > 0 {
			c.add(Finding{Code: lackCodes[level], Role: level.Role(), Group: r.Group, Resource: r.Name, Verbs: lacks})
		}
	}
	if c.lacksStatus(r, View) {
		c.add(Finding{Code: CodeStatusLacks, Role: View.Role(), Group: r.Group, Resource: r.Name + "/status", Verbs: []string{"get"}})
	}
}

// lacksStatus says whether a level may not read the status of a kind by itself, and should.
func (c *checker) lacksStatus(r snapshot.Resource, level Level) bool {
	return c.tenants.has(level) && len(lackingStatus(c.tenants, c.policy, r, level)) > 0
}

// lackingStatus is get, if the level lacks it on the status of a kind.
func lackingStatus(t tenants, p Policy, r snapshot.Resource, level Level) []string {
	if !slices.Contains(r.Subresources, "status") || !slices.Contains(p.wants(r, level), "get") {
		return nil
	}
	return t.lacking(level, r.Group, r.Name+"/status", []string{"get"})
}

// aggregations finds roles of tenants that are put together from nothing.
func (c *checker) aggregations(roles []*rbacv1.ClusterRole) {
	for _, ref := range c.tenants.unreadable {
		if partOfTenants(ref.Name, nil) {
			c.add(Finding{Code: CodeBadSelector, Role: ref.Name})
		}
	}
	for _, role := range roles {
		if role.AggregationRule != nil && partOfTenants(role.Name, role.Labels) && !slices.Contains(c.tenants.unreadable, rbac.Ref{Kind: rbac.KindClusterRole, Name: role.Name}) &&
			!selectsAny(role, roles) {
			c.add(Finding{Code: CodeSelectsNone, Role: role.Name})
		}
	}
}

// partOfTenants says whether a ClusterRole is one of the three, or becomes a part of one.
func partOfTenants(name string, labels map[string]string) bool {
	return slices.ContainsFunc(levels, func(l Level) bool { return name == l.Role() || labels[l.Label()] == "true" })
}

// served is what the cluster serves.
type served struct {
	list []snapshot.Resource
	// byGroup are the names of each group's resources.
	byGroup map[string][]string
}

func servedBy(s *snapshot.Snapshot) served {
	all := served{list: slices.Clone(s.Resources), byGroup: map[string][]string{}}
	slices.SortFunc(all.list, func(a, b snapshot.Resource) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Name, b.Name))
	})
	for _, r := range all.list {
		all.byGroup[r.Group] = append(all.byGroup[r.Group], r.Name)
	}
	return all
}

func (s served) find(group, name string) (snapshot.Resource, bool) {
	at := slices.IndexFunc(s.list, func(r snapshot.Resource) bool { return r.Group == group && r.Name == name })
	if at < 0 {
		return snapshot.Resource{}, false
	}
	return s.list[at], true
}
