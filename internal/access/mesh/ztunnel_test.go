// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func ztunnelled(t *testing.T, action, text string) *Filter {
	t.Helper()
	return Compile(rules(t, action, text), defaultMesh()).For(Workload{Namespace: "team", Labels: map[string]string{"app": "app"}, Enforcer: Ztunnel})
}

func TestTrap_ztunnelsDropAllowRulesForRequests(t *testing.T) {
	const gateway = "cluster.local/ns/istio-system/sa/gateway"
	f := ztunnelled(t, "ALLOW", `
- {from: [{source: {principals: [`+gateway+`]}}], when: [{key: "request.headers[kubeflow-userid]", values: [ann@example.com]}]}
- {when: [{key: source.namespace, values: [team]}]}
- {to: [{operation: {paths: [/healthz]}}]}`)
	wantVerdict(t, f, request(), Denied)
	wantVerdict(t, f, request(principalOf("cluster.local/ns/team/sa/default-editor")), Allowed)
	ignored := f.Ignored()
	if len(ignored) != 1 || !strings.Contains(ignored[0].Why, "rule 0 is dropped, as ztunnels don't see request.headers[kubeflow-userid]; rule 2 is dropped, as ztunnels don't see paths") {
		t.Errorf("Ignored = %v", ignored)
	}
}

func TestTrap_ztunnelsDenyNothingWhereAClauseIsForRequestsAlone(t *testing.T) {
	cases := map[string]struct {
		rule string
		want Verdict
	}{
		"from, and paths alone":       {`{from: [{source: {namespaces: [istio-system]}}], to: [{operation: {paths: [/x]}}]}`, Allowed},
		"a header alone":              {`{when: [{key: "request.headers[x]", values: [z]}]}`, Allowed},
		"a port, and a header":        {`{to: [{operation: {ports: ["8080"]}}], when: [{key: "request.headers[x]", values: [z]}]}`, Allowed},
		"a token alone":               {`{from: [{source: {notRequestPrincipals: ["*"]}}]}`, Allowed},
		"a service account condition": {`{when: [{key: source.serviceAccount, values: [istio-system/gateway]}]}`, Allowed},
		"paths and ports are widened": {`{to: [{operation: {paths: [/x], ports: ["8080"]}}]}`, Denied},
		"and only on these ports":     {`{to: [{operation: {paths: [/x], ports: ["9090"]}}]}`, Allowed},
		"a token and a namespace":     {`{from: [{source: {namespaces: [istio-system], requestPrincipals: [x]}}]}`, Denied},
		"one of two operations":       {`{to: [{operation: {paths: [/x]}}, {operation: {ports: ["8080"]}}]}`, Denied},
		"everything":                  {`{}`, Denied},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			wantVerdict(t, ztunnelled(t, "DENY", "- "+tc.rule), request(), tc.want)
		})
	}
	f := ztunnelled(t, "DENY", `- {from: [{source: {namespaces: [x]}}], to: [{operation: {paths: [/x]}}]}`)
	if got := f.Ignored(); len(got) != 1 || !strings.Contains(got[0].Why, "rule 0 never matches, and so denies nothing") {
		t.Errorf("Ignored = %v", got)
	}
	wide := ztunnelled(t, "DENY", `- {to: [{operation: {paths: [/x], ports: ["80"]}}]}`)
	if got := wide.Ignored(); len(got) != 1 || !strings.Contains(got[0].Why, "rule 0 denies more than it says") {
		t.Errorf("Ignored = %v", got)
	}
}

func TestZtunnel_fields(t *testing.T) {
	cases := map[string]struct {
		rule          string
		matches, miss []with
		unknown       with
	}{
		"principals": {
			`from: [{source: {principals: [td/ns/a/sa/b, "td/ns/p*", "*/sa/s"]}}]`,
			[]with{principalOf("td/ns/a/sa/b"), principalOf("td/ns/p/sa/x"), principalOf("x/ns/y/sa/s")},
			[]with{principalOf("td/ns/a/sa/c"), plainText},
			nil,
		},
		"any principal": {`from: [{source: {principals: ["*"]}}]`, []with{principalOf("x")}, []with{plainText}, nil},
		"no principal":  {`from: [{source: {notPrincipals: ["*"]}}]`, []with{plainText}, []with{principalOf("x")}, nil},
		"namespaces have no star inside": {
			`from: [{source: {namespaces: [a, "p*", "*s", "x*y"]}}]`,
			[]with{principalOf("td/ns/a/sa/b"), principalOf("td/ns/pp/sa/b"), principalOf("td/ns/ss/sa/b")},
			[]with{principalOf("td/ns/x-y/sa/b"), principalOf("td/ns/b/sa/a"), plainText, principalOf("odd")},
			nil,
		},
		"not namespaces": {`from: [{source: {notNamespaces: [a]}}]`, []with{plainText, principalOf("td/ns/b/sa/c")}, []with{principalOf("td/ns/a/sa/c")}, nil},
		"service accounts": {
			`from: [{source: {serviceAccounts: [x, other/z]}}]`,
			[]with{principalOf("td/ns/team/sa/x"), principalOf("td/ns/other/sa/z")},
			[]with{principalOf("td/ns/other/sa/x"), plainText},
			nil,
		},
		"not service accounts": {`from: [{source: {notServiceAccounts: [x]}}]`, []with{plainText}, []with{principalOf("td/ns/team/sa/x")}, nil},
		"source IPs":           {`from: [{source: {ipBlocks: [10.0.0.0/8], notIpBlocks: [10.9.0.0/16]}}]`, []with{sourceOf("10.1.1.1")}, []with{sourceOf("10.9.1.1"), sourceOf("11.0.0.1")}, sourceOf("")},
		"ports":                {`to: [{operation: {ports: ["80", nonsense], notPorts: ["81"]}}]`, []with{portOf(80)}, []with{portOf(82)}, portOf(0)},
		"conditions": {
			`when: [{key: source.ip, values: [10.0.0.0/8]}, {key: source.principal, notValues: ["*/x"]}, {key: destination.ip, values: [10.2.0.2]}, {key: destination.port, notValues: ["81"]}]`,
			[]with{func(*Request) {}},
			[]with{sourceOf("11.0.0.1"), principalOf("a/x"), destinationOf("10.2.0.3"), portOf(81)},
			destinationOf(""),
		},
		"a value that is wrong leaves the others":    {`from: [{source: {principals: ["td/*"], ipBlocks: [nonsense]}}]`, []with{principalOf("td/x")}, []with{plainText}, nil},
		"a value that is wrong and alone is nothing": {`from: [{source: {ipBlocks: [nonsense]}}]`, nil, []with{func(*Request) {}}, nil},
		"trust domains are nothing":                  {`from: [{source: {trustDomains: [cluster.local]}}]`, nil, []with{func(*Request) {}}, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := ztunnelled(t, "ALLOW", "- "+tc.rule)
			for _, change := range tc.matches {
				wantVerdict(t, f, request(change), Allowed)
			}
			for _, change := range tc.miss {
				wantVerdict(t, f, request(change), Denied)
			}
			if tc.unknown != nil {
				wantVerdict(t, f, request(tc.unknown), Unknown)
			}
		})
	}
}

func TestZtunnel_policies(t *testing.T) {
	cases := map[string]struct {
		namespace, spec string
		want            Verdict
		ignored         string
	}{
		"its namespace":                {"team", "{action: DENY, rules: [{}]}", Denied, ""},
		"all namespaces":               {"istio-system", "{action: DENY, rules: [{}]}", Denied, ""},
		"another namespace":            {"other", "{action: DENY, rules: [{}]}", Allowed, ""},
		"its labels":                   {"team", "{selector: {matchLabels: {app: app}}, action: DENY, rules: [{}]}", Denied, ""},
		"its labels, from the root":    {"istio-system", "{selector: {matchLabels: {app: app}}, action: DENY, rules: [{}]}", Denied, ""},
		"other labels":                 {"team", "{selector: {matchLabels: {app: b}}, action: DENY, rules: [{}]}", Allowed, ""},
		"an empty selector is nothing": {"team", "{selector: {}, action: DENY, rules: [{}]}", Allowed, ""},
		"targets":                      {"team", "{targetRefs: [{kind: Service, name: x}], action: DENY, rules: [{}]}", Allowed, "it has targetRefs"},
		"CUSTOM":                       {"team", "{action: CUSTOM, provider: {name: p}, rules: [{}]}", Allowed, "ztunnels know no action CUSTOM"},
		"AUDIT":                        {"team", "{action: AUDIT, rules: [{}]}", Allowed, "ztunnels know no action AUDIT"},
		"nothing is allowed":           {"team", "{}", Denied, ""},
		"no DENY":                      {"team", "{action: DENY}", Allowed, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			list := policies(t, "metadata: {name: p, namespace: "+tc.namespace+"}\nspec: "+tc.spec)
			w := Workload{Namespace: "team", Labels: map[string]string{"app": "app"}, Enforcer: Ztunnel}
			f := Compile(list, defaultMesh()).For(w)
			wantVerdict(t, f, request(), tc.want)
			ignored := ""
			for _, i := range f.Ignored() {
				ignored += i.Why
			}
			if ignored != tc.ignored {
				t.Errorf("Ignored = %q, want %q", ignored, tc.ignored)
			}
			list[0].Annotations = map[string]string{dryRunAnnotation: "true"}
			wantVerdict(t, Compile(list, defaultMesh()).For(w), request(), Allowed)
		})
	}
}

func TestZtunnelRules(t *testing.T) {
	list := policies(t, `
metadata: {name: groups, namespace: istio-system}
spec:
  action: DENY
  rules:
  - {from: [{source: {principals: [a, "p*", "*s", "*"], namespaces: ["n"], serviceAccounts: [x/y, z]}}], to: [{operation: {ports: ["80"], methods: [GET]}}]}
  - {when: [{key: source.ip, values: [10.10.10.10], notValues: [20.0.0.0/8]}, {key: connection.sni, values: [x]}]}
  - {}`)
	got, lost := ZtunnelRules(list[0], "istio-system")
	text, err := yaml.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	want := `action: DENY
groups:
- rules:
  - matches:
    - destinationPorts:
      - 80
  - matches:
    - namespaces:
      - exact: "n"
      principals:
      - exact: a
      - prefix: p
      - suffix: s
      - presence: {}
      serviceAccounts:
      - namespace: x
        serviceAccount: "y"
      - namespace: istio-system
        serviceAccount: z
- rules:
  - matches:
    - notSourceIps:
      - address: FAAAAA==
        length: 8
      sourceIps:
      - address: CgoKCg==
        length: 32
  - matches:
    - {}
- {}
name: groups
namespace: istio-system
scope: GLOBAL
`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("ZtunnelRules (-want +got):\n%s", diff)
	}
	if want := "rule 0 denies more than it says, as ztunnels don't see methods; rule 1 never matches, and so denies nothing, as ztunnels don't see connection.sni"; lost != want {
		t.Errorf("lost = %q, want %q", lost, want)
	}
	list[0].Namespace = "team"
	if got, _ := ZtunnelRules(list[0], "istio-system"); got.Scope != "NAMESPACE" {
		t.Errorf("the scope of a policy of another namespace is %s", got.Scope)
	}
	list = policies(t, "metadata: {name: p, namespace: istio-system}\nspec: {selector: {matchLabels: {a: b}}}")
	if got, _ := ZtunnelRules(list[0], "istio-system"); got.Scope != "WORKLOAD_SELECTOR" {
		t.Errorf("the scope of a policy with a selector is %s", got.Scope)
	}
}
