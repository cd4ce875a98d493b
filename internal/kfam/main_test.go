// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"flag"
	"os"
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
	everyday controllertest.Package
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
		return max(code, everyday.Stop())
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
	everyday.Start(t, func(t testing.TB) {
		controllertest.Start(t, config, controllertest.WithConfig(func(c *render.Config) { *c = render.DefaultConfig() }))
	})
	return place{config, controllertest.Client(t, config), true}
}

// onQuiet is the cluster on which nobody writes but the test.
func onQuiet(t testing.TB) place {
	t.Helper()
	config := quiet.Use(t).Config()
	return place{config: config, client: controllertest.Client(t, config)}
}
