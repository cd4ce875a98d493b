// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"net/netip"
	"testing"

	"berth.dev/berth/conformance/generate"
	"berth.dev/berth/internal/access/mesh"
)

// forgotten are the attributes that a question may leave open.
var forgotten = map[string]func(*mesh.Request){
	"source IP":      func(r *mesh.Request) { r.SourceIP = netip.Addr{} },
	"remote IP":      func(r *mesh.Request) { r.RemoteIP = netip.Addr{} },
	"destination IP": func(r *mesh.Request) { r.DestinationIP = netip.Addr{} },
	"port":           func(r *mesh.Request) { r.Port = 0 },
	"method":         func(r *mesh.Request) { r.Method = "" },
	"path":           func(r *mesh.Request) { r.Path = "" },
	"host":           func(r *mesh.Request) { r.Host = "" },
	"addresses": func(r *mesh.Request) {
		r.SourceIP, r.RemoteIP, r.DestinationIP, r.Port = netip.Addr{}, netip.Addr{}, netip.Addr{}, 0
	},
	"request": func(r *mesh.Request) { r.Method, r.Path, r.Host = "", "", "" },
}

// TestUnknown holds that a decision on a request of which something is not known is what the oracle says whatever that is,
// or unknown.
func TestUnknown(t *testing.T) {
	for name, forget := range forgotten {
		t.Run(name, func(t *testing.T) {
			g := generate.Generator{Chooser: random(t), Options: generate.Options{Enforcers: []mesh.Enforcer{mesh.Sidecar}}}
			decided, unknown := 0, 0
			for range 300 * fromEnvironment(t, timesVariable, 1) {
				w := g.World()
				o, filter, request := of(t, w), ours(w), g.Requests(w)
				for range requests {
					r := request()
					less := r
					forget(&less)
					want, got := o.Answer(r), filter.Decide(less)
					if got.Verdict == mesh.Unknown {
						unknown++
						continue
					}
					decided++
					if want.Allowed != (got.Verdict == mesh.Allowed) || len(want.Asked) > 0 && got.Verdict == mesh.Allowed {
						t.Fatalf("decided without knowing the %s\n%s", name, describe(w, r, want, got))
					}
				}
			}
			t.Logf("%d decided, %d unknown", decided, unknown)
			if decided == 0 || unknown == 0 {
				t.Error("want some of both")
			}
		})
	}
}
