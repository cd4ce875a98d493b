// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"testing"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
)

// Each case is one DENY policy for everything: Denied means that it is for the workload.
func TestFor(t *testing.T) {
	app := map[string]string{"app": "app", "version": "1"}
	gatewayPod := Workload{Namespace: "infra", Labels: map[string]string{"app": "app", gatewayNameLabel: "edge"}, Enforcer: Gateway, Gateway: "edge"}
	waypoint := Workload{
		Namespace: "infra", Enforcer: Waypoint, Gateway: "way", GatewayClass: "istio-waypoint", Service: "db", ServiceNamespace: "team",
	}
	external := waypoint
	external.Service, external.ServiceEntry = "", "db"
	own := waypoint
	own.Namespace, own.ServiceNamespace = "team", ""
	target := func(group, kind, name string) string {
		return fmt.Sprintf("targetRefs: [{group: %q, kind: %s, name: %s}]", group, kind, name)
	}
	pod := Workload{Namespace: "team", Labels: app, Enforcer: Sidecar}
	cases := map[string]struct {
		namespace, attachment string
		workload              Workload
		want                  Verdict
	}{
		"its namespace":                            {"team", "", pod, Denied},
		"the root namespace":                       {"istio-system", "", pod, Denied},
		"another namespace":                        {"other", "", pod, Allowed},
		"its labels":                               {"team", "selector: {matchLabels: {app: app}}", pod, Denied},
		"all of the labels":                        {"team", "selector: {matchLabels: {app: app, version: '2'}}", pod, Allowed},
		"a label that it has not":                  {"team", "selector: {matchLabels: {x: ''}}", pod, Allowed},
		"the root namespace's selector":            {"istio-system", "selector: {matchLabels: {app: app}}", pod, Denied},
		"another namespace's selector":             {"other", "selector: {matchLabels: {app: app}}", pod, Allowed},
		"an empty selector":                        {"team", "selector: {}", pod, Denied},
		"a target is not for pods":                 {"team", target("", "Service", "db"), pod, Allowed},
		"an old target is not for pods either":     {"team", `targetRef: {kind: Service, name: db}`, pod, Allowed},
		"no enforcer named":                        {"team", "", Workload{Namespace: "team"}, Denied},
		"a gateway by its name":                    {"infra", target("gateway.networking.k8s.io", "Gateway", "edge"), gatewayPod, Denied},
		"another gateway":                          {"infra", target("gateway.networking.k8s.io", "Gateway", "inner"), gatewayPod, Allowed},
		"a gateway elsewhere":                      {"team", target("gateway.networking.k8s.io", "Gateway", "edge"), gatewayPod, Allowed},
		"a gateway from the root namespace":        {"istio-system", target("gateway.networking.k8s.io", "Gateway", "edge"), gatewayPod, Allowed},
		"a gateway by labels":                      {"infra", "selector: {matchLabels: {app: app}}", gatewayPod, Denied},
		"a gateway by other labels":                {"infra", "selector: {matchLabels: {app: other}}", gatewayPod, Allowed},
		"a gateway by its pod's label":             {"infra", target("gateway.networking.k8s.io", "Gateway", "edge"), Workload{Namespace: "infra", Labels: map[string]string{gatewayNameLabel: "edge"}, Enforcer: Sidecar}, Denied},
		"a gateway has no services":                {"infra", target("", "Service", "db"), gatewayPod, Allowed},
		"a gateway of another group":               {"infra", target("networking.istio.io", "Gateway", "edge"), gatewayPod, Allowed},
		"a target that names another namespace":    {"infra", `targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge, namespace: x}]`, gatewayPod, Allowed},
		"a target that names its own namespace":    {"infra", `targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge, namespace: infra}]`, gatewayPod, Denied},
		"one of two targets":                       {"infra", `targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: x}, {group: gateway.networking.k8s.io, kind: Gateway, name: edge}]`, gatewayPod, Denied},
		"a waypoint's service":                     {"team", target("", "Service", "db"), waypoint, Denied},
		"a waypoint's service by core":             {"team", target("core", "Service", "db"), waypoint, Denied},
		"another service of the waypoint":          {"team", target("", "Service", "web"), waypoint, Allowed},
		"a service of the waypoint's namespace":    {"infra", target("", "Service", "db"), waypoint, Allowed},
		"a service where both are":                 {"team", target("", "Service", "db"), own, Denied},
		"a service entry":                          {"team", target("networking.istio.io", "ServiceEntry", "db"), external, Denied},
		"a service entry is no service":            {"team", target("", "Service", "db"), external, Allowed},
		"a service is no service entry":            {"team", target("networking.istio.io", "ServiceEntry", "db"), waypoint, Allowed},
		"the class of waypoints":                   {"istio-system", target("gateway.networking.k8s.io", "GatewayClass", "istio-waypoint"), waypoint, Denied},
		"the class elsewhere than in the root":     {"infra", target("gateway.networking.k8s.io", "GatewayClass", "istio-waypoint"), waypoint, Allowed},
		"another class":                            {"istio-system", target("gateway.networking.k8s.io", "GatewayClass", "istio"), waypoint, Allowed},
		"the class is nothing to gateways":         {"istio-system", target("gateway.networking.k8s.io", "GatewayClass", "istio-waypoint"), gatewayPod, Allowed},
		"a waypoint as a gateway":                  {"infra", target("gateway.networking.k8s.io", "Gateway", "way"), waypoint, Denied},
		"a waypoint by labels":                     {"infra", "selector: {}", waypoint, Allowed},
		"a waypoint by its namespace":              {"infra", "", waypoint, Allowed},
		"a waypoint by the root namespace":         {"istio-system", "", waypoint, Allowed},
		"outside the mesh nothing is enforced":     {"team", "", Workload{Namespace: "team", Enforcer: None}, Allowed},
		"a service of the waypoint, from the root": {"istio-system", target("", "Service", "db"), waypoint, Allowed},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			text := fmt.Sprintf("metadata: {name: p, namespace: %s}\nspec:\n  action: DENY\n  rules: [{}]\n  %s", tc.namespace, tc.attachment)
			wantVerdict(t, Compile(policies(t, text), defaultMesh()).For(tc.workload), request(), tc.want)
		})
	}
}

func TestCompile_whatIstioIgnores(t *testing.T) {
	list := policies(t, `
metadata: {name: dry, namespace: team, annotations: {istio.io/dry-run: "maybe"}}
spec: {action: DENY, rules: [{}]}
---
metadata: {name: null-rule, namespace: team}
spec: {action: DENY, rules: [{}]}`)
	list[1].Spec.Rules[0] = nil
	all := Compile(append(list, nil), defaultMesh())
	wantVerdict(t, all.For(sidecar()), request(), Denied)
	problems := all.Problems()
	if len(problems) != 2 || problems[0].Field != "istio.io/dry-run" || problems[0].Rule != -1 || problems[1].Policy != "team/null-rule" {
		t.Errorf("Problems = %v", problems)
	}
	if got, want := problems[0].String(), "team/dry, istio.io/dry-run: it is neither true nor false: the policy is enforced"; got != want {
		t.Errorf("the problem reads %q, want %q", got, want)
	}
	wantVerdict(t, Compile(list[1:], defaultMesh()).For(sidecar()), request(), Allowed)
	list[0].Spec.Action = 99
	all = Compile(list[:1], defaultMesh())
	wantVerdict(t, all.For(sidecar()), request(), Allowed)
	if got := all.Problems(); len(got) != 1 || got[0].Field != "action" {
		t.Errorf("Problems = %v", got)
	}
}

// Source, operation and references that are null, as the API server would not have them.
func TestCompile_nulls(t *testing.T) {
	list := policies(t, "metadata: {name: p, namespace: team}\nspec: {rules: [{from: [{}], to: [{}], when: [{}]}, {from: [{}], to: [{}]}]}")
	list[0].Spec.Rules[0].From[0] = nil
	list[0].Spec.Rules[0].To[0] = nil
	list[0].Spec.Rules[0].When[0] = nil
	for _, enforcer := range []Enforcer{Sidecar, Ztunnel} {
		got := Compile(list, defaultMesh()).For(Workload{Namespace: "team", Enforcer: enforcer}).Decide(request())
		want := map[Enforcer]Verdict{Sidecar: Allowed, Ztunnel: Denied}[enforcer]
		if got.Verdict != want {
			t.Errorf("%s: Decide = %+v, want %s", enforcer, got, want)
		}
	}
	_ = Compile([]*securityv1beta1.AuthorizationPolicy{{}}, defaultMesh()).For(Workload{})
}

func TestTrustDomains(t *testing.T) {
	cases := map[string]struct {
		domains trustDomains
		values  []string
		want    []string
	}{
		"the own one is written as it is":     {trustDomains{"td1"}, []string{"td1/ns/a/sa/b"}, []string{"td1/ns/a/sa/b"}},
		"cluster.local stands for all":        {trustDomains{"td1", "td2"}, []string{"cluster.local/ns/a/sa/b"}, []string{"td1/ns/a/sa/b", "td2/ns/a/sa/b"}},
		"an alias stands for all":             {trustDomains{"new", "old"}, []string{"old/ns/a/sa/b"}, []string{"new/ns/a/sa/b", "old/ns/a/sa/b"}},
		"another stays":                       {trustDomains{"td1"}, []string{"other/ns/a/sa/b"}, []string{"other/ns/a/sa/b"}},
		"any stays":                           {trustDomains{"td1", "td2"}, []string{"*/ns/a/sa/b", "*", "sa/b"}, []string{"*/ns/a/sa/b", "*", "sa/b"}},
		"a suffix stays for those it fits":    {trustDomains{"new-td", "old-td", "some-trustdomain"}, []string{"*-td/ns/a/sa/b"}, []string{"*-td/ns/a/sa/b", "some-trustdomain/ns/a/sa/b"}},
		"a prefix is replaced":                {trustDomains{"td1", "x"}, []string{"td*/ns/a/sa/b"}, []string{"td1/ns/a/sa/b", "x/ns/a/sa/b"}},
		"an alias may have stars":             {trustDomains{"td1", "*"}, []string{"any/ns/a/sa/b"}, []string{"td1/ns/a/sa/b", "*/ns/a/sa/b"}},
		"an alias may have a star at its end": {trustDomains{"td1", "co*"}, []string{"corp/ns/a/sa/b"}, []string{"td1/ns/a/sa/b", "co*/ns/a/sa/b"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := tc.domains.principals(tc.values); fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("principals(%v) = %v, want %v", tc.values, got, tc.want)
			}
		})
	}
	mesh := defaultMesh()
	mesh.TrustDomain, mesh.TrustDomainAliases = "new", []string{"old"}
	f := Compile(rules(t, "ALLOW", `
- from: [{source: {principals: [old/ns/a/sa/b]}}]
- from: [{source: {trustDomains: [old, partner]}}]`), mesh).For(sidecar())
	for principal, want := range map[string]Verdict{
		"new/ns/a/sa/b": Allowed, "old/ns/a/sa/b": Allowed, "other/ns/a/sa/b": Denied, "new/ns/x/sa/y": Allowed, "partner/ns/x/sa/y": Allowed,
	} {
		wantVerdict(t, f, request(principalOf(principal)), want)
	}
}

// Conditions are rewritten once for each source of a rule, which changes what they say where a value begins with a star.
func TestTrustDomains_conditionsAreRewrittenForEachSource(t *testing.T) {
	mesh := defaultMesh()
	mesh.TrustDomain, mesh.TrustDomainAliases = "td1", []string{"old-td"}
	for sources, want := range map[string]Verdict{"[{source: {ipBlocks: [0.0.0.0/0]}}]": Denied, "[{source: {ipBlocks: [0.0.0.0/0]}}, {source: {ipBlocks: [10.0.0.0/8]}}]": Allowed} {
		list := rules(t, "ALLOW", "- {from: "+sources+`, when: [{key: source.principal, values: ["*td1/ns/a/sa/default*"]}]}`)
		wantVerdict(t, Compile(list, mesh).For(sidecar()), request(principalOf("td1/ns/a/sa/default")), want)
	}
}
