// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package memory keeps a process small that has much in its caches and, at rest, little to do: what a burst of work leaves
// behind would otherwise stay with the process until the next one.
package memory

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// gcPercent lets garbage grow to more than what lives, while there is room: collecting it costs time in a burst.
	gcPercent = 150
	// interval is how often the room is compared with what lives. While that grows fast, as at a start, a room that is too
	// small has garbage collected over and over.
	interval = time.Second
	// large is from where on more lives than that collecting its garbage is worth the memory that it takes not to.
	large = 256 << 20
)

// Keep keeps the process within room, in bytes, until ctx ends. The room grows with what lives, as collecting garbage over
// and over would otherwise be all that a large installation gets. Where somebody set GOGC or GOMEMLIMIT, it does nothing.
func Keep(ctx context.Context, room int64) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetGCPercent(gcPercent)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		debug.SetMemoryLimit(max(room, roomFor(living())))
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// roomFor is how much those take who live, with their garbage: half as much again, and of what is large twice as much.
func roomFor(living int64) int64 { return living + living/2 + max(living-large, 0)/2 }

// living is how many bytes were alive when garbage was last collected.
func living() int64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return int64(sample[0].Value.Uint64()) //nolint:gosec // no heap is that large
}
