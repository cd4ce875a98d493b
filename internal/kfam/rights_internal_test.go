// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/snapshot"
)

// TestIndex_mayBind_isCurrent: whatever came and went, what is said is what the engine says of all that is there now.
func TestIndex_mayBind_isCurrent(t *testing.T) {
	const seeds, steps = 20, 400
	allowed := 0
	for seed := range uint64(seeds) {
		c := &changes{index: newIndex(), Rand: rand.New(rand.NewPCG(seed, 0)), there: map[string]metav1.Object{}}
		for step := range steps {
			changed := c.change()
			want := rbac.New(c.all())
			for _, name := range users {
				for _, namespace := range namespaces {
					user := rbac.SignedIn(name, c.any("staff", "team"))
					if want, got := want.Allowed(user, toBind(namespace)), c.index.mayBind(user, namespace); want != got {
						t.Fatalf("seed %d, step %d, %s: %s may bind in %s: %t, want %t", seed, step, changed, name, namespace, got, want)
					} else if want {
						allowed++
					}
				}
			}
		}
	}
	if allowed < seeds*steps/10 {
		t.Errorf("only %d answers were yes", allowed)
	}
}

// changes are made to an index, and remembered.
type changes struct {
	*rand.Rand

	index *index
	there map[string]metav1.Object
}

func (c *changes) any(words ...string) string { return words[c.IntN(len(words))] }

// change has the index take in something new, changed or gone, as it comes out of the cache, and says what.
func (c *changes) change() string {
	gone := c.IntN(3) == 0
	meta := metav1.ObjectMeta{Name: c.any("1", "2", "3")}
	rules := []rbacv1.PolicyRule{{
		Verbs: []string{c.any("create", "*", "get")}, APIGroups: []string{c.any(rbacv1.GroupName, "*", "")},
		Resources: []string{c.any("rolebindings", "*", "roles", "rolebindings/status")},
	}}
	if c.IntN(8) == 0 {
		rules[0].ResourceNames = []string{"one"}
	}
	if c.IntN(8) == 0 {
		rules = nil
	}
	ref := rbacv1.RoleRef{Kind: c.any("Role", "ClusterRole"), Name: c.any("1", "2", "3", "missing")}
	subjects := []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: c.any(users...)}, {Kind: rbacv1.GroupKind, Name: c.any("staff", "others", "everybody")}}
	var obj metav1.Object
	kind := c.IntN(4)
	switch kind {
	case 0:
		meta.Namespace = c.any(namespaces...)
		obj = &rbacv1.Role{ObjectMeta: meta, Rules: rules}
	case 1:
		obj = &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules, AggregationRule: &rbacv1.AggregationRule{}}
	case 2:
		meta.Namespace = c.any(namespaces...)
		obj = &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects}
	case 3:
		obj = &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects[:1]}
	}
	key := fmt.Sprintf("%T %s/%s", obj, meta.Namespace, meta.Name)
	if gone {
		delete(c.there, key)
	} else {
		c.there[key] = obj
	}
	c.take(obj, gone)
	return fmt.Sprintf("%s (gone: %t)", key, gone)
}

func (c *changes) take(obj metav1.Object, gone bool) {
	cached, err := transform(obj)
	if err != nil {
		panic(err)
	}
	switch obj := cached.(type) {
	case *rbacv1.Role:
		pick(gone, c.index.deleteRole, c.index.setRole)(obj)
	case *rbacv1.ClusterRole:
		pick(gone, c.index.deleteClusterRole, c.index.setClusterRole)(obj)
	case *rbacv1.RoleBinding:
		pick(gone, c.index.deleteBinding, c.index.setBinding)(obj)
	case *rbacv1.ClusterRoleBinding:
		pick(gone, c.index.deleteClusterBinding, c.index.setClusterBinding)(obj)
	}
}

func pick[T any](first bool, one, other T) T {
	if first {
		return one
	}
	return other
}

// all is what is there, with the rules of aggregating roles as they are.
func (c *changes) all() *snapshot.Snapshot {
	s := &snapshot.Snapshot{}
	for _, obj := range c.there {
		switch obj := obj.(type) {
		case *rbacv1.Role:
			s.Roles = append(s.Roles, obj)
		case *rbacv1.ClusterRole:
			s.ClusterRoles = append(s.ClusterRoles, &rbacv1.ClusterRole{ObjectMeta: obj.ObjectMeta, Rules: obj.Rules})
		case *rbacv1.RoleBinding:
			s.RoleBindings = append(s.RoleBindings, obj)
		case *rbacv1.ClusterRoleBinding:
			s.ClusterRoleBindings = append(s.ClusterRoleBindings, obj)
		}
	}
	return s
}

// TestTrouble_lasts: a watch that failed is not relied on until it has come further.
func TestTrouble_lasts(t *testing.T) {
	broken := errors.New("forbidden")
	version, refuse := "7", false
	lister := &toolscache.ListWatch{
		ListWithContextFunc: func(context.Context, metav1.ListOptions) (runtime.Object, error) {
			if refuse {
				return nil, broken
			}
			return &rbacv1.RoleList{ListMeta: metav1.ListMeta{ResourceVersion: version}}, nil
		},
		WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) { return nil, broken },
	}
	reflector := toolscache.NewReflector(toolscache.ToListWatcherWithWatchListSemantics(lister, doesNotWatchList{}), &rbacv1.Role{}, toolscache.NewStore(toolscache.MetaNamespaceKeyFunc), 0)
	look := func() error { return reflector.ListAndWatchWithContext(t.Context()) } // which ends with an error after each list
	var failed trouble
	if failed.lasts() {
		t.Error("there is trouble from the beginning")
	}
	for _, step := range []struct {
		what    string
		version string
		refuse  bool
		want    bool
	}{
		{"nothing new", "7", false, true},
		{"the list is refused", "7", true, true},
		{"it has come further", "8", false, false},
	} {
		version, refuse = step.version, step.refuse
		if step.what == "nothing new" {
			_ = look()
			failed.add(t.Context(), reflector, broken)
		}
		if err := look(); !errors.Is(err, broken) {
			t.Errorf("%s: the reflector ended with %v", step.what, err)
		}
		if got := failed.lasts(); got != step.want {
			t.Errorf("%s: trouble %t, want %t", step.what, got, step.want)
		}
	}
}

type doesNotWatchList struct{}

func (doesNotWatchList) IsWatchListSemanticsUnSupported() bool { return true }

// BenchmarkServer_mayBind asks about a contributor with the role admin, and about one without, among 2,000 profiles and
// as many ClusterRoleBindings.
func BenchmarkServer_mayBind(b *testing.B) {
	s := many(b)
	everything := []rbacv1.PolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}}
	for _, name := range []string{"cluster-admin", "kubeflow-admin", "admin"} {
		s.index.setClusterRole(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: everything})
	}
	for i := range teams {
		s.index.setClusterBinding(&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: team(i)}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "basic"},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: member(i)}},
		})
	}
	admin, other := rbac.SignedIn(member(0)), rbac.SignedIn("eve@example.com")
	if !s.index.mayBind(admin, team(0)) || s.index.mayBind(other, team(0)) {
		b.Fatal("the profile is not what it should be")
	}
	for name, user := range map[string]rbac.User{"allowed": admin, "denied": other} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.index.mayBind(user, team(0))
			}
		})
	}
}
