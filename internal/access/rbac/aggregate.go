// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"bytes"
	"maps"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// aggregation is what Kubernetes' controller makes of ClusterRoles in the end: each that has selectors gets the rules of
// those that it selects, again and again until nothing changes any more.
type aggregation struct {
	roles map[string]*written
	// direct are the roles that each one selects, sorted. A role never selects itself.
	direct map[string][]string
	// reached and kept are known already.
	reached map[string]map[string]bool
	kept    map[string]bool
}

// written is a ClusterRole as somebody wrote it, or several of the name.
type written struct {
	rules     []rbacv1.PolicyRule
	labels    []labels.Set
	selectors []labels.Selector
	// aggregates is set where it has an aggregation rule; invalid, where Kubernetes can't read that.
	aggregates, invalid bool
	// filled is set where nobody but Kubernetes wrote the rules.
	filled bool
}

func readAggregation(clusterRoles []*rbacv1.ClusterRole) *aggregation {
	g := &aggregation{roles: map[string]*written{}, direct: map[string][]string{}, reached: map[string]map[string]bool{}, kept: map[string]bool{}}
	for _, r := range sorted(clusterRoles) {
		w := g.roles[r.Name]
		if w == nil {
			w = &written{}
			g.roles[r.Name] = w
		}
		w.add(r)
	}
	names := slices.Sorted(maps.Keys(g.roles))
	for name, w := range g.roles {
		if !w.aggregates || w.invalid {
			continue
		}
		for _, other := range names {
			if other != name && w.selects(g.roles[other]) {
				g.direct[name] = append(g.direct[name], other)
			}
		}
	}
	return g
}

func (w *written) add(r *rbacv1.ClusterRole) {
	w.rules = append(w.rules, r.Rules...)
	w.labels = append(w.labels, r.Labels)
	if r.AggregationRule == nil {
		return
	}
	w.aggregates, w.filled = true, isFilled(r)
	for i := range r.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&r.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			w.invalid = true
			continue
		}
		w.selectors = append(w.selectors, selector)
	}
}

// isFilled says whether it is known that Kubernetes' controller alone manages the rules of r.
func isFilled(r *rbacv1.ClusterRole) bool {
	filled := false
	for _, entry := range r.ManagedFields {
		if entry.FieldsV1 == nil || !bytes.Contains(entry.FieldsV1.GetRawBytes(), []byte(`"f:rules"`)) {
			continue
		}
		if entry.Manager != "clusterrole-aggregation-controller" {
			return false
		}
		filled = true
	}
	return filled
}

func (w *written) selects(other *written) bool {
	return slices.ContainsFunc(w.selectors, func(s labels.Selector) bool {
		return slices.ContainsFunc(other.labels, func(set labels.Set) bool { return s.Matches(set) })
	})
}

// rules are those that the ClusterRole of that name comes to have, by the role that they are written in.
func (g *aggregation) rules(name string) []Rule {
	sources := maps.Clone(g.reach(name))
	sources[name] = true
	var rules []Rule
	for _, from := range slices.Sorted(maps.Keys(sources)) {
		if g.keeps(from) {
			rules = append(rules, rulesFrom(Ref{Kind: KindClusterRole, Name: from}, g.roles[from].rules)...)
		}
	}
	return rules
}

// keeps says whether the rules stay that are written in a role itself. In one that aggregates, Kubernetes replaces them,
// with three exceptions: selectors that it can't read; roles that select each other, which keep forever what one of them
// once had; and where there is nothing to replace them with, as it leaves rules alone then that it did not write.
func (g *aggregation) keeps(name string) bool {
	w := g.roles[name]
	if !w.aggregates || w.invalid {
		return true
	}
	kept, known := g.kept[name]
	if known {
		return kept
	}
	reached := g.reach(name)
	kept = reached[name]
	if !kept && !w.filled {
		kept = true
		for other := range reached {
			if len(g.roles[other].rules) > 0 && g.keeps(other) {
				kept = false
				break
			}
		}
	}
	g.kept[name] = kept
	return kept
}

// reach are the roles that are selected from name on, with name itself if that is one of them.
func (g *aggregation) reach(name string) map[string]bool {
	if reached := g.reached[name]; reached != nil {
		return reached
	}
	reached := map[string]bool{}
	for next := slices.Clone(g.direct[name]); len(next) > 0; {
		last := len(next) - 1
		at := next[last]
		next = next[:last]
		if !reached[at] {
			reached[at] = true
			next = append(next, g.direct[at]...)
		}
	}
	g.reached[name] = reached
	return reached
}
