// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package keyed gives one lock per name, for read-modify-write on things that many profiles share.
package keyed

import (
	"context"
	"sync"
)

// Mutex is a set of locks; its zero value is ready. A name costs memory only while somebody holds it or waits for it.
type Mutex struct {
	mu    sync.Mutex
	locks map[string]*lock
}

type lock struct {
	held  chan struct{} // full while somebody holds the lock
	users int           // holder and waiters, guarded by Mutex.mu
}

// Lock waits for key, at most as long as ctx allows, and returns the function that frees it.
func (m *Mutex) Lock(ctx context.Context, key string) (unlock func(), err error) {
	l := m.join(key)
	if err := ctx.Err(); err != nil {
		m.leave(key, l)
		return nil, err
	}
	select {
	case l.held <- struct{}{}:
		return func() { <-l.held; m.leave(key, l) }, nil
	case <-ctx.Done():
		m.leave(key, l)
		return nil, ctx.Err()
	}
}

func (m *Mutex) join(key string) *lock {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.locks[key]
	if l == nil {
		l = &lock{held: make(chan struct{}, 1)}
		if m.locks == nil {
			m.locks = map[string]*lock{}
		}
		m.locks[key] = l
	}
	l.users++
	return l
}

func (m *Mutex) leave(key string, l *lock) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(m.locks, key)
	}
}
