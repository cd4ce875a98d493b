// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package rbac_test

import (
	"fmt"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/snapshot"
)

const (
	profiles     = 1000
	contributors = 10
)

// platform has profiles with their contributors, in the roles that Kubeflow's are like: three that aggregate thirty.
func platform() *snapshot.Snapshot {
	s := &snapshot.Snapshot{ClusterRoles: []*rbacv1.ClusterRole{
		aggregating(clusterRole("kubeflow-admin"), "admin", "edit", "view"), aggregating(clusterRole("kubeflow-edit"), "edit", "view"),
		aggregating(clusterRole("kubeflow-view"), "view"), clusterRole("basic", rbacv1.PolicyRule{Verbs: list("get"), NonResourceURLs: list("/api*")}),
	}}
	for _, level := range list("admin", "edit", "view") {
		for i := range 30 {
			r := clusterRole(fmt.Sprintf("kubeflow-%s-%d", level, i))
			for j := range 4 {
				r.Rules = append(r.Rules, to(list("get", "list", "watch", "create"), list(fmt.Sprintf("g%d.io", i)), list(fmt.Sprintf("%s%d", level, j), "pods")))
			}
			s.ClusterRoles = append(s.ClusterRoles, labelled(r, level))
		}
	}
	last := s.ClusterRoles[len(s.ClusterRoles)-1]
	last.Rules = append(last.Rules, readPods)
	s.ClusterRoleBindings = []*rbacv1.ClusterRoleBinding{clusterRoleBinding("basic", toClusterRole("basic"), group("system:authenticated"))}
	for p := range profiles {
		namespace := fmt.Sprintf("team-%d", p)
		for _, name := range list("default-editor", "default-viewer") {
			s.RoleBindings = append(s.RoleBindings, roleBinding(namespace, name, toClusterRole("kubeflow-edit"), account("", name)))
		}
		for c := range contributors {
			to := toClusterRole(list("kubeflow-admin", "kubeflow-edit", "kubeflow-view")[c%3])
			s.RoleBindings = append(s.RoleBindings, roleBinding(namespace, fmt.Sprintf("user-%d", c), to, user(person(p*contributors+c))))
		}
	}
	return s
}

func person(n int) string { return fmt.Sprintf("person-%d@example.com", n) }

func capabilities() []rbac.Question {
	var all []rbac.Question
	for i := range 12 {
		all = append(all, rbac.Question{Verb: "create", Group: fmt.Sprintf("g%d.io", i), Resource: list("admin", "edit", "view")[i%3] + "1"})
	}
	return all
}

func BenchmarkNew(b *testing.B) {
	s := platform()
	b.ReportAllocs()
	for b.Loop() {
		rbac.New(s)
	}
}

func BenchmarkAuthorizer(b *testing.B) {
	a := rbac.New(platform())
	u := rbac.SignedIn(person(4321), "staff", "ml")
	yes := rbac.Question{Verb: "get", Resource: "pods", Namespace: "team-432"}
	no := rbac.Question{Verb: "get", Resource: "pods", Namespace: "team-7"}
	if !a.Allowed(u, yes) || a.Allowed(u, no) {
		b.Fatal("the platform is not what it should be")
	}
	for name, f := range map[string]func(){
		"Can/allowed":     func() { a.Can(u, yes) },
		"Can/denied":      func() { a.Can(u, no) },
		"Allowed/allowed": func() { a.Allowed(u, yes) },
		"Allowed/denied":  func() { a.Allowed(u, no) },
		"Holds":           func() { a.Holds(u) },
		"RulesFor":        func() { a.RulesFor(u, "team-432") },
		"Who":             func() { a.Who(yes) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}

// Every person in every namespace, from the snapshot on.
func BenchmarkTable_all(b *testing.B) {
	s := platform()
	namespaces := make([]string, profiles)
	for i := range namespaces {
		namespaces[i] = fmt.Sprintf("team-%d", i)
	}
	b.ReportAllocs()
	for b.Loop() {
		table, err := rbac.New(s).Ask(capabilities()...)
		if err != nil {
			b.Fatal(err)
		}
		allowed := 0
		for n := range profiles * contributors {
			row := table.Row(rbac.SignedIn(person(n)))
			for _, namespace := range namespaces {
				if row.In(namespace) != 0 {
					allowed++
				}
			}
		}
		if allowed != profiles*contributors {
			b.Fatalf("%d cells hold something", allowed)
		}
	}
}
