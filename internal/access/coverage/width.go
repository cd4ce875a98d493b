// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	"slices"

	"berth.dev/berth/internal/access/rbac"
)

// writing are the verbs that change something, or let somebody act as another.
var writing = []string{
	"create", "update", "patch", "delete", "deletecollection", "impersonate", "bind", "escalate", "approve", "sign", "attest", all,
}

// reading are the verbs of those who only look.
var reading = []string{"get", "list", "watch"}

// guarded are the groups whose objects decide who may do what: those who write them let others in.
var guarded = []string{"rbac.authorization.k8s.io", "security.istio.io", all}

// widths finds rules that give more than the policy says.
func (c *checker) widths() {
	c.every(func(level Level, rule rbac.Rule, group, resource string) {
		writes := c.excess(level, group, resource, rule.Policy.Verbs, writing)
		f := Finding{Group: group, Resource: resource, Evidence: []string{written(rule)}}
		switch {
		case level == Admin: // who administers a namespace lets others in
		case slices.Contains(guarded, group) && len(writes) > 0:
			f.Code, f.Role, f.Verbs = CodeGrantsAccess, level.Role(), writes
			c.add(f)
		case level == View && len(writes) > 0:
			f.Code, f.Role, f.Verbs = CodeViewWrites, rule.From.Name, writes
			c.add(f)
		}
		if level == View && (group == "" || group == all) && (resource == "secrets" || resource == all) {
			if reads := c.excess(level, group, resource, rule.Policy.Verbs, append(slices.Clone(reading), all)); len(reads) > 0 {
				f.Code, f.Role, f.Verbs = CodeViewSecrets, rule.From.Name, reads
				c.add(f)
			}
		}
	})
}

// excess are those of verbs that are among kinds and that nobody accepted.
func (c *checker) excess(level Level, group, resource string, verbs, kinds []string) []string {
	var excess []string
	for _, verb := range verbs {
		if slices.Contains(kinds, verb) && !c.policy.accepts(level, group, resource, verb) {
			excess = append(excess, verb)
		}
	}
	return excess
}
