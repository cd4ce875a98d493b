// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"

	"berth.dev/berth/internal/snapshot"
)

// What Istio's integration tests expect of real proxies (tests/integration/security in istio.io/istio), as tables.

type expectation struct {
	change with
	want   Verdict
}

func expect(t *testing.T, f *Filter, base Request, cases map[string]expectation) {
	t.Helper()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := base
			tc.change(&r)
			wantVerdict(t, f, r, tc.want)
		})
	}
}

func byPath(want map[string]Verdict) map[string]expectation {
	cases := map[string]expectation{}
	for path, verdict := range want {
		cases[path] = expectation{pathOf(path), verdict}
	}
	return cases
}

func TestIstio_PathPrecedence(t *testing.T) {
	f := compiled(t, policies(t, `
metadata: {name: deny, namespace: team}
spec: {selector: {matchLabels: {app: app}}, action: DENY, rules: [{to: [{operation: {paths: [/allow/admin]}}]}]}
---
metadata: {name: allow, namespace: team}
spec: {selector: {matchLabels: {app: app}}, action: ALLOW, rules: [{to: [{operation: {paths: ["/allow*"]}}]}]}`))
	expect(t, f, request(), byPath(map[string]Verdict{
		"/allow/admin": Denied, "/allow/admin?param=value": Denied, "/allow": Allowed, "/allow?param=value": Allowed,
	}))
}

func TestIstio_PathTemplating(t *testing.T) {
	f := compiled(t, rules(t, "ALLOW", `- to: [{operation: {paths: ["/allow/admin/{**}", "/foo/{*}/bar/{**}", "/store/{**}/cart"]}}]`))
	expect(t, f, request(), byPath(map[string]Verdict{
		"/allow/admin/": Allowed, "/allow/admin": Denied, "/allow/user/": Denied, "/allow/admin?param=value": Denied, "/allow": Denied,
		"/allow/admin/temp": Allowed, "/allow/admin/temp.txt": Allowed, "/allow/admin/foo/temp.txt": Allowed,
		"/foo/buzz/bar/bat.txt": Allowed, "/foo/buzz/bar/bat.temp.txt": Allowed, "/foo/buzz/bar/bat/fuzz.txt": Allowed,
		"/foo/bar/bat.txt": Denied, "/foo//bar/bat.txt": Denied, "/foo/buzz/bar/bat": Allowed,
		"/store//cart": Allowed, "/store/cart": Denied, "/store/foo/cart": Allowed, "/store/foo/bar/cart": Allowed,
	}))
}

func TestIstio_PathNormalization(t *testing.T) {
	f := compiled(t, rules(t, "ALLOW", `- to: [{operation: {paths: ["/public*"], methods: [GET]}}]`))
	want := map[string]Verdict{"/public": Allowed, "/public/../public": Allowed, "/private": Denied}
	for _, path := range []string{
		"/public/../private", "/public/./../private", "/public/.././private", "/public/%2E%2E/private", "/public/%2e%2e/private",
		"/public/%2E/%2E%2E/private", "/public/%2e/%2e%2e/private", "/public/%2E%2E/%2E/private", "/public/%2e%2e/%2e/private",
	} {
		want[path] = Denied
	}
	expect(t, f, request(), byPath(want))
}

func TestIstio_Conditions(t *testing.T) {
	var list []string
	for key, condition := range map[string]string{
		"request.headers[x-foo]": "foo|bar", "source.ip": "10.0.0.1|10.0.0.2", "source.namespace": "allowed|denied",
		"source.principal":   "cluster.local/ns/allowed/sa/a|cluster.local/ns/denied/sa/a",
		"source.trustDomain": "cluster.local|bad.example.com", "destination.ip": "10.2.0.2|10.2.0.2",
		"destination.port": "8080|8080", "connection.sni": "*.svc|*.svc",
	} {
		has, hasNot, _ := strings.Cut(condition, "|")
		path := "/" + strings.NewReplacer("request.headers[x-foo]", "request-headers", ".", "-").Replace(key)
		list = append(list, fmt.Sprintf(`
metadata: {name: %[1]q, namespace: team}
spec:
  rules:
  - {to: [{operation: {paths: [%[1]s]}}], when: [{key: %[2]q, values: [%[3]q]}]}
  - {to: [{operation: {paths: [%[1]s-notValues]}}], when: [{key: %[2]q, notValues: [%[4]q]}]}`, path, key, has, hasNot))
	}
	f := compiled(t, policies(t, strings.Join(list, "\n---\n")))
	for caller, identity := range map[Verdict]Request{
		Allowed: request(principalOf("cluster.local/ns/allowed/sa/a"), sourceOf("10.0.0.1")),
		Denied:  request(principalOf("cluster.local/ns/denied/sa/a"), sourceOf("10.0.0.2")),
	} {
		cases := byPath(map[string]Verdict{
			"/source-ip": caller, "/source-ip-notValues": caller, "/source-namespace": caller, "/source-namespace-notValues": caller,
			"/source-principal": caller, "/source-principal-notValues": caller,
			"/source-trustDomain": Allowed, "/source-trustDomain-notValues": Allowed,
			"/destination-ip": Allowed, "/destination-ip-notValues": Denied, "/destination-port": Allowed, "/destination-port-notValues": Denied,
			"/connection-sni": Allowed, "/connection-sni-notValues": Denied, "/other": Denied, "/request-headers": Denied,
		})
		headers := func(path, value string) with {
			return func(r *Request) { pathOf(path)(r); header("x-foo", value)(r) }
		}
		maps.Copy(cases, map[string]expectation{
			"x-foo is foo": {headers("/request-headers", "foo"), Allowed}, "x-foo is bar": {headers("/request-headers", "bar"), Denied},
			"x-foo is not bar": {headers("/request-headers-notValues", "foo"), Allowed}, "x-foo is bar after all": {headers("/request-headers-notValues", "bar"), Denied},
		})
		t.Run(string(caller), func(t *testing.T) { expect(t, f, identity, cases) })
	}
}

func TestIstio_NotHostNotMethodNotPortNotNamespace(t *testing.T) {
	cases := map[string]struct {
		action, rule  string
		allowed, deny with
	}{
		"host":       {"ALLOW", `to: [{operation: {notHosts: [deny.app.com]}}]`, hostOf("allow.app.com"), hostOf("deny.app.com")},
		"method":     {"ALLOW", `to: [{operation: {notMethods: [PUT]}}]`, methodOf("GET"), methodOf("PUT")},
		"port":       {"ALLOW", `to: [{operation: {notPorts: ["85"]}}]`, portOf(80), portOf(85)},
		"namespace":  {"DENY", `from: [{source: {notNamespaces: [ns1]}}]`, principalOf("cluster.local/ns/ns1/sa/a"), principalOf("cluster.local/ns/ns2/sa/a")},
		"plain text": {"DENY", `from: [{source: {notPrincipals: ["*"]}}]`, principalOf("cluster.local/ns/ns1/sa/a"), plainText},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := compiled(t, rules(t, tc.action, "- "+tc.rule))
			wantVerdict(t, f, request(tc.allowed), Allowed)
			wantVerdict(t, f, request(tc.deny), Denied)
		})
	}
}

// The tokens of Istio's tests.
var istioTokens = map[string]Presented{
	"one":      presented("test-issuer-1@istio.io", "sub-1", map[string]any{"groups": []any{"group-1"}, "iat": 1562182722.0}),
	"two":      presented("test-issuer-2@istio.io", "sub-2", map[string]any{"groups": []any{"group-2"}}),
	"aud":      presented("test-issuer-1@istio.io", "sub-1", map[string]any{"aud": "foo"}),
	"aud-list": presented("test-issuer-1@istio.io", "sub-1", map[string]any{"aud": []any{"bar", "foo"}}),
	"azp":      presented("test-issuer-1@istio.io", "sub-1", map[string]any{"azp": "bar"}),
	"nested-1": presented("test-issuer-1@istio.io", "sub-1", map[string]any{"nested": map[string]any{
		"key1": []any{"valueA", "valueB"}, "nested-2": map[string]any{"key1": []any{"valueA", "valueB"}},
	}}),
	"nested-2": presented("test-issuer-1@istio.io", "sub-1", map[string]any{"iat": 1604008018.0, "nested": map[string]any{
		"key2": "valueC", "nested-2": map[string]any{"key2": "valueC"},
	}}),
	"permission":   presented("test-issuer-2@istio.io", "sub-2", map[string]any{"permission": "read write"}),
	"scope":        presented("test-issuer-2@istio.io", "sub-2", map[string]any{"scope": "write read"}),
	"custom-scope": presented("test-issuer-2@istio.io", "sub-2", map[string]any{"custom_scope": "admin user"}),
	"three":        presented("test-issuer-3@istio.io", "sub-1", nil),
	"expired":      {Token: Token{Issuer: "test-issuer-1@istio.io", Subject: "sub-1"}, Invalid: "it is expired"},
}

func presented(issuer, subject string, claims map[string]any) Presented {
	return Presented{Token: Token{Issuer: issuer, Subject: subject, Claims: claims}}
}

func bearing(token string) with { return header("authorization", "Bearer "+token) }

func authenticator(t *testing.T, text string) *Authenticator {
	t.Helper()
	return CompileAuthentication(parse[securityv1beta1.RequestAuthentication](t, text), defaultMesh()).For(sidecar())
}

func TestIstio_JWT(t *testing.T) {
	a := authenticator(t, `
metadata: {name: default, namespace: team}
spec:
  jwtRules:
  - {issuer: test-issuer-1@istio.io}
  - {issuer: test-issuer-2@istio.io, spaceDelimitedClaims: [custom_scope, teams]}`)
	claim := func(path, key, values string) string {
		return fmt.Sprintf("- {to: [{operation: {paths: [%q], methods: [GET]}}], when: [{key: %q, values: %s}]}\n", path, key, values)
	}
	f := compiled(t, rules(t, "ALLOW", `
- {to: [{operation: {paths: [/token1], methods: [GET]}}], from: [{source: {requestPrincipals: [test-issuer-1@istio.io/sub-1]}}]}
- {to: [{operation: {paths: [/tokenAny], methods: [GET]}}], from: [{source: {requestPrincipals: ["*"]}}]}
- {to: [{operation: {paths: [/token3], methods: [GET]}}], from: [{source: {notRequestPrincipals: [test-issuer-1@istio.io/sub-1]}}]}
`+claim("/token2", "request.auth.claims[groups]", "[group-2]")+claim("/scope", "request.auth.claims[scope]", "[append, write]")+
		claim("/otherscope", "request.auth.claims[scope]", "[admin]")+claim("/permission", "request.auth.claims[permission]", "[write, append]")+
		claim("/custom-scope-admin", "request.auth.claims[custom_scope]", "[admin]")+claim("/custom-scope-user", "request.auth.claims[custom_scope]", "[user]")+
		claim("/nested-key1", "request.auth.claims[nested][key1]", "[valueB]")+claim("/nested-non-exist", "request.auth.claims[nested][non-exist]", "[valueC]")+
		claim("/nested-key2", "request.auth.claims[nested][key2]", "[valueC]")+claim("/nested-2-key1", "request.auth.claims[nested][nested-2][key1]", "[valueA]")+
		claim("/valid-jwt", "request.auth.principal", `["*"]`)+claim("*/presenter", "request.auth.presenter", "[bar]")+claim("*/audiences", "request.auth.audiences", "[foo]")))
	cases := map[string][2]string{ // a path, then tokens that open it and tokens that don't; - is none
		"/token1":             {"one", "- two"},
		"/token2":             {"two", "- one"},
		"/token3":             {"two -", "one"},
		"/tokenAny":           {"one two", "-"},
		"/permission":         {"permission", "one two -"},
		"/scope":              {"scope", "one -"},
		"/otherscope":         {"", "scope"},
		"/custom-scope-admin": {"custom-scope", "- one"},
		"/custom-scope-user":  {"custom-scope", "- one"},
		"/nested-key1":        {"nested-1", "nested-2"},
		"/nested-key2":        {"nested-2", "nested-1"},
		"/nested-2-key1":      {"nested-1", "nested-2"},
		"/nested-non-exist":   {"", "nested-1 nested-2"},
		"/audiences":          {"aud aud-list", "one"},
		"/x/presenter":        {"azp", "one"},
		"/valid-jwt":          {"one", "-"},
	}
	for path, tc := range cases {
		for i, want := range []Verdict{Allowed, Denied} {
			for token := range strings.FieldsSeq(tc[i]) {
				t.Run(path+" with "+token, func(t *testing.T) {
					r := request(pathOf(path))
					if token != "-" {
						bearing(token)(&r)
					}
					done := a.Authenticate(r, istioTokens)
					if done.Verdict != Allowed {
						t.Fatalf("Authenticate = %+v", done)
					}
					wantVerdict(t, f, done.Request, want)
				})
			}
		}
	}
}

func TestIstio_IngressGateway(t *testing.T) {
	list := policies(t, `
metadata: {name: policy, namespace: istio-system}
spec:
  action: DENY
  selector: {matchLabels: {app: istio-ingressgateway}}
  rules:
  - to: [{operation: {hosts: [deny.a.com, "*.suffix.a.com", "prefix.a.*"]}}]
  - to: [{operation: {hosts: [internal.a.com]}}, {operation: {paths: [/private]}}]
  - {from: [{source: {remoteIpBlocks: [172.17.72.46, 192.168.4.0/23]}}], to: [{operation: {hosts: [remoteipblocks.a.com]}}]}
  - {from: [{source: {notRemoteIpBlocks: [172.23.240.0/22]}}], to: [{operation: {hosts: [notremoteipblocks.a.com]}}]}
  - {to: [{operation: {hosts: [remoteipattr.a.com]}}], when: [{key: remote.ip, values: [10.242.5.7, 10.124.99.0/24]}]}`)
	f := Compile(list, snapshot.DefaultMesh()).For(Workload{
		Namespace: "istio-system", Labels: map[string]string{"app": "istio-ingressgateway"}, Enforcer: Sidecar,
	})
	for target, want := range map[string]Verdict{
		"deny.a.com": Denied, "DENY.A.COM": Denied, "Deny.a.Com": Denied, "deny.suffix.a.com": Denied, "DENY.SUFFIX.A.COM": Denied,
		"prefix.a.com": Denied, "PREFIX.A.COM": Denied, "www.a.com/": Allowed, "www.a.com/private": Denied, "www.a.com/public": Allowed,
		"internal.a.com/": Denied, "internal.a.com/private": Denied,
		"remoteipblocks.a.com/ 172.17.72.46": Denied, "remoteipblocks.a.com/ 192.168.5.233": Denied, "remoteipblocks.a.com/ 10.4.5.6": Allowed,
		"notremoteipblocks.a.com/ 10.2.3.4": Denied, "notremoteipblocks.a.com/ 172.23.242.188": Allowed,
		"remoteipattr.a.com/ 10.242.5.7": Denied, "remoteipattr.a.com/ 10.124.99.10": Denied, "remoteipattr.a.com/ 10.4.5.6": Allowed,
	} {
		t.Run(target, func(t *testing.T) {
			where, ip, _ := strings.Cut(target, " ")
			host, path, _ := strings.Cut(where, "/")
			r := request(hostOf(host), pathOf("/"+path), remoteOf("172.16.0.1"))
			if ip != "" {
				remoteOf(ip)(&r)
			}
			wantVerdict(t, f, r, want)
		})
	}
}
