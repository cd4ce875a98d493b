// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package generate

import (
	"fmt"

	istiosecurity "istio.io/api/security/v1beta1"
	istiotype "istio.io/api/type/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth.dev/berth/internal/access/mesh"
)

const (
	allow  = istiosecurity.AuthorizationPolicy_ALLOW
	deny   = istiosecurity.AuthorizationPolicy_DENY
	audit  = istiosecurity.AuthorizationPolicy_AUDIT
	custom = istiosecurity.AuthorizationPolicy_CUSTOM
)

var actions = []istiosecurity.AuthorizationPolicy_Action{allow, allow, allow, allow, allow, deny, deny, deny, audit, custom}

func (g Generator) policy(w World, i int) *securityv1beta1.AuthorizationPolicy {
	p := &securityv1beta1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{
		Name:      fmt.Sprintf("p%d", i),
		Namespace: pick(g, []string{w.Workload.Namespace, w.Workload.Namespace, w.Mesh.RootNamespace, "a", "b"}),
	}}
	if g.oneIn(12) {
		p.Annotations = map[string]string{"istio.io/dry-run": pick(g, []string{"true", "true", "false", "maybe"})}
	}
	p.Spec.Action = pick(g, actions)
	if p.Spec.Action == custom {
		p.Spec.ActionDetail = &istiosecurity.AuthorizationPolicy_Provider{Provider: &istiosecurity.AuthorizationPolicy_ExtensionProvider{
			Name: pick(g, []string{"oidc", "oidc", "oidc", "opa"}),
		}}
	}
	g.attach(p, w)
	switch {
	case p.Spec.Action == allow && g.oneIn(16): // no rules: nothing is allowed
	case g.oneIn(16):
		p.Spec.Rules = []*istiosecurity.Rule{{}}
	default:
		p.Spec.Rules = some(g, 3, func() *istiosecurity.Rule { return g.rule(p.Spec.Action) })
	}
	return p
}

// attach says what the policy is for.
func (g Generator) attach(p *securityv1beta1.AuthorizationPolicy, w World) {
	target := func() *istiotype.PolicyTargetReference {
		ref := pick(g, []*istiotype.PolicyTargetReference{
			{Kind: "Gateway", Group: "gateway.networking.k8s.io", Name: w.Workload.Gateway},
			{Kind: "Gateway", Group: "gateway.networking.k8s.io", Name: w.Workload.Gateway},
			{Kind: "Service", Name: w.Workload.Service},
			{Kind: "ServiceEntry", Group: "networking.istio.io", Name: w.Workload.ServiceEntry},
			{Kind: "Service", Name: pick(g, services)},
			{Kind: "Gateway", Group: "gateway.networking.k8s.io", Name: pick(g, gateways)},
			{Kind: "GatewayClass", Group: "gateway.networking.k8s.io", Name: "istio-waypoint"},
			{Kind: "ServiceEntry", Group: "networking.istio.io", Name: pick(g, services)},
			{Kind: "Gateway", Name: pick(g, gateways)},
			{Kind: "Service", Group: "core", Name: pick(g, services)},
		})
		ref.Namespace = pick(g, []string{"", "", "", "", "", p.Namespace, p.Namespace, "b"})
		return ref
	}
	isGateway := w.Workload.Enforcer == mesh.Gateway || w.Workload.Enforcer == mesh.Waypoint
	switch n := g.IntN(10); {
	case isGateway && n < 7, n == 9:
		p.Spec.TargetRefs = some(g, 2, target)
	case n == 8:
		p.Spec.TargetRef = target()
	case n == 7, n == 6:
		labels := map[string]string{"app": pick(g, apps)}
		if g.oneIn(3) {
			labels["version"] = pick(g, versions)
		}
		p.Spec.Selector = &istiotype.WorkloadSelector{MatchLabels: labels}
	case n == 5:
		p.Spec.Selector = &istiotype.WorkloadSelector{}
	}
}

func (g Generator) rule(action istiosecurity.AuthorizationPolicy_Action) *istiosecurity.Rule {
	r := &istiosecurity.Rule{}
	if g.IntN(5) < 3 {
		r.From = some(g, 2, func() *istiosecurity.Rule_From { return &istiosecurity.Rule_From{Source: g.source(action)} })
	}
	if g.IntN(5) < 3 {
		r.To = some(g, 2, func() *istiosecurity.Rule_To { return &istiosecurity.Rule_To{Operation: g.operation()} })
	}
	if g.IntN(5) < 2 {
		r.When = some(g, 2, func() *istiosecurity.Condition { return g.condition(action) })
	}
	return r
}

// field is one that takes values, with its values.
type field struct {
	values *[]string
	one    func() string
}

// fill gives values to one or two of the fields, and sometimes to more.
func (g Generator) fill(fields []field) {
	for range 1 + g.IntN(2) + g.IntN(2)*g.IntN(2) {
		f := pick(g, fields)
		*f.values = some(g, 2, f.one)
	}
}

func (g Generator) source(action istiosecurity.AuthorizationPolicy_Action) *istiosecurity.Source {
	s := &istiosecurity.Source{}
	fields := []field{
		{&s.IpBlocks, g.block},
		{&s.NotIpBlocks, g.block},
		{&s.RemoteIpBlocks, g.block},
		{&s.NotRemoteIpBlocks, g.block},
	}
	if g.Connections {
		fields = fields[:2]
	}
	if action != custom {
		fields = append(fields,
			field{&s.Principals, g.principal}, field{&s.Principals, g.principal}, field{&s.NotPrincipals, g.principal},
			field{&s.Namespaces, g.namespace}, field{&s.Namespaces, g.namespace}, field{&s.NotNamespaces, g.namespace},
			field{&s.ServiceAccounts, g.account}, field{&s.NotServiceAccounts, g.account})
	}
	if action != custom && (!g.Connections || g.oneIn(4)) {
		fields = append(fields,
			field{&s.TrustDomains, g.trustDomain}, field{&s.NotTrustDomains, g.trustDomain},
			field{&s.RequestPrincipals, g.requestPrincipal}, field{&s.NotRequestPrincipals, g.requestPrincipal})
	}
	g.fill(fields)
	return s
}

func (g Generator) operation() *istiosecurity.Operation {
	o := &istiosecurity.Operation{}
	fields := []field{{&o.Ports, g.port}, {&o.NotPorts, g.port}}
	if !g.Connections || g.oneIn(4) {
		fields = append(fields,
			field{&o.Paths, g.path}, field{&o.Paths, g.path}, field{&o.NotPaths, g.path},
			field{&o.Methods, func() string { return g.pattern(pick(g, methods)) }},
			field{&o.NotMethods, func() string { return g.pattern(pick(g, methods)) }},
			field{&o.Hosts, func() string { return g.pattern(pick(g, hosts)) }},
			field{&o.NotHosts, func() string { return g.pattern(pick(g, hosts)) }})
	}
	g.fill(fields)
	return o
}

func (g Generator) condition(action istiosecurity.AuthorizationPolicy_Action) *istiosecurity.Condition {
	type attribute struct {
		key string
		one func() string
	}
	header := pick(g, headerNames)
	if g.oneIn(3) {
		header = pick(g, []string{"X-User", "Kubeflow-UserID", ":authority", ":method", ":path"})
	}
	all := []attribute{
		{"source.ip", g.block},
		{"destination.ip", g.block},
		{"destination.port", g.port},
		{"remote.ip", g.block},
		{"request.headers[" + header + "]", func() string { return g.pattern(pick(g, headerTexts)) }},
		{"request.headers[" + header + "]", func() string { return g.pattern(pick(g, headerTexts)) }},
		{"connection.sni", func() string { return g.pattern(pick(g, servers)) }},
	}
	if g.Connections && !g.oneIn(4) {
		all = all[:3]
	}
	if action != custom {
		all = append(all, attribute{"source.namespace", g.namespace}, attribute{"source.principal", g.principal})
	}
	if action != custom && (!g.Connections || g.oneIn(4)) {
		all = append(all,
			attribute{"source.serviceAccount", g.account},
			attribute{"source.trustDomain", g.trustDomain},
			attribute{"request.auth.principal", g.requestPrincipal},
			attribute{"request.auth.audiences", func() string { return g.pattern(pick(g, audiences)) }},
			attribute{"request.auth.presenter", func() string { return g.pattern(pick(g, audiences)) }},
			attribute{"request.auth.claims" + pick(g, claimKeys), func() string { return g.pattern(pick(g, claimTexts)) }},
			attribute{"request.auth.claims" + pick(g, claimKeys), func() string { return g.pattern(pick(g, claimTexts)) }})
	}
	if g.Invalid && g.oneIn(10) {
		all = []attribute{{pick(g, []string{"source.unknown", "request.auth.claims", "request.headers", "request.headers[", "destination.labels[app]"}), g.port}}
	}
	a := pick(g, all)
	c := &istiosecurity.Condition{Key: a.key}
	switch g.IntN(4) {
	case 0, 1:
		c.Values = some(g, 2, a.one)
	case 2:
		c.NotValues = some(g, 2, a.one)
	case 3:
		c.Values, c.NotValues = some(g, 2, a.one), some(g, 2, a.one)
	}
	return c
}

func (g Generator) block() string {
	if g.Invalid && g.oneIn(10) {
		return pick(g, []string{"", "10.0.0.1/33", "10.0.0", "x", "*"})
	}
	return pick(g, blocks)
}

func (g Generator) port() string {
	if g.Invalid && g.oneIn(10) {
		return pick(g, []string{"", "65536", "-1", "http", "*"})
	}
	return pick(g, ports)
}

func (g Generator) principal() string {
	if g.oneIn(8) {
		return g.pattern(pick(g, oddIdentities))
	}
	return g.pattern(pick(g, identities))
}

func (g Generator) namespace() string { return g.pattern(pick(g, namespaces)) }

func (g Generator) account() string {
	if g.oneIn(2) {
		return pick(g, serviceAccounts)
	}
	return pick(g, namespaces) + "/" + pick(g, serviceAccounts)
}

// trustDomain has no wildcard but one at either end: Istio refuses others.
func (g Generator) trustDomain() string {
	word := pick(g, trustDomains)
	switch g.IntN(6) {
	case 3:
		return word[:g.IntN(len(word)+1)] + "*"
	case 4:
		return "*" + word[g.IntN(len(word)+1):]
	case 5:
		return "*"
	}
	return word
}

func (g Generator) requestPrincipal() string {
	switch g.IntN(8) {
	case 5:
		return pick(g, issuers) + "/*"
	case 6:
		return "*/" + pick(g, subjects)
	case 7:
		return pick(g, issuers)
	}
	return g.pattern(pick(g, issuers) + "/" + pick(g, subjects))
}

func (g Generator) path() string {
	if g.oneIn(4) {
		return pick(g, templates)
	}
	return g.pattern(pick(g, paths))
}
