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
	rules  []*Rule // shared with those that aggregate them
	// byResource finds rules by each of the resources that they name, in their order.
	byResource map[string][]int
	// urls are the rules with paths.
	urls []int
}

func newRole(number int, rules []*Rule) *role {
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
	rules := make([]Rule, 0, len(r.rules))
	for _, rule := range r.rules {
		rules = append(rules, *rule)
	}
	return rules, true
}

// Roles are all there are, by kind, namespace and name.
func (a *Authorizer) Roles() []Ref { return slices.SortedFunc(maps.Keys(a.roles), Ref.compare) }

// Invalid are the ClusterRoles with a selector that can't be read, which Kubernetes leaves as they are.
func (a *Authorizer) Invalid() []Ref { return slices.Clone(a.invalid) }

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
		roles[ref] = newRole(len(roles), rulesFrom(ref, rules))
	}
	g := readAggregation(clusterRoles)
	for i, name := range g.names {
		ref := Ref{Kind: KindClusterRole, Name: name}
		roles[ref] = newRole(len(roles), g.resolved(i))
		if g.roles[i].invalid {
			invalid = append(invalid, ref)
		}
	}
	return roles, invalid
}

func rulesFrom(from Ref, policies []rbacv1.PolicyRule) []*Rule {
	rules := make([]*Rule, 0, len(policies))
	for i, policy := range policies {
		rules = append(rules, &Rule{From: from, Index: i, Policy: policy})
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
