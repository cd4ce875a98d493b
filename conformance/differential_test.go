// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"berth.dev/berth/conformance/generate"
	"berth.dev/berth/conformance/oracle"
	"berth.dev/berth/internal/access/mesh"
)

// Environment variables: another seed than the usual, and how many times the usual number of requests.
const (
	seedVariable  = "BERTH_CONFORMANCE_SEED"
	timesVariable = "BERTH_CONFORMANCE_TIMES"
)

// Per workload.
const requests = 25

func TestMain(m *testing.M) {
	oracle.Quiet()
	os.Exit(m.Run())
}

func TestDifferential(t *testing.T) {
	proxies := []mesh.Enforcer{mesh.Sidecar}
	cases := map[string]struct {
		options generate.Options
		worlds  int
	}{
		"sidecars":                      {generate.Options{Enforcers: proxies}, 2000},
		"gateways and waypoints":        {generate.Options{Enforcers: []mesh.Enforcer{mesh.Gateway, mesh.Waypoint}}, 600},
		"connections to sidecars":       {generate.Options{Enforcers: proxies, Connections: true}, 600},
		"connections through a ztunnel": {generate.Options{Enforcers: []mesh.Enforcer{mesh.Ztunnel}, Connections: true}, 1000},
		"values that Istio refuses":     {generate.Options{Enforcers: proxies, Invalid: true}, 400},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := generate.Generator{Chooser: random(t), Options: tc.options}
			var c tally
			for range tc.worlds * fromEnvironment(t, timesVariable, 1) {
				compareWorld(t, g, requests, &c)
			}
			c.log(t)
			c.nontrivial(t)
		})
	}
}

// FuzzDifferential makes the world and the requests of the fuzzer's bytes.
func FuzzDifferential(f *testing.F) {
	f.Add([]byte("berth"), byte(0))
	f.Fuzz(func(t *testing.T, data []byte, kind byte) {
		enforcers := []mesh.Enforcer{mesh.Sidecar, mesh.Gateway, mesh.Waypoint, mesh.Ztunnel}
		options := generate.Options{Enforcers: []mesh.Enforcer{enforcers[int(kind)%len(enforcers)]}, Invalid: kind&64 != 0}
		options.Connections = options.Enforcers[0] == mesh.Ztunnel || kind&128 != 0
		choices := generate.Bytes(data)
		compareWorld(t, generate.Generator{Chooser: &choices, Options: options}, 5, &tally{})
	})
}

func compareWorld(t testing.TB, g generate.Generator, n int, c *tally) {
	t.Helper()
	w := g.World()
	c.worlds++
	o, filter, request := of(t, w), ours(w), g.Requests(w)
	for range n {
		check(t, w, o, filter, request(), c)
		if t.Failed() {
			t.FailNow()
		}
	}
}

// random is the same in each run, unless another seed is asked for.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	seed := fromEnvironment(t, seedVariable, 20261121)
	t.Logf("%s=%d", seedVariable, seed)
	return rand.New(rand.NewPCG(uint64(seed), 0))
}

func fromEnvironment(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: want a positive number", name, text)
	}
	return n
}
