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
	// names are sorted; all else is by the place of a role in them.
	names []string
	roles []*written
	rules [][]*Rule // as they are written
	// reached are the roles that each one selects, and that these select, with itself if that is one of them.
	reached []set
	kept    map[int]bool // known already
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
	byName := map[string]*written{}
	for _, r := range sorted(clusterRoles) {
		if byName[r.Name] == nil {
			byName[r.Name] = &written{}
		}
		byName[r.Name].add(r)
	}
	g := &aggregation{names: slices.Sorted(maps.Keys(byName)), kept: map[int]bool{}}
	for _, name := range g.names {
		g.roles = append(g.roles, byName[name])
		g.rules = append(g.rules, rulesFrom(Ref{Kind: KindClusterRole, Name: name}, byName[name].rules))
	}
	for i, w := range g.roles {
		g.reached = append(g.reached, newSet(len(g.roles)))
		for other := range g.roles {
			if other != i && w.selects(g.roles[other]) { // a role never selects itself
				g.reached[i].add(other)
			}
		}
	}
	g.close()
	return g
}

// close adds to what each role reaches what that reaches, by Warshall's algorithm.
func (g *aggregation) close() {
	for through, w := range g.roles {
		if len(w.selectors) == 0 {
			continue
		}
		for i := range g.roles {
			if g.reached[i].has(through) {
				g.reached[i].addAll(g.reached[through])
			}
		}
	}
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
	return w.aggregates && !w.invalid && slices.ContainsFunc(w.selectors, func(s labels.Selector) bool {
		return slices.ContainsFunc(other.labels, func(set labels.Set) bool { return s.Matches(set) })
	})
}

// resolved are the rules that a role comes to have, by the role that they are written in.
func (g *aggregation) resolved(role int) []*Rule {
	var rules []*Rule
	for from := range g.roles {
		if (from == role || g.reached[role].has(from)) && g.keeps(from) {
			rules = append(rules, g.rules[from]...)
		}
	}
	return rules
}

// keeps says whether the rules stay that are written in a role itself. In one that aggregates, Kubernetes replaces them,
// with three exceptions: selectors that it can't read; roles that select each other, which keep forever what one of them
// once had; and where there is nothing to replace them with, as it leaves rules alone then that it did not write.
func (g *aggregation) keeps(role int) bool {
	w := g.roles[role]
	if !w.aggregates || w.invalid || g.reached[role].has(role) {
		return true
	}
	kept, known := g.kept[role]
	if known {
		return kept
	}
	kept = !w.filled
	for other := range g.roles {
		if kept && g.reached[role].has(other) && len(g.rules[other]) > 0 && g.keeps(other) {
			kept = false
		}
	}
	g.kept[role] = kept
	return kept
}

// A set of small numbers.
type set []uint64

func newSet(size int) set { return make(set, (size+63)/64) }

func (s set) has(n int) bool { return s[n/64]&(1<<(n%64)) != 0 }

func (s set) add(n int) { s[n/64] |= 1 << (n % 64) }

func (s set) addAll(other set) {
	for i := range s {
		s[i] |= other[i]
	}
}
