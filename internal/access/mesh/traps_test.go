// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"strings"
	"testing"

	"berth.dev/berth/internal/snapshot"
)

// What people get wrong about Istio's policies, one by one.

func TestTrap_oneRuleForEverythingCancelsAllOtherAllows(t *testing.T) {
	restricted := `
metadata: {name: restricted, namespace: team}
spec: {rules: [{from: [{source: {principals: [cluster.local/ns/a/sa/b]}}]}]}`
	open := `
metadata: {name: open, namespace: team}
spec: {selector: {matchLabels: {app: app}}, rules: [{from: [{source: {principals: [x]}}]}, {}]}`
	wantVerdict(t, compiled(t, policies(t, restricted)), request(plainText), Denied)
	got := compiled(t, policies(t, restricted+"\n---\n"+open)).Decide(request(plainText))
	if got.Verdict != Allowed || got.By() != "ns[team]-policy[open]-rule[1]" || !strings.Contains(got.Why, "everything") {
		t.Errorf("Decide = %+v, want it allowed by the rule for everything", got)
	}
}

func TestTrap_anEmptySpecAllowsNothing(t *testing.T) {
	nothing := policies(t, "metadata: {name: nothing, namespace: istio-system}\nspec: {}")
	wantVerdict(t, compiled(t, nothing), request(), Denied)
	wantVerdict(t, compiled(t, nothing), request(tcp), Denied)
	wantVerdict(t, compiled(t, nil), request(), Allowed)
	wantVerdict(t, compiled(t, policies(t, "metadata: {name: p, namespace: team}\nspec: {action: DENY}")), request(), Allowed)
}

func TestTrap_notValuesMatchWhatIsMissing(t *testing.T) {
	conditions := map[string]string{
		"a header":           `when: [{key: "request.headers[x-user]", notValues: [mallory]}]`,
		"a principal":        `from: [{source: {notPrincipals: [cluster.local/ns/a/sa/b]}}]`,
		"a namespace":        `from: [{source: {notNamespaces: [a]}}]`,
		"a service account":  `from: [{source: {notServiceAccounts: [a/b]}}]`,
		"a trust domain":     `from: [{source: {notTrustDomains: [a]}}]`,
		"a token":            `from: [{source: {notRequestPrincipals: ["*"]}}]`,
		"a claim":            `when: [{key: "request.auth.claims[groups]", notValues: [a]}]`,
		"an audience":        `when: [{key: request.auth.audiences, notValues: [a]}]`,
		"a server's name":    `when: [{key: connection.sni, notValues: [a]}]`,
		"a header at all":    `when: [{key: "request.headers[x-user]", notValues: ["*"]}]`,
		"a principal at all": `from: [{source: {notPrincipals: ["*"]}}]`,
	}
	for name, condition := range conditions {
		t.Run(name, func(t *testing.T) {
			r := request(plainText, sniOf(""))
			wantVerdict(t, compiled(t, rules(t, "ALLOW", "- "+condition)), r, Allowed)
			wantVerdict(t, compiled(t, rules(t, "DENY", "- "+condition)), r, Denied)
		})
	}
}

func TestTrap_onlyOneStarIsSpecial(t *testing.T) {
	cases := map[string][2]string{ // a value, and what it looks as if it matched
		"*/ns/x/sa/*": {`from: [{source: {principals: ["*/ns/x/sa/*"]}}]`, "cluster.local/ns/x/sa/y"},
		"*foo*":       {`from: [{source: {principals: ["*foo*"]}}]`, "cluster.local/ns/foo/sa/y"},
		"a*b":         {`from: [{source: {principals: ["cluster.local/ns/*/sa/y"]}}]`, "cluster.local/ns/foo/sa/y"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			wantVerdict(t, compiled(t, rules(t, "ALLOW", "- "+tc[0])), request(principalOf(tc[1])), Denied)
		})
	}
	f := compiled(t, rules(t, "ALLOW", `- from: [{source: {principals: ["*foo*"]}}]`))
	wantVerdict(t, f, request(principalOf("a/foo*")), Allowed)
	inPath := compiled(t, rules(t, "ALLOW", `- to: [{operation: {paths: ["/a/*/b", "*/x/*"]}}]`))
	wantVerdict(t, inPath, request(pathOf("/a/1/b")), Denied)
	wantVerdict(t, inPath, request(pathOf("/a/*/b")), Allowed)
	wantVerdict(t, inPath, request(pathOf("/y/x/*")), Allowed)
}

func TestTrap_aSecondHeaderSpoofsPrefixesAndDefeatsExactValues(t *testing.T) {
	prefix := compiled(t, rules(t, "ALLOW", `- when: [{key: "request.headers[kubeflow-groups]", values: ["admins*"]}]`))
	wantVerdict(t, prefix, request(header("kubeflow-groups", "admins,x", "guests")), Allowed)
	exact := compiled(t, rules(t, "ALLOW", `- when: [{key: "request.headers[kubeflow-groups]", values: [admins]}]`))
	wantVerdict(t, exact, request(header("kubeflow-groups", "admins")), Allowed)
	wantVerdict(t, exact, request(header("kubeflow-groups", "admins", "guests")), Denied)
	wantVerdict(t, exact, request(header("kubeflow-groups", "guests,admins")), Denied)
}

// Istio's own rules for TCP, which keep of a DENY rule what connections have.
func TestTrap_rulesForRequestsOnTCP(t *testing.T) {
	cases := map[string]struct {
		rule  string
		allow Verdict
		deny  Verdict
		other Verdict // of the DENY rule, on another port
	}{
		"only what requests have":      {`to: [{operation: {methods: [PUT]}}]`, Denied, Denied, Denied},
		"a token":                      {`from: [{source: {requestPrincipals: [x]}}]`, Denied, Denied, Denied},
		"not a token":                  {`from: [{source: {notRequestPrincipals: [x]}}]`, Denied, Denied, Denied},
		"a header":                     {`when: [{key: "request.headers[x]", values: [z]}]`, Denied, Denied, Denied},
		"a port and a path":            {`to: [{operation: {ports: ["8080"], paths: [/x]}}]`, Denied, Denied, Allowed},
		"a namespace that is not his":  {`{from: [{source: {namespaces: [x]}}], to: [{operation: {methods: [PUT]}}]}`, Denied, Allowed, Allowed},
		"a port alone":                 {`to: [{operation: {ports: ["8080"]}}]`, Allowed, Denied, Allowed},
		"the namespace alone":          {`from: [{source: {namespaces: [istio-system]}}]`, Allowed, Denied, Denied},
		"nothing":                      {`{}`, Allowed, Denied, Denied},
		"remote IPs, which TCP has":    {`from: [{source: {remoteIpBlocks: [192.0.2.0/24]}}]`, Allowed, Denied, Denied},
		"two operations, one for HTTP": {`to: [{operation: {ports: ["8080"]}}, {operation: {methods: [PUT]}}]`, Denied, Denied, Denied},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			wantVerdict(t, compiled(t, rules(t, "ALLOW", "- "+tc.rule)), request(tcp), tc.allow)
			deny := compiled(t, rules(t, "DENY", "- "+tc.rule))
			wantVerdict(t, deny, request(tcp), tc.deny)
			wantVerdict(t, deny, request(tcp, portOf(9090)), tc.other)
		})
	}
}

func TestTrap_pathsThatAreNotNormalized(t *testing.T) {
	list := rules(t, "DENY", `- to: [{operation: {paths: ["/admin*"]}}]`)
	cases := map[snapshot.PathNormalization]map[string]Verdict{
		snapshot.NormalizeNone:           {"/x/../admin": Allowed, "//admin": Allowed, "/%2Fadmin": Allowed, `/\admin`: Allowed, "/%61dmin": Allowed},
		snapshot.NormalizeBase:           {"/x/../admin": Denied, "//admin": Allowed, "/%2Fadmin": Allowed, `/\admin`: Allowed, "/%61dmin": Denied},
		"":                               {"/x/../admin": Denied, "//admin": Allowed},
		snapshot.NormalizeMergeSlashes:   {"//admin": Denied, "/%2Fadmin": Allowed, `/\admin`: Denied},
		snapshot.NormalizeDecodeAndMerge: {"//admin": Denied, "/%2Fadmin": Denied, "/%5cadmin": Denied, "/x%2F..%2fadmin": Denied},
	}
	for how, paths := range cases {
		f := Compile(list, snapshot.Mesh{PathNormalization: how}).For(sidecar())
		for path, want := range paths {
			wantVerdict(t, f, request(pathOf(path)), want)
		}
	}
}

func TestTrap_hostsHavePorts(t *testing.T) {
	f := compiled(t, rules(t, "ALLOW", `- to: [{operation: {hosts: [app.example.com]}}]`))
	wantVerdict(t, f, request(hostOf("app.example.com")), Allowed)
	wantVerdict(t, f, request(hostOf("app.example.com:443")), Denied)
	both := compiled(t, rules(t, "ALLOW", `- to: [{operation: {hosts: [app.example.com, "app.example.com:*"]}}]`))
	wantVerdict(t, both, request(hostOf("app.example.com:443")), Allowed)
}

func TestTrap_severalProvidersDenyWhatTheyMatch(t *testing.T) {
	list := policies(t, `
metadata: {name: one, namespace: team}
spec: {action: CUSTOM, provider: {name: a}, rules: [{to: [{operation: {paths: [/one]}}]}]}
---
metadata: {name: two, namespace: istio-system}
spec: {action: CUSTOM, provider: {name: b}, rules: [{to: [{operation: {paths: [/two]}}]}]}`)
	f := compiled(t, list)
	for path, want := range map[string]Verdict{"/one": Denied, "/two": Denied, "/three": Allowed} {
		wantVerdict(t, f, request(pathOf(path)), want)
	}
	got := f.Decide(request(pathOf("/two")))
	if got.By() != "ns[istio-system]-policy[two]-rule[0]" || got.Action != "CUSTOM" || !strings.Contains(got.Why, `several providers, "a", "b"`) {
		t.Errorf("Decide = %+v", got)
	}
}

func TestTrap_policiesWithoutTargetsAreNothingToWaypoints(t *testing.T) {
	list := policies(t, "metadata: {name: p, namespace: team}\nspec: {rules: [{from: [{source: {principals: [x]}}]}]}")
	f := Compile(list, defaultMesh()).For(Workload{Namespace: "team", Gateway: "waypoint", Enforcer: Waypoint})
	wantVerdict(t, f, request(), Allowed)
	if got := f.Ignored(); len(got) != 1 || got[0].Policy != "team/p" || !strings.Contains(got[0].Why, "no targetRefs") {
		t.Errorf("Ignored = %v", got)
	}
}
