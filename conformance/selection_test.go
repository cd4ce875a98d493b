// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"testing"

	istiosecurity "istio.io/api/security/v1beta1"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/validation"

	"berth.dev/berth/conformance/generate"
	"berth.dev/berth/conformance/oracle"
	"berth.dev/berth/internal/access/mesh"
)

// TestSelection compares which policies are for a workload: by namespaces, selectors and targetRefs.
func TestSelection(t *testing.T) {
	enforcers := []mesh.Enforcer{mesh.Sidecar, mesh.Gateway, mesh.Waypoint}
	g := generate.Generator{Chooser: random(t), Options: generate.Options{Enforcers: enforcers}}
	selected, compared := 0, 0
	for range 10000 * fromEnvironment(t, timesVariable, 1) {
		w := g.World()
		all := w.Policies
		for _, p := range all {
			// That it denies everything shows that it is selected.
			p.Annotations = nil
			p.Spec.Action, p.Spec.ActionDetail = istiosecurity.AuthorizationPolicy_DENY, nil
			p.Spec.Rules = []*istiosecurity.Rule{{}}
			w.Policies = all[:0:0]
			w.Policies = append(w.Policies, p)
			want := len(oracle.Selected(w.Policies, w.Mesh, w.Workload).Deny) > 0
			got := ours(w).Decide(mesh.Request{TCP: true, Port: 80})
			compared++
			if want {
				selected++
			}
			if want != (got.Verdict == mesh.Denied) {
				t.Fatalf("selected by Istio: %t\n%s", want, describe(w, mesh.Request{}, oracle.Answer{}, got))
			}
		}
	}
	t.Logf("%d of %d policies selected", selected, compared)
	if selected < compared/10 || selected > compared*9/10 {
		t.Error("want between a tenth and nine tenths")
	}
}

// TestProblems holds that what Berth reports of a policy is something that Istio's webhook refuses: it is there for policies
// that came past it.
func TestProblems(t *testing.T) {
	g := generate.Generator{Chooser: random(t), Options: generate.Options{Enforcers: []mesh.Enforcer{mesh.Sidecar}, Invalid: true}}
	compared, reported, refused := 0, 0, 0
	for range 4000 * fromEnvironment(t, timesVariable, 1) {
		w := g.World()
		all := w.Policies
		for _, p := range all {
			p.Annotations = nil
			w.Policies = all[:0:0]
			w.Policies = append(w.Policies, p)
			_, err := validation.ValidateAuthorizationPolicy(config.Config{
				Meta: config.Meta{Name: p.Name, Namespace: p.Namespace}, Spec: &p.Spec,
			})
			problems := mesh.Compile(w.Policies, w.Mesh).Problems()
			compared++
			if err != nil {
				refused++
			}
			if len(problems) > 0 {
				reported++
			}
			if len(problems) > 0 && err == nil {
				t.Fatalf("Istio accepts what we report: %v\n%s", problems, describePolicy(p))
			}
		}
	}
	t.Logf("%d policies, of which Istio refuses %d, and %d have problems of ours", compared, refused, reported)
	if reported == 0 {
		t.Error("want some with problems")
	}
}
