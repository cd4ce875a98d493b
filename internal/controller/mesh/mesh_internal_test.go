// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"
	"errors"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"berth.dev/berth/internal/render"
)

// meshCluster answers what Kinds ask.
type meshCluster struct {
	meta.RESTMapper
	controller.TypedController[reconcile.Request]

	answers map[string]error // by kind
	asked   string
	watched []string
	told    int
}

func (c *meshCluster) RESTMapping(kind schema.GroupKind, _ ...string) (*meta.RESTMapping, error) {
	c.asked = kind.Kind
	return &meta.RESTMapping{GroupVersionKind: kind.WithVersion("v1")}, c.answers[kind.Kind]
}

func (c *meshCluster) Watch(source.Source) error {
	c.watched = append(c.watched, c.asked)
	return nil
}

// Each kind is watched once, however often the cluster is asked and whatever else fails, and each news is told once.
func TestKinds_look(t *testing.T) {
	unknown := &meta.NoKindMatchError{}
	down := errors.New("the server is down")
	c := &meshCluster{}
	k := New(c)
	k.kinds = kinds[:2]
	k.Add(Watcher{
		Controller: c,
		Source:     func(context.Context, client.Object) (source.Source, error) { return source.Func(nil), nil },
		Changed:    func(context.Context) { c.told++ },
	})
	steps := []struct {
		name        string
		answers     map[string]error
		want        render.MeshKinds
		wantMissing bool
		wantErr     error
		wantWatched []string
		wantTold    int
	}{
		{name: "nothing is there", answers: map[string]error{"AuthorizationPolicy": unknown, "Gateway": unknown}, wantMissing: true},
		{name: "nobody can say", answers: map[string]error{"AuthorizationPolicy": down, "Gateway": down}, wantMissing: true, wantErr: down},
		{name: "one is there, of the other nobody can say", answers: map[string]error{"Gateway": down}, want: render.MeshKinds{AuthorizationPolicy: true}, wantMissing: true, wantErr: down, wantWatched: []string{"AuthorizationPolicy"}, wantTold: 1},
		{name: "the same again", answers: map[string]error{"Gateway": down}, want: render.MeshKinds{AuthorizationPolicy: true}, wantMissing: true, wantErr: down, wantWatched: []string{"AuthorizationPolicy"}, wantTold: 1},
		{name: "one is there, one is not", answers: map[string]error{"Gateway": unknown}, want: render.MeshKinds{AuthorizationPolicy: true}, wantMissing: true, wantWatched: []string{"AuthorizationPolicy"}, wantTold: 1},
		{name: "both are there", want: render.MeshKinds{AuthorizationPolicy: true, Gateway: true}, wantWatched: []string{"AuthorizationPolicy", "Gateway"}, wantTold: 2},
		{name: "what was there is asked for no more", answers: map[string]error{"AuthorizationPolicy": down}, want: render.MeshKinds{AuthorizationPolicy: true, Gateway: true}, wantWatched: []string{"AuthorizationPolicy", "Gateway"}, wantTold: 2},
	}
	for _, step := range steps {
		c.answers = step.answers
		missing, err := k.look(t.Context(), true)
		if missing != step.wantMissing || !errors.Is(err, step.wantErr) || k.Served() != step.want {
			t.Errorf("%s: missing %t, error %v, served %+v", step.name, missing, err, k.Served())
		}
		if !slices.Equal(c.watched, step.wantWatched) || c.told != step.wantTold {
			t.Errorf("%s: watched %q and told %d times; want %q, %d", step.name, c.watched, c.told, step.wantWatched, step.wantTold)
		}
	}
}
