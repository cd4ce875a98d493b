// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package rbac_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/snapshot"
)

func reading(resource string) rbacv1.PolicyRule { return to(list("get"), list(""), list(resource)) }

// managed has the rules of r written by managers.
func managed(r *rbacv1.ClusterRole, managers ...string) *rbacv1.ClusterRole {
	r.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl-create", FieldsV1: metav1.NewFieldsV1(`{"f:aggregationRule":{}}`)}}
	for _, manager := range managers {
		r.ManagedFields = append(r.ManagedFields, metav1.ManagedFieldsEntry{Manager: manager, FieldsV1: metav1.NewFieldsV1(`{"f:rules":{}}`)})
	}
	return r
}

// rulesOf are the rules of a ClusterRole, as "resource from role[index]".
func rulesOf(a *rbac.Authorizer, name string) []string {
	rules, _ := a.Rules(rbac.Ref{Kind: rbac.KindClusterRole, Name: name})
	var shown []string
	for _, r := range rules {
		shown = append(shown, fmt.Sprintf("%s from %s[%d]", r.Policy.Resources[0], r.From.Name, r.Index))
	}
	return shown
}

func TestNew_aggregates(t *testing.T) {
	unreadable := aggregating(clusterRole("top", reading("kept")), "a")
	unreadable.AggregationRule.ClusterRoleSelectors = append(unreadable.AggregationRule.ClusterRoleSelectors,
		metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}})
	everything := aggregating(clusterRole("top"))
	everything.AggregationRule.ClusterRoleSelectors = []metav1.LabelSelector{{}}

	cases := map[string]struct {
		roles []*rbacv1.ClusterRole
		want  []string
	}{
		"without a rule of aggregation, what is written": {
			[]*rbacv1.ClusterRole{clusterRole("top", reading("x"), reading("y"))},
			list("x from top[0]", "y from top[1]"),
		},
		"the union by role": {
			[]*rbacv1.ClusterRole{
				aggregating(clusterRole("top"), "a", "b"), labelled(clusterRole("two", reading("y"), reading("z")), "b"),
				labelled(clusterRole("one", reading("x")), "a"), labelled(clusterRole("none", reading("w")), "c"),
			},
			list("x from one[0]", "y from two[0]", "z from two[1]"),
		},
		"what was filled in already is not there twice": {
			[]*rbacv1.ClusterRole{aggregating(clusterRole("top", reading("x")), "a"), labelled(clusterRole("one", reading("x")), "a")},
			list("x from one[0]"),
		},
		"what was filled in, and is no more, goes": {
			[]*rbacv1.ClusterRole{aggregating(clusterRole("top", reading("old"), reading("x")), "a"), labelled(clusterRole("one", reading("x")), "a")},
			list("x from one[0]"),
		},
		"through others": {
			[]*rbacv1.ClusterRole{
				aggregating(clusterRole("top"), "a"), labelled(aggregating(clusterRole("middle"), "b"), "a"),
				labelled(clusterRole("bottom", reading("x")), "b"),
			},
			list("x from bottom[0]"),
		},
		"itself it does not select": {
			[]*rbacv1.ClusterRole{labelled(aggregating(clusterRole("top", reading("old")), "a"), "a"), labelled(clusterRole("one", reading("x")), "a")},
			list("x from one[0]"),
		},
		"in a circle, all have what any has": {
			[]*rbacv1.ClusterRole{
				labelled(aggregating(clusterRole("top"), "a"), "b"), labelled(aggregating(clusterRole("other"), "b"), "a"),
				labelled(clusterRole("one", reading("x")), "b"),
			},
			list("x from one[0]"),
		},
		"in a circle, what was filled in stays": {
			[]*rbacv1.ClusterRole{
				labelled(aggregating(clusterRole("top"), "a"), "b"),
				labelled(aggregating(clusterRole("other", reading("old")), "b"), "a"),
			},
			list("old from other[0]"),
		},
		"an empty selector selects all": {
			[]*rbacv1.ClusterRole{everything, clusterRole("one", reading("x"))},
			list("x from one[0]"),
		},
		"a selector that can't be read leaves the role as it is": {
			[]*rbacv1.ClusterRole{unreadable, labelled(clusterRole("one", reading("x")), "a")},
			list("kept from top[0]"),
		},
		"where it selects nothing, what was written stays": {
			[]*rbacv1.ClusterRole{aggregating(clusterRole("top", reading("kept")), "a"), labelled(clusterRole("one"), "a")},
			list("kept from top[0]"),
		},
		"where it selects nothing, what Kubernetes wrote goes": {
			[]*rbacv1.ClusterRole{managed(aggregating(clusterRole("top", reading("old")), "a"), "clusterrole-aggregation-controller")},
			nil,
		},
		"where it selects nothing, what others wrote as well stays": {
			[]*rbacv1.ClusterRole{managed(aggregating(clusterRole("top", reading("kept")), "a"), "clusterrole-aggregation-controller", "kubectl")},
			list("kept from top[0]"),
		},
		"what stayed elsewhere is selected": {
			[]*rbacv1.ClusterRole{aggregating(clusterRole("top", reading("old")), "b"), labelled(aggregating(clusterRole("middle", reading("kept")), "a"), "b")},
			list("kept from middle[0]"),
		},
		"roles of one name are one": {
			[]*rbacv1.ClusterRole{clusterRole("top", reading("y")), clusterRole("top", reading("x"))},
			list("x from top[0]", "y from top[1]"),
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := rulesOf(rbac.New(&snapshot.Snapshot{ClusterRoles: tc.roles}), "top")
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
			backwards := slices.Clone(tc.roles)
			slices.Reverse(backwards)
			if diff := cmp.Diff(got, rulesOf(rbac.New(&snapshot.Snapshot{ClusterRoles: backwards}), "top")); diff != "" {
				t.Errorf("the other way round (-want +got):\n%s", diff)
			}
		})
	}
	a := rbac.New(&snapshot.Snapshot{ClusterRoles: []*rbacv1.ClusterRole{unreadable, everything}})
	if diff := cmp.Diff([]rbac.Ref{{Kind: "ClusterRole", Name: "top"}}, a.Invalid()); diff != "" {
		t.Errorf("roles that can't be aggregated (-want +got):\n%s", diff)
	}
}

// However many roles select each other, that is worked out in time.
func TestNew_aggregatesManyInACircle(t *testing.T) {
	const many = 500
	var roles []*rbacv1.ClusterRole
	for i := range many {
		r := aggregating(clusterRole(fmt.Sprintf("%03d", i), reading("x")))
		r.AggregationRule.ClusterRoleSelectors = []metav1.LabelSelector{{}}
		roles = append(roles, r)
	}
	if got := len(rulesOf(rbac.New(&snapshot.Snapshot{ClusterRoles: roles}), "000")); got != many {
		t.Errorf("%d rules, want those of all", got)
	}
}
