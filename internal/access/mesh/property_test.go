// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	istiosecurity "istio.io/api/security/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A dice makes policies and requests of few words, so that they meet.
type dice struct{ *rand.Rand }

func newDice(seed uint64) dice { return dice{rand.New(rand.NewPCG(seed, 1))} }

func (d dice) one(words ...string) string { return words[d.IntN(len(words))] }

// Some returns words, or none more often.
func (d dice) some(words ...string) []string {
	var chosen []string
	for d.IntN(3) == 0 && len(chosen) < 3 {
		chosen = append(chosen, d.one(words...))
	}
	return chosen
}

var (
	somePrincipals = []string{"cluster.local/ns/a/sa/x", "cluster.local/ns/b/sa/x", "cluster.local/ns/a/*", "*/sa/x", "*", "*/ns/a/*"}
	someAddresses  = []string{"10.0.0.1", "10.0.0.0/8", "192.168.0.0/16", "nonsense"}
	somePaths      = []string{"/a", "/a*", "*/b", "/a/{*}", "/{**}/b", "*", "/a/b"}
)

func (d dice) rule() *istiosecurity.Rule {
	r := &istiosecurity.Rule{}
	for range d.IntN(3) {
		r.From = append(r.From, &istiosecurity.Rule_From{Source: &istiosecurity.Source{
			Principals: d.some(somePrincipals...), NotPrincipals: d.some(somePrincipals...),
			Namespaces: d.some("a", "b", "*", "a*"), NotNamespaces: d.some("a", "b"),
			IpBlocks: d.some(someAddresses...), NotRemoteIpBlocks: d.some(someAddresses...),
			RequestPrincipals: d.some("i/s", "*", "i/*"), NotRequestPrincipals: d.some("i/s", "*"),
		}})
	}
	for range d.IntN(3) {
		r.To = append(r.To, &istiosecurity.Rule_To{Operation: &istiosecurity.Operation{
			Hosts: d.some("h", "*.h", "*"), Methods: d.some("GET", "P*"), NotMethods: d.some("GET"),
			Paths: d.some(somePaths...), NotPaths: d.some(somePaths...), Ports: d.some("80", "81", "x"),
		}})
	}
	for range d.IntN(2) {
		r.When = append(r.When, &istiosecurity.Condition{
			Key: d.one("request.headers[x]", "source.namespace", "destination.port", "request.auth.claims[g]", "connection.sni",
				"experimental.envoy.filters.a[b]", "source.ip", "unknown"),
			Values: d.some("a", "80", "10.0.0.1", "*"), NotValues: d.some("b", "81"),
		})
	}
	return r
}

func (d dice) policy(action istiosecurity.AuthorizationPolicy_Action, name string) *securityv1beta1.AuthorizationPolicy {
	p := &securityv1beta1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: d.one("team", "istio-system")}}
	p.Spec.Action = action
	for range 1 + d.IntN(3) {
		p.Spec.Rules = append(p.Spec.Rules, d.rule())
	}
	if action == istiosecurity.AuthorizationPolicy_CUSTOM {
		p.Spec.ActionDetail = &istiosecurity.AuthorizationPolicy_Provider{
			Provider: &istiosecurity.AuthorizationPolicy_ExtensionProvider{Name: d.one("p", "p", "p", "q")},
		}
	}
	return p
}

func (d dice) policies() []*securityv1beta1.AuthorizationPolicy {
	var all []*securityv1beta1.AuthorizationPolicy
	for i := range d.IntN(6) {
		action := istiosecurity.AuthorizationPolicy_Action(d.IntN(4))
		all = append(all, d.policy(action, fmt.Sprintf("p%d", i)))
	}
	return all
}

func (d dice) request() Request {
	r := Request{
		Principal: d.one("", "cluster.local/ns/a/sa/x", "cluster.local/ns/b/sa/y"), Port: uint16(80 + d.IntN(2)),
		SNI: d.one("", "a"), TCP: d.IntN(5) == 0, Method: d.one("GET", "POST", ""), Path: d.one("/a", "/a/b", "/b", "/a/../b", "/x?y", ""),
		Host: d.one("h", "x.h", ""), Headers: map[string][]string{},
	}
	if a := d.one("10.0.0.1", "192.168.1.1", ""); a != "" {
		r.SourceIP, r.RemoteIP = netip.MustParseAddr(a), netip.MustParseAddr(a)
	}
	if d.IntN(2) == 0 {
		r.Headers["x"] = []string{d.one("a", "b")}
	}
	if d.IntN(2) == 0 {
		r.Token = &Token{Issuer: "i", Subject: d.one("s", "t"), Claims: map[string]any{"g": []any{d.one("a", "b")}}}
	}
	return r
}

func (d dice) workload() Workload {
	w := sidecar()
	w.Enforcer = Enforcer(d.one(string(Sidecar), string(Sidecar), string(Ztunnel)))
	return w
}

const rounds = 800

// Access orders verdicts by how much they let through.
func access(v Verdict) int { return map[Verdict]int{Denied: 0, Unknown: 1, Allowed: 2}[v] }

func TestProperty_anotherAllowRemovesNothing(t *testing.T) {
	for seed := range uint64(rounds) {
		d := newDice(seed)
		list := append(d.policies(), d.policy(istiosecurity.AuthorizationPolicy_ALLOW, "first"))
		w, r := d.workload(), d.request()
		before := Compile(list, defaultMesh()).For(w).Decide(r)
		after := Compile(append(list, d.policy(istiosecurity.AuthorizationPolicy_ALLOW, "more")), defaultMesh()).For(w).Decide(r)
		if access(after.Verdict) < access(before.Verdict) {
			t.Fatalf("seed %d: an ALLOW more makes %+v of %+v", seed, after, before)
		}
	}
}

func TestProperty_anotherDenyAddsNothing(t *testing.T) {
	for seed := range uint64(rounds) {
		d := newDice(seed)
		list, w, r := d.policies(), d.workload(), d.request()
		before := Compile(list, defaultMesh()).For(w).Decide(r)
		after := Compile(append(list, d.policy(istiosecurity.AuthorizationPolicy_DENY, "more")), defaultMesh()).For(w).Decide(r)
		if access(after.Verdict) > access(before.Verdict) {
			t.Fatalf("seed %d: a DENY more makes %+v of %+v", seed, after, before)
		}
	}
}

func TestProperty_orderIsNothing(t *testing.T) {
	for seed := range uint64(rounds) {
		d := newDice(seed)
		list, w, r := d.policies(), d.workload(), d.request()
		before, problems := Compile(list, defaultMesh()), Compile(list, defaultMesh()).Problems()
		d.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		after := Compile(list, defaultMesh())
		if diff := cmp.Diff(before.For(w).Explain(r), after.For(w).Explain(r)); diff != "" {
			t.Fatalf("seed %d: another order (-before +after):\n%s", seed, diff)
		}
		if !slices.Equal(problems, after.Problems()) {
			t.Fatalf("seed %d: another order has other problems", seed)
		}
	}
}

// What was left open, once told, decides within what was said: a verdict that is not Unknown stays.
func TestProperty_knowingMoreContradictsNothing(t *testing.T) {
	for seed := range uint64(rounds) {
		d := newDice(seed)
		list := slices.DeleteFunc(d.policies(), func(p *securityv1beta1.AuthorizationPolicy) bool {
			return p.Spec.Action == istiosecurity.AuthorizationPolicy_CUSTOM
		})
		f, r := Compile(list, defaultMesh()).For(sidecar()), d.request()
		open := f.Decide(r)
		r.Method, r.Path, r.Host = orElse(r.Method, "GET"), orElse(r.Path, "/a"), orElse(r.Host, "h")
		if !r.SourceIP.IsValid() {
			r.SourceIP, r.RemoteIP = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.1")
		}
		if told := f.Decide(r); open.Verdict != Unknown && told.Verdict != open.Verdict {
			t.Fatalf("seed %d: %+v was said, and then %+v", seed, open, told)
		}
	}
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// Whoever is decided on gets a reason, and an explanation that agrees.
func FuzzDecide(f *testing.F) {
	f.Add(uint64(1), "cluster.local/ns/a/sa/x", "GET", "/a/../b?c#d", "h", "x", "v", "/a/{*}", "*", "request.auth.claims[a][b]")
	f.Add(uint64(2), "spiffe://a\nb", "", "/%2e%2E/%%300\\..;x", "H:80", "Authorization", "Bearer x", "/{**}/b", "*a*", "request.headers[:path]")
	f.Add(uint64(3), "0", "0", "0", "0", "0", "0", "0", "\xff", "0")
	f.Fuzz(func(t *testing.T, seed uint64, principal, method, path, host, name, value, template, pattern, key string) {
		d := newDice(seed)
		list := d.policies()
		if len(list) > 0 {
			list[0].Spec.Rules = append(list[0].Spec.Rules, &istiosecurity.Rule{
				From: []*istiosecurity.Rule_From{{Source: &istiosecurity.Source{
					Principals: []string{pattern}, NotNamespaces: []string{pattern}, ServiceAccounts: []string{pattern}, TrustDomains: []string{pattern},
					RequestPrincipals: []string{pattern}, IpBlocks: []string{value},
				}}},
				To:   []*istiosecurity.Rule_To{{Operation: &istiosecurity.Operation{Paths: []string{template, pattern}, Hosts: []string{host}, Ports: []string{value}}}},
				When: []*istiosecurity.Condition{{Key: key, Values: []string{value}, NotValues: []string{pattern}}},
			})
		}
		r := d.request()
		r.Principal, r.Method, r.Path, r.Host, r.Headers = principal, method, path, host, map[string][]string{name: {value}}
		authenticate := CompileAuthentication([]*securityv1beta1.RequestAuthentication{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "team"},
			Spec: istiosecurity.RequestAuthentication{JwtRules: []*istiosecurity.JWTRule{{
				Issuer: "i", FromHeaders: []*istiosecurity.JWTHeader{{Name: name, Prefix: pattern}}, FromParams: []string{key}, FromCookies: []string{name},
				OutputClaimToHeaders: []*istiosecurity.ClaimToHeader{{Header: name, Claim: key}},
			}}},
		}}, defaultMesh())
		r = authenticate.For(sidecar()).Authenticate(r, map[string]Presented{value: {Token: Token{Issuer: "i"}}}).Request
		for _, w := range []Workload{sidecar(), d.workload()} {
			filter := Compile(list, defaultMesh()).For(w)
			decision := filter.Decide(r)
			if decision.Why == "" || decision.Verdict == "" || (decision.Verdict == Unknown) != (len(decision.Unknown) > 0) {
				t.Errorf("Decide(%+v) = %+v", r, decision)
			}
			if diff := cmp.Diff(decision, filter.Explain(r).Decision); diff != "" {
				t.Errorf("Explain differs (-Decide +Explain):\n%s", diff)
			}
		}
		// Parameters of dot segments are dropped before backslashes become slashes, so that the next hop may find more.
		if once, ok := NormalizePath(path, "BASE"); ok && !strings.Contains(path, ";") {
			if twice, ok := NormalizePath(once, "BASE"); !ok || twice != once {
				t.Errorf("NormalizePath(%q) = %q, and then %q", path, once, twice)
			}
		}
	})
}
