// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	"sigs.k8s.io/yaml"

	"berth.dev/berth/conformance/generate"
	"berth.dev/berth/conformance/oracle"
	"berth.dev/berth/internal/access/mesh"
)

// answerer is an oracle.
type answerer interface {
	Answer(r mesh.Request) oracle.Answer
}

// tally counts what oracles said, to show that the requests are not all alike.
type tally struct {
	worlds, requests, allowed, denied, asked, matched, audited int
}

func (c *tally) count(a oracle.Answer) {
	c.requests++
	switch {
	case !a.Allowed:
		c.denied++
	case len(a.Asked) > 0:
		c.asked++
	default:
		c.allowed++
	}
	if len(a.Matched) > 0 {
		c.matched++
	}
	if len(a.Audited) > 0 {
		c.audited++
	}
}

func (c *tally) add(other tally) {
	c.worlds += other.worlds
	c.requests += other.requests
	c.allowed += other.allowed
	c.denied += other.denied
	c.asked += other.asked
	c.matched += other.matched
	c.audited += other.audited
}

func (c *tally) log(t *testing.T) {
	t.Helper()
	share := func(n int) string { return fmt.Sprintf("%d (%.0f %%)", n, 100*float64(n)/float64(max(c.requests, 1))) }
	t.Logf("%d requests to %d workloads: allowed %s, denied %s, up to a provider %s; a rule matched %s, audited %s",
		c.requests, c.worlds, share(c.allowed), share(c.denied), share(c.asked), share(c.matched), share(c.audited))
}

// nontrivial fails a test whose oracles nearly always say the same.
func (c *tally) nontrivial(t *testing.T) {
	t.Helper()
	if least := c.requests / 10; c.allowed < least || c.denied < least {
		t.Errorf("allowed %d and denied %d of %d requests: want at least a tenth of each", c.allowed, c.denied, c.requests)
	}
}

// difference says in what a decision of ours differs from an oracle's answer, or nothing.
func difference(want oracle.Answer, got mesh.Decision) string {
	switch {
	case len(want.Asked) > 0 && want.Allowed && got.Verdict != mesh.Unknown:
		return fmt.Sprintf("want unknown, which is up to %v", want.Asked)
	case len(want.Asked) > 0 && !want.Allowed && got.Verdict == mesh.Allowed:
		return "want denied, or unknown because of " + strings.Join(want.Asked, " and ")
	case len(want.Asked) > 0:
		return ""
	case want.Allowed && got.Verdict != mesh.Allowed:
		return "want allowed"
	case !want.Allowed && got.Verdict != mesh.Denied:
		return "want denied"
	}
	if got.Policy != "" && !slices.ContainsFunc(want.Matched, func(rule string) bool { return names(rule, got) }) {
		return fmt.Sprintf("rule %d of %q does not match; those that do are %v", got.Rule, got.Policy, want.Matched)
	}
	if !slices.Equal(slices.Sorted(slices.Values(got.Audited)), want.Audited) {
		return fmt.Sprintf("want as audited %v", want.Audited)
	}
	if !slices.Equal(slices.Sorted(slices.Values(got.DryRun)), want.DryRun) {
		return fmt.Sprintf("want as only tried %v", want.DryRun)
	}
	return ""
}

var ruleName = regexp.MustCompile(`ns\[(.*)\]-policy\[(.*)\]-rule\[(\d+)\]`)

// names says whether the decision is by the rule with one of Istio's names: of rules in proxies, or of policies in ztunnels.
func names(rule string, d mesh.Decision) bool {
	parts := ruleName.FindStringSubmatch(rule)
	if parts == nil {
		return rule == d.Policy
	}
	return parts[1]+"/"+parts[2] == d.Policy && parts[3] == fmt.Sprint(d.Rule)
}

// describe is a world, a request and what was said of it, to try again.
func describe(w generate.World, r mesh.Request, want oracle.Answer, got mesh.Decision) string {
	var text strings.Builder
	for _, p := range w.Policies {
		text.WriteString(describePolicy(p))
	}
	for _, part := range []struct {
		name  string
		value any
	}{{"mesh", w.Mesh}, {"workload", w.Workload}, {"request", r}, {"oracle", want}, {"ours", got}} {
		out, err := json.Marshal(part.value)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&text, "%s: %s\n", part.name, out)
	}
	return text.String()
}

func describePolicy(p *securityv1beta1.AuthorizationPolicy) string {
	out, err := yaml.Marshal(map[string]any{
		"metadata": map[string]any{"namespace": p.Namespace, "name": p.Name, "annotations": p.Annotations}, "spec": &p.Spec,
	})
	if err != nil {
		panic(err)
	}
	return "---\n" + string(out)
}

// ours is what Berth decides.
func ours(w generate.World) *mesh.Filter {
	return mesh.Compile(w.Policies, w.Mesh).For(w.Workload)
}

// of returns the oracle of a world.
func of(t testing.TB, w generate.World) answerer {
	t.Helper()
	if w.Workload.Enforcer == mesh.Ztunnel {
		return oracle.AtZtunnel(w.Policies, w.Mesh, w.Workload)
	}
	o, err := oracle.Proxy(w.Policies, w.Mesh, w.Workload)
	if err != nil {
		t.Fatalf("ask the oracle: %v", err)
	}
	return o
}

// check compares on one request, and reports the smallest world that it can find in which the two still differ.
func check(t testing.TB, w generate.World, o answerer, filter *mesh.Filter, r mesh.Request, c *tally) {
	t.Helper()
	want, got := o.Answer(r), filter.Decide(r)
	c.count(want)
	if difference(want, got) == "" {
		return
	}
	w, r = shrink(w, r, func(w generate.World, r mesh.Request) bool {
		return difference(of(t, w).Answer(r), ours(w).Decide(r)) != ""
	})
	want, got = of(t, w).Answer(r), ours(w).Decide(r)
	t.Errorf("%s\n%s", difference(want, got), describe(w, r, want, got))
}
