// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"testing"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"berth.dev/berth/internal/snapshot"
)

func parse(t testing.TB, text string) *securityv1beta1.AuthorizationPolicy {
	t.Helper()
	p := &securityv1beta1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{}}
	if err := yaml.Unmarshal([]byte(text), p); err != nil {
		t.Fatal(err)
	}
	return p
}

const owner = `
metadata: {name: ns-owner-access-istio, namespace: alice}
spec:
  rules:
  - from: [{source: {principals: [cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account]}}]
    when: [{key: "request.headers[kubeflow-userid]", values: [alice@example.com]}]
  - when: [{key: source.namespace, values: [alice]}]
  - to: [{operation: {paths: [/healthz, /metrics, "/notebook/{*}/{**}"]}}]
`

func TestSmoke(t *testing.T) {
	f := Compile([]*securityv1beta1.AuthorizationPolicy{parse(t, owner)}, snapshot.DefaultMesh()).For(Workload{Namespace: "alice", Enforcer: Sidecar})
	r := Request{
		Principal: "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account", Method: "GET", Path: "/x", Host: "h",
		Headers: map[string][]string{"kubeflow-userid": {"alice@example.com"}},
	}
	t.Logf("%+v", f.Decide(r))
	r.Headers = nil
	t.Logf("%+v", f.Decide(r))
	r.Path = "/notebook/a/b"
	t.Logf("%+v", f.Decide(r))
}

func BenchmarkDecide(b *testing.B) {
	f := Compile([]*securityv1beta1.AuthorizationPolicy{parse(b, owner)}, snapshot.DefaultMesh()).For(Workload{Namespace: "alice", Enforcer: Sidecar})
	r := Request{
		Principal: "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account", Method: "GET", Path: "/notebook/x/y", Host: "h",
		Headers: map[string][]string{"kubeflow-userid": {"bob@example.com"}},
	}
	for b.Loop() {
		f.Decide(r)
	}
}
