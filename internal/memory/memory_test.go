// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"context"
	"math"
	"runtime/debug"
	"testing"

	"berth.dev/berth/internal/memory"
)

func TestKeep(t *testing.T) {
	limit := func() int64 { return debug.SetMemoryLimit(-1) }
	before, percent := limit(), debug.SetGCPercent(100)
	defer func() {
		debug.SetMemoryLimit(before)
		debug.SetGCPercent(percent)
	}()
	ended, cancel := context.WithCancel(t.Context())
	cancel()

	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "1GiB")
	if memory.Keep(ended, 1<<40); limit() != before {
		t.Errorf("with GOMEMLIMIT set, the limit became %d", limit())
	}
	t.Setenv("GOMEMLIMIT", "")
	if memory.Keep(ended, 1<<40); limit() != 1<<40 {
		t.Errorf("the limit is %d", limit())
	}
	if memory.Keep(ended, 1); limit() == math.MaxInt64 {
		t.Error("with more alive than there is room for, there is no limit")
	}
}
