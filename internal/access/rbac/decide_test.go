// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package rbac_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"

	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/snapshot"
)

// team has alice by name and by a group, and everybody, in several ways.
func team() *rbac.Authorizer {
	return rbac.New(&snapshot.Snapshot{
		Roles: []*rbacv1.Role{role("team", "reader", reading("secrets"), readPods), role("risk", "reader", reading("pods"))},
		ClusterRoles: []*rbacv1.ClusterRole{
			aggregating(clusterRole("edit"), "edit"),
			labelled(clusterRole("edit-jobs", reading("jobs")), "edit"), labelled(clusterRole("edit-pods", reading("jobs"), readPods), "edit"),
			clusterRole("metrics", rbacv1.PolicyRule{Verbs: list("get"), NonResourceURLs: list("/metrics")}),
		},
		RoleBindings: []*rbacv1.RoleBinding{
			roleBinding("team", "z", toRole("reader"), group("ml"), user("alice"), group("all")),
			roleBinding("team", "a", toClusterRole("edit"), group("ml"), group("all"), account("", "bot")),
			roleBinding("risk", "m", toRole("reader"), group("ml"), user("bob")),
			roleBinding("risk", "lost", toRole("gone"), user("alice")),
			roleBinding("risk", "paths", toClusterRole("metrics"), user("alice")),
		},
		ClusterRoleBindings: []*rbacv1.ClusterRoleBinding{
			clusterRoleBinding("y", toClusterRole("edit"), user("alice"), user("alice")),
			clusterRoleBinding("b", toClusterRole("metrics"), group("system:authenticated"), user("bob")),
		},
	})
}

func shown(g rbac.Grant) string {
	return fmt.Sprintf("%s gives %s to %s %s: %s[%d]", g.Binding, g.Role, g.Subject.Kind, g.Subject.Name, g.Rule.From.Name, g.Rule.Index)
}

func TestAuthorizer_Can_saysWhy(t *testing.T) {
	cases := map[string]struct {
		user rbac.User
		q    rbac.Question
		want []string
	}{
		"all that give it, the cluster's first, and the rule where it is written": {
			rbac.SignedIn("alice", "ml"),
			rbac.Question{Verb: "get", Resource: "pods", Namespace: "team"},
			list(
				"ClusterRoleBinding y gives ClusterRole edit to User alice: edit-pods[1]",
				"RoleBinding team/a gives ClusterRole edit to Group ml: edit-pods[1]",
				"RoleBinding team/z gives Role team/reader to User alice: reader[1]",
			),
		},
		"of groups, the first by name": {
			rbac.SignedIn("zoe", "ml", "all"),
			rbac.Question{Verb: "get", Resource: "jobs", Namespace: "team"},
			list("RoleBinding team/a gives ClusterRole edit to Group all: edit-jobs[0]"),
		},
		"a service account of the namespace": {
			rbac.SignedIn("system:serviceaccount:team:bot"),
			rbac.Question{Verb: "get", Resource: "jobs", Namespace: "team"},
			list("RoleBinding team/a gives ClusterRole edit to ServiceAccount bot: edit-jobs[0]"),
		},
		"a path": {
			rbac.SignedIn("zoe"),
			rbac.Question{Verb: "get", Path: "/metrics"},
			list("ClusterRoleBinding b gives ClusterRole metrics to Group system:authenticated: metrics[0]"),
		},
		"nothing": {rbac.SignedIn("zoe"), rbac.Question{Verb: "get", Resource: "pods", Namespace: "team"}, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			d := team().Can(tc.user, tc.q)
			var got []string
			for _, g := range d.Grants {
				got = append(got, shown(g))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || d.Allowed != (len(tc.want) > 0) {
				t.Errorf("%v: allowed %t, grants (-want +got):\n%s", tc.q, d.Allowed, diff)
			}
		})
	}
}

func TestAuthorizer_Who(t *testing.T) {
	var got []string
	for _, h := range team().Who(rbac.Question{Verb: "get", Resource: "pods", Namespace: "team"}) {
		got = append(got, fmt.Sprintf("%s %s/%s by %s", h.Subject.Kind, h.Subject.Namespace, h.Subject.Name, h.Binding))
	}
	want := list(
		"User /alice by ClusterRoleBinding y",
		"User /alice by RoleBinding team/z",
		"ServiceAccount team/bot by RoleBinding team/a",
		"Group /all by RoleBinding team/a",
		"Group /all by RoleBinding team/z",
		"Group /ml by RoleBinding team/a",
		"Group /ml by RoleBinding team/z",
	)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("who may get pods (-want +got):\n%s", diff)
	}
}

func TestAuthorizer_Holds(t *testing.T) {
	var got []string
	for _, h := range team().Holds(rbac.SignedIn("alice", "ml")) {
		got = append(got, fmt.Sprintf("%s: %s, missing %t", h.Binding, h.Role, h.Missing))
	}
	want := list(
		"ClusterRoleBinding b: ClusterRole metrics, missing false",
		"ClusterRoleBinding y: ClusterRole edit, missing false",
		"RoleBinding risk/lost: Role risk/gone, missing true",
		"RoleBinding risk/m: Role risk/reader, missing false",
		"RoleBinding risk/paths: ClusterRole metrics, missing false",
		"RoleBinding team/a: ClusterRole edit, missing false",
		"RoleBinding team/z: Role team/reader, missing false",
	)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what alice holds (-want +got):\n%s", diff)
	}
}

func TestAuthorizer_RulesFor(t *testing.T) {
	cases := map[string][]string{
		"risk": list(
			"ClusterRoleBinding b gives ClusterRole metrics to Group system:authenticated: metrics[0]",
			"ClusterRoleBinding y gives ClusterRole edit to User alice: edit-jobs[0]",
			"ClusterRoleBinding y gives ClusterRole edit to User alice: edit-pods[0]",
			"ClusterRoleBinding y gives ClusterRole edit to User alice: edit-pods[1]",
			"RoleBinding risk/m gives Role risk/reader to Group ml: reader[0]",
		),
		"": list(
			"ClusterRoleBinding b gives ClusterRole metrics to Group system:authenticated: metrics[0]",
			"ClusterRoleBinding y gives ClusterRole edit to User alice: edit-jobs[0]",
			"ClusterRoleBinding y gives ClusterRole edit to User alice: edit-pods[0]",
			"ClusterRoleBinding y gives ClusterRole edit to User alice: edit-pods[1]",
		),
	}
	for namespace, want := range cases {
		var got []string
		for _, g := range team().RulesFor(rbac.SignedIn("alice", "ml"), namespace) {
			got = append(got, shown(g))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("alice's rules in namespace %q (-want +got):\n%s", namespace, diff)
		}
	}
}

func TestTable(t *testing.T) {
	table, err := team().Ask(rbac.Question{Verb: "get", Resource: "pods"}, rbac.Question{Verb: "get", Resource: "secrets"}, rbac.Question{Verb: "get", Path: "/metrics"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for subject, row := range table.Rows() {
		text := fmt.Sprintf("%s %s: %03b", subject.Kind, subject.Name, row.Everywhere)
		for _, cell := range row.Namespaces {
			text += fmt.Sprintf(" %s %03b", cell.Namespace, cell.Mask)
		}
		got = append(got, text)
	}
	want := list(
		"User alice: 101 team 011",
		"User bob: 100 risk 001",
		"ServiceAccount bot: 100 team 001",
		"Group all: 000 team 011",
		"Group ml: 000 risk 001 team 011",
		"Group system:authenticated: 100",
	)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	row := table.Row(rbac.SignedIn("alice"))
	if !row.In("team").Has(1) || row.In("risk").Has(1) || !row.In("risk").Has(0) || row.In("risk").Has(-1) || row.In("risk").Has(64) {
		t.Errorf("cells of alice: %+v", row)
	}
	if _, err := team().Ask(make([]rbac.Question, rbac.MaxQuestions+1)...); err == nil {
		t.Error("more questions than bits are taken")
	}
}

func TestCovers(t *testing.T) {
	many := make([]string, 2000)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	cases := map[string]struct {
		owner, servant []rbacv1.PolicyRule
		wantMissing    int
		wantErr        bool
	}{
		"the same":                   {[]rbacv1.PolicyRule{readPods}, []rbacv1.PolicyRule{readPods}, 0, false},
		"less":                       {[]rbacv1.PolicyRule{readPods}, []rbacv1.PolicyRule{reading("pods")}, 0, false},
		"more":                       {[]rbacv1.PolicyRule{reading("pods")}, []rbacv1.PolicyRule{readPods}, 1, false},
		"several rules together":     {[]rbacv1.PolicyRule{reading("pods"), to(list("list"), list(""), list("*"))}, []rbacv1.PolicyRule{readPods}, 0, false},
		"all, where some are listed": {[]rbacv1.PolicyRule{readPods}, []rbacv1.PolicyRule{to(list("*"), list(""), list("pods"))}, 1, false},
		"too much to compare":        {nil, []rbacv1.PolicyRule{to(many, many, many, many...)}, 0, true},
		"too many paths":             {nil, []rbacv1.PolicyRule{{Verbs: many, NonResourceURLs: many}}, 0, true},
		"too much in all":            {nil, []rbacv1.PolicyRule{to(many, many[:300], list("x")), to(many, many[:300], list("x"))}, 0, true},
		"nothing":                    {nil, nil, 0, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			missing, err := rbac.Covers(tc.owner, tc.servant)
			if len(missing) != tc.wantMissing || err != nil != tc.wantErr {
				t.Errorf("missing %v, error %v", missing, err)
			}
		})
	}
}
