// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"maps"
	"net/netip"
	"strings"
	"testing"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	"sigs.k8s.io/yaml"

	"berth.dev/berth/internal/snapshot"
)

// Parse reads documents of one kind.
func parse[T any](t testing.TB, text string) []*T {
	t.Helper()
	var all []*T
	for document := range strings.SplitSeq(text, "\n---\n") {
		object := new(T)
		if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
			t.Fatalf("read %s: %v", document, err)
		}
		all = append(all, object)
	}
	return all
}

func policies(t testing.TB, text string) []*securityv1beta1.AuthorizationPolicy {
	t.Helper()
	return parse[securityv1beta1.AuthorizationPolicy](t, text)
}

// Rules makes a policy p of namespace team of the rules in YAML.
func rules(t testing.TB, action, text string) []*securityv1beta1.AuthorizationPolicy {
	t.Helper()
	return policies(t, "metadata: {name: p, namespace: team}\nspec:\n  action: "+action+"\n  rules:\n"+indent(text))
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
}

func compiled(t testing.TB, list []*securityv1beta1.AuthorizationPolicy) *Filter {
	t.Helper()
	return Compile(list, snapshot.DefaultMesh()).For(sidecar())
}

func sidecar() Workload {
	return Workload{Namespace: "team", Name: "app", Labels: map[string]string{"app": "app"}, Enforcer: Sidecar}
}

// A with changes a request.
type with func(*Request)

// Request is one of ann's, through the gateway.
func request(changes ...with) Request {
	r := Request{
		Principal: "cluster.local/ns/istio-system/sa/gateway",
		SourceIP:  netip.MustParseAddr("10.1.0.1"), RemoteIP: netip.MustParseAddr("192.0.2.7"),
		DestinationIP: netip.MustParseAddr("10.2.0.2"), Port: 8080, SNI: "app.team.svc",
		Method: "GET", Path: "/a/b", Host: "app.example.com",
		Headers: map[string][]string{"kubeflow-userid": {"ann@example.com"}},
	}
	for _, change := range changes {
		change(&r)
	}
	return r
}

func principalOf(p string) with    { return func(r *Request) { r.Principal = p } }
func pathOf(p string) with         { return func(r *Request) { r.Path = p } }
func methodOf(m string) with       { return func(r *Request) { r.Method = m } }
func hostOf(h string) with         { return func(r *Request) { r.Host = h } }
func portOf(p uint16) with         { return func(r *Request) { r.Port = p } }
func sniOf(s string) with          { return func(r *Request) { r.SNI = s } }
func tcp(r *Request)               { r.TCP = true }
func plainText(r *Request)         { r.Principal = "" }
func sourceOf(a string) with       { return func(r *Request) { r.SourceIP = address4(a) } }
func remoteOf(a string) with       { return func(r *Request) { r.RemoteIP = address4(a) } }
func destinationOf(a string) with  { return func(r *Request) { r.DestinationIP = address4(a) } }
func claims(c map[string]any) with { return func(r *Request) { r.Token = &Token{Claims: c} } }

func tokenOf(issuer, subject string) with {
	return func(r *Request) { r.Token = &Token{Issuer: issuer, Subject: subject} }
}

func header(name string, values ...string) with {
	return func(r *Request) {
		headers := map[string][]string{}
		maps.Copy(headers, r.Headers)
		headers[name] = values
		if len(values) == 0 {
			delete(headers, name)
		}
		r.Headers = headers
	}
}

func address4(a string) netip.Addr {
	if a == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(a)
}

func wantVerdict(t *testing.T, f *Filter, r Request, want Verdict) {
	t.Helper()
	if got := f.Decide(r); got.Verdict != want {
		t.Errorf("Decide(%+v) = %s (%s), want %s", r, got.Verdict, got.Why, want)
	}
}

func defaultMesh() snapshot.Mesh { return snapshot.DefaultMesh() }

// OtherCase has the header in capitals only, which is against the contract and must not matter.
func otherCase(r *Request) { r.Headers = map[string][]string{"Kubeflow-USERID": {"ann@example.com"}} }
