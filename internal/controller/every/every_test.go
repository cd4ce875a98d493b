// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package every

import (
	"context"
	"errors"
	"slices"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/testkit"
)

// profiles are what there is, or why nobody can say.
type profiles struct {
	client.Reader

	names []string
	err   error
	lists int
}

func (p *profiles) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	p.lists++
	for _, name := range p.names {
		list := into.(*kubeflowv1.ProfileList)
		list.Items = append(list.Items, *testkit.Profile(name))
	}
	return p.err
}

func newProfile(reader client.Reader, elected bool) *Profile {
	leads := make(chan struct{})
	if elected {
		close(leads)
	}
	return &Profile{reader: reader, elected: leads, events: make(chan event.GenericEvent)}
}

func TestProfile_Enqueue(t *testing.T) {
	down := errors.New("the server is down")
	cases := map[string]struct {
		elected   bool
		there     profiles
		want      []string
		wantLists int
	}{
		"every profile":            {elected: true, there: profiles{names: []string{"a", "b", "c"}}, want: []string{"a", "b", "c"}, wantLists: 1},
		"no profiles":              {elected: true, wantLists: 1},
		"a list that fails":        {elected: true, there: profiles{err: down}, wantLists: 1},
		"whoever is not elected":   {there: profiles{names: []string{"a"}}},
		"half a list, and a fault": {elected: true, there: profiles{names: []string{"a"}, err: down}, wantLists: 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			e := newProfile(&tc.there, tc.elected)
			done := make(chan struct{})
			go func() {
				defer close(done)
				e.Enqueue(t.Context())
			}()
			var got []string
			for ended := false; !ended; {
				select {
				case event := <-e.events:
					got = append(got, event.Object.GetName())
				case <-done:
					ended = true
				}
			}
			if !slices.Equal(got, tc.want) || tc.there.lists != tc.wantLists {
				t.Errorf("%q after %d lists; want %q after %d", got, tc.there.lists, tc.want, tc.wantLists)
			}
		})
	}
}

// Nobody may read the events any more when the process ends.
func TestProfile_Enqueue_endsWithItsContext(t *testing.T) {
	e := newProfile(&profiles{names: []string{"a", "b"}}, true)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.Enqueue(ctx)
	}()
	<-e.events
	cancel()
	<-done
}

// An event is of one profile, not of whichever was listed last.
func TestProfile_enqueue_objects(t *testing.T) {
	e := newProfile(&profiles{names: []string{"a", "b"}}, true)
	failed := make(chan error, 1)
	go func() { failed <- e.enqueue(t.Context()) }()
	first, second := <-e.events, <-e.events
	if err := <-failed; err != nil || first.Object.GetName() != "a" || second.Object.GetName() != "b" {
		t.Errorf("%q and %q (error %v)", first.Object.GetName(), second.Object.GetName(), err)
	}
	e = newProfile(&profiles{err: errors.New("down")}, true)
	if err := e.enqueue(t.Context()); err == nil {
		t.Error("a list that fails is no error")
	}
}
