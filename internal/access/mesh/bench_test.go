// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"strings"
	"testing"
)

const contributor = `
metadata: {name: contributor-%02[1]d, namespace: team}
spec:
  rules:
  - from: [{source: {principals: [cluster.local/ns/istio-system/sa/gateway]}}]
    when: [{key: "request.headers[kubeflow-userid]", values: [user-%[1]d@example.com]}]
  - when: [{key: source.namespace, values: [team]}]
  - to: [{operation: {paths: [/healthz, /metrics, /wait-for-drain]}}]
  - from: [{source: {principals: [cluster.local/ns/kubeflow/sa/notebook-controller-service-account]}}]
    to: [{operation: {methods: [GET], paths: ["*/api/kernels"]}}]`

// A profile's namespace with its owner and eleven contributors.
func twelvePolicies(b *testing.B) *Filter {
	b.Helper()
	var all []string
	for i := range 12 {
		all = append(all, fmt.Sprintf(contributor, i))
	}
	return compiled(b, policies(b, strings.Join(all, "\n---\n")))
}

func BenchmarkDecide(b *testing.B) {
	f := twelvePolicies(b)
	for name, r := range map[string]Request{
		"first":    request(header("kubeflow-userid", "user-0@example.com"), pathOf("/notebook/team/nb/lab/tree")),
		"last":     request(header("kubeflow-userid", "user-11@example.com"), pathOf("/notebook/team/nb/lab/tree")),
		"stranger": request(header("kubeflow-userid", "eve@example.com"), pathOf("/notebook/team/nb/lab/tree?x=%20")),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.Decide(r)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	list := policies(b, fmt.Sprintf(contributor, 1))
	b.ReportAllocs()
	for b.Loop() {
		Compile(list, defaultMesh())
	}
}

func BenchmarkFor(b *testing.B) {
	var all []string
	for i := range 12 {
		all = append(all, fmt.Sprintf(contributor, i))
	}
	compiled := Compile(policies(b, strings.Join(all, "\n---\n")), defaultMesh())
	b.ReportAllocs()
	for b.Loop() {
		compiled.For(sidecar())
	}
}
