// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/testkit"
)

// notes are what the Events on a profile say, all in one text.
func notes(ctx context.Context, at place, profile string) (string, error) {
	var events eventsv1.EventList
	if err := at.client.List(ctx, &events, client.InNamespace("default")); err != nil {
		return "", err
	}
	var all []string
	for _, event := range events.Items {
		if event.Regarding.Kind == "Profile" && event.Regarding.Name == profile && event.ReportingController == "berth-kfam" {
			all = append(all, event.Note)
		}
	}
	return strings.Join(all, "\n"), nil
}

func eventuallyNotes(t *testing.T, at place, profile string, wants ...string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		text, err := notes(context.WithoutCancel(t.Context()), at, profile)
		for _, want := range wants {
			if !strings.Contains(text, want) {
				err = errors.Join(err, fmt.Errorf("no Event says %q", want))
			}
		}
		return err
	})
}

// Events say who got and lost which access, and by whom.
func TestEvents_sayWhoWhatAndByWhom(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	a.must(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann))
	a.must(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann)) // which changes nothing
	a.must(http.MethodPost, bindingsPath, invite(ns, ben, "view"), user(root))
	a.must(http.MethodPost, bindingsPath, inviteKind(ns, "Group", "ml", "edit"), user(ann))
	a.must(http.MethodDelete, bindingsPath, invite(ns, ben, "view"), user(ben))
	eventuallyNotes(t, at, ns, "added User "+ben+" (edit) by "+ann, "added User "+ben+" (view) by "+root,
		"removed User "+ben+" (edit) by "+root, "added Group ml (edit) by "+ann, "removed User "+ben+" (view) by "+ben)
	text, err := notes(t.Context(), at, ns)
	if err != nil || strings.Count(text, "added User "+ben+" (edit)") != 1 {
		t.Errorf("want one line for each change (error %v):\n%s", err, text)
	}
	var events eventsv1.EventList
	if err := at.client.List(t.Context(), &events, client.InNamespace("default")); err != nil {
		t.Fatal(err)
	}
	p := get(t, at, "", ns, &kubeflowv1.Profile{})
	for _, event := range events.Items {
		if event.Regarding.Name == ns && event.Regarding.UID != p.UID {
			t.Errorf("the Event %s is about another profile", event.Name)
		}
	}
}

// Many changes at once are told in few Events, and none is lost, also while Events can't be written.
func TestEvents_loseNothingOfManyChanges(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	var failing atomic.Int64
	failing.Store(2)
	a := serve(t, at, through(t, at, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			if _, isEvent := obj.(*eventsv1.Event); isEvent && failing.Add(-1) >= 0 {
				return errors.New("the test says so")
			}
			return c.Create(ctx, obj, opts...)
		},
	}))
	ns := tenant(t, at, a)
	var wants []string
	var wait sync.WaitGroup
	for i := range 60 {
		who := fmt.Sprintf("person-%02d-with-a-long-name@example.com", i)
		wants = append(wants, "added User "+who+" (edit) by "+ann)
		wait.Go(func() { a.must(http.MethodPost, bindingsPath, invite(ns, who, "edit"), user(ann)) })
	}
	wait.Wait()
	if err := a.stop(); err != nil { // what waits is written before the server ends
		t.Error(err)
	}
	eventuallyNotes(t, at, ns, wants...)
}
