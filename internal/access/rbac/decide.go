// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"cmp"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// Decision is what RBAC says to a question, and why.
type Decision struct {
	Allowed bool `json:"allowed"`
	// Master is set for members of system:masters, whom nothing is denied.
	Master bool `json:"master,omitempty"`
	// Grants are all that give it: ClusterRoleBindings by name, then RoleBindings by name. None gives a denial.
	Grants []Grant `json:"grants,omitempty"`
}

// Holding is that somebody has a role by a binding.
type Holding struct {
	Binding Ref `json:"binding"`
	Role    Ref `json:"role"`
	// Missing is set where there is no such role.
	Missing bool `json:"missing,omitempty"`
	// Subject is that of the binding by which they have it: themselves rather than a group, and of groups the first.
	Subject rbacv1.Subject `json:"subject"`
}

// Grant is why somebody may do something: they hold a role, which has the rule.
type Grant struct {
	Holding
	// Rule is the first one of the role that says so.
	Rule Rule `json:"rule"`
}

func (h holding) show() Holding {
	return Holding{Binding: h.Binding.Binding, Role: h.Role, Missing: h.Missing, Subject: h.Subjects[h.subject]}
}

func (h holding) grant(rule int) Grant { return Grant{Holding: h.show(), Rule: *h.role.rules[rule]} }

// answers finds the first rule of the role that allows q through the binding. Paths are for ClusterRoleBindings only.
func (b *Binding) answers(q *Question) (rule int, found bool) {
	if b.role == nil || q.Path != "" && b.Binding.Kind != KindClusterRoleBinding {
		return 0, false
	}
	return b.role.answers(q)
}

// Can decides about q.
func (a *Authorizer) Can(user User, q Question) Decision {
	d := Decision{Master: user.isMaster()}
	for _, h := range a.holdings(user, scopes(q)...) {
		if rule, found := h.answers(&q); found {
			d.Grants = append(d.Grants, h.grant(rule))
		}
	}
	d.Allowed = d.Master || len(d.Grants) > 0
	return d
}

// Allowed is Can without the reasons.
func (a *Authorizer) Allowed(user User, q Question) bool {
	if user.isMaster() {
		return true
	}
	for _, p := range user.principals() {
		held := a.held[p]
		for _, scope := range scopes(q) {
			for _, h := range within(held, scope) {
				if _, found := h.answers(&q); found {
					return true
				}
			}
		}
	}
	return false
}

// scopes are the namespaces of bindings that count for q; the empty one is that of ClusterRoleBindings.
func scopes(q Question) []string {
	if q.Namespace == "" || q.Path != "" {
		return []string{""}
	}
	return []string{"", q.Namespace}
}

// within are those of held that are in the namespace.
func within(held []holding, namespace string) []holding {
	from, _ := slices.BinarySearchFunc(held, namespace, func(h holding, namespace string) int {
		return strings.Compare(h.Binding.Binding.Namespace, namespace)
	})
	to := from
	for to < len(held) && held[to].Binding.Binding.Namespace == namespace {
		to++
	}
	return held[from:to]
}

// holdings are what user has in the namespaces, or, without any, everywhere; each binding once, in order.
func (a *Authorizer) holdings(user User, namespaces ...string) []holding {
	var all []holding
	for _, p := range user.principals() {
		held := a.held[p]
		if len(namespaces) == 0 {
			all = append(all, held...)
		}
		for _, namespace := range namespaces {
			all = append(all, within(held, namespace)...)
		}
	}
	slices.SortStableFunc(all, func(x, y holding) int { return cmp.Compare(x.place, y.place) })
	return slices.CompactFunc(all, func(x, y holding) bool { return x.Binding == y.Binding })
}

// Holds is everything that user has in any namespace, in the order of Bindings. It costs what the user has, however many
// namespaces there are.
func (a *Authorizer) Holds(user User) []Holding {
	var all []Holding
	for _, h := range a.holdings(user) {
		all = append(all, h.show())
	}
	return all
}

// RulesFor are the rules that count for user in the namespace, which is empty for those that count everywhere; each with
// the binding that gives it.
func (a *Authorizer) RulesFor(user User, namespace string) []Grant {
	var all []Grant
	for _, h := range a.holdings(user, scopes(Question{Namespace: namespace})...) {
		if h.role == nil {
			continue
		}
		for i, rule := range h.role.rules {
			if len(rule.Policy.Resources) > 0 || h.Binding.Binding.Kind == KindClusterRoleBinding {
				all = append(all, h.grant(i))
			}
		}
	}
	return all
}

// Holder is somebody who may do something.
type Holder struct {
	// Subject is the user, service account or group, however the binding writes it.
	Subject rbacv1.Subject `json:"subject"`
	Grant
}

// Who is everybody whom a binding gives q, once for each binding: users, with service accounts among them, and then
// groups, each by name. Members of system:masters may do it besides.
func (a *Authorizer) Who(q Question) []Holder {
	type found struct {
		holding
		who  principal
		rule int
	}
	var all []found
	for _, scope := range scopes(q) {
		for _, b := range a.bindingsIn(scope) {
			rule, ok := b.answers(&q)
			if !ok {
				continue
			}
			for i, subject := range b.Subjects {
				if p, ok := principalOf(subject, b.Binding.Namespace); ok {
					all = append(all, found{holding{b, i}, p, rule})
				}
			}
		}
	}
	slices.SortFunc(all, func(x, y found) int {
		return cmp.Or(comparePrincipals(x.who, y.who), cmp.Compare(x.place, y.place), cmp.Compare(x.subject, y.subject))
	})
	all = slices.CompactFunc(all, func(x, y found) bool { return x.who == y.who && x.place == y.place })
	holders := make([]Holder, 0, len(all))
	for _, f := range all {
		holders = append(holders, Holder{Subject: f.who.subject(), Grant: f.grant(f.rule)})
	}
	return holders
}

// bindingsIn are those of one namespace.
func (a *Authorizer) bindingsIn(namespace string) []*Binding {
	from, _ := slices.BinarySearchFunc(a.bindings, namespace, func(b *Binding, namespace string) int {
		return strings.Compare(b.Binding.Namespace, namespace)
	})
	to := from
	for to < len(a.bindings) && a.bindings[to].Binding.Namespace == namespace {
		to++
	}
	return a.bindings[from:to]
}
