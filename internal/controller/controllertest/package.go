// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package controllertest

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// Package stands for the tests of a package, for controllers that outlive the test that starts them.
type Package struct {
	testing.TB

	once     sync.Once
	started  bool
	failed   bool
	dir      string
	cleanups []func()
}

// Start has start run controllers once, whichever test comes first. What it is given fails and cleans up with the package.
func (p *Package) Start(t testing.TB, start func(testing.TB)) {
	t.Helper()
	p.once.Do(func() {
		dir, err := os.MkdirTemp("", "berth-test-") //nolint:usetesting // it outlives t
		if err != nil {
			t.Fatal(err)
		}
		p.TB, p.dir = t, dir
		start(p)
		p.started = true
	})
	if !p.started {
		t.Fatal("the shared controllers did not start")
	}
}

// Cleanup has f called after the last test.
func (p *Package) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }

// TempDir is the one directory of the controllers.
func (p *Package) TempDir() string { return p.dir }

// Errorf tells what went wrong after the last test.
func (p *Package) Errorf(format string, args ...any) {
	p.failed = true
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

// Failed is about the controllers, not about the test that happened to start them.
func (p *Package) Failed() bool { return p.failed }

// Logf tells it after the last test.
func (p *Package) Logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

// Stop ends the controllers, if they were started, and returns the exit code for it.
func (p *Package) Stop() int {
	if p.dir == "" {
		return 0
	}
	for _, f := range p.cleanups {
		f()
	}
	if err := os.RemoveAll(p.dir); err != nil {
		p.Errorf("%v", err)
	}
	if p.failed {
		return 1
	}
	return 0
}
