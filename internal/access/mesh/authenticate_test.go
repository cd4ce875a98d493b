// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
)

// Kubeflow's gateway: the identity provider, and the cluster's own issuer for machines.
const kubeflowGateway = `
metadata: {name: dex-jwt, namespace: team}
spec:
  selector: {matchLabels: {app: app}}
  jwtRules:
  - issuer: http://dex.auth
    forwardOriginalToken: true
    outputClaimToHeaders: [{header: kubeflow-userid, claim: email}, {header: kubeflow-groups, claim: groups}]
    fromHeaders: [{name: Authorization, prefix: "Bearer "}]
---
metadata: {name: m2m, namespace: istio-system}
spec:
  jwtRules:
  - {issuer: https://kubernetes.default, outputClaimToHeaders: [{header: Kubeflow-UserID, claim: sub}]}`

var people = map[string]Presented{
	"ann":     presented("http://dex.auth", "1", map[string]any{"email": "ann@example.com", "groups": []any{"a", "b"}}),
	"robot":   presented("https://kubernetes.default", "system:serviceaccount:team:robot", nil),
	"forged":  {Token: Token{Issuer: "http://dex.auth"}, Invalid: "its signature is wrong"},
	"foreign": presented("https://elsewhere", "x", nil),
}

func TestAuthenticate_kubeflow(t *testing.T) {
	spoofed := func(r *Request) {
		header("kubeflow-userid", "eve@example.com")(r)
		header("kubeflow-groups", "admins", "more")(r)
	}
	cases := map[string]struct {
		changes []with
		headers map[string][]string // of the two, afterwards
		token   string              // the issuer that is verified
		status  int
		policy  string
	}{
		"without a token what the client sent is removed": {changes: []with{spoofed}},
		"a person's claims are written; a list as base64 of its JSON": {
			changes: []with{spoofed, bearing("ann")}, token: "http://dex.auth", policy: "team/dex-jwt",
			headers: map[string][]string{"kubeflow-userid": {"ann@example.com"}, "kubeflow-groups": {"WyJhIiwiYiJd"}},
		},
		"a machine's subject is written": {
			changes: []with{spoofed, bearing("robot")}, token: "https://kubernetes.default", policy: "istio-system/m2m",
			headers: map[string][]string{"kubeflow-userid": {"system:serviceaccount:team:robot"}},
		},
		"a forged token":            {changes: []with{bearing("forged")}, status: 401, policy: "team/dex-jwt"},
		"a token of another issuer": {changes: []with{bearing("foreign")}, status: 401, policy: "team/dex-jwt"},
		"a token nobody knows":      {changes: []with{bearing("sk-1234")}, status: 401, policy: "istio-system/m2m"},
		"an empty token":            {changes: []with{bearing("")}, status: 401, policy: "istio-system/m2m"},
		"a good and a bad token": {
			changes: []with{header("authorization", "Bearer ann", "Bearer forged")}, status: 401, policy: "team/dex-jwt",
		},
		"another scheme is no token": {changes: []with{header("authorization", "Basic YTpi")}},
		"a token elsewhere is no token of the person's rule": {
			changes: []with{spoofed, pathOf("/?access_token=robot")}, token: "https://kubernetes.default", policy: "istio-system/m2m",
			headers: map[string][]string{"kubeflow-userid": {"system:serviceaccount:team:robot"}},
		},
		"preflights keep what the client sent": {
			changes: []with{spoofed, bearing("forged"), methodOf("OPTIONS"), header("origin", "https://x"), header("access-control-request-method", "POST")},
			headers: map[string][]string{"kubeflow-userid": {"eve@example.com"}, "kubeflow-groups": {"admins", "more"}},
		},
		"no preflight without an origin": {
			changes: []with{bearing("forged"), methodOf("OPTIONS"), header("access-control-request-method", "POST")}, status: 401, policy: "team/dex-jwt",
		},
	}
	a := authenticator(t, kubeflowGateway)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := request(header("kubeflow-userid"))
			for _, change := range tc.changes {
				change(&r)
			}
			sent := len(r.Headers)
			got := a.Authenticate(r, people)
			if got.Status != tc.status || got.Policy != tc.policy || got.Why == "" || (got.Verdict == Denied) != (tc.status != 0) {
				t.Fatalf("Authenticate = %+v, want status %d by %q", got, tc.status, tc.policy)
			}
			if len(r.Headers) != sent {
				t.Error("the request that came was changed")
			}
			if tc.status != 0 {
				return
			}
			headers := map[string][]string{}
			for _, name := range []string{"kubeflow-userid", "kubeflow-groups"} {
				if values, found := got.Request.Headers[name]; found {
					headers[name] = values
				}
			}
			if tc.headers == nil {
				tc.headers = map[string][]string{}
			}
			if diff := cmp.Diff(tc.headers, headers); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
			issuer := ""
			if got.Request.Token != nil {
				issuer = got.Request.Token.Issuer
			}
			if issuer != tc.token {
				t.Errorf("verified issuer = %q, want %q", issuer, tc.token)
			}
		})
	}
}

// Rules behind the first that is satisfied don't even remove what the client sent of their headers.
func TestAuthenticate_headersOfLaterRulesCanBeSpoofed(t *testing.T) {
	a := authenticator(t, `
metadata: {name: both, namespace: team}
spec:
  jwtRules:
  - {issuer: a-issuer, outputClaimToHeaders: [{header: x-user, claim: sub}]}
  - {issuer: b-issuer, outputClaimToHeaders: [{header: x-groups, claim: groups}]}`)
	r := request(bearing("t"), header("x-user", "eve"), header("x-groups", "admins"))
	got := a.Authenticate(r, map[string]Presented{"t": presented("a-issuer", "ann", nil)})
	if got.Request.Headers["x-user"][0] != "ann" || len(got.Request.Headers["x-groups"]) != 1 {
		t.Errorf("headers = %v, want x-user written and x-groups as it was sent", got.Request.Headers)
	}
	got = a.Authenticate(r, map[string]Presented{"t": presented("b-issuer", "ann", nil)})
	if got.Request.Headers["x-user"] != nil || got.Request.Headers["x-groups"] != nil {
		t.Errorf("headers = %v, want both removed", got.Request.Headers)
	}
}

func TestAuthenticate_placesOfTokens(t *testing.T) {
	a := authenticator(t, `
metadata: {name: places, namespace: team}
spec:
  jwtRules:
  - issuer: test-issuer-1@istio.io
    fromHeaders: [{name: x-jwt-token, prefix: "Value "}, {name: auth-token, prefix: "Token "}, {name: raw}]
    fromParams: [token, secondary_token]
    fromCookies: [session]`)
	cases := map[string]struct {
		change with
		status int
		token  bool
		path   string // afterwards
	}{
		"a header":                {change: header("x-jwt-token", "Value one"), token: true},
		"another":                 {change: header("auth-token", "Token one"), token: true},
		"a header without prefix": {change: header("raw", "one"), token: true},
		"a prefix in the middle":  {change: header("auth-token", "My Token   one"), token: true},
		"a prefix and no token":   {change: header("auth-token", "Token !"), status: 401},
		"no such prefix":          {change: header("auth-token", "Bearer one")},
		"no such header":          {change: bearing("one")},
		"a parameter":             {change: pathOf("/a?x=1&token=%6fne&y=2#f"), token: true, path: "/a?x=1&y=2"},
		"the only parameter":      {change: pathOf("/a?secondary_token=one"), token: true, path: "/a"},
		"no such parameter":       {change: pathOf("/a?token_value=one"), path: "/a?token_value=one"},
		"two good ones":           {change: pathOf("/a?token=one&secondary_token=one"), token: true, path: "/a"},
		"a good and a bad one":    {change: pathOf("/a?token=one&secondary_token=expired"), status: 401},
		"a bad and a good one":    {change: pathOf("/a?token=expired&secondary_token=one"), status: 401},
		"a bad escape":            {change: pathOf("/a?token=%zz"), status: 401},
		"a cookie":                {change: header("cookie", "a=b; session=one; c=d"), token: true},
		"a quoted cookie":         {change: header("cookie", `session="one"`), token: true},
		"no such cookie":          {change: header("cookie", "sessions=one; session")},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := a.Authenticate(request(tc.change), istioTokens)
			if got.Status != tc.status || (got.Verdict == Allowed && (got.Request.Token != nil) != tc.token) {
				t.Errorf("Authenticate = %+v, want status %d and a token: %t", got, tc.status, tc.token)
			}
			if tc.path != "" && got.Request.Path != tc.path {
				t.Errorf("path = %q, want %q", got.Request.Path, tc.path)
			}
		})
	}
	got := a.Authenticate(request(header("auth-token", "Token one")), istioTokens)
	if _, there := got.Request.Headers["auth-token"]; there {
		t.Error("a token that is not forwarded is still there")
	}
	if got.Request.Received == nil || got.Request.Received.Headers["auth-token"] == nil {
		t.Error("what CUSTOM policies see has no token")
	}
}

func TestAuthenticate_audiences(t *testing.T) {
	const policy = `
metadata: {name: aud, namespace: team}
spec: {jwtRules: [{issuer: test-issuer-1@istio.io, audiences: [foo, "https://bar/"]}]}`
	a := authenticator(t, policy)
	tokens := map[string]Presented{}
	for name, aud := range map[string]any{"foo": "foo", "list": []any{1.0, "http://bar"}, "strings": []string{"foo/"}, "other": "x", "none": nil} {
		tokens[name] = presented("", "s", map[string]any{"iss": "test-issuer-1@istio.io", "aud": aud})
	}
	for name, want := range map[string]int{"foo": 0, "list": 0, "strings": 0, "other": 403, "none": 403} {
		if got := a.Authenticate(request(bearing(name)), tokens); got.Status != want {
			t.Errorf("%s: status %d, want %d (%s)", name, got.Status, want, got.Why)
		}
	}
	combined := authenticator(t, strings.ReplaceAll(policy, "issuer-1", "issuer-2")+"\n---\n"+`
metadata: {name: more, namespace: team}
spec: {jwtRules: [{issuer: test-issuer-2@istio.io}]}`)
	if got := combined.Authenticate(request(bearing("two")), istioTokens); got.Verdict != Allowed || got.Policy != "team/more" {
		t.Errorf("Authenticate = %+v, want it allowed by the rule without audiences", got)
	}
}

func TestAuthenticate_writtenClaims(t *testing.T) {
	a := authenticator(t, `
metadata: {name: out, namespace: team}
spec:
  jwtRules:
  - issuer: i
    outputPayloadToHeader: X-Payload
    outputClaimToHeaders: [{header: x, claim: c}, {header: x-nested, claim: a.b.c}, {header: x-absent, claim: nobody}]`)
	for want, claim := range map[string]any{
		"text": "text", "true": true, "7": 7.0, "8": 8, "9": int64(9), "10": json.Number("10"), "-1.000000": -1.0, "1.500000": 1.5,
		"e30=": map[string]any{}, "WzEsIjwiXQ==": []any{1, "<"},
	} {
		claims := map[string]any{"c": claim, "a": map[string]any{"b": map[string]any{"c": "deep"}}}
		got := a.Authenticate(request(bearing("t")), map[string]Presented{"t": presented("i", "s", claims)}).Request.Headers
		if len(got["x"]) != 1 || got["x"][0] != want || len(got["x-nested"]) != 1 || got["x-absent"] != nil || len(got["x-payload"]) != 1 {
			t.Errorf("claim %v: headers %v, want x to be %q", claim, got, want)
		}
	}
	for _, nothing := range []any{"", nil, json.Number("x"), func() {}} {
		got := a.Authenticate(Request{Method: "GET", Headers: map[string][]string{"authorization": {"Bearer t"}}},
			map[string]Presented{"t": presented("i", "s", map[string]any{"c": nothing})}).Request.Headers
		if got["x"] != nil {
			t.Errorf("claim %v: x is %q, want nothing", nothing, got["x"])
		}
	}
}

func TestAuthenticate_whereNothingIsVerified(t *testing.T) {
	list := parse[securityv1beta1.RequestAuthentication](t, kubeflowGateway)
	all := CompileAuthentication(append(list, nil), defaultMesh())
	spoofed := request(tokenOf("i", "s"), bearing("forged"))
	for name, w := range map[string]Workload{
		"a ztunnel":          {Namespace: "team", Labels: map[string]string{"app": "app"}, Enforcer: Ztunnel},
		"outside the mesh":   {Namespace: "team", Labels: map[string]string{"app": "app"}, Enforcer: None},
		"a waypoint, untold": {Namespace: "team", Gateway: "w", Enforcer: Waypoint},
	} {
		if got := all.For(w).Authenticate(spoofed, people); got.Verdict != Allowed || got.Request.Token != nil {
			t.Errorf("%s: Authenticate = %+v, want it to pass without a token", name, got)
		}
	}
	if got := all.For(sidecar()).Authenticate(request(tcp, bearing("forged")), people); got.Verdict != Allowed {
		t.Errorf("TCP: Authenticate = %+v", got)
	}
	if got := all.For(Workload{Namespace: "elsewhere", Enforcer: Sidecar}).Authenticate(request(bearing("robot")), people); got.Policy != "istio-system/m2m" {
		t.Errorf("elsewhere: Authenticate = %+v, want the root namespace's policy", got)
	}
}
