// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"slices"
	"strings"
)

// Explanation is a decision with what each rule made of the request.
type Explanation struct {
	Decision Decision
	// Rules are all that were asked: those of CUSTOM policies, then DENY, then ALLOW.
	Rules []RuleExplanation
	// Empty are ALLOW policies that have no rules here, as namespace/name: they allow nothing.
	Empty []string
}

// RuleExplanation is what one rule made of a request.
type RuleExplanation struct {
	// Policy is namespace/name, Action such as ALLOW, By the rule's name in Istio.
	Policy, Action, By string
	Rule               int
	// Matches is "yes", "no" or "unknown".
	Matches string
	// Misses are the conditions that don't hold, or may not, of the source, the operation and the conditions that come
	// nearest. It is empty for a rule that matches.
	Misses []Miss
}

// Miss is a condition that does not hold.
type Miss struct {
	// Field is such as from.principals, or "when " and the key.
	Field string
	// Want is what the policy says, Got what the request has; empty for what it does not have.
	Want, Got string
	// Unknown is set if the request leaves it open.
	Unknown bool
}

func (m Miss) String() string {
	got := fmt.Sprintf("is %q", m.Got)
	switch {
	case m.Unknown:
		got = "is not known"
	case m.Got == "":
		got = "is not there"
	}
	return m.Field + " " + got + ", and " + m.Want + " is asked for"
}

// Explain decides as Decide does and says of each rule what did not match, those first that came nearest.
func (f *Filter) Explain(r Request) Explanation {
	e := Explanation{Decision: f.Decide(r)}
	if f.enforcer == None {
		return e
	}
	c := f.chainFor(&r)
	v, refused := newView(&r, f.mesh.PathNormalization)
	if refused != "" {
		return e
	}
	before := *v
	if r.Received != nil {
		if seen, refused := newView(r.Received, f.mesh.PathNormalization); refused == "" {
			before = *seen
		}
	}
	before.token = nil
	e.explain(c.custom, &before)
	e.explain(c.refused, &before)
	e.explain(c.deny, v)
	e.explain(c.allow, v)
	for _, p := range c.allows {
		if !slices.ContainsFunc(c.allow, func(r *rule) bool { return r.policy == p }) {
			e.Empty = append(e.Empty, p.key())
		}
	}
	return e
}

func (e *Explanation) explain(rules []*rule, v *view) {
	first := len(e.Rules)
	for _, r := range rules {
		x := RuleExplanation{
			Policy: r.policy.key(), Action: r.policy.action.String(), By: r.by, Rule: r.index, Matches: r.match(v).String(),
		}
		if x.Matches != yes.String() {
			x.Misses = r.misses(v)
		}
		e.Rules = append(e.Rules, x)
	}
	slices.SortStableFunc(e.Rules[first:], func(a, b RuleExplanation) int { return len(a.Misses) - len(b.Misses) })
}

func (t truth) String() string { return [...]string{no: "no", unknown: "unknown", yes: "yes"}[t] }

func (r *rule) misses(v *view) []Miss {
	var all []Miss
	for _, part := range r.parts {
		var nearest []Miss
		for i := range part {
			if found := part[i].misses(v); i == 0 || len(found) < len(nearest) {
				nearest = found
			}
		}
		all = append(all, nearest...)
	}
	return all
}

func (c *clause) misses(v *view) []Miss {
	if c.never {
		return []Miss{{Field: "the connection", Want: "something that only requests have"}}
	}
	var all []Miss
	for i := range c.conditions {
		condition := &c.conditions[i]
		if result := condition.match(v); result != yes {
			all = append(all, Miss{
				Field: condition.field, Want: condition.wants(), Got: condition.got(v), Unknown: result == unknown,
			})
		}
	}
	return all
}

// Wants is what the condition asks for, without its field.
func (c *condition) wants() string {
	var said []string
	if len(c.values) > 0 {
		said = append(said, listed(c.values))
	}
	if len(c.notValues) > 0 {
		said = append(said, "not "+listed(c.notValues))
	}
	return strings.Join(said, " and ")
}

// Lines says why, for people: the decision, and of each ALLOW policy that does not let the request through its nearest
// rule.
func (e Explanation) Lines() []string {
	lines := []string{e.Decision.Why}
	if e.Decision.Verdict == Allowed || e.Decision.Verdict == Denied && e.Decision.Rule >= 0 {
		return lines
	}
	said := map[string]bool{}
	for _, r := range e.Rules {
		if r.Action != actionAllow || said[r.Policy] || r.Matches == yes.String() {
			continue
		}
		said[r.Policy] = true
		misses := make([]string, len(r.Misses))
		for i, m := range r.Misses {
			misses[i] = m.String()
		}
		lines = append(lines, fmt.Sprintf("%s, rule %d: %s", r.Policy, r.Rule, strings.Join(misses, "; ")))
	}
	for _, policy := range e.Empty {
		lines = append(lines, policy+": it has no rules that apply, and so allows nothing")
	}
	return lines
}
