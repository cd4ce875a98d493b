// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	"istio.io/istio/pkg/util/protomarshal"
	"istio.io/istio/pkg/workloadapi/security"

	"berth.dev/berth/conformance/generate"
	"berth.dev/berth/conformance/oracle"
	"berth.dev/berth/internal/access/mesh"
)

// TestZtunnel_golden compares what Berth says that ztunnels get of the golden policies with the golden conversions.
func TestZtunnel_golden(t *testing.T) {
	dir := filepath.Join(module(t, "istio.io/istio"), "pilot/pkg/serviceregistry/ambient/testdata")
	inputs, err := filepath.Glob(dir + "/*-in.yaml")
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, path := range inputs {
		if strings.HasPrefix(filepath.Base(path), "peer-authn-") {
			continue
		}
		compared++
		t.Run(filepath.Base(path), func(t *testing.T) {
			content, err := os.ReadFile(strings.Replace(path, "-in.yaml", ".yaml", 1))
			if err != nil {
				t.Fatal(err)
			}
			want := &security.Authorization{}
			if err := protomarshal.ApplyYAML(string(content), want); err != nil {
				t.Fatal(err)
			}
			input := policies(t, path)
			if len(input) != 1 {
				t.Fatalf("%d policies", len(input))
			}
			if diff := cmp.Diff(want, converted(t, input[0], "istio-system"), protocmp.Transform()); diff != "" {
				t.Errorf("golden (-) and ours (+):\n%s", diff)
			}
		})
	}
	if compared < 3 {
		t.Errorf("%d golden files in %q, want 3 or more", compared, dir)
	}
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
			if diff := cmp.Diff(want, converted(t, p, w.Mesh.RootNamespace), protocmp.Transform()); diff != "" {
				t.Fatalf("Istio's (-) and ours (+):\n%s\n%s", diff, describePolicy(p))
			}
		}
	}
	t.Logf("%d policies, of which ztunnels don't get %d", compared, dropped)
}

// converted is what Berth says that a ztunnel gets of a policy, as Istio's own message; nil if it gets nothing.
func converted(t *testing.T, p *securityv1beta1.AuthorizationPolicy, root string) *security.Authorization {
	t.Helper()
	rules, _ := mesh.ZtunnelRules(p, root)
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
