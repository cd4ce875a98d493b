// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"net"
	"sync"

	"golang.org/x/time/rate"
	"k8s.io/utils/lru"
)

// limiter holds callers back who change too much at once.
type limiter struct {
	perSecond rate.Limit
	burst     int

	mu      sync.Mutex
	callers *lru.Cache
}

// manyCallers is how many callers are remembered. One who is forgotten begins anew.
const manyCallers = 10_000

// newLimiter allows so many changes a second to each caller, and at first twice as many at once. None means no limit.
func newLimiter(perSecond int) *limiter {
	if perSecond <= 0 {
		return &limiter{perSecond: rate.Inf}
	}
	return &limiter{perSecond: rate.Limit(perSecond), burst: 2 * perSecond, callers: lru.New(manyCallers)}
}

func (l *limiter) allow(r *request) bool {
	if l.perSecond == rate.Inf {
		return true
	}
	who := r.caller.Name
	if who == "" {
		who, _, _ = net.SplitHostPort(r.RemoteAddr)
		who = "\x00" + who
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	known, found := l.callers.Get(who)
	limit, ok := known.(*rate.Limiter)
	if !found || !ok {
		limit = rate.NewLimiter(l.perSecond, l.burst)
		l.callers.Add(who, limit)
	}
	return limit.Allow()
}
