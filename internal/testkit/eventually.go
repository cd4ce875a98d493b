// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package testkit is what tests share: a real cluster, waiting without sleeping, and names that do not collide.
package testkit

import (
	"testing"
	"time"
)

// pollInterval is short against what a test waits for and long against the cost of asking.
const pollInterval = 25 * time.Millisecond

// Eventually calls check until it returns nil. When that has not happened by the timeout, the test fails with the last
// error.
func Eventually(t testing.TB, timeout time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still failing after %s: %v", timeout, err)
		}
		<-tick.C
	}
}
