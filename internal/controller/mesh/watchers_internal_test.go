// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"berth.dev/berth/internal/render"
)

// follower is a controller that may watch some kinds.
type follower struct {
	controller.TypedController[reconcile.Request]

	fails   error
	watched []string
	told    int
}

func (f *follower) Watch(source.Source) error {
	if f.fails == nil {
		f.watched = append(f.watched, "")
	}
	return f.fails
}

// watcher has f watch the given types only.
func (f *follower) watcher(types ...string) Watcher {
	return Watcher{
		Controller: f,
		Source: func(_ context.Context, obj client.Object) (source.Source, error) {
			if !slices.Contains(types, fmt.Sprintf("%T", obj)) {
				return nil, nil //nolint:nilnil // other kinds are not watched
			}
			return source.Func(nil), nil
		},
		Changed: func(context.Context) { f.told++ },
	}
}

const policies = "*v1beta1.AuthorizationPolicy"

// A kind counts as served when everybody who wants to watches it: what is decided then rests on what all can see.
func TestKinds_severalWatchers(t *testing.T) {
	down := errors.New("can't be watched")
	k := New(&meshCluster{})
	k.kinds = kinds[:2]
	all, some := &follower{}, &follower{fails: down}
	k.Add(all.watcher(policies, "*unstructured.Unstructured"))
	k.Add(some.watcher(policies))

	missing, err := k.look(t.Context(), true)
	if !missing || !errors.Is(err, down) || k.Served() != (render.MeshKinds{Gateway: true}) {
		t.Errorf("missing %t, error %v, served %+v", missing, err, k.Served())
	}
	if len(all.watched) != 2 || len(some.watched) != 0 || all.told != 1 || some.told != 1 {
		t.Errorf("watched %d and %d, told %d and %d times", len(all.watched), len(some.watched), all.told, some.told)
	}
	some.fails = nil
	missing, err = k.look(t.Context(), true)
	if missing || err != nil || k.Served() != (render.MeshKinds{Gateway: true, AuthorizationPolicy: true}) {
		t.Errorf("missing %t, error %v, served %+v", missing, err, k.Served())
	}
	if len(all.watched) != 2 || len(some.watched) != 1 || all.told != 2 || some.told != 2 {
		t.Errorf("watched %d and %d, told %d and %d times", len(all.watched), len(some.watched), all.told, some.told)
	}
}

// The first look tells nobody: nothing has been decided yet.
func TestKinds_Look(t *testing.T) {
	f := &follower{}
	k := New(&meshCluster{answers: map[string]error{"Gateway": &meta.NoKindMatchError{}}})
	k.kinds = kinds[:2]
	k.Add(f.watcher(policies))
	if lists := k.Lists(); len(lists) > 0 {
		t.Errorf("before it, the lists are %T", lists)
	}
	if err := k.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.told != 0 || len(f.watched) != 1 {
		t.Errorf("told %d times, watched %d", f.told, len(f.watched))
	}
	lists := k.Lists()
	if _, ok := lists[0].(*securityv1beta1.AuthorizationPolicyList); len(lists) != 1 || !ok {
		t.Errorf("the lists are %T", lists)
	}
	if err := New(&meshCluster{answers: map[string]error{"Gateway": errors.New("down")}}).Look(t.Context()); err == nil {
		t.Error("a server that can't say is no error")
	}
}

// Looking ends when all is there, and when the process ends.
func TestKinds_Start(t *testing.T) {
	for name, answers := range map[string]map[string]error{
		"all is there":     nil,
		"nothing is there": {"Gateway": &meta.NoKindMatchError{}, "AuthorizationPolicy": errors.New("down")},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			if answers != nil {
				cancel()
			}
			defer cancel()
			k := New(&meshCluster{answers: answers})
			k.kinds = kinds[:2]
			if err := k.Start(ctx); err != nil || k.NeedLeaderElection() {
				t.Errorf("error %v, needs to be elected: %t", err, k.NeedLeaderElection())
			}
			want := render.MeshKinds{AuthorizationPolicy: answers == nil, Gateway: answers == nil}
			if diff := cmp.Diff(want, k.Served()); diff != "" {
				t.Errorf("served (-want +got):\n%s", diff)
			}
		})
	}
}
