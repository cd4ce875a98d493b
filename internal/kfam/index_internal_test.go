// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// TestIndex_rowsOfUser_isCurrent: whatever happened since a user was last asked about, what is found is what looking at
// every row finds.
func TestIndex_rowsOfUser_isCurrent(t *testing.T) {
	const seeds, steps = 20, 300
	for seed := range uint64(seeds) {
		x, random := newIndex(), rand.New(rand.NewPCG(seed, 0))
		for step := range steps {
			changed := changeSomething(x, random)
			for _, user := range users {
				want := scan(x, user)
				for range 2 { // looked up, then remembered
					if diff := cmp.Diff(want, told(x.rowsOfUser(user))); diff != "" {
						t.Fatalf("seed %d, step %d, %s: the rows of %s (-want +got):\n%s", seed, step, changed, user, diff)
					}
				}
			}
		}
	}
}

var (
	users      = []string{"ann", "ben", "cleo"}
	namespaces = []string{"a", "b", "c"}
)

// changeSomething has x take in a change, and says which.
func changeSomething(x *index, random *rand.Rand) string {
	anyOf := func(names []string) string { return names[random.IntN(len(names))] }
	namespace, name, user := anyOf(namespaces), anyOf([]string{"1", "2", "3"}), anyOf(users)
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{kubeflowv1.UserAnnotation: user}},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: anyOf(users)}},
		RoleRef:    rbacv1.RoleRef{Kind: "ClusterRole", Name: "kubeflow-edit"},
	}
	if role := anyOf([]string{"", "edit", "view"}); role != "" {
		binding.Annotations[kubeflowv1.RoleAnnotation] = role
	}
	if random.IntN(5) == 0 {
		delete(binding.Annotations, kubeflowv1.UserAnnotation)
	}
	switch random.IntN(5) {
	case 0:
		x.setProfile(&kubeflowv1.Profile{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
		return "profile " + namespace + " set"
	case 1:
		x.deleteProfile(namespace)
		return "profile " + namespace + " deleted"
	case 2:
		x.deleteBinding(binding)
		return fmt.Sprintf("binding %s/%s deleted", namespace, name)
	default:
		x.setBinding(binding)
		return fmt.Sprintf("binding %s/%s set for %s", namespace, name, user)
	}
}

// scan is what rowsOfUser has to find.
func scan(x *index, user string) []string {
	var all []rowsIn
	for _, in := range x.rows(namespaces, true) {
		var rows []row
		for _, row := range in.rows {
			if row.user == user {
				rows = append(rows, row)
			}
		}
		all = append(all, rowsIn{in.namespace, in.profile, rows})
	}
	return told(all)
}

// told is what clients are told of rows.
func told(all []rowsIn) []string {
	lines := []string{}
	for _, in := range all {
		for _, row := range in.rows {
			lines = append(lines, fmt.Sprintf("%s %p %s %s %s %s", in.namespace, in.profile, row.user, row.role, row.key, row.json))
		}
	}
	return lines
}
