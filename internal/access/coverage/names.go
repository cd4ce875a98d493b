// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	"fmt"
	"slices"
	"strings"

	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/snapshot"
)

// named is a resource that a rule of tenants' roles names.
type named struct {
	group, resource string
	from            rbac.Ref
}

// written is where a rule stands.
func written(r rbac.Rule) string { return fmt.Sprintf("%s, rule %d", r.From, r.Index+1) }

// every calls use for each group and resource of each rule that tenants have, once for the lowest level that has it.
func (c *checker) every(use func(level Level, rule rbac.Rule, group, resource string)) {
	type at struct {
		from  rbac.Ref
		index int
	}
	seen := map[at]bool{}
	for _, level := range levels {
		for _, rule := range c.tenants.rules[level] {
			if seen[at{rule.From, rule.Index}] {
				continue
			}
			seen[at{rule.From, rule.Index}] = true
			for _, group := range rule.Policy.APIGroups {
				for _, resource := range rule.Policy.Resources {
					use(level, rule, group, resource)
				}
			}
		}
	}
}

// names finds resources in rules that are not there, or that RoleBindings can't give.
func (c *checker) names() {
	seen := map[named]bool{}
	c.every(func(_ Level, rule rbac.Rule, group, resource string) {
		name, _, _ := strings.Cut(resource, "/")
		if seen[named{group, name, rule.From}] || name == all || group == all {
			return
		}
		seen[named{group, name, rule.From}] = true
		if r, found := c.served.find(group, name); found {
			// Those of the policy's groups are told of anyway. Reading one's own Namespace works by a RoleBinding.
			if !r.Namespaced && !c.policy.covers(r) && (group != "" || name != "namespaces") {
				c.add(Finding{Code: CodeClusterScoped, Role: rule.From.Name, Group: group, Resource: name, Evidence: []string{written(rule)}})
			}
			return
		}
		if len(c.served.byGroup[group]) == 0 || !c.policy.looksAt(group) || c.policy.unserved(group, name) {
			return
		}
		f := Finding{Code: CodeUnserved, Role: rule.From.Name, Group: group, Resource: name, Evidence: []string{written(rule)}}
		if near := c.near(rule.From, group, name); near != "" {
			f.Code, f.Evidence = CodeMisspelt, []string{near + "." + group, written(rule)}
		}
		c.add(f)
	})
}

// namedBy are the rules that name a resource.
func (c *checker) namedBy(group, name string) []string {
	var rules []string
	c.every(func(_ Level, rule rbac.Rule, g, resource string) {
		main, _, _ := strings.Cut(resource, "/")
		if where := written(rule); g == group && main == name && !slices.Contains(rules, where) {
			rules = append(rules, where)
		}
	})
	return rules
}

// misspelt are the rules that likely mean r, and call it something else.
func (c *checker) misspelt(r snapshot.Resource) []string {
	var rules []string
	c.every(func(_ Level, rule rbac.Rule, group, resource string) {
		name, _, _ := strings.Cut(resource, "/")
		if _, found := c.served.find(group, name); group != r.Group || found || c.policy.unserved(group, name) {
			return
		}
		if c.near(rule.From, group, name) == r.Name {
			rules = append(rules, fmt.Sprintf("%s names %s", written(rule), name))
		}
	})
	return rules
}

// near is the served resource that a name of one in a role is nearly: not one that the role names, too. It is empty where
// there is none.
func (c *checker) near(role rbac.Ref, group, name string) string {
	const lettersPerMistake = 8
	best, least := "", max(1, len(name)/lettersPerMistake)+1
	for _, other := range c.served.byGroup[group] {
		if d := distance(name, other, least); d < least && !c.roleNames(role, group, other) {
			best, least = other, d
		}
	}
	return best
}

// roleNames says whether a role names the resource.
func (c *checker) roleNames(role rbac.Ref, group, name string) bool {
	for _, level := range levels {
		for _, rule := range c.tenants.rules[level] {
			if rule.From == role && matches(rule.Policy.APIGroups, group) && slices.Contains(rule.Policy.Resources, name) {
				return true
			}
		}
	}
	return false
}

// distance is how many letters have to be changed, added or left out to make a into b; at least limit where it is that many.
func distance(a, b string, limit int) int {
	if max(len(a)-len(b), len(b)-len(a)) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal, left := row[0], i+1
		row[0] = left
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			left = min(change, left+1, diagonal+1)
			row[j+1] = left
		}
	}
	return row[len(b)]
}
