// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecide_order(t *testing.T) {
	f := compiled(t, policies(t, `
metadata: {name: allow, namespace: team}
spec: {rules: [{to: [{operation: {paths: ["/a*", "/both"]}}]}]}
---
metadata: {name: deny, namespace: istio-system}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/both, /denied]}}]}]}
---
metadata: {name: audit, namespace: team}
spec: {action: AUDIT, rules: [{to: [{operation: {methods: [GET]}}]}, {to: [{operation: {methods: [PUT]}}]}]}
---
metadata: {name: tried, namespace: team, annotations: {istio.io/dry-run: "true"}}
spec: {action: DENY, rules: [{}]}`))
	for path, want := range map[string]Decision{
		"/a": {
			Verdict: Allowed, Policy: "team/allow", Action: "ALLOW", Why: `ALLOW policy team/allow, rule 0, matches: to.paths "/a*", "/both"`,
		},
		"/both": {
			Verdict: Denied, Policy: "istio-system/deny", Action: "DENY", Why: `DENY policy istio-system/deny, rule 0, matches: to.paths "/both", "/denied"`,
		},
		"/x": {Verdict: Denied, Rule: -1, Why: "no ALLOW policy here matches: team/allow"},
	} {
		want.Audited, want.DryRun = []string{"ns[team]-policy[audit]-rule[0]"}, []string{"ns[team]-policy[tried]-rule[0]"}
		if diff := cmp.Diff(want, f.Decide(request(pathOf(path)))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

// A dry-run ALLOW does not count as one: without another everything is allowed.
func TestDecide_dryRun(t *testing.T) {
	tried := policies(t, `
metadata: {name: tried, namespace: team, annotations: {istio.io/dry-run: "1"}}
spec: {rules: [{from: [{source: {principals: [x]}}]}]}`)
	wantVerdict(t, compiled(t, tried), request(), Allowed)
	enforced := rules(t, "ALLOW", `- from: [{source: {principals: ["y"]}}]`)
	wantVerdict(t, compiled(t, append(tried, enforced...)), request(), Denied)
}

// Of several rules that match the one is named that Envoy tries first, by the order of names.
func TestDecide_namesTheFirstRuleByName(t *testing.T) {
	text := "- {to: [{operation: {paths: [/x]}}]}\n"
	got := compiled(t, rules(t, "ALLOW", strings.Repeat(text, 2)+strings.Repeat("- {}\n", 9))).Decide(request())
	if got.By() != "ns[team]-policy[p]-rule[10]" {
		t.Errorf("By = %q, want the rule 10, which is before 2", got.By())
	}
}

func TestDecide_custom(t *testing.T) {
	const asks = `
metadata: {name: sign-in, namespace: team}
spec: {action: CUSTOM, provider: {name: oauth2-proxy}, rules: [{to: [{operation: {notPaths: [/dex/*]}}], when: [{key: "request.headers[authorization]", notValues: ["*"]}]}]}`
	const requires = `
metadata: {name: require-token, namespace: team}
spec: {action: DENY, rules: [{from: [{source: {notRequestPrincipals: ["*"]}}], to: [{operation: {notPaths: [/dex/*]}}]}]}`
	const blocks = `
metadata: {name: blocks, namespace: team}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}`
	const permits = `
metadata: {name: permits, namespace: team}
spec: {rules: [{to: [{operation: {methods: [GET]}}], when: [{key: "request.headers[x-user]", values: [ann]}]}]}`
	cases := map[string]struct {
		list    string
		changes []with
		want    Verdict
	}{
		"the provider is asked":                          {asks, nil, Unknown},
		"it is not asked where the rule does not match":  {asks, []with{pathOf("/dex/x")}, Allowed},
		"it is not asked for a token":                    {asks, []with{bearing("t")}, Allowed},
		"what it can't change denies":                    {asks + "\n---\n" + blocks, []with{pathOf("/admin")}, Denied},
		"a token that it may add may be what is lacking": {asks + "\n---\n" + requires, nil, Unknown},
		"a header that it may add, too":                  {asks + "\n---\n" + permits, nil, Unknown},
		"but not where the method is wrong anyway":       {asks + "\n---\n" + permits, []with{methodOf("PUT")}, Denied},
		"without it the token is lacking":                {requires, nil, Denied},
		"on TCP it adds nothing": {
			"metadata: {name: c, namespace: team}\nspec: {action: CUSTOM, provider: {name: p}, rules: [{}]}\n---\n" + blocks, []with{tcp}, Denied,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := compiled(t, policies(t, tc.list))
			wantVerdict(t, f, request(tc.changes...), tc.want)
		})
	}
	got := compiled(t, policies(t, asks)).Decide(request())
	want := Decision{
		Verdict: Unknown, Policy: "team/sign-in", Action: "CUSTOM", Unknown: []string{`extension provider "oauth2-proxy"`},
		Why: `CUSTOM policy team/sign-in, rule 0, matches: it is up to extension provider "oauth2-proxy", which was not asked`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Decide (-want +got):\n%s", diff)
	}
}

// CUSTOM policies see the request before tokens are verified, and with the headers that it came with.
func TestDecide_customSeesWhatCame(t *testing.T) {
	f := compiled(t, policies(t, `
metadata: {name: c, namespace: team}
spec: {action: CUSTOM, provider: {name: p}, rules: [{when: [{key: "request.headers[authorization]", notValues: ["*"]}]}]}`))
	r := request(header("authorization"), tokenOf("i", "s"))
	came := request(bearing("t"))
	wantVerdict(t, f, r, Unknown)
	r.Received = &came
	wantVerdict(t, f, r, Allowed)
	byToken := compiled(t, policies(t, `
metadata: {name: c, namespace: team}
spec: {action: CUSTOM, provider: {name: p}, rules: [{from: [{source: {requestPrincipals: ["*"]}}]}]}`))
	wantVerdict(t, byToken, request(tokenOf("i", "s")), Allowed)
}

func TestDecide_customProviders(t *testing.T) {
	list := policies(t, `
metadata: {name: c, namespace: team}
spec: {action: CUSTOM, provider: {name: p}, rules: [{to: [{operation: {ports: ["8080"]}}]}]}`)
	mesh := defaultMesh()
	for name, tc := range map[string]struct {
		known []string
		want  Verdict
	}{"not told": {nil, Unknown}, "known": {[]string{"p"}, Unknown}, "not known": {[]string{"q"}, Denied}, "none": {[]string{}, Denied}} {
		mesh.Providers = tc.known
		if got := Compile(list, mesh).For(sidecar()).Decide(request()); got.Verdict != tc.want {
			t.Errorf("%s: Decide = %+v, want %s", name, got, tc.want)
		}
	}
	f := Compile(list, mesh).For(sidecar())
	wantVerdict(t, f, request(portOf(1)), Allowed)
	wantVerdict(t, f, request(portOf(0)), Unknown)
	mesh.Providers = nil
	got := Compile(list, mesh).For(sidecar()).Decide(request(portOf(0)))
	if got.Verdict != Unknown || len(got.Unknown) != 2 || !strings.Contains(got.Why, "may match") {
		t.Errorf("Decide = %+v, want it unknown for the provider and the port", got)
	}
	list[0].Annotations = map[string]string{dryRunAnnotation: "true"}
	got = Compile(list, mesh).For(sidecar()).Decide(request())
	if got.Verdict != Unknown || !strings.Contains(got.Why, "versions of Istio") {
		t.Errorf("Decide = %+v, want it unknown, as it is only tried", got)
	}
	list[0].Annotations, list[0].Spec.ActionDetail = nil, nil
	wantVerdict(t, Compile(list, mesh).For(sidecar()), request(), Denied)
	list[0].Annotations = map[string]string{dryRunAnnotation: "true"}
	wantVerdict(t, Compile(list, mesh).For(sidecar()), request(), Allowed)
}

// What is not known counts only where it decides.
func TestDecide_unknown(t *testing.T) {
	const fromOffice = `- {from: [{source: {ipBlocks: [10.0.0.0/8]}}], to: [{operation: {paths: [/a/b]}}]}`
	cases := map[string]struct {
		allow, deny string
		change      with
		want        Verdict
		by          string
	}{
		"an ALLOW may match":               {fromOffice, "", sourceOf(""), Unknown, "ns[team]-policy[allow]-rule[0]"},
		"another ALLOW matches":            {fromOffice + "\n- {}", "", sourceOf(""), Allowed, "ns[team]-policy[allow]-rule[1]"},
		"the rest of it does not match":    {fromOffice, "", func(r *Request) { sourceOf("")(r); pathOf("/x")(r) }, Denied, ""},
		"a DENY may match":                 {"", fromOffice, sourceOf(""), Unknown, "ns[team]-policy[deny]-rule[0]"},
		"a DENY may match what is allowed": {"- {}", fromOffice, sourceOf(""), Unknown, "ns[team]-policy[deny]-rule[0]"},
		"nothing allows anyway":            {`- {to: [{operation: {paths: [/x]}}]}`, fromOffice, sourceOf(""), Denied, ""},
		"another DENY matches":             {"- {}", fromOffice + "\n- {}", sourceOf(""), Denied, "ns[team]-policy[deny]-rule[1]"},
		"one of two values is not known": {
			`- {when: [{key: source.ip, values: [10.0.0.0/8]}, {key: "experimental.envoy.filters.a[b]", notValues: [x]}]}`, "", sourceOf("11.0.0.1"), Denied, "",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			list := rules(t, "ALLOW", tc.allow)
			list[0].Name = "allow"
			if tc.allow == "" {
				list = nil
			}
			if tc.deny != "" {
				deny := rules(t, "DENY", tc.deny)
				deny[0].Name = "deny"
				list = append(list, deny...)
			}
			got := compiled(t, list).Decide(request(tc.change))
			if got.Verdict != tc.want || got.By() != tc.by {
				t.Errorf("Decide = %+v (%s), want %s by %q", got, got.By(), tc.want, tc.by)
			}
			if tc.want == Unknown && cmp.Diff([]string{"source IP"}, got.Unknown) != "" {
				t.Errorf("Unknown = %q", got.Unknown)
			}
		})
	}
}

func TestDecision_By(t *testing.T) {
	for want, d := range map[string]Decision{
		"ns[a]-policy[b]-rule[2]": {Policy: "a/b", Rule: 2},
		"":                        {Policy: "a/b", Rule: -1},
	} {
		if got := d.By(); got != want {
			t.Errorf("By of %+v = %q, want %q", d, got, want)
		}
	}
	if got := (Decision{}).By(); got != "" {
		t.Errorf("By of nothing = %q", got)
	}
}
