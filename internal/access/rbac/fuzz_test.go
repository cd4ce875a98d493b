// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package rbac_test

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/snapshot"
)

// Whatever roles, bindings and questions hold, all ways to ask say the same, and what is allowed says why.
func FuzzAuthorizer(f *testing.F) {
	f.Add("get", "", "pods", "", "pods", "", "team", "team", "User", "alice", "", "alice", "")
	f.Add("*", "*", "*/log", "a", "pods", "log", "", "team", "ServiceAccount", "bot", "team", "system:serviceaccount:team:bot", "")
	f.Add("get", "x", "/metrics*", "", "", "", "", "", "Group", "system:masters", "", "root", "/metrics/a")
	f.Add("get", "x", "*", "", "*/", "/", "*", "*", "Group", "", "", "", "*")
	f.Fuzz(func(t *testing.T, verb, group, ruled, ruledName, resource, subresource, name, namespace, kind, subject, subjectNamespace, asker, path string) {
		rule := rbacv1.PolicyRule{Verbs: strings.Split(verb, ","), APIGroups: strings.Split(group, ","), Resources: strings.Split(ruled, ",")}
		if ruledName != "" {
			rule.ResourceNames = strings.Split(ruledName, ",")
		}
		paths := rbacv1.PolicyRule{Verbs: rule.Verbs, NonResourceURLs: rule.Resources}
		subjects := []rbacv1.Subject{{Kind: kind, Name: subject, Namespace: subjectNamespace}, {Kind: subject, Name: kind}}
		top := clusterRole(name)
		top.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
			{MatchLabels: map[string]string{group: resource}}, {MatchExpressions: []metav1.LabelSelectorRequirement{{Key: verb, Operator: metav1.LabelSelectorOperator(kind)}}},
		}}
		leaf := clusterRole(ruledName, rule, paths)
		leaf.Labels = map[string]string{group: resource}
		a := rbac.New(&snapshot.Snapshot{
			Roles: []*rbacv1.Role{role(namespace, name, rule, paths)}, ClusterRoles: []*rbacv1.ClusterRole{top, leaf},
			RoleBindings: []*rbacv1.RoleBinding{
				roleBinding(namespace, name, rbacv1.RoleRef{Kind: "Role", Name: name}, subjects...),
				roleBinding(subjectNamespace, name, rbacv1.RoleRef{Kind: kind, Name: name}, subjects...),
			},
			ClusterRoleBindings: []*rbacv1.ClusterRoleBinding{clusterRoleBinding(name, toClusterRole(name), subjects...)},
		})
		u := rbac.SignedIn(asker, strings.Split(subject, ",")...)
		q := rbac.Question{
			Verb: strings.Split(verb, ",")[0], Group: strings.Split(group, ",")[0], Resource: resource, Subresource: subresource,
			Name: name, Namespace: namespace, Path: path,
		}
		d := a.Can(u, q)
		if d.Allowed != a.Allowed(u, q) || d.Allowed != (d.Master || len(d.Grants) > 0) {
			t.Errorf("%+v, %+v: %+v", u, q, d)
		}
		table, err := a.Ask(q)
		if err != nil || table.Row(u).In(namespace).Has(0) != d.Allowed {
			t.Errorf("%+v, %+v: %+v, and not in the table (error %v)", u, q, d, err)
		}
		for _, grant := range d.Grants {
			if held := a.Holds(u); len(held) == 0 || grant.Missing || q.Namespace == "" && grant.Binding.Kind != rbac.KindClusterRoleBinding {
				t.Errorf("%+v, %+v: by %+v, holding %+v", u, q, grant, held)
			}
		}
		for range table.Rows() {
		}
		_, _ = a.Who(q), a.RulesFor(u, namespace)
		if _, err := rbac.Covers([]rbacv1.PolicyRule{rule}, []rbacv1.PolicyRule{rule, paths}); err != nil {
			t.Log(err)
		}
	})
}
