// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"net/netip"
	"testing"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	"sigs.k8s.io/yaml"

	"berth.dev/berth/conformance/generate"
	"berth.dev/berth/conformance/oracle"
	"berth.dev/berth/internal/access/mesh"
)

// The ports that PeerAuthentications have modes for, and one that they have none for.
var peerPorts = []uint16{80, 8080, 9000, 443}

// TestPeerAuthentication compares what sidecars take on each port, and what ztunnels do with callers in plain text.
func TestPeerAuthentication(t *testing.T) {
	g := generate.Generator{Chooser: random(t), Options: generate.Options{Enforcers: []mesh.Enforcer{mesh.Sidecar, mesh.Ztunnel}}}
	modes, refused, compared := map[mesh.PeerMode]int{}, 0, 0
	for range 10000 * fromEnvironment(t, timesVariable, 1) {
		w := g.World()
		policies := g.Peers(w)
		peers := mesh.CompilePeers(policies, w.Mesh).For(w.Workload)
		for _, port := range peerPorts {
			got, by := peers.Mode(port)
			compared++
			if w.Workload.Enforcer == mesh.Sidecar {
				modes[got]++
				if want := oracle.PeerMode(policies, w.Mesh, w.Workload, port); string(got) != want {
					t.Fatalf("port %d: Istio says %s, ours %s by %q\n%s", port, want, got, by, describePeers(t, w, policies))
				}
				continue
			}
			plain := mesh.Request{
				TCP: true, Port: port, SourceIP: netip.MustParseAddr("10.0.0.1"), DestinationIP: netip.MustParseAddr("10.0.0.2"),
			}
			want := oracle.PeersAtZtunnel(policies, w.Mesh, w.Workload).Answer(plain)
			_, decision := peers.Admit(plain)
			if !want.Allowed {
				refused++
			}
			if want.Allowed != (decision.Verdict == mesh.Allowed) {
				t.Fatalf("port %d: allowed by Istio's conversion: %t, ours: %+v\n%s",
					port, want.Allowed, decision, describePeers(t, w, policies))
			}
		}
	}
	t.Logf("%d ports of workloads; modes of sidecars' %v; ztunnels refuse plain text on %d", compared, modes, refused)
}

func describePeers(t *testing.T, w generate.World, policies []*securityv1beta1.PeerAuthentication) string {
	t.Helper()
	out, err := yaml.Marshal(map[string]any{"workload": w.Workload, "mesh": w.Mesh, "policies": policies})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestRequestAuthentication_selection compares which RequestAuthentications are for a workload. That one is shows in that a
// token which nobody can verify is refused.
func TestRequestAuthentication_selection(t *testing.T) {
	enforcers := []mesh.Enforcer{mesh.Sidecar, mesh.Gateway, mesh.Waypoint}
	g := generate.Generator{Chooser: random(t), Options: generate.Options{Enforcers: enforcers}}
	selected, compared := 0, 0
	for range 10000 * fromEnvironment(t, timesVariable, 1) {
		w := g.World()
		a := g.RequestAuthentication(w)
		all := []*securityv1beta1.RequestAuthentication{a}
		got := mesh.CompileAuthentication(all, w.Mesh).For(w.Workload).Authenticate(mesh.Request{
			Method: "GET", Path: "/", Host: "x", Headers: map[string][]string{"authorization": {"Bearer x.y.z"}},
		}, nil)
		want := oracle.Authenticates(a, w.Mesh, w.Workload)
		compared++
		if want {
			selected++
		}
		if want != (got.Verdict == mesh.Denied) {
			t.Fatalf("selected by Istio: %t, ours: %s\n%+v %+v", want, got.Why, a, w.Workload)
		}
	}
	t.Logf("%d of %d selected", selected, compared)
	if selected < compared/10 || selected > compared*9/10 {
		t.Error("want between a tenth and nine tenths")
	}
}
