// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"berth.dev/berth/internal/render"
)

// server stands for an API server that answers each kind of call as a test wants. What it does with what it takes is
// tested on a real one.
type server struct {
	client.Client

	scheme *runtime.Scheme
	// live is what every read finds; nothing where it is nil.
	live client.Object
	// fails is the answer to each verb.
	fails map[string]error
	// calls are the verbs that were called.
	calls []string
}

func newServer(t *testing.T, live client.Object, fails map[string]error) *server {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), securityv1beta1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	return &server{scheme: scheme, live: live, fails: fails}
}

func (s *server) Scheme() *runtime.Scheme { return s.scheme }

func (s *server) call(verb string) error {
	s.calls = append(s.calls, verb)
	return s.fails[verb]
}

func (s *server) Get(_ context.Context, _ client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	if err := s.call("get"); err != nil {
		return err
	}
	if s.live == nil {
		return notFound
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(s.live)
	if err != nil {
		return err
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructured(content, into)
}

func (s *server) Create(context.Context, client.Object, ...client.CreateOption) error {
	return s.call("create")
}

func (s *server) Patch(context.Context, client.Object, client.Patch, ...client.PatchOption) error {
	return s.call("patch")
}

func (s *server) Delete(context.Context, client.Object, ...client.DeleteOption) error {
	return s.call("delete")
}

var (
	things    = schema.GroupResource{Resource: "things"}
	notFound  = apierrors.NewNotFound(things, "a")
	exists    = apierrors.NewAlreadyExists(things, "a")
	forbidden = apierrors.NewForbidden(things, "a", errors.New("no"))
)

func TestWriter_Do(t *testing.T) {
	binding := wantedKind(t, "RoleBinding", render.OwnerBindingName)
	namespace := wantedKind(t, "Namespace", "")
	live := func(change func(*rbacv1.RoleBinding)) client.Object {
		b := stored(t, binding.Resource.(*rbacv1.RoleBinding))
		change(b)
		return b
	}
	same := live(func(*rbacv1.RoleBinding) {})
	edited := live(func(b *rbacv1.RoleBinding) { b.Subjects = nil })
	rebound := live(func(b *rbacv1.RoleBinding) { b.RoleRef.Name = "edit" })
	cases := map[string]struct {
		want render.Object
		// cached is what the plan is made from, and there what is there in truth.
		cached, there client.Object
		absent        bool
		fails         map[string]error
		wantCalls     []string
		wantAction    Action // none where nothing was done
		wantConflict  bool
		wantErr       error
	}{
		"what is absent is created":            {want: binding, wantCalls: []string{"create"}, wantAction: Create},
		"what differs is patched":              {want: binding, cached: edited, wantCalls: []string{"patch"}, wantAction: Patch},
		"another role is replaced":             {want: binding, cached: rebound, wantCalls: []string{"delete", "create"}, wantAction: Recreate},
		"what is to be gone is deleted":        {want: binding, cached: same, absent: true, wantCalls: []string{"delete"}, wantAction: Delete},
		"a failure to create is an error":      {want: binding, fails: map[string]error{"create": forbidden}, wantCalls: []string{"create"}, wantErr: forbidden},
		"a failure to patch is an error":       {want: binding, cached: edited, fails: map[string]error{"patch": forbidden}, wantCalls: []string{"patch"}, wantErr: forbidden},
		"a failure to delete is no change":     {want: binding, cached: same, absent: true, fails: map[string]error{"delete": forbidden}, wantCalls: []string{"delete"}, wantErr: forbidden},
		"a failure to replace stops in time":   {want: binding, cached: rebound, fails: map[string]error{"delete": forbidden}, wantCalls: []string{"delete"}, wantErr: forbidden},
		"what went by itself is gone":          {want: binding, cached: same, absent: true, fails: map[string]error{"delete": notFound}, wantCalls: []string{"delete"}, wantAction: Delete},
		"what went before the patch is redone": {want: binding, cached: edited, fails: map[string]error{"patch": notFound}, wantCalls: []string{"patch"}, wantConflict: true},
		"what appeared meanwhile is patched":   {want: binding, there: edited, fails: map[string]error{"create": exists}, wantCalls: []string{"create", "get", "patch"}, wantAction: Patch},
		"what appeared as wanted is left":      {want: binding, there: same, fails: map[string]error{"create": exists}, wantCalls: []string{"create", "get"}},
		"what appeared with another role":      {want: binding, there: rebound, fails: map[string]error{"create": exists}, wantCalls: []string{"create", "get"}, wantConflict: true},
		"what came and went":                   {want: binding, fails: map[string]error{"create": exists}, wantCalls: []string{"create", "get"}, wantConflict: true},
		"a namespace that appeared":            {want: namespace, fails: map[string]error{"create": exists}, wantCalls: []string{"create"}, wantConflict: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			planner := newServer(t, tc.cached, nil)
			objects, absent := []render.Object{tc.want}, []render.Object(nil)
			if tc.absent {
				objects, absent = nil, objects
			}
			ops, err := NewWriter(planner, planner).Plan(t.Context(), "uid-of-a", objects, absent)
			if err != nil || len(ops) != 1 {
				t.Fatalf("planned %v: %v", ops, err)
			}
			actor := newServer(t, tc.there, tc.fails)
			done, err := NewWriter(actor, actor).Do(t.Context(), ops[0])
			if !slices.Equal(actor.calls, tc.wantCalls) {
				t.Errorf("calls are %q, want %q", actor.calls, tc.wantCalls)
			}
			if got := apierrors.IsConflict(err); got != tc.wantConflict || (!got && !errors.Is(err, tc.wantErr)) {
				t.Errorf("error is %v; want %v, conflict %t", err, tc.wantErr, tc.wantConflict)
			}
			switch {
			case done == nil && tc.wantAction != "":
				t.Errorf("nothing was done; want %s", tc.wantAction)
			case done != nil && done.Action != tc.wantAction:
				t.Errorf("done was %s of %s; want %q", done.Action, done, tc.wantAction)
			}
		})
	}
}

func TestWriter_Plan(t *testing.T) {
	object := wantedKind(t, "ResourceQuota", "")
	mine := stored(t, object.Resource.(*corev1.ResourceQuota))
	going := mine.DeepCopy()
	going.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	foreign := mine.DeepCopy()
	foreign.OwnerReferences = nil
	cases := map[string]struct {
		live   client.Object
		absent bool
		want   []Action
	}{
		"there as wanted":           {live: mine},
		"not there":                 {want: []Action{Create}},
		"to be gone, and gone":      {absent: true},
		"to be gone, and ours":      {absent: true, live: mine, want: []Action{Delete}},
		"to be gone, and another's": {absent: true, live: foreign},
		"to be gone, and going":     {absent: true, live: going},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, tc.live, nil)
			objects, absent := []render.Object{object}, []render.Object(nil)
			if tc.absent {
				objects, absent = nil, objects
			}
			ops, err := NewWriter(s, s).Plan(t.Context(), "uid-of-a", objects, absent)
			if err != nil {
				t.Fatal(err)
			}
			var got []Action
			for _, op := range ops {
				got = append(got, op.Action)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("planned %q, want %q", got, tc.want)
			}
			if slices.ContainsFunc(s.calls, func(verb string) bool { return verb != "get" }) {
				t.Errorf("planning called %q", s.calls)
			}
		})
	}
	failing := newServer(t, nil, map[string]error{"get": forbidden})
	if _, err := NewWriter(failing, failing).Plan(t.Context(), "u", []render.Object{object}, nil); !errors.Is(err, forbidden) {
		t.Errorf("a failing read is %v", err)
	}
}
