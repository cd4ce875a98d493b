// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

var (
	// shared is the cluster with the controllers on it, as in production.
	shared   testkit.SharedCluster
	everyday packageControllers
	// quiet is a cluster without controllers, for what they would mend before a test can look at it.
	quiet testkit.SharedCluster
)

type runner func() int

func (r runner) Run() int { return r() }

func TestMain(m *testing.M) {
	// Tests wait for the cluster rather than for a processor.
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	tests := runner(func() int {
		code := m.Run()
		return max(code, everyday.stop())
	})
	inner := runner(func() int { return testkit.RunWithCluster(tests, &quiet) })
	os.Exit(testkit.RunWithCluster(inner, &shared))
}

// place is a cluster and how to talk to it as its administrator.
type place struct {
	config *rest.Config
	client client.Client
	// controllers says whether they run there.
	controllers bool
}

// onShared is the cluster on which the controllers run, configured as the servers of the tests are.
func onShared(t testing.TB) place {
	t.Helper()
	config := shared.Use(t).Config()
	everyday.once.Do(func() {
		everyday.TB = t
		everyday.dir = filepath.Join(os.TempDir(), testkit.Name(t, "berth-kfam"))
		if err := os.Mkdir(everyday.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		controllertest.Start(&everyday, config, controllertest.WithConfig(func(c *render.Config) { *c = render.DefaultConfig() }))
		everyday.started = true
	})
	if !everyday.started {
		t.Fatal("the shared controllers did not start")
	}
	return place{config, controllertest.Client(t, config), true}
}

// onQuiet is the cluster on which nobody writes but the test.
func onQuiet(t testing.TB) place {
	t.Helper()
	config := quiet.Use(t).Config()
	return place{config: config, client: controllertest.Client(t, config)}
}

// packageControllers are controllers that outlive the test that starts them.
type packageControllers struct {
	testing.TB

	once     sync.Once
	started  bool
	failed   bool
	dir      string
	cleanups []func()
}

// Cleanup has f called after the last test.
func (p *packageControllers) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }

// TempDir is the one directory of the controllers.
func (p *packageControllers) TempDir() string { return p.dir }

// Errorf tells what went wrong after the last test.
func (p *packageControllers) Errorf(format string, args ...any) {
	p.failed = true
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

// Failed is about the controllers, not about the test that happened to start them.
func (p *packageControllers) Failed() bool { return p.failed }

// Logf tells it after the last test.
func (p *packageControllers) Logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

// stop ends the controllers, if they were started, and returns the exit code for it.
func (p *packageControllers) stop() int {
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
