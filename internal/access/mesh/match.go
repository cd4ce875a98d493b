// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"strings"
)

// A rule matches where each of its parts does; without parts it matches everything.
type rule struct {
	policy *policy
	index  int
	// By is what Istio calls it.
	by    string
	parts []alternatives
	// Why is what to say where it decides.
	why string
	// Refused says why Istio makes a denial of a rule of a CUSTOM policy.
	refused string
}

// Alternatives match where one of them does.
type alternatives []clause

// A clause matches where all of its conditions do.
type clause struct {
	// Never is set for a clause of which a ztunnel has nothing left.
	never      bool
	conditions []condition
}

// A condition matches where one of its values does, if it has any, and none of its notValues.
type condition struct {
	field             string
	has, hasNot       []matcher
	values, notValues []string
	got               func(*view) string
}

func newRule(p *policy, index int) *rule {
	return &rule{policy: p, index: index, by: ruleName(p.namespace, p.name, index)}
}

// Finish is for a rule that has all of its parts.
func (r *rule) finish() { r.why = r.String() + ", matches: " + r.says() }

func (r *rule) match(v *view) truth {
	result := yes
	for _, part := range r.parts {
		if result = min(result, part.match(v)); result == no {
			break
		}
	}
	return result
}

func (a alternatives) match(v *view) truth {
	result := no
	for i := range a {
		if result = max(result, a[i].match(v)); result == yes {
			break
		}
	}
	return result
}

func (c *clause) match(v *view) truth {
	if c.never {
		return no
	}
	result := yes
	for i := range c.conditions {
		if result = min(result, c.conditions[i].match(v)); result == no {
			break
		}
	}
	return result
}

func (c *condition) match(v *view) truth {
	result := yes
	if len(c.has) > 0 {
		result = anyOf(c.has, v)
	}
	if result != no && len(c.hasNot) > 0 {
		result = min(result, anyOf(c.hasNot, v).not())
	}
	return result
}

// First finds the first rule that matches, and whether one does.
func first(rules []*rule, v *view) (*rule, truth) {
	var possible *rule
	for _, r := range rules {
		switch r.match(v) {
		case yes:
			return r, yes
		case unknown:
			if possible == nil {
				possible = r
			}
		}
	}
	if possible != nil {
		return possible, unknown
	}
	return nil, no
}

func (r *rule) String() string {
	return fmt.Sprintf("%s policy %s, rule %d", r.policy.action, r.policy.key(), r.index)
}

// Says is what the rule asks for.
func (r *rule) says() string {
	var parts []string
	for _, part := range r.parts {
		var either []string
		for i := range part {
			either = append(either, part[i].says())
		}
		parts = append(parts, strings.Join(either, " or "))
	}
	parts = compact(parts)
	if len(parts) == 0 {
		return "everything"
	}
	return strings.Join(parts, "; ")
}

func compact(words []string) []string {
	var kept []string
	for _, word := range words {
		if word != "" {
			kept = append(kept, word)
		}
	}
	return kept
}

func (c *clause) says() string {
	if c.never {
		return "nothing"
	}
	var all []string
	for i := range c.conditions {
		all = append(all, c.conditions[i].says())
	}
	return strings.Join(all, " and ")
}

func (c *condition) says() string {
	var said []string
	if len(c.values) > 0 {
		said = append(said, c.field+" "+listed(c.values))
	}
	if len(c.notValues) > 0 {
		said = append(said, c.field+" not "+listed(c.notValues))
	}
	return strings.Join(said, " and ")
}

const mostListed = 3

func listed(values []string) string {
	rest := ""
	if len(values) > mostListed {
		rest = fmt.Sprintf(" and %d more", len(values)-mostListed)
		values = values[:mostListed]
	}
	quoted := make([]string, len(values))
	for i, value := range values {
		quoted[i] = fmt.Sprintf("%q", value)
	}
	return strings.Join(quoted, ", ") + rest
}
