// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	"istio.io/istio/pkg/util/protomarshal"
	"istio.io/istio/pkg/workloadapi/security"
	"sigs.k8s.io/yaml"

	"berth.dev/berth/conformance/generate"
	"berth.dev/berth/conformance/oracle"
	"berth.dev/berth/internal/access/mesh"
)

// systemNamespace is the root namespace of Istio's tests.
const systemNamespace = "istio-system"

// TestZtunnel_golden compares what Berth says that ztunnels get of the golden policies with the golden conversions.
func TestZtunnel_golden(t *testing.T) {
	dir := filepath.Join(module(t, "istio.io/istio"), "pilot/pkg/serviceregistry/ambient/testdata")
	inputs, err := filepath.Glob(dir + "/*-in.yaml")
	if err != nil || len(inputs) < 20 {
		t.Fatalf("%d golden inputs in %q: %v", len(inputs), dir, err)
	}
	for _, path := range inputs {
		t.Run(filepath.Base(path), func(t *testing.T) {
			content, err := os.ReadFile(strings.Replace(path, "-in.yaml", ".yaml", 1))
			if err != nil {
				t.Fatal(err)
			}
			var want *security.Authorization
			if len(bytes.TrimSpace(content)) > 0 {
				want = &security.Authorization{}
				if err := protomarshal.ApplyYAML(string(content), want); err != nil {
					t.Fatal(err)
				}
			}
			var got *mesh.ZtunnelPolicy
			if strings.HasPrefix(filepath.Base(path), "peer-authn-") {
				workload, namespace, root := peers(t, path)
				got = mesh.ZtunnelPeerRules(workload, namespace, root, systemNamespace)
			} else {
				got, _ = mesh.ZtunnelRules(policies(t, path)[0], systemNamespace)
			}
			if diff := cmp.Diff(want, converted(t, got), protocmp.Transform()); diff != "" {
				t.Errorf("golden (-) and ours (+):\n%s", diff)
			}
		})
	}
}

// peers reads golden PeerAuthentications: of the workload, of its namespace and of the mesh. Without any for a workload, the
// first is taken for it.
func peers(t *testing.T, path string) (workload, namespace, root *securityv1beta1.PeerAuthentication) {
	t.Helper()
	all := documents(t, path)
	for _, document := range all {
		p := &securityv1beta1.PeerAuthentication{}
		if err := yaml.UnmarshalStrict([]byte(document), p); err != nil {
			t.Fatalf("read %q: %v", path, err)
		}
		switch {
		case p.Spec.GetSelector() != nil || len(all) == 1:
			workload = p
		case p.Namespace == systemNamespace:
			root = p
		default:
			namespace = p
		}
	}
	if workload == nil {
		return namespace, nil, root
	}
	return workload, namespace, root
}

// TestZtunnel_conversion compares with Istio's own conversion, on random policies.
func TestZtunnel_conversion(t *testing.T) {
	g := generate.Generator{Chooser: random(t), Options: generate.Options{Enforcers: []mesh.Enforcer{mesh.Ztunnel}, Invalid: true}}
	compared, dropped := 0, 0
	for range 4000 * fromEnvironment(t, timesVariable, 1) {
		g.Connections = !g.Connections
		w := g.World()
		for _, p := range w.Policies {
			want := oracle.Convert(p, w.Mesh)
			compared++
			if want == nil {
				dropped++
			}
			rules, _ := mesh.ZtunnelRules(p, w.Mesh.RootNamespace)
			if got := converted(t, rules); !proto.Equal(want, got) {
				t.Fatalf("Istio's (-) and ours (+):\n%s\n%s", cmp.Diff(want, got, protocmp.Transform()), describePolicy(p))
			}
		}
	}
	t.Logf("%d policies, of which ztunnels don't get %d", compared, dropped)
}

// TestZtunnel_peerConversion does the same for PeerAuthentications.
func TestZtunnel_peerConversion(t *testing.T) {
	g := generate.Generator{Chooser: random(t), Options: generate.Options{Enforcers: []mesh.Enforcer{mesh.Ztunnel}}}
	compared, dropped := 0, 0
	for range 4000 * fromEnvironment(t, timesVariable, 1) {
		w := g.World()
		all := append(g.Peers(w), nil, nil)
		some := func() *securityv1beta1.PeerAuthentication { return all[g.IntN(len(all))] }
		for _, workload := range all[:len(all)-2] {
			namespace, root := some(), some()
			want := oracle.ConvertPeer(w.Mesh, workload, namespace, root)
			compared++
			if want == nil {
				dropped++
			}
			got := converted(t, mesh.ZtunnelPeerRules(workload, namespace, root, w.Mesh.RootNamespace))
			if !proto.Equal(want, got) {
				t.Fatalf("Istio's (-) and ours (+):\n%s\n%+v\n%+v\n%+v", cmp.Diff(want, got, protocmp.Transform()), workload, namespace, root)
			}
		}
	}
	t.Logf("%d PeerAuthentications, of which ztunnels don't get %d", compared, dropped)
}

// converted is what Berth says that a ztunnel gets of a policy, as Istio's own message; nil if it gets nothing.
func converted(t *testing.T, rules *mesh.ZtunnelPolicy) *security.Authorization {
	t.Helper()
	if rules == nil {
		return nil
	}
	content, err := json.Marshal(rules)
	if err != nil {
		t.Fatal(err)
	}
	a := &security.Authorization{}
	if err := protojson.Unmarshal(content, a); err != nil {
		t.Fatalf("read %s: %v", content, err)
	}
	return a
}
