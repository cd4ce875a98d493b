// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"fmt"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/reference"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const (
	// eventsPerSecond bounds how much of the API server's time goes into Events when many profiles come or change at
	// once: each Event is a write, too. A few at a time are written as they come.
	eventsPerSecond, eventsBurst = 10, 25
	// eventsWaiting is how many Events wait at most. Beyond that, they are dropped: what they tell is in the log as well.
	eventsWaiting = 20_000
)

// Recorder records Events no faster than the API server should be bothered with them.
type Recorder struct {
	inner   events.EventRecorder
	scheme  *runtime.Scheme
	waiting chan recorded
}

type recorded struct {
	regarding, related        *corev1.ObjectReference
	eventType, reason, action string
	note                      string
}

// NewRecorder returns a Recorder for inner. Start makes it run.
func NewRecorder(inner events.EventRecorder, scheme *runtime.Scheme) *Recorder {
	return &Recorder{inner: inner, scheme: scheme, waiting: make(chan recorded, eventsWaiting)}
}

// Eventf takes note of an Event.
func (r *Recorder) Eventf(regarding, related runtime.Object, eventType, reason, action, note string, args ...any) {
	e := recorded{eventType: eventType, reason: reason, action: action, note: fmt.Sprintf(note, args...)}
	var err error
	if e.regarding, err = reference.GetReference(r.scheme, regarding); err != nil {
		return // an object without a kind; there is none
	}
	if related != nil {
		e.related, _ = reference.GetReference(r.scheme, related) // nil says less, and is no error
	}
	select {
	case r.waiting <- e:
	default:
	}
}

// Start records until ctx ends.
func (r *Recorder) Start(ctx context.Context) error {
	pace := rate.NewLimiter(eventsPerSecond, eventsBurst)
	for {
		select {
		case <-ctx.Done():
			if left := len(r.waiting); left > 0 {
				log.FromContext(ctx).Info("Events were not told before the end", "count", left)
			}
			return nil
		case e := <-r.waiting:
			var related runtime.Object // not a nil of another type, which would count as an object
			if e.related != nil {
				related = e.related
			}
			r.inner.Eventf(e.regarding, related, e.eventType, e.reason, e.action, "%s", e.note)
			_ = pace.Wait(ctx) // fails when ctx has ended: then the next turn ends, too
		}
	}
}
