// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// patience is how long nothing may arrive before a tally gives up.
const patience = 2 * time.Minute

// tally waits for things to happen, each once, and remembers when.
type tally struct {
	mu      sync.Mutex
	waiting map[string]bool
	seen    map[string]time.Time

	arrived chan struct{} // has room for one: something arrived
	done    chan struct{} // closed when nothing is waited for any more
	failed  chan error
}

func newTally(keys []string) *tally {
	t := &tally{
		waiting: make(map[string]bool, len(keys)),
		seen:    make(map[string]time.Time, len(keys)),
		arrived: make(chan struct{}, 1), done: make(chan struct{}), failed: make(chan error, 1),
	}
	for _, key := range keys {
		t.waiting[key] = true
	}
	return t
}

// see takes key off the list.
func (t *tally) see(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.waiting[key] {
		return
	}
	delete(t.waiting, key)
	t.seen[key] = time.Now()
	select {
	case t.arrived <- struct{}{}:
	default:
	}
	if len(t.waiting) == 0 {
		close(t.done)
	}
}

// follow sees the keys of the events of a watch that begins now and lasts as long as ctx; an empty key stands for
// nothing. Where the API server ends the watch, as it does after a while or when we are slow, it is taken up again.
func (t *tally) follow(ctx context.Context, c client.WithWatch, list client.ObjectList, key func(watch.Event) string, opts ...client.ListOption) error {
	if err := c.List(ctx, list, append(slices.Clone(opts), client.Limit(1))...); err != nil {
		return fmt.Errorf("find out where %T begins: %w", list, err)
	}
	from := list.GetResourceVersion()
	w, err := watchtools.NewRetryWatcherWithContext(ctx, from, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return c.Watch(ctx, list, append(slices.Clone(opts), &client.ListOptions{Raw: &o})...)
		},
	})
	if err != nil {
		return fmt.Errorf("watch %T: %w", list, err)
	}
	go func() {
		defer w.Stop()
		for e := range w.ResultChan() {
			if e.Type == watch.Error {
				break // it can't be taken up again
			}
			if k := key(e); k != "" {
				t.see(k)
			}
		}
		select {
		case t.failed <- fmt.Errorf("the watch of %T ended", list):
		default:
		}
	}()
	return nil
}

// wait returns when everything has been seen. It fails when nothing new was seen for too long.
func (t *tally) wait(ctx context.Context) error {
	for {
		select {
		case <-t.done:
			return nil
		case <-t.arrived:
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-t.failed:
			return err
		case <-time.After(patience):
			t.mu.Lock()
			defer t.mu.Unlock()
			for example := range t.waiting {
				return fmt.Errorf("nothing came for %s, and %d are missing, such as %q", patience, len(t.waiting), example)
			}
		}
	}
}

// last is when the last of them was seen.
func (t *tally) last() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	var last time.Time
	for _, at := range t.seen {
		if at.After(last) {
			last = at
		}
	}
	return last
}

// latencies are how long each took since its own beginning, sorted.
func (t *tally) latencies(began map[string]time.Time) []time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []time.Duration
	for key, at := range t.seen {
		all = append(all, at.Sub(began[key]))
	}
	slices.Sort(all)
	return all
}

// percentile is the smallest of the sorted durations that at least p percent of them do not exceed.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

// objectKey names an object of any kind.
func objectKey(kind string, obj metav1.Object) string {
	return kind + " " + obj.GetNamespace() + "/" + obj.GetName()
}

// there is the key of an event that tells that an object is there, of a kind whose events do not name it.
func there(kind string) func(watch.Event) string { return onEvent(kind, watch.Added) }

// gone is the key of an event that tells that an object is gone.
func gone(kind string) func(watch.Event) string { return onEvent(kind, watch.Deleted) }

func onEvent(kind string, want watch.EventType) func(watch.Event) string {
	return func(e watch.Event) string {
		if e.Type != want {
			return ""
		}
		obj, err := meta.Accessor(e.Object)
		if err != nil {
			return ""
		}
		return objectKey(kind, obj)
	}
}
