// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"berth.dev/berth/internal/render"
)

func TestWriter_Ensure(t *testing.T) {
	binding := wantedKind(t, "RoleBinding", render.OwnerBindingName)
	spared := binding
	spared.Foreign = func(live metav1.Object) bool { return live.GetLabels()["whose"] == "another's" }
	live := func(change func(*rbacv1.RoleBinding)) client.Object {
		b := stored(t, binding.Resource.(*rbacv1.RoleBinding))
		change(b)
		return b
	}
	noSubjects := func(b *rbacv1.RoleBinding) { b.Subjects = nil }
	foreign := func(b *rbacv1.RoleBinding) { b.Subjects, b.Labels = nil, map[string]string{"whose": "another's"} }
	taken := map[string]error{"create": exists}
	cases := map[string]struct {
		want         render.Object
		there        client.Object
		fails        map[string]error
		wantCalls    []string
		wantAction   Action
		wantFields   []string
		wantConflict bool
		wantErr      error
	}{
		"what is absent is created without a look": {want: binding, wantCalls: []string{"create"}, wantAction: Create},
		"what is there as wanted is left":          {want: binding, there: live(func(*rbacv1.RoleBinding) {}), fails: taken, wantCalls: []string{"create", "get"}},
		"what differs is patched": {
			want: binding, there: live(noSubjects), fails: taken,
			wantCalls: []string{"create", "get", "patch"}, wantAction: Patch, wantFields: []string{"subjects"},
		},
		"what is not somebody else's is patched": {
			want: spared, there: live(noSubjects), fails: taken,
			wantCalls: []string{"create", "get", "patch"}, wantAction: Patch, wantFields: []string{"subjects"},
		},
		"what is somebody else's is left":    {want: spared, there: live(foreign), fails: taken, wantCalls: []string{"create", "get"}},
		"what came and went is a conflict":   {want: binding, fails: taken, wantCalls: []string{"create", "get"}, wantConflict: true},
		"a refusal to create is an error":    {want: binding, fails: map[string]error{"create": forbidden}, wantCalls: []string{"create"}, wantErr: forbidden},
		"a refusal to read is an error":      {want: binding, fails: map[string]error{"create": exists, "get": forbidden}, wantCalls: []string{"create", "get"}, wantErr: forbidden},
		"a refusal to patch is an error":     {want: binding, there: live(noSubjects), fails: map[string]error{"create": exists, "patch": forbidden}, wantCalls: []string{"create", "get", "patch"}, wantErr: forbidden},
		"what went before the patch is told": {want: binding, there: live(noSubjects), fails: map[string]error{"create": exists, "patch": notFound}, wantCalls: []string{"create", "get", "patch"}, wantConflict: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, tc.there, tc.fails)
			done, err := NewWriter(s, s).Ensure(t.Context(), tc.want)
			if !slices.Equal(s.calls, tc.wantCalls) {
				t.Errorf("calls are %q, want %q", s.calls, tc.wantCalls)
			}
			if got := apierrors.IsConflict(err); got != tc.wantConflict || (!got && !errors.Is(err, tc.wantErr)) {
				t.Errorf("error is %v; want %v, conflict %t", err, tc.wantErr, tc.wantConflict)
			}
			var want *Change
			if tc.wantAction != "" {
				want = &Change{Action: tc.wantAction, Kind: "RoleBinding", Namespace: "a", Name: render.OwnerBindingName, Fields: tc.wantFields}
			}
			if diff := cmp.Diff(want, done); diff != "" {
				t.Errorf("done (-want +got):\n%s", diff)
			}
		})
	}
}

// What is somebody else's is planned for no more than it is written.
func TestWriter_Plan_sparesWhatIsForeign(t *testing.T) {
	want := wantedKind(t, "RoleBinding", render.OwnerBindingName)
	want.Foreign = func(metav1.Object) bool { return true }
	edited := stored(t, want.Resource.(*rbacv1.RoleBinding))
	edited.Subjects = nil
	s := newServer(t, edited, nil)
	if ops, err := NewWriter(s, s).Plan(t.Context(), "uid-of-a", []render.Object{want}, nil); err != nil || len(ops) > 0 {
		t.Errorf("planned %v (error %v)", ops, err)
	}
	absent := newServer(t, nil, nil)
	if ops, err := NewWriter(absent, absent).Plan(t.Context(), "uid-of-a", []render.Object{want}, nil); err != nil || len(ops) != 1 {
		t.Errorf("planned %v (error %v) where nothing is in the way", ops, err)
	}
}

// deletions are what is deleted, and under which condition.
type deletions struct {
	*server

	uids map[string]types.UID
}

func (d *deletions) Delete(ctx context.Context, obj client.Object, opts ...client.DeleteOption) error {
	var o client.DeleteOptions
	o.ApplyOptions(opts)
	if o.Preconditions != nil && o.Preconditions.UID != nil {
		d.uids[obj.GetName()] = *o.Preconditions.UID
	}
	return d.server.Delete(ctx, obj, opts...)
}

// Exactly the objects that were looked at go, not others in their place, and not before Do.
func TestWriter_Remove(t *testing.T) {
	named := func(name string) client.Object {
		return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, UID: types.UID("uid-of-" + name)}}
	}
	for name, tc := range map[string]struct {
		fails   error
		wantErr error
	}{
		"there":   {},
		"gone":    {fails: notFound},
		"refused": {fails: forbidden, wantErr: forbidden},
	} {
		t.Run(name, func(t *testing.T) {
			d := &deletions{server: newServer(t, nil, map[string]error{"delete": tc.fails}), uids: map[string]types.UID{}}
			w := NewWriter(d, d)
			ops := w.Remove([]client.Object{named("x"), named("y")})
			if len(d.calls) > 0 || len(ops) != 2 {
				t.Fatalf("planning called %q and gave %v", d.calls, ops)
			}
			for i, name := range []string{"x", "y"} {
				done, err := w.Do(t.Context(), ops[i])
				if !errors.Is(err, tc.wantErr) {
					t.Errorf("error %v, want %v", err, tc.wantErr)
				}
				want := &Change{Action: Delete, Kind: "RoleBinding", Namespace: "a", Name: name}
				if diff := cmp.Diff(want, done); tc.wantErr == nil && diff != "" {
					t.Errorf("done (-want +got):\n%s", diff)
				}
			}
			if diff := cmp.Diff(map[string]types.UID{"x": "uid-of-x", "y": "uid-of-y"}, d.uids); diff != "" {
				t.Errorf("preconditions (-want +got):\n%s", diff)
			}
		})
	}
	s := newServer(t, nil, nil)
	if ops := NewWriter(s, s).Remove(nil); len(ops) > 0 {
		t.Errorf("planned %v for nothing", ops)
	}
}
