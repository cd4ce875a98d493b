// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const owners = `
metadata: {name: ns-owner-access-istio, namespace: team}
spec:
  rules:
  - from: [{source: {principals: [cluster.local/ns/istio-system/sa/gateway]}}]
    when: [{key: "request.headers[kubeflow-userid]", values: [ann@example.com]}]
  - when: [{key: source.namespace, values: [team]}]
  - to: [{operation: {paths: [/healthz]}}]
---
metadata: {name: contributor-bob, namespace: team}
spec:
  rules:
  - from: [{source: {principals: [cluster.local/ns/istio-system/sa/gateway]}}]
    to: [{operation: {methods: [GET]}}, {operation: {methods: [HEAD], hosts: [x]}}]
    when: [{key: "request.headers[kubeflow-userid]", values: [bob@example.com, b, c, d, e]}]
---
metadata: {name: nothing, namespace: istio-system}
spec: {}`

func TestExplain_whyNobodyAllows(t *testing.T) {
	f := compiled(t, policies(t, owners))
	got := f.Explain(request(header("kubeflow-userid", "eve@example.com"), methodOf("PUT")))
	want := []string{
		"no ALLOW policy here matches: istio-system/nothing, team/contributor-bob, team/ns-owner-access-istio",
		`team/ns-owner-access-istio, rule 0: when request.headers[kubeflow-userid] is "eve@example.com", and "ann@example.com" is asked for`,
		`team/contributor-bob, rule 0: to.methods is "PUT", and "GET" is asked for; ` +
			`when request.headers[kubeflow-userid] is "eve@example.com", and "bob@example.com", "b", "c" and 2 more is asked for`,
		"istio-system/nothing: it has no rules that apply, and so allows nothing",
	}
	if diff := cmp.Diff(want, got.Lines()); diff != "" {
		t.Errorf("Lines (-want +got):\n%s", diff)
	}
	plain := f.Explain(request(plainText, header("kubeflow-userid"))).Lines()
	if want := `team/ns-owner-access-istio, rule 1: when source.namespace is not there, and "team" is asked for`; !slices.Contains(plain, want) {
		t.Errorf("Lines = %q, want one to be %q", plain, want)
	}
}

func TestExplain_whatDecided(t *testing.T) {
	f := compiled(t, policies(t, owners+`
---
metadata: {name: deny, namespace: team}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}, {from: [{source: {notIpBlocks: [10.0.0.0/8]}}]}]}
---
metadata: {name: ask, namespace: team}
spec: {action: CUSTOM, provider: {name: p}, rules: [{from: [{source: {requestPrincipals: ["*"]}}]}, {to: [{operation: {paths: [/ask]}}]}]}`))
	allowed := f.Explain(request())
	if diff := cmp.Diff([]string{allowed.Decision.Why}, allowed.Lines()); diff != "" || allowed.Decision.Verdict != Allowed {
		t.Errorf("Explain = %+v", allowed)
	}
	denied := f.Explain(request(pathOf("/admin")))
	if len(denied.Lines()) != 1 || denied.Decision.Action != "DENY" || denied.Rules[2].Matches != "yes" || denied.Rules[2].Misses != nil {
		t.Errorf("Explain = %+v", denied)
	}
	open := f.Explain(request(sourceOf(""), func(r *Request) { came := *r; r.Received = &came; tokenOf("i", "s")(&came) }))
	want := Miss{Field: "from.ipBlocks", Want: `not "10.0.0.0/8"`, Unknown: true}
	if i := slices.IndexFunc(open.Rules, func(r RuleExplanation) bool { return r.Matches == "unknown" }); i < 0 || open.Rules[i].Misses[0] != want {
		t.Errorf("Explain = %+v, want a miss %+v", open, want)
	}
	if got := want.String(); got != `from.ipBlocks is not known, and not "10.0.0.0/8" is asked for` {
		t.Errorf("the miss reads %q", got)
	}
	if got := f.Explain(request(pathOf("nowhere"))); got.Decision.Verdict != Denied || got.Rules != nil {
		t.Errorf("Explain = %+v, want nothing but the proxy's refusal", got)
	}
	outside := Compile(policies(t, owners), defaultMesh()).For(Workload{Namespace: "team", Enforcer: None})
	if got := outside.Explain(request()); got.Decision.Verdict != Allowed || got.Rules != nil {
		t.Errorf("Explain = %+v", got)
	}
}

// What a request has of each field, as explanations say it.
func TestExplain_got(t *testing.T) {
	for rule, want := range map[string]string{
		`from: [{source: {principals: [x]}}]`:                           "cluster.local/ns/istio-system/sa/gateway",
		`from: [{source: {ipBlocks: [9.9.9.9]}}]`:                       "10.1.0.1",
		`from: [{source: {requestPrincipals: [x]}}]`:                    "i/s",
		`to: [{operation: {ports: ["1"]}}]`:                             "8080",
		`to: [{operation: {hosts: [x]}}]`:                               "app.example.com",
		`to: [{operation: {paths: [/x]}}]`:                              "/a/b",
		`when: [{key: connection.sni, values: [x]}]`:                    "app.team.svc",
		`when: [{key: "request.auth.claims[groups]", values: [x]}]`:     "[a b]",
		`when: [{key: "request.auth.claims[nobody]", values: [x]}]`:     "",
		`when: [{key: "experimental.envoy.filters.a[b]", values: [x]}]`: "",
	} {
		r := request(func(r *Request) {
			r.Token = &Token{Issuer: "i", Subject: "s", Claims: map[string]any{"groups": []any{"a", "b"}}}
		})
		if got := compiled(t, rules(t, "ALLOW", "- "+rule)).Explain(r).Rules[0].Misses[0].Got; got != want {
			t.Errorf("%s: got %q, want %q", rule, got, want)
		}
	}
	ztunnel := ztunnelled(t, "DENY", `- {to: [{operation: {ports: ["1"]}}], when: [{key: "request.headers[x]", values: [z]}]}`)
	misses := ztunnel.Explain(request()).Rules[0].Misses
	if len(misses) != 2 || misses[0].Got != "8080" || misses[1].Field != "the connection" {
		t.Errorf("misses = %+v", misses)
	}
	token := compiled(t, rules(t, "ALLOW", `- from: [{source: {requestPrincipals: [x], remoteIpBlocks: [9.9.9.9]}}]`))
	if misses := token.Explain(request(remoteOf(""))).Rules[0].Misses; len(misses) != 2 || misses[0].Got != "" || misses[1].Got != "" {
		t.Errorf("misses = %+v, want nothing to be there", misses)
	}
}
