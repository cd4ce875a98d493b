// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	"istio.io/istio/pkg/util/protomarshal"
	"sigs.k8s.io/yaml"

	"berth.dev/berth/conformance/generate"
	"berth.dev/berth/conformance/oracle"
	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/snapshot"
)

// golden is a file of policies in Istio's module, and what Istio makes of them for a proxy.
type golden struct {
	in  string
	out []string
	// domains are the mesh's trust domain and its aliases, and providers are its extension providers: what the files
	// themselves don't say, and Istio's test of them does.
	domains, providers []string
}

// goldens are the cases whose files don't go by one name, or that need something. The others are found.
var goldens = []golden{
	{in: "http/simple-policy-td-aliases", domains: []string{"td1", "cluster.local"}},
	{in: "http/simple-policy-multiple-td-aliases", domains: []string{"td1", "cluster.local", "some-td"}},
	{in: "http/simple-policy-principal-with-wildcard", domains: []string{"td1", "foobar"}},
	{in: "http/td-aliases-source-principal", domains: []string{"new-td", "old-td", "some-trustdomain"}},
	{in: "http/custom-simple-http", out: []string{"custom-http-provider"}, providers: []string{"default"}},
	{in: "http/custom-simple-http", out: []string{"custom-grpc-provider"}, providers: []string{"default"}},
	{in: "http/custom-simple-http", out: []string{"custom-grpc-provider-no-namespace"}, providers: []string{"default"}},
	{in: "http/custom-simple-http", out: []string{"custom-bad"}, providers: []string{"other"}},
	{in: "http/custom-bad-multiple-providers", providers: []string{"default"}},
	{in: "tcp/custom-both-http-tcp", providers: []string{"default"}},
	// Istio's golden output is empty: the provider speaks HTTP, which nothing here knows, so there is nothing to compare.
	{in: "tcp/custom-only-http", out: []string{}},
}

// Per golden file.
const goldenRequests = 1500

// TestGolden compares what Berth decides by the golden policies with what gRPC's engine makes of the golden configuration.
func TestGolden(t *testing.T) {
	dir := filepath.Join(module(t, "istio.io/istio"), "pilot/pkg/security/authz/builder/testdata")
	var total tally
	for _, c := range allGoldens(t, dir) {
		for _, extended := range []string{"", "extended-"} {
			files := outputs(t, dir, c, extended)
			if len(files) == 0 {
				continue
			}
			t.Run(extended+strings.Join(c.out, " and "), func(t *testing.T) {
				w := generate.World{Mesh: snapshot.DefaultMesh(), Policies: policies(t, filepath.Join(dir, c.in+"-in.yaml"))}
				w.Mesh.PathNormalization = snapshot.NormalizeNone
				w.Mesh.Providers = c.providers
				if c.domains != nil {
					w.Mesh.TrustDomain, w.Mesh.TrustDomainAliases = c.domains[0], c.domains[1:]
				}
				// The workload of Istio's test.
				w.Workload = mesh.Workload{
					Namespace: "foo", Enforcer: mesh.Sidecar, Labels: map[string]string{"app": "httpbin", "version": "v1"},
				}
				isTCP := strings.HasPrefix(c.in, "tcp/")
				g := generate.Generator{Chooser: random(t), Options: generate.Options{Connections: isTCP, NoConnections: !isTCP}}
				var count tally
				compareGolden(t, g, w, filters(t, files, isTCP), &count)
				count.log(t)
				total.add(count)
			})
		}
	}
	total.log(t)
	total.nontrivial(t)
}

func compareGolden(t *testing.T, g generate.Generator, w generate.World, o *oracle.Oracle, c *tally) {
	t.Helper()
	filter, request := ours(w), g.Requests(w)
	c.worlds++
	for range goldenRequests {
		r := request()
		want, got := o.Answer(r), filter.Decide(r)
		c.count(want)
		if d := difference(want, got); d != "" && !slices.ContainsFunc(got.Unknown, experimental) {
			t.Fatalf("%s\n%s", d, describe(w, r, want, got))
		}
	}
}

// experimental is true for what some golden policies ask and nobody can tell from outside a proxy.
func experimental(unknown string) bool { return strings.HasPrefix(unknown, "experimental.") }

// allGoldens returns the cases for all files, and fails for a file that it can't tell the case of.
func allGoldens(t *testing.T, dir string) []golden {
	t.Helper()
	all := slices.Clone(goldens)
	inputs, err := filepath.Glob(dir + "/*/*-in.yaml")
	if err != nil || len(inputs) < 20 {
		t.Fatalf("%d golden inputs in %q: %v", len(inputs), dir, err)
	}
	for _, path := range inputs {
		in, err := filepath.Rel(dir, strings.TrimSuffix(path, "-in.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(all, func(c golden) bool { return c.in == in }) {
			all = append(all, golden{in: in})
		}
	}
	for i := range all {
		if all[i].out == nil {
			all[i].out = []string{filepath.Base(all[i].in)}
		}
	}
	used := map[string]bool{}
	for _, c := range all {
		for _, extended := range []string{"", "extended-"} {
			for _, path := range outputs(t, dir, c, extended) {
				used[path] = true
			}
		}
	}
	files, err := filepath.Glob(dir + "/*/*-out*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if !used[path] {
			t.Errorf("no case has %q", path)
		}
	}
	return all
}

func outputs(t *testing.T, dir string, c golden, prefix string) []string {
	t.Helper()
	var all []string
	for _, name := range c.out {
		files, err := filepath.Glob(filepath.Join(dir, filepath.Dir(c.in), prefix+name+"-out*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, files...)
	}
	slices.Sort(all)
	return all
}

// policies reads a golden input. Its paths get the slash that paths begin with, if they lack it.
func policies(t *testing.T, path string) []*securityv1beta1.AuthorizationPolicy {
	t.Helper()
	var all []*securityv1beta1.AuthorizationPolicy
	for _, document := range documents(t, path) {
		p := &securityv1beta1.AuthorizationPolicy{}
		if err := yaml.UnmarshalStrict([]byte(document), p); err != nil {
			t.Fatalf("read %q: %v", path, err)
		}
		for _, r := range p.Spec.GetRules() {
			for _, to := range r.GetTo() {
				for _, paths := range [][]string{to.GetOperation().GetPaths(), to.GetOperation().GetNotPaths()} {
					for i, value := range paths {
						if !strings.HasPrefix(value, "/") && !strings.HasPrefix(value, "*") {
							paths[i] = "/" + value
						}
					}
				}
			}
		}
		all = append(all, p)
	}
	return all
}

func documents(t *testing.T, path string) []string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(strings.Split(string(content), "\n---\n"), func(s string) bool { return strings.TrimSpace(s) == "" })
}

var slashless = regexp.MustCompile(`(?m)^(\s*(?:- )?(?:urlPath:\n\s*)?path:\n\s*(?:exact|prefix): )([^/"'])`)

// filters reads golden outputs.
func filters(t *testing.T, files []string, isTCP bool) *oracle.Oracle {
	t.Helper()
	var forHTTP []*hcm.HttpFilter
	var forTCP []*listener.Filter
	for _, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := slashless.ReplaceAllString(string(content), "${1}/${2}")
		var to proto.Message
		if isTCP {
			forTCP = append(forTCP, &listener.Filter{})
			to = forTCP[len(forTCP)-1]
		} else {
			forHTTP = append(forHTTP, &hcm.HttpFilter{})
			to = forHTTP[len(forHTTP)-1]
		}
		if err := protomarshal.ApplyYAML(text, to); err != nil {
			t.Fatalf("read %q: %v", path, err)
		}
	}
	o, err := oracle.Filters(forHTTP, forTCP, snapshot.NormalizeNone)
	if err != nil {
		t.Fatalf("make an oracle of %v: %v", files, err)
	}
	return o
}

// module is the directory of a module's source.
func module(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		t.Fatalf("find module %q: %v", path, err)
	}
	return strings.TrimSpace(string(out))
}
