// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"strings"
	"testing"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"

	"berth.dev/berth/internal/snapshot"
)

func peerPolicy(name, namespace, created, spec string) string {
	return fmt.Sprintf("metadata: {name: %s, namespace: %s, creationTimestamp: %q}\nspec: %s", name, namespace, created, spec)
}

func peers(t *testing.T, w Workload, list ...string) *Peers {
	t.Helper()
	var all []*securityv1beta1.PeerAuthentication
	if len(list) > 0 {
		all = parse[securityv1beta1.PeerAuthentication](t, strings.Join(list, "\n---\n"))
	}
	return CompilePeers(append(all, nil), snapshot.Mesh{}).For(w)
}

const (
	first2024 = "2024-01-01T00:00:00Z"
	later2024 = "2024-06-01T00:00:00Z"
)

func TestPeers_mode(t *testing.T) {
	mesh := func(mode string) string {
		return peerPolicy("mesh", "istio-system", first2024, "{mtls: {mode: "+mode+"}}")
	}
	namespace := func(mode string) string {
		return peerPolicy("namespace", "team", first2024, "{mtls: {mode: "+mode+"}}")
	}
	workload := func(spec string) string {
		return peerPolicy("workload", "team", first2024, "{selector: {matchLabels: {app: app}}, "+spec+"}")
	}
	cases := map[string]struct {
		list     []string
		enforcer Enforcer
		mode     PeerMode
		by       string
		port90   PeerMode
	}{
		"nothing is permissive":               {nil, Sidecar, Permissive, "", Permissive},
		"the mesh":                            {[]string{mesh("STRICT")}, Sidecar, Strict, "istio-system/mesh", Strict},
		"an unset mesh":                       {[]string{mesh("UNSET")}, Sidecar, Permissive, "", Permissive},
		"the namespace is nearer":             {[]string{namespace("PERMISSIVE"), mesh("STRICT")}, Sidecar, Permissive, "team/namespace", Permissive},
		"an unset namespace inherits":         {[]string{namespace("UNSET"), mesh("STRICT")}, Sidecar, Strict, "istio-system/mesh", Strict},
		"the workload is nearest":             {[]string{workload("mtls: {mode: DISABLE}"), namespace("STRICT")}, Sidecar, Disabled, "team/workload", Disabled},
		"a workload with ports":               {[]string{workload("portLevelMtls: {90: {mode: PERMISSIVE}}"), namespace("STRICT")}, Sidecar, Strict, "team/namespace", Permissive},
		"an unset port inherits":              {[]string{workload("mtls: {mode: STRICT}, portLevelMtls: {90: {mode: UNSET}}")}, Sidecar, Strict, "team/workload", Strict},
		"a strict port":                       {[]string{workload("portLevelMtls: {90: {mode: STRICT}}")}, Sidecar, Permissive, "", Strict},
		"a namespace has no ports":            {[]string{peerPolicy("n", "team", first2024, "{portLevelMtls: {90: {mode: STRICT}}}")}, Sidecar, Permissive, "", Permissive},
		"the root namespace has no workloads": {[]string{peerPolicy("w", "istio-system", first2024, "{selector: {matchLabels: {app: app}}, mtls: {mode: STRICT}}")}, Sidecar, Permissive, "", Permissive},
		"another workload's":                  {[]string{peerPolicy("w", "team", first2024, "{selector: {matchLabels: {app: other}}, mtls: {mode: STRICT}}")}, Sidecar, Permissive, "", Permissive},
		"another namespace's":                 {[]string{peerPolicy("n", "other", first2024, "{mtls: {mode: STRICT}}")}, Sidecar, Permissive, "", Permissive},
		"the oldest wins": {
			[]string{peerPolicy("a", "team", later2024, "{mtls: {mode: PERMISSIVE}}"), peerPolicy("b", "team", first2024, "{mtls: {mode: STRICT}}")}, Sidecar, Strict, "team/b", Strict,
		},
		"of the same age the first by name wins": {
			[]string{peerPolicy("b", "team", first2024, "{mtls: {mode: PERMISSIVE}}"), peerPolicy("a", "team", first2024, "{selector: {}, mtls: {mode: STRICT}}")}, Sidecar, Strict, "team/a", Strict,
		},
		"a waypoint":                {nil, Waypoint, Strict, "", Strict},
		"a gateway":                 {[]string{mesh("STRICT")}, Gateway, Permissive, "", Permissive},
		"a ztunnel":                 {[]string{workload("portLevelMtls: {90: {mode: PERMISSIVE}}"), mesh("STRICT")}, Ztunnel, Strict, "team/workload", Permissive},
		"a ztunnel without DISABLE": {[]string{workload("portLevelMtls: {90: {mode: DISABLE}}"), mesh("STRICT")}, Ztunnel, Strict, "istio-system/mesh", Strict},
		"a ztunnel with a mode": {
			[]string{workload("mtls: {mode: STRICT}, portLevelMtls: {90: {mode: DISABLE}}"), mesh("STRICT")}, Ztunnel, Strict, "team/workload", Permissive,
		},
		"a ztunnel, all strict":                            {[]string{workload("mtls: {mode: STRICT}, portLevelMtls: {90: {mode: STRICT}}")}, Ztunnel, Strict, "team/workload", Strict},
		"a ztunnel, the mesh alone":                        {[]string{mesh("STRICT")}, Ztunnel, Strict, "istio-system/mesh", Strict},
		"a ztunnel, disabled":                              {[]string{namespace("DISABLE"), mesh("STRICT")}, Ztunnel, Permissive, "team/namespace", Permissive},
		"a ztunnel, the mesh by a selector":                {[]string{peerPolicy("mesh", "istio-system", first2024, "{selector: {}, mtls: {mode: STRICT}}")}, Ztunnel, Permissive, "", Permissive},
		"a ztunnel, a strict port":                         {[]string{workload("portLevelMtls: {90: {mode: STRICT}, 70000: {mode: STRICT}}")}, Ztunnel, Permissive, "team/workload", Strict},
		"a ztunnel, a strict port, open above":             {[]string{workload("mtls: {mode: PERMISSIVE}, portLevelMtls: {90: {mode: STRICT}}"), namespace("STRICT")}, Ztunnel, Permissive, "team/workload", Strict},
		"a ztunnel, an open port below a strict namespace": {[]string{workload("portLevelMtls: {90: {mode: PERMISSIVE}, 91: {mode: STRICT}}"), namespace("STRICT")}, Ztunnel, Strict, "team/workload", Permissive},
		"a ztunnel loses a strict port of an open workload below a strict mesh": {
			[]string{workload("mtls: {mode: PERMISSIVE}, portLevelMtls: {90: {mode: STRICT}}"), mesh("STRICT")}, Ztunnel, Permissive, "team/workload", Permissive,
		},
		"a ztunnel loses a strict mesh behind a namespace without a mode": {
			[]string{workload("portLevelMtls: {90: {mode: PERMISSIVE}}"), namespace("UNSET"), mesh("STRICT")}, Ztunnel, Permissive, "team/workload", Permissive,
		},
		"a ztunnel loses a strict namespace with an empty selector": {
			[]string{workload("portLevelMtls: {90: {mode: PERMISSIVE}}"), peerPolicy("namespace", "team", first2024, "{selector: {}, mtls: {mode: STRICT}}")}, Ztunnel, Permissive, "team/workload", Permissive,
		},
		"a ztunnel, an open port below nothing": {[]string{workload("portLevelMtls: {90: {mode: PERMISSIVE}, 91: {mode: STRICT}}"), mesh("PERMISSIVE")}, Ztunnel, Permissive, "team/workload", Permissive},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := sidecar()
			w.Enforcer = tc.enforcer
			p := peers(t, w, tc.list...)
			if mode, by := p.Mode(80); mode != tc.mode || by != tc.by {
				t.Errorf("Mode(80) = %s by %q, want %s by %q", mode, by, tc.mode, tc.by)
			}
			if mode, _ := p.Mode(90); mode != tc.port90 {
				t.Errorf("Mode(90) = %s, want %s", mode, tc.port90)
			}
		})
	}
	for _, enforcer := range []Enforcer{Sidecar, Ztunnel} {
		if mode, _ := peers(t, Workload{Namespace: "istio-system", Enforcer: enforcer}, mesh("STRICT")).Mode(1); mode != Strict {
			t.Errorf("the root namespace's own mode is %s", mode)
		}
	}
}

func TestPeers_Admit(t *testing.T) {
	cases := map[string]struct {
		spec      string
		change    with
		want      Verdict
		principal bool
	}{
		"strict takes mTLS":              {"{mtls: {mode: STRICT}}", func(*Request) {}, Allowed, true},
		"strict refuses plain text":      {"{mtls: {mode: STRICT}}", plainText, Denied, false},
		"permissive takes mTLS":          {"{mtls: {mode: PERMISSIVE}}", func(*Request) {}, Allowed, true},
		"permissive takes plain text":    {"{mtls: {mode: PERMISSIVE}}", plainText, Allowed, false},
		"disabled leaves no identity":    {"{mtls: {mode: DISABLE}}", func(*Request) {}, Allowed, false},
		"disabled needs no port":         {"{mtls: {mode: DISABLE}}", portOf(0), Allowed, false},
		"a port that is not known":       {"{selector: {matchLabels: {app: app}}, portLevelMtls: {90: {mode: STRICT}}}", func(r *Request) { plainText(r); portOf(0)(r) }, Unknown, false},
		"a port that does not matter":    {"{mtls: {mode: STRICT}}", func(r *Request) { plainText(r); portOf(0)(r) }, Denied, false},
		"a port of its own refuses":      {"{selector: {matchLabels: {app: app}}, portLevelMtls: {8080: {mode: STRICT}}}", plainText, Denied, false},
		"a port that nobody can have":    {"{selector: {matchLabels: {app: app}}, portLevelMtls: {70000: {mode: STRICT}}}", plainText, Allowed, false},
		"mTLS on a port that is unknown": {"{selector: {matchLabels: {app: app}}, portLevelMtls: {90: {mode: STRICT}}}", portOf(0), Allowed, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r, got := peers(t, sidecar(), peerPolicy("p", "team", first2024, tc.spec)).Admit(request(tc.change))
			if got.Verdict != tc.want || got.Why == "" || (r.Principal != "") != tc.principal {
				t.Errorf("Admit = %+v, with principal %q; want %s", got, r.Principal, tc.want)
			}
		})
	}
}
