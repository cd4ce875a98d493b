// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package keyed

import (
	"context"
	"errors"
	"sync"
	"testing"
)

func TestMutex_oneHolderPerKey(t *testing.T) {
	var (
		m     Mutex
		wg    sync.WaitGroup
		count int // guarded by the lock under test; the race detector watches
	)
	for range 50 {
		wg.Go(func() {
			unlock, err := m.Lock(t.Context(), "a")
			if err != nil {
				t.Errorf("lock: %v", err)
				return
			}
			count++
			unlock()
		})
	}
	wg.Wait()
	if count != 50 {
		t.Errorf("counted %d, want 50", count)
	}
	if len(m.locks) != 0 {
		t.Errorf("%d locks left behind", len(m.locks))
	}
}

func TestMutex_waitEndsWithTheContext(t *testing.T) {
	var m Mutex
	unlock, err := m.Lock(t.Context(), "a")
	if err != nil {
		t.Fatalf("lock: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Lock(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("second lock: %v, want it canceled", err)
	}
	other, err := m.Lock(t.Context(), "b")
	if err != nil {
		t.Fatalf("lock of another key: %v", err)
	}
	other()
	unlock()
	if len(m.locks) != 0 {
		t.Errorf("%d locks left behind", len(m.locks))
	}
}
