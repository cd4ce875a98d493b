// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access_test

import (
	"os"
	"strings"
	"testing"

	"berth.dev/berth/internal/access"
	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/kube/gather"
	"berth.dev/berth/internal/snapshot"
)

const examples = "../../examples/access/"

// cluster is that of the examples, with some of the changes beside it.
func cluster(t *testing.T, changes ...string) *snapshot.Snapshot {
	t.Helper()
	s, err := gather.SnapshotFiles(os.DirFS(examples + "cluster"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range changes {
		data, err := os.ReadFile(examples + name)
		if err != nil {
			t.Fatal(err)
		}
		s = s.With(changed(t, string(data)))
	}
	return s
}

func changed(t *testing.T, text string) *snapshot.Snapshot {
	t.Helper()
	change, err := gather.SnapshotFile("change.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return change
}

func can(t *testing.T, s *snapshot.Snapshot, q access.Question) access.Decision {
	t.Helper()
	d, err := access.New(s, access.DefaultOptions()).Can(q)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Who has signed in comes through the gateway, and each is let in as the policy of the namespace says.
func TestEngine_Can_throughTheGateway(t *testing.T) {
	s := cluster(t, "read-only-bob.yaml")
	want := map[string]map[string]mesh.Verdict{
		"alice@example.com":    {"GET": mesh.Allowed, "POST": mesh.Allowed, "DELETE": mesh.Allowed},
		"bob@example.com":      {"GET": mesh.Allowed, "POST": mesh.Denied, "DELETE": mesh.Denied},
		"stranger@example.com": {"GET": mesh.Denied, "POST": mesh.Denied, "DELETE": mesh.Denied},
	}
	for user, methods := range want {
		for method, verdict := range methods {
			web := &access.Web{Method: method, Path: "/notebook/alice-research/nb1/api/contents", ViaGateway: true}
			d := can(t, s, access.Question{User: rbac.SignedIn(user), Web: web})
			if d.Verdict != verdict {
				t.Errorf("%s %s: %s, want %s: %+v", user, method, d.Verdict, verdict, d.Steps)
			}
			// The header of somebody else is of no use: the gateway writes it.
			web.Headers = map[string][]string{"Kubeflow-UserID": {"alice@example.com"}}
			if d := can(t, s, access.Question{User: rbac.SignedIn(user), Web: web}); d.Verdict != verdict {
				t.Errorf("%s %s as alice: %s, want %s: %+v", user, method, d.Verdict, verdict, d.Steps)
			}
			// Nor is it to who does not come through the gateway.
			for _, from := range []string{"", "risk-modeling/default-editor", "kubeflow/ml-pipeline-ui"} {
				direct := &access.Web{Method: method, Path: web.Path, To: "alice-research/nb1", From: from, Headers: map[string][]string{"kubeflow-userid": {user}}}
				if d := can(t, s, access.Question{User: rbac.SignedIn(user), Web: direct}); d.Verdict != mesh.Denied {
					t.Errorf("%s %s from %q: %s, want denied: %+v", user, method, from, d.Verdict, d.Steps)
				}
			}
		}
	}
}

func TestEngine_Can_hops(t *testing.T) {
	alice := rbac.SignedIn("alice@example.com")
	nb := "/notebook/alice-research/nb1/lab"
	strict := `{apiVersion: security.istio.io/v1beta1, kind: PeerAuthentication, metadata: {namespace: alice-research, name: strict}, spec: {mtls: {mode: STRICT}}}`
	open := `{apiVersion: security.istio.io/v1beta1, kind: AuthorizationPolicy, metadata: {namespace: alice-research, name: open}, spec: {rules: [{}]}}`
	ambient := `{apiVersion: v1, kind: Namespace, metadata: {name: alice-research, labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint}}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: alice-research, name: nb1-0, labels: {notebook-name: nb1, statefulset: nb1}}, spec: {containers: [{name: nb1}]}}`
	ingress := strings.Replace(ambient, "istio.io/use-waypoint: waypoint", `istio.io/use-waypoint: waypoint, istio.io/ingress-use-waypoint: "true"`, 1)
	waypoint := ingress + `
---
{apiVersion: security.istio.io/v1beta1, kind: AuthorizationPolicy, metadata: {namespace: alice-research, name: ns-owner-access-istio}, spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}], rules: [{when: [{key: "request.headers[kubeflow-userid]", values: [alice@example.com]}]}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {namespace: alice-research, name: waypoint}, spec: {gatewayClassName: istio-waypoint}}
---
{apiVersion: security.istio.io/v1beta1, kind: AuthorizationPolicy, metadata: {namespace: alice-research, name: from-waypoint}, spec: {rules: [{from: [{source: {principals: [cluster.local/ns/alice-research/sa/waypoint]}}]}]}}`
	vs := func(http string) string {
		return "{apiVersion: networking.istio.io/v1beta1, kind: VirtualService, metadata: {namespace: alice-research, name: more}, spec: {gateways: [kubeflow/kubeflow-gateway], hosts: ['*.example.com'], http: [" + http + "]}}"
	}
	more := access.Web{Method: "GET", Path: "/more/x?y", Host: "a.example.com:443", ViaGateway: true}
	cases := map[string]struct {
		change string
		user   rbac.User
		web    access.Web
		want   mesh.Verdict
		layers string
	}{
		"nobody's Service":               {"", alice, access.Web{Method: "GET", Path: "/", To: "alice-research/none"}, mesh.Unknown, "workload alice-research/none"},
		"no route":                       {"", alice, access.Web{Method: "GET", Path: "/nowhere", ViaGateway: true}, mesh.Denied, "gateway istio-system/istio-ingressgateway, route"},
		"not signed in":                  {"", rbac.SignedIn(""), access.Web{Method: "GET", Path: nb, ViaGateway: true}, mesh.Denied, "gateway istio-system/istio-ingressgateway, route, sidecar alice-research/nb1"},
		"not signed in, and open inside": {open, rbac.SignedIn(""), access.Web{Method: "GET", Path: nb, ViaGateway: true}, mesh.Unknown, "gateway istio-system/istio-ingressgateway, route, sidecar alice-research/nb1"},
		"a neighbour of the namespace":   {"", rbac.SignedIn("x"), access.Web{Method: "GET", Path: "/", To: "alice-research/nb1", From: "alice-research/default-editor"}, mesh.Allowed, "sidecar alice-research/nb1"},
		"plain text to an open path":     {"", rbac.SignedIn("x"), access.Web{Method: "GET", Path: "/metrics", To: "alice-research/nb1:80"}, mesh.Allowed, "sidecar alice-research/nb1"},
		"plain text where mTLS is asked": {strict, rbac.SignedIn("x"), access.Web{Method: "GET", Path: "/metrics", To: "alice-research/nb1"}, mesh.Denied, "sidecar alice-research/nb1"},
		"in ambient, past the waypoint":  {ambient, alice, access.Web{Method: "GET", Path: nb, ViaGateway: true}, mesh.Denied, "gateway istio-system/istio-ingressgateway, route, ztunnel alice-research/nb1, RBAC"},
		// Nothing is attached to the waypoint, and where it comes from is the namespace itself: everybody gets in.
		"in ambient, the old policies":  {ingress, rbac.SignedIn("x"), access.Web{Method: "GET", Path: nb, ViaGateway: true}, mesh.Allowed, "gateway istio-system/istio-ingressgateway, route, waypoint alice-research/waypoint, ztunnel alice-research/nb1, RBAC"},
		"in ambient, by the waypoint":   {waypoint, alice, access.Web{Method: "GET", Path: nb, ViaGateway: true}, mesh.Allowed, "gateway istio-system/istio-ingressgateway, route, waypoint alice-research/waypoint, ztunnel alice-research/nb1, RBAC"},
		"by the waypoint as a stranger": {waypoint, rbac.SignedIn("x"), access.Web{Method: "GET", Path: nb, ViaGateway: true}, mesh.Denied, "gateway istio-system/istio-ingressgateway, route, waypoint alice-research/waypoint, RBAC"},
		"a redirect":                    {vs("{match: [{uri: {exact: /more/x}}], redirect: {uri: /y}}"), alice, more, mesh.Allowed, "gateway istio-system/istio-ingressgateway, route"},
		"a delegate":                    {vs("{match: [{uri: {prefix: /more}}], delegate: {name: x}}"), alice, more, mesh.Unknown, "gateway istio-system/istio-ingressgateway, route"},
		"another host":                  {strings.Replace(vs("{route: [{destination: {host: nb1}}]}"), "*.example.com", "b.example.com", 1), alice, more, mesh.Denied, "gateway istio-system/istio-ingressgateway, route"},
		"a rewritten path":              {vs("{match: [{uri: {regex: '/m.*'}, method: {exact: GET}}], rewrite: {uri: /metrics}, route: [{destination: {host: nb1}}]}"), rbac.SignedIn("x"), more, mesh.Allowed, "gateway istio-system/istio-ingressgateway, route, sidecar alice-research/nb1"},
		"a route that changes the user": {vs("{headers: {request: {set: {kubeflow-userid: alice@example.com}}}, route: [{destination: {host: nb1.alice-research.svc.cluster.local}}]}"), rbac.SignedIn("x"), more, mesh.Allowed, "gateway istio-system/istio-ingressgateway, route, sidecar alice-research/nb1"},
		"a header that is asked for":    {vs("{match: [{headers: {x-team: {prefix: a}}}], route: [{destination: {host: nb1}}]}"), alice, more, mesh.Denied, "gateway istio-system/istio-ingressgateway, route"},
		"the Service is named":          {"", alice, access.Web{Method: "GET", Path: "/nowhere", ViaGateway: true, To: "alice-research/nb1"}, mesh.Allowed, "gateway istio-system/istio-ingressgateway, sidecar alice-research/nb1"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := cluster(t)
			if tc.change != "" {
				s = s.With(changed(t, tc.change))
			}
			d := can(t, s, access.Question{User: tc.user, Web: &tc.web})
			var layers []string
			for _, step := range d.Steps {
				layers = append(layers, step.Layer)
			}
			if got := strings.Join(layers, ", "); d.Verdict != tc.want || got != tc.layers {
				t.Errorf("%s by %s, want %s by %s:\n%+v", d.Verdict, got, tc.want, tc.layers, d.Steps)
			}
		})
	}
}

func TestEngine_Can_badQuestions(t *testing.T) {
	engine := access.New(cluster(t), access.DefaultOptions())
	for _, web := range []access.Web{
		{},
		{Method: "GET", Path: "no-slash", ViaGateway: true},
		{Path: "/", ViaGateway: true},
		{Method: "GET", Path: "/"},
		{Method: "GET", Path: "/", To: "no-namespace"},
		{Method: "GET", Path: "/", To: "a/b:http"},
		{Method: "GET", Path: "/", To: "a/b", From: "c"},
		{Method: "GET", Path: "/", ViaGateway: true, From: "a/b"},
		{Method: "GET", Path: "/%zz", ViaGateway: true},
	} {
		if d, err := engine.Can(access.Question{Web: &web}); err == nil {
			t.Errorf("%+v is answered: %+v", web, d)
		}
	}
}

// An empty snapshot gives nothing to anybody, and breaks nothing.
func TestEngine_nothingKnown(t *testing.T) {
	engine := access.New(&snapshot.Snapshot{Mesh: snapshot.DefaultMesh()}, access.DefaultOptions())
	d, err := engine.Can(access.Question{User: rbac.SignedIn("a"), Resource: &rbac.Question{Verb: "get", Resource: "pods", Namespace: "x"}})
	if err != nil || d.Verdict != mesh.Denied {
		t.Errorf("%+v %v", d, err)
	}
	d, err = engine.Can(access.Question{User: rbac.SignedIn("a"), Web: &access.Web{Method: "GET", Path: "/", ViaGateway: true}})
	if err != nil || d.Verdict != mesh.Unknown {
		t.Errorf("%+v %v", d, err)
	}
	if _, err := engine.Matrices("x", "y"); err != nil {
		t.Error(err)
	}
	if reach, err := engine.What(rbac.SignedIn("a")); err != nil || len(reach.Namespaces) > 0 {
		t.Errorf("%+v %v", reach, err)
	}
	if found := engine.Lint(""); len(found) > 0 {
		t.Errorf("%+v", found)
	}
}
