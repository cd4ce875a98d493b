// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"testing"
)

// A policy gives alice everything in her namespace and bob what reads, by the header that the gateway writes.
func TestKubeflow_identityHeader(t *testing.T) {
	const gateway = "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"
	f := Compile(policies(t, fmt.Sprintf(`
metadata: {name: alice-and-bob, namespace: alice-research}
spec:
  rules:
  - from: [{source: {principals: [%[1]s]}}]
    when: [{key: "request.headers[kubeflow-userid]", values: [alice@example.com]}]
  - from: [{source: {principals: [%[1]s]}}]
    to: [{operation: {methods: [GET, HEAD]}}]
    when: [{key: "request.headers[kubeflow-userid]", values: [bob@example.com]}]`, gateway)), defaultMesh()).
		For(Workload{Namespace: "alice-research", Enforcer: Sidecar})
	methods := []string{"GET", "POST", "DELETE"}
	for user, want := range map[string][]Verdict{
		"alice@example.com":     {Allowed, Allowed, Allowed},
		"bob@example.com":       {Allowed, Denied, Denied},
		"bob@example.com.evil":  {Denied, Denied, Denied},
		"stranger@example.com":  {Denied, Denied, Denied},
		"alice@example.com,bob": {Denied, Denied, Denied},
		"Alice@example.com":     {Denied, Denied, Denied},
		"":                      {Denied, Denied, Denied},
	} {
		for i, method := range methods {
			r := request(principalOf(gateway), methodOf(method), header("kubeflow-userid", user))
			wantVerdict(t, f, r, want[i])
			for _, elsewhere := range []string{"", "cluster.local/ns/mallory/sa/default-editor", "evil" + gateway, gateway + "2"} {
				r.Principal = elsewhere
				wantVerdict(t, f, r, Denied)
			}
		}
	}
}

// The gateway of Kubeflow: sign in, then a token or nothing, then everything.
func TestKubeflow_gateway(t *testing.T) {
	a := authenticator(t, kubeflowGateway)
	f := compiled(t, policies(t, `
metadata: {name: istio-ingressgateway-oauth2-proxy, namespace: istio-system}
spec:
  action: CUSTOM
  provider: {name: oauth2-proxy}
  rules:
  - to: [{operation: {notPaths: [/dex/*, /oauth2/*]}}]
    when: [{key: "request.headers[authorization]", notValues: ["*"]}]
---
metadata: {name: istio-ingressgateway-require-jwt, namespace: istio-system}
spec:
  action: DENY
  rules:
  - from: [{source: {notRequestPrincipals: ["*"]}}]
    to: [{operation: {notPaths: [/dex/*, /oauth2/*]}}]
---
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec: {rules: [{}]}`))
	for name, tc := range map[string]struct {
		changes []with
		want    Verdict
	}{
		"a person with a token":                  {[]with{bearing("ann")}, Allowed},
		"nobody yet, whom the proxy may sign in": {nil, Unknown},
		"somebody who signs in":                  {[]with{pathOf("/dex/auth")}, Allowed},
		"a scheme that is no token":              {[]with{header("authorization", "Basic x")}, Denied},
	} {
		t.Run(name, func(t *testing.T) {
			wantVerdict(t, f, a.Authenticate(request(tc.changes...), people).Request, tc.want)
		})
	}
}
