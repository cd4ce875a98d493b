// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/testkit"
)

// taker is what the library's recorder would be.
type taker struct {
	took []string
	done func(int)
}

func (k *taker) Eventf(regarding, related runtime.Object, eventType, reason, action, note string, args ...any) {
	about, ok := regarding.(*corev1.ObjectReference)
	if !ok {
		panic(fmt.Sprintf("an Event about a %T", regarding))
	}
	k.took = append(k.took, fmt.Sprintf("%s %s %s %s %s %v: %s", about.Kind, about.Name, eventType, reason, action, related != nil, fmt.Sprintf(note, args...)))
	k.done(len(k.took))
}

// What is told about an object is recorded in order, whatever becomes of the object meanwhile, and nothing waits for it.
func TestRecorder(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := kubeflowv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	inner := &taker{done: func(n int) {
		if n == 3 {
			cancel()
		}
	}}
	r := NewRecorder(inner, scheme)
	p := testkit.Profile("a")
	r.Eventf(p, nil, "Normal", "Created", "Reconcile", "%s 100%%", "made")
	r.Eventf(p, &corev1.ObjectReference{Kind: "Namespace", Name: "a"}, "Normal", "Updated", "Reconcile", "%s", "50% of it")
	p.Name = "changed"
	r.Eventf(p, nil, "Warning", "Repaired", "Reconcile", "last")
	r.Eventf(&corev1.Pod{}, nil, "Normal", "Unknown", "Reconcile", "of no kind that is known")
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"Profile a Normal Created Reconcile false: made 100%",
		"Profile a Normal Updated Reconcile true: 50% of it",
		"Profile changed Warning Repaired Reconcile false: last",
	}
	if !slices.Equal(inner.took, want) {
		t.Errorf("recorded %q", inner.took)
	}
	for range eventsWaiting + 1 {
		r.Eventf(p, nil, "Normal", "Updated", "Reconcile", "more than anybody reads")
	}
	if len(r.waiting) != eventsWaiting {
		t.Errorf("%d wait", len(r.waiting))
	}
}
