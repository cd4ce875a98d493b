// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth.dev/berth/internal/render"
)

// The API server does not take an aggregation rule without selectors, and fills in the rules of a role that has one.
func TestDiff_aggregationThatNobodyWantsIsRecreated(t *testing.T) {
	want := render.Object{Resource: &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, Exact: []string{"rules"}}
	live := stored(t, &rbacv1.ClusterRole{
		ObjectMeta:      metav1.ObjectMeta{Name: "a"},
		AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"k": "v"}}}},
	})
	if d, err := diff(want, live); err != nil || !d.recreate || !slices.Equal(d.fields, []string{"aggregationRule"}) {
		t.Errorf("fields %q differ, recreate %t (error %v)", d.fields, d.recreate, err)
	}
	live.AggregationRule = nil
	if d, err := diff(want, live); err != nil || d.recreate || len(d.fields) > 0 {
		t.Errorf("fields %q differ, recreate %t (error %v)", d.fields, d.recreate, err)
	}
}
