// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Rule is a rule of a role, and where somebody wrote it.
type Rule struct {
	// From is the role itself, or the ClusterRole that it was aggregated from.
	From Ref `json:"from"`
	// Index is that of the rule in From, from 0.
	Index int `json:"index"`
	// Policy is the rule.
	Policy rbacv1.PolicyRule `json:"policy"`
}

// A role has its rules, aggregated, and finds them.
type role struct {
	number int
	rules  []Rule
	// byResource finds rules by each of the resources that they name, in their order.
	byResource map[string][]int
	// urls are the rules with paths.
	urls []int
}

func newRole(number int, rules []Rule) *role {
	r := &role{number: number, rules: rules, byResource: map[string][]int{}}
	for i, rule := range rules {
		for _, resource := range rule.Policy.Resources {
			if found := r.byResource[resource]; len(found) == 0 || found[len(found)-1] != i {
				r.byResource[resource] = append(found, i)
			}
		}
		if len(rule.Policy.NonResourceURLs) > 0 {
			r.urls = append(r.urls, i)
		}
	}
	return r
}

// Rules are those of a role, aggregated as Kubernetes does, and whether there is such a role.
func (a *Authorizer) Rules(of Ref) ([]Rule, bool) {
	r := a.roles[of]
	if r == nil {
		return nil, false
	}
	return slices.Clone(r.rules), true
}

// Roles are all there are, by kind, namespace and name.
func (a *Authorizer) Roles() []Ref { return slices.SortedFunc(maps.Keys(a.roles), Ref.compare) }

// Invalid are the ClusterRoles with a selector that can't be read, which Kubernetes leaves as they are.
func (a *Authorizer) Invalid() []Ref { return slices.Clone(a.invalid) }

// written is a ClusterRole as somebody wrote it, or several of the name.
type written struct {
	rules      []rbacv1.PolicyRule
	labels     []labels.Set
	aggregates bool
	selectors  []labels.Selector
	invalid    bool
}

// resolve returns all roles with their rules, and the ClusterRoles whose aggregation can't be read.
func resolve(namespaced []*rbacv1.Role, clusterRoles []*rbacv1.ClusterRole) (roles map[Ref]*role, invalid []Ref) {
	roles = map[Ref]*role{}
	own := map[Ref][]rbacv1.PolicyRule{}
	for _, r := range sorted(namespaced) {
		if r.Namespace != "" {
			ref := Ref{Kind: KindRole, Namespace: r.Namespace, Name: r.Name}
			own[ref] = append(own[ref], r.Rules...)
		}
	}
	for ref, rules := range own {
		roles[ref] = newRole(len(roles), rulesFrom(nil, ref, rules))
	}
	all := read(clusterRoles)
	direct := all.direct()
	for name, w := range all {
		ref := Ref{Kind: KindClusterRole, Name: name}
		if w.invalid {
			invalid = append(invalid, ref)
		}
		roles[ref] = newRole(len(roles), all.rules(name, direct))
	}
	slices.SortFunc(invalid, Ref.compare)
	return roles, invalid
}

type allWritten map[string]*written

func read(clusterRoles []*rbacv1.ClusterRole) allWritten {
	all := allWritten{}
	for _, r := range sorted(clusterRoles) {
		w := all[r.Name]
		if w == nil {
			w = &written{}
			all[r.Name] = w
		}
		w.rules = append(w.rules, r.Rules...)
		w.labels = append(w.labels, r.Labels)
		if r.AggregationRule == nil {
			continue
		}
		w.aggregates = true
		for i := range r.AggregationRule.ClusterRoleSelectors {
			selector, err := metav1.LabelSelectorAsSelector(&r.AggregationRule.ClusterRoleSelectors[i])
			if err != nil {
				w.invalid = true
				continue
			}
			w.selectors = append(w.selectors, selector)
		}
	}
	return all
}

// direct are the ClusterRoles that each one selects, by name. A role never selects itself.
func (all allWritten) direct() map[string][]string {
	names := slices.Sorted(maps.Keys(all))
	direct := map[string][]string{}
	for name, w := range all {
		if !w.aggregates || w.invalid {
			continue
		}
		for _, other := range names {
			if other != name && w.selects(all[other]) {
				direct[name] = append(direct[name], other)
			}
		}
	}
	return direct
}

func (w *written) selects(other *written) bool {
	return slices.ContainsFunc(w.selectors, func(s labels.Selector) bool {
		return slices.ContainsFunc(other.labels, func(set labels.Set) bool { return s.Matches(set) })
	})
}

// rules are those of the ClusterRole of that name. One that aggregates has those of all that it selects, and that these
// select; what is written in itself counts only where Kubernetes leaves it there.
func (all allWritten) rules(name string, direct map[string][]string) []Rule {
	if w := all[name]; !w.aggregates || w.invalid {
		return rulesFrom(nil, Ref{Kind: KindClusterRole, Name: name}, w.rules)
	}
	reached := reach(name, direct)
	var rules []Rule
	for _, from := range slices.Sorted(maps.Keys(reached)) {
		w := all[from]
		// Roles that select each other keep forever what one of them once had.
		if !w.aggregates || w.invalid || from == name || reach(from, direct)[from] {
			rules = rulesFrom(rules, Ref{Kind: KindClusterRole, Name: from}, w.rules)
		}
	}
	return rules
}

// reach are the roles that are selected from name on, with name itself if that is one of them.
func reach(name string, direct map[string][]string) map[string]bool {
	reached := map[string]bool{}
	for next := slices.Clone(direct[name]); len(next) > 0; {
		last := len(next) - 1
		at := next[last]
		next = next[:last]
		if !reached[at] {
			reached[at] = true
			next = append(next, direct[at]...)
		}
	}
	return reached
}

func rulesFrom(rules []Rule, from Ref, policies []rbacv1.PolicyRule) []Rule {
	for i, policy := range policies {
		rules = append(rules, Rule{From: from, Index: i, Policy: policy})
	}
	return rules
}

// sorted are roles by namespace and name; those that are called the same, by what they hold.
func sorted[T metav1.Object](roles []T) []T {
	return slices.SortedFunc(slices.Values(roles), func(x, y T) int {
		if c := cmp.Or(strings.Compare(x.GetNamespace(), y.GetNamespace()), strings.Compare(x.GetName(), y.GetName())); c != 0 {
			return c
		}
		return strings.Compare(canonical(x), canonical(y))
	})
}
