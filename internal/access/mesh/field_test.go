// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"strings"
	"testing"
)

// Each field, alone in an ALLOW rule: allowed means that it matches.
func TestFields(t *testing.T) {
	const gateway = "cluster.local/ns/istio-system/sa/gateway"
	cases := map[string]struct {
		rule    string
		matches []with // each alone
		misses  []with
		unknown []with
	}{
		"a principal is exact": {
			rule:    `from: [{source: {principals: [cluster.local/ns/istio-system/sa/gateway]}}]`,
			matches: []with{principalOf(gateway), principalOf("spiffe://" + gateway)},
			misses:  []with{principalOf(gateway + "2"), principalOf("other/ns/istio-system/sa/gateway"), plainText},
		},
		"a principal's prefix": {
			rule:    `from: [{source: {principals: ["cluster.local/ns/istio-system/*"]}}]`,
			matches: []with{principalOf(gateway)},
			misses:  []with{principalOf("cluster.local/ns/istio/sa/gateway"), plainText},
		},
		"a principal's suffix": {
			rule:    `from: [{source: {principals: ["*/sa/gateway"]}}]`,
			matches: []with{principalOf(gateway), principalOf("elsewhere/ns/x/sa/gateway")},
			misses:  []with{principalOf("cluster.local/ns/x/sa/gateways"), principalOf("a\nb/sa/gateway"), plainText},
		},
		"any principal": {
			rule:    `from: [{source: {principals: ["*"]}}]`,
			matches: []with{principalOf("x"), principalOf(gateway)},
			misses:  []with{plainText},
		},
		"not a principal": {
			rule:    `from: [{source: {notPrincipals: ["*/sa/gateway"]}}]`,
			matches: []with{principalOf("cluster.local/ns/x/sa/app"), plainText},
			misses:  []with{principalOf(gateway)},
		},
		"a namespace is exact": {
			rule:    `from: [{source: {namespaces: [alice]}}]`,
			matches: []with{principalOf("cluster.local/ns/alice/sa/x")},
			misses:  []with{principalOf("cluster.local/ns/alice2/sa/x"), principalOf("cluster.local/ns/x/sa/alice"), plainText},
		},
		"a namespace has stars anywhere, which go across slashes": {
			rule:    `from: [{source: {namespaces: ["team-*-dev"]}}]`,
			matches: []with{principalOf("cluster.local/ns/team-a-dev/sa/x"), principalOf("cluster.local/ns/team-a/sa/x-dev/y")},
			misses:  []with{principalOf("cluster.local/ns/team-a-prod/sa/x"), principalOf("cluster.local/ns/team-/sa/y-dev"), plainText},
		},
		"not a namespace": {
			rule:    `from: [{source: {notNamespaces: [alice]}}]`,
			matches: []with{principalOf(gateway), plainText},
			misses:  []with{principalOf("cluster.local/ns/alice/sa/x")},
		},
		"a service account of the policy's namespace": {
			rule:    `from: [{source: {serviceAccounts: [editor]}}]`,
			matches: []with{principalOf("any/ns/team/sa/editor"), principalOf("any/k/v/ns/team/a/b/sa/editor/c")},
			misses:  []with{principalOf("any/ns/other/sa/editor"), principalOf("any/ns/team/sa/editor2"), principalOf("any/ns/team/xsa/editor"), plainText},
		},
		"a service account elsewhere": {
			rule:    `from: [{source: {serviceAccounts: [other/editor]}}]`,
			matches: []with{principalOf("any/ns/other/sa/editor")},
			misses:  []with{principalOf("any/ns/team/sa/editor")},
		},
		"a trust domain": {
			rule:    `from: [{source: {trustDomains: [partner.example.com]}}]`,
			matches: []with{principalOf("partner.example.com/ns/a/sa/b")},
			misses:  []with{principalOf(gateway), principalOf("partner.example.com.evil/ns/a/sa/b"), plainText},
		},
		"a trust domain with a star": {
			rule:    `from: [{source: {trustDomains: ["*.example.com"]}}]`,
			matches: []with{principalOf("partner.example.com/ns/a/sa/b")},
			misses:  []with{principalOf("x/partner.example.com/ns/a"), principalOf(gateway)},
		},
		"any trust domain": {
			rule:    `from: [{source: {trustDomains: ["*"]}}]`,
			matches: []with{principalOf(gateway)},
			misses:  []with{plainText},
		},
		"a request principal": {
			rule:    `from: [{source: {requestPrincipals: [https://idp.example.com/ann]}}]`,
			matches: []with{tokenOf("https://idp.example.com", "ann"), claims(map[string]any{"iss": "https://idp.example.com", "sub": "ann"})},
			misses:  []with{tokenOf("https://idp.example.com", "bob"), tokenOf("https://evil", "ann"), func(*Request) {}},
		},
		"any request principal has both parts": {
			rule:    `from: [{source: {requestPrincipals: ["*"]}}]`,
			matches: []with{tokenOf("i", "s")},
			misses:  []with{tokenOf("i", ""), tokenOf("", "s"), claims(map[string]any{"iss": 1.0, "sub": "s"}), func(*Request) {}},
		},
		"a request principal of any issuer": {
			rule:    `from: [{source: {requestPrincipals: ["*/ann"]}}]`,
			matches: []with{tokenOf("i", "ann")},
			misses:  []with{tokenOf("i", "joann"), tokenOf("", "ann")},
		},
		"a request principal by its issuer's suffix": {
			rule:    `from: [{source: {requestPrincipals: ["*.example.com/ann"]}}]`,
			matches: []with{tokenOf("https://idp.example.com", "ann")},
			misses:  []with{tokenOf("https://idp.example.org", "ann"), tokenOf("https://idp.example.com", "joann")},
		},
		"a request principal by a suffix without a slash is one of subjects": {
			rule:    `from: [{source: {requestPrincipals: ["*ann"]}}]`,
			matches: []with{tokenOf("i", "joann")},
			misses:  []with{tokenOf("ann", "bob")},
		},
		"any request principal of an issuer": {
			rule:    `from: [{source: {requestPrincipals: ["https://idp/*"]}}]`,
			matches: []with{tokenOf("https://idp", "ann")},
			misses:  []with{tokenOf("https://idp2", "ann"), tokenOf("https://idp", "")},
		},
		"a request principal by its subject's prefix": {
			rule:    `from: [{source: {requestPrincipals: ["https://idp/team-*"]}}]`,
			matches: []with{tokenOf("https://idp", "team-a")},
			misses:  []with{tokenOf("https://idp", "a")},
		},
		"a request principal by a prefix without a slash is one of issuers": {
			rule:    `from: [{source: {requestPrincipals: ["idp*"]}}]`,
			matches: []with{tokenOf("idp.example.com", "ann")},
			misses:  []with{tokenOf("x", "idp")},
		},
		"a request principal without a slash has no subject": {
			rule:   `from: [{source: {requestPrincipals: [ann]}}]`,
			misses: []with{tokenOf("ann", ""), tokenOf("ann", "ann")},
		},
		"IP blocks": {
			rule:    `from: [{source: {ipBlocks: [10.1.0.0/16, "2001:db8::/32"]}}]`,
			matches: []with{sourceOf("10.1.9.9"), sourceOf("::ffff:10.1.9.9"), sourceOf("2001:db8::1%eth0")},
			misses:  []with{sourceOf("10.2.0.1"), sourceOf("2001:db9::1")},
			unknown: []with{sourceOf("")},
		},
		"not IP blocks": {
			rule:    `from: [{source: {notIpBlocks: [10.1.0.0/16]}}]`,
			matches: []with{sourceOf("10.2.0.1")},
			misses:  []with{sourceOf("10.1.0.1")},
			unknown: []with{sourceOf("")},
		},
		"remote IP blocks": {
			rule:    `from: [{source: {remoteIpBlocks: [192.0.2.7]}}]`,
			matches: []with{remoteOf("192.0.2.7")},
			misses:  []with{remoteOf("192.0.2.8")},
			unknown: []with{remoteOf("")},
		},
		"hosts fold ASCII": {
			rule:    `to: [{operation: {hosts: [App.Example.com, "*.CORP", "api.*"]}}]`,
			matches: []with{hostOf("APP.example.COM"), hostOf("x.corp"), hostOf("API.x")},
			misses:  []with{hostOf("app.example.com:8080"), hostOf("corp"), hostOf("app.example.\u212aom")},
			unknown: []with{hostOf("")},
		},
		"any host": {rule: `to: [{operation: {hosts: ["*"]}}]`, matches: []with{hostOf("x")}, unknown: []with{hostOf("")}},
		"methods are exact": {
			rule:    `to: [{operation: {methods: [GET, "P*"]}}]`,
			matches: []with{methodOf("GET"), methodOf("POST"), methodOf("P")},
			misses:  []with{methodOf("get"), methodOf("DELETE")},
			unknown: []with{methodOf("")},
		},
		"paths": {
			rule:    `to: [{operation: {paths: [/exact, "/prefix*", "*/suffix"]}}]`,
			matches: []with{pathOf("/exact"), pathOf("/exact?q=/x"), pathOf("/exact#f"), pathOf("/prefixed"), pathOf("/x/suffix")},
			misses:  []with{pathOf("/Exact"), pathOf("/exact/"), pathOf("/x?/suffix")},
			unknown: []with{pathOf("")},
		},
		"not paths": {
			rule:    `to: [{operation: {notPaths: ["/admin*"]}}]`,
			matches: []with{pathOf("/"), pathOf("//admin"), pathOf("/%2Fadmin")},
			misses:  []with{pathOf("/admin"), pathOf("/x/../admin")},
			unknown: []with{pathOf("")},
		},
		"ports": {
			rule:    `to: [{operation: {ports: ["8080", "90"]}}]`,
			matches: []with{portOf(8080), portOf(90)},
			misses:  []with{portOf(80)},
			unknown: []with{portOf(0)},
		},
		"not ports": {
			rule:    `to: [{operation: {notPorts: ["8080"]}}]`,
			matches: []with{portOf(80)},
			misses:  []with{portOf(8080)},
			unknown: []with{portOf(0)},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := compiled(t, rules(t, "ALLOW", "- "+tc.rule))
			for verdict, changes := range map[Verdict][]with{Allowed: tc.matches, Denied: tc.misses, Unknown: tc.unknown} {
				for _, change := range changes {
					wantVerdict(t, f, request(change), verdict)
				}
			}
		})
	}
}

// Each key of a condition, with its values, and as notValues the other way round.
func TestConditions(t *testing.T) {
	list := []any{"a", "b", 3.0}
	cases := map[string]struct {
		key, value string
		matches    []with
		misses     []with
		unknown    []with
	}{
		"a header": {
			key: "request.headers[Kubeflow-UserID]", value: "ann@example.com",
			matches: []with{header("kubeflow-userid", "ann@example.com"), otherCase},
			misses:  []with{header("kubeflow-userid", "bob@example.com"), header("kubeflow-userid"), header("kubeflow-userid", "ann@example.com", "bob@example.com")},
		},
		"a header that is there": {
			key: "request.headers[x]", value: "*",
			matches: []with{header("x", ""), header("x", "1", "2")},
			misses:  []with{func(*Request) {}},
		},
		"a header's prefix": {key: "request.headers[x]", value: "a*", matches: []with{header("x", "ab"), header("x", "a", "b")}, misses: []with{header("x", "b", "a")}},
		"a header's suffix": {key: "request.headers[x]", value: "*b", matches: []with{header("x", "a", "b")}, misses: []with{header("x", "b", "a")}},
		"the method as a header": {
			key: "request.headers[:method]", value: "GET", matches: []with{methodOf("GET")}, misses: []with{methodOf("PUT")}, unknown: []with{methodOf("")},
		},
		"the path as a header has its query": {
			key: "request.headers[:path]", value: "/a?b", matches: []with{pathOf("/x/../a?b")}, misses: []with{pathOf("/a")}, unknown: []with{pathOf("")},
		},
		"the host as a header has its case": {
			key: "request.headers[host]", value: "App", matches: []with{hostOf("App")}, misses: []with{hostOf("app")}, unknown: []with{hostOf("")},
		},
		"the authority": {key: "request.headers[:authority]", value: "app", matches: []with{hostOf("app")}, misses: []with{hostOf("App")}},
		"the scheme":    {key: "request.headers[:scheme]", value: "https", unknown: []with{func(*Request) {}}},
		"source.ip":     {key: "source.ip", value: "10.0.0.0/8", matches: []with{sourceOf("10.9.9.9")}, misses: []with{sourceOf("11.0.0.1")}, unknown: []with{sourceOf("")}},
		"remote.ip":     {key: "remote.ip", value: "10.0.0.1", matches: []with{remoteOf("10.0.0.1")}, misses: []with{remoteOf("10.0.0.2")}, unknown: []with{remoteOf("")}},
		"destination.ip": {
			key: "destination.ip", value: "10.0.0.1", matches: []with{destinationOf("10.0.0.1")}, misses: []with{destinationOf("10.0.0.2")}, unknown: []with{destinationOf("")},
		},
		"destination.port": {key: "destination.port", value: "80", matches: []with{portOf(80)}, misses: []with{portOf(81)}, unknown: []with{portOf(0)}},
		"connection.sni":   {key: "connection.sni", value: "*.svc", matches: []with{sniOf("a.svc")}, misses: []with{sniOf(""), sniOf("svc")}},
		"any connection.sni": {
			key: "connection.sni", value: "*", matches: []with{sniOf("a")}, misses: []with{sniOf("")},
		},
		"source.namespace": {key: "source.namespace", value: "alice", matches: []with{principalOf("td/ns/alice/sa/x")}, misses: []with{plainText}},
		"source.principal": {key: "source.principal", value: "td/ns/alice/*", matches: []with{principalOf("td/ns/alice/sa/x")}, misses: []with{plainText}},
		"source.serviceAccount": {
			key: "source.serviceAccount", value: "editor", matches: []with{principalOf("td/ns/team/sa/editor")}, misses: []with{plainText, principalOf("td/ns/x/sa/editor")},
		},
		"source.trustDomain":     {key: "source.trustDomain", value: "td", matches: []with{principalOf("td/ns/a/sa/b")}, misses: []with{plainText, principalOf("td2/ns/a/sa/b")}},
		"request.auth.principal": {key: "request.auth.principal", value: "i/s", matches: []with{tokenOf("i", "s")}, misses: []with{tokenOf("i", "t"), func(*Request) {}}},
		"request.auth.audiences": {
			key: "request.auth.audiences", value: "a",
			matches: []with{claims(map[string]any{"aud": "a"}), claims(map[string]any{"aud": list}), claims(map[string]any{"aud": []string{"b", "a"}})},
			misses:  []with{claims(map[string]any{"aud": "b"}), func(*Request) {}},
		},
		"request.auth.presenter": {key: "request.auth.presenter", value: "a", matches: []with{claims(map[string]any{"azp": "a"})}, misses: []with{claims(map[string]any{"azp": "b"})}},
		"a claim that is a list": {
			key: "request.auth.claims[groups]", value: "b",
			matches: []with{claims(map[string]any{"groups": list}), claims(map[string]any{"groups": "b"})},
			misses:  []with{claims(map[string]any{"groups": []any{[]any{"b"}}}), claims(map[string]any{"groups": "a,b"}), func(*Request) {}},
		},
		"numbers and booleans match nothing": {
			key: "request.auth.claims[n]", value: "*", matches: []with{claims(map[string]any{"n": "x"})},
			misses: []with{claims(map[string]any{"n": 3.0}), claims(map[string]any{"n": true}), claims(map[string]any{"n": map[string]any{"n": "x"}})},
		},
		"a nested claim": {
			key: "request.auth.claims[realm][roles]", value: "admin",
			matches: []with{claims(map[string]any{"realm": map[string]any{"roles": []any{"admin"}}})},
			misses:  []with{claims(map[string]any{"realm": "admin"}), claims(map[string]any{"realm": map[string]any{}}), func(*Request) {}},
		},
		"a claim with brackets in its name": {
			key: "request.auth.claims[a[b]]", value: "x", matches: []with{claims(map[string]any{"a[b]": "x"})}, misses: []with{claims(map[string]any{"a": "x"})},
		},
		"scope is split at spaces": {
			key: "request.auth.claims[scope]", value: "read",
			matches: []with{claims(map[string]any{"scope": "write  read"}), claims(map[string]any{"scope": "read"})},
			misses:  []with{claims(map[string]any{"scope": "read-all"}), claims(map[string]any{"scope": " "})},
		},
		"filters' metadata": {key: "experimental.envoy.filters.a.b[c]", value: "x", unknown: []with{func(*Request) {}, tcp}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			has := compiled(t, rules(t, "ALLOW", `- when: [{key: "`+tc.key+`", values: ["`+tc.value+`"]}]`))
			hasNot := compiled(t, rules(t, "ALLOW", `- when: [{key: "`+tc.key+`", notValues: ["`+tc.value+`"]}]`))
			for _, change := range tc.matches {
				wantVerdict(t, has, request(change), Allowed)
				wantVerdict(t, hasNot, request(change), Denied)
			}
			for _, change := range tc.misses {
				wantVerdict(t, has, request(change), Denied)
				wantVerdict(t, hasNot, request(change), Allowed)
			}
			for _, change := range tc.unknown {
				wantVerdict(t, has, request(change), Unknown)
				wantVerdict(t, hasNot, request(change), Unknown)
			}
		})
	}
}

// What Istio can't compile drops an ALLOW rule, and only the value of a DENY rule. A key that there is not drops both.
func TestInvalidValues(t *testing.T) {
	cases := map[string]struct {
		rule        string
		allow, deny Verdict
		problem     string
	}{
		"an IP block":          {`from: [{source: {ipBlocks: [10.0.0.0/33]}}]`, Denied, Denied, "from.ipBlocks"},
		"one of two IP blocks": {`from: [{source: {ipBlocks: [nonsense, 11.0.0.0/8]}}]`, Denied, Allowed, "from.ipBlocks"},
		"not an IP block":      {`from: [{source: {notIpBlocks: [""]}}]`, Denied, Denied, "not from.ipBlocks"},
		"a port":               {`to: [{operation: {ports: ["65536"]}}]`, Denied, Denied, "to.ports"},
		"a port of two fields": {`to: [{operation: {ports: [http], methods: [PUT]}}]`, Denied, Allowed, "to.ports"},
		"a header's key":       {`when: [{key: request.headers, values: [x]}]`, Denied, Denied, "request.headers"},
		"a header's name":      {`when: [{key: "request.headers[]", values: [x]}]`, Denied, Denied, "request.headers[]"},
		"a claim's key":        {`when: [{key: "request.auth.claims.a", values: [x]}]`, Denied, Denied, "request.auth.claims.a"},
		"a filter's key":       {`when: [{key: experimental.envoy.filters.a, values: [x]}]`, Denied, Denied, "experimental.envoy.filters.a"},
		"a key that is unknown": {
			`when: [{key: source.labels, values: [x]}]`, Denied, Allowed, "source.labels",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			for action, want := range map[string]Verdict{"ALLOW": tc.allow, "DENY": tc.deny} {
				all := Compile(rules(t, action, "- "+tc.rule), defaultMesh())
				wantVerdict(t, all.For(sidecar()), request(), want)
				problems := all.Problems()
				if len(problems) != 1 || problems[0].Field != tc.problem || problems[0].Policy != "team/p" || problems[0].Rule != 0 {
					t.Errorf("problems of %s are %v, want one with %s", action, problems, tc.problem)
				}
				if text := problems[0].String(); !strings.HasPrefix(text, "team/p, rule 0, "+tc.problem+": ") {
					t.Errorf("the problem reads %q", text)
				}
			}
		})
	}
}
