// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package rbac_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"

	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/snapshot"
)

const worlds = 40

func TestAuthorizer_orderOfInputDoesNotMatter(t *testing.T) {
	for seed := range uint64(worlds) {
		w := newWorld(seed)
		s := w.snapshot()
		s.ClusterRoles = append(s.ClusterRoles, w.clusterRoles(3)...) // of the same names as others
		s.RoleBindings = append(s.RoleBindings, roleBinding("world-0", "world-0", w.roleRef(false), w.subjects(false)...))
		mixed := &snapshot.Snapshot{
			Roles: slices.Clone(s.Roles), ClusterRoles: slices.Clone(s.ClusterRoles),
			RoleBindings: slices.Clone(s.RoleBindings), ClusterRoleBindings: slices.Clone(s.ClusterRoleBindings),
		}
		shuffle(w, mixed.Roles)
		shuffle(w, mixed.ClusterRoles)
		shuffle(w, mixed.RoleBindings)
		shuffle(w, mixed.ClusterRoleBindings)
		one, other := rbac.New(s), rbac.New(mixed)
		for range 200 {
			u, q := w.ask(s)
			v := rbac.User{Name: u.Name, Groups: slices.Clone(u.Groups)}
			shuffle(w, v.Groups)
			if diff := cmp.Diff(one.Can(u, q), other.Can(v, q)); diff != "" {
				t.Fatalf("seed %d: %+v, %v (-in order +mixed):\n%s", seed, u, q, diff)
			}
			if diff := cmp.Diff(one.Who(q), other.Who(q)); diff != "" {
				t.Fatalf("seed %d: who %v (-in order +mixed):\n%s", seed, q, diff)
			}
			if diff := cmp.Diff(one.RulesFor(u, q.Namespace), other.RulesFor(v, q.Namespace)); diff != "" {
				t.Fatalf("seed %d: rules of %+v (-in order +mixed):\n%s", seed, u, diff)
			}
		}
		if diff := cmp.Diff(one.Subjects(), other.Subjects()); diff != "" {
			t.Fatalf("seed %d: subjects (-in order +mixed):\n%s", seed, diff)
		}
	}
}

func shuffle[T any](w world, s []T) { w.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] }) }

func TestAuthorizer_moreBindingsAndRulesNeverTakeAccessAway(t *testing.T) {
	for seed := range uint64(worlds) {
		w := newWorld(seed)
		s := w.snapshot()
		more := *s
		more.RoleBindings = append(slices.Clone(s.RoleBindings), roleBinding(w.namespace(), "more", w.roleRef(false), w.subjects(false)...))
		more.ClusterRoleBindings = append(slices.Clone(s.ClusterRoleBindings), clusterRoleBinding("more", w.roleRef(true), w.subjects(true)...))
		more.Roles = slices.Clone(s.Roles)
		i := w.IntN(len(s.Roles))
		more.Roles[i] = role(s.Roles[i].Namespace, s.Roles[i].Name, append(slices.Clone(s.Roles[i].Rules), w.rule(false))...)
		before, after := rbac.New(s), rbac.New(&more)
		for range 500 {
			if u, q := w.ask(s); before.Allowed(u, q) && !after.Allowed(u, q) {
				t.Fatalf("seed %d: %+v may no longer %v", seed, u, q)
			}
		}
	}
}

// All ways to ask say the same.
func TestAuthorizer_agreesWithItself(t *testing.T) {
	for seed := range uint64(worlds) {
		w := newWorld(seed)
		s := w.snapshot()
		a := rbac.New(s)
		for range 50 {
			users, questions := make([]rbac.User, 8), make([]rbac.Question, 8)
			for i := range users {
				users[i], questions[i] = w.ask(s)
			}
			table, err := a.Ask(questions...)
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range users {
				row := table.Row(u)
				for i, q := range questions {
					agree(t, a, row, u, q, i)
				}
			}
		}
	}
}

func agree(t *testing.T, a *rbac.Authorizer, row rbac.Row, u rbac.User, q rbac.Question, i int) {
	t.Helper()
	want := a.Allowed(u, q)
	if d := a.Can(u, q); d.Allowed != want {
		t.Errorf("%+v, %v: Allowed %t, Can %+v", u, q, want, d)
	}
	if got := row.In(q.Namespace).Has(i); got != want {
		t.Errorf("%+v, %v: Allowed %t, in the table %t", u, q, want, got)
	}
	if q.Namespace == "" && row.Everywhere.Has(i) != want {
		t.Errorf("%+v, %v: Allowed %t, in the table's everywhere %t", u, q, want, !want)
	}
	named := slices.ContainsFunc(a.Who(q), func(h rbac.Holder) bool {
		return is(u, h.Subject)
	})
	if named != want {
		t.Errorf("%+v, %v: Allowed %t, among those who may %t", u, q, want, named)
	}
	var policies []rbacv1.PolicyRule
	for _, g := range a.RulesFor(u, q.Namespace) {
		policies = append(policies, g.Rule.Policy)
	}
	if byRules := rbac.Allow(policies, q); byRules != want {
		t.Errorf("%+v, %v: Allowed %t, by the rules %t", u, q, want, byRules)
	}
}

// is says whether subject, written as Who does, is u or a group of theirs.
func is(u rbac.User, subject rbacv1.Subject) bool {
	switch subject.Kind {
	case rbacv1.GroupKind:
		return slices.Contains(u.Groups, subject.Name)
	case rbacv1.ServiceAccountKind:
		return u.Name == "system:serviceaccount:"+subject.Namespace+":"+subject.Name
	}
	return u.Name == subject.Name
}

// Who covers a role may do all that it allows.
func TestCovers_isWhatDecisionsSay(t *testing.T) {
	covered := 0
	for seed := range uint64(worlds) {
		w := newWorld(seed)
		s := w.snapshot()
		for range 200 {
			owner, servant := append(w.rules(true), w.rules(true)...), w.rules(true)
			missing, err := rbac.Covers(owner, servant)
			if err != nil {
				t.Fatal(err)
			}
			if len(missing) > 0 || len(servant) == 0 {
				continue
			}
			covered++
			for range 20 {
				if _, q := w.ask(s); rbac.Allow(servant, q) && !rbac.Allow(owner, q) {
					t.Fatalf("seed %d: %v is covered by %v, which does not allow %v", seed, servant, owner, q)
				}
			}
		}
	}
	if covered < 20 {
		t.Errorf("only %d pairs cover each other", covered)
	}
}
