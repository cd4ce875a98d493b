// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"slices"

	istiosecurity "istio.io/api/security/v1beta1"
	istiotype "istio.io/api/type/v1beta1"

	"berth.dev/berth/internal/snapshot"
)

// An attachment is what a policy is for.
type attachment struct {
	namespace string
	// Selects is nil for all workloads of the namespace, or of all namespaces.
	selector *istiotype.WorkloadSelector
	targets  []*istiotype.PolicyTargetReference
}

// Targetable is a policy that says what it is for.
type targetable interface {
	GetSelector() *istiotype.WorkloadSelector
	GetTargetRef() *istiotype.PolicyTargetReference
	GetTargetRefs() []*istiotype.PolicyTargetReference
}

func attachmentOf(namespace string, spec targetable) attachment {
	a := attachment{namespace: namespace, selector: spec.GetSelector(), targets: spec.GetTargetRefs()}
	if len(a.targets) == 0 && spec.GetTargetRef() != nil {
		a.targets = []*istiotype.PolicyTargetReference{spec.GetTargetRef()}
	}
	return a
}

// GatewayNameLabel is on the pods of gateways of the Gateway API, and of waypoints.
const gatewayNameLabel = "gateway.networking.k8s.io/gateway-name"

const (
	coreGroup       = "core"
	gatewayGroup    = "gateway.networking.k8s.io"
	networkingGroup = "networking.istio.io"
)

// Namespaces are those whose policies may be for w.
func namespacesFor(w *Workload, root string) []string {
	all := []string{root}
	for _, namespace := range []string{w.Namespace, w.serviceNamespace()} {
		if !slices.Contains(all, namespace) {
			all = append(all, namespace)
		}
	}
	return all
}

func (w *Workload) serviceNamespace() string {
	if w.ServiceNamespace != "" {
		return w.ServiceNamespace
	}
	return w.Namespace
}

func (w *Workload) gateway() (string, bool) {
	if w.Gateway != "" {
		return w.Gateway, true
	}
	name, found := w.Labels[gatewayNameLabel]
	return name, found || w.Enforcer == Gateway || w.Enforcer == Waypoint
}

// Reaches says whether a policy of namespace that has a is for w, as Envoy proxies see it. Source: Istio's
// ShouldAttachPolicy.
func (a attachment) reaches(w *Workload, root string) bool {
	gateway, isGateway := w.gateway()
	if !isGateway {
		return len(a.targets) == 0 && a.selects(w)
	}
	if len(a.targets) == 0 {
		return w.Enforcer != Waypoint && a.selects(w)
	}
	return slices.ContainsFunc(a.targets, func(t *istiotype.PolicyTargetReference) bool {
		return a.hits(t, w, gateway, root)
	})
}

func (a attachment) selects(w *Workload) bool {
	for name, value := range a.selector.GetMatchLabels() {
		if got, found := w.Labels[name]; !found || got != value {
			return false
		}
	}
	return true
}

func (a attachment) hits(t *istiotype.PolicyTargetReference, w *Workload, gateway, root string) bool {
	group := t.GetGroup()
	if group == "" {
		group = coreGroup
	}
	is := func(wantGroup, kind string) bool { return group == wantGroup && t.GetKind() == kind }
	if w.Enforcer == Waypoint {
		own := a.namespace == w.serviceNamespace()
		switch {
		case is(coreGroup, "Service") && own && w.Service != "" && t.GetName() == w.Service,
			is(networkingGroup, "ServiceEntry") && own && w.ServiceEntry != "" && t.GetName() == w.ServiceEntry,
			is(gatewayGroup, "GatewayClass") && a.namespace == root && t.GetName() == snapshot.WaypointClass:
			return true
		}
	}
	return a.namespace == w.Namespace && (t.GetNamespace() == "" || t.GetNamespace() == w.Namespace) &&
		is(gatewayGroup, "Gateway") && t.GetName() == gateway
}

// A Filter is the policies that are enforced in front of one workload. It is safe for use by several goroutines.
type Filter struct {
	mesh      snapshot.Mesh
	enforcer  Enforcer
	namespace string
	http, tcp chain
	ignored   []Ignored
}

// A chain is the rules of a filter in the order in which a proxy asks.
type chain struct {
	custom, refused, audit, deny, allow, dryRun []*rule
	// Allows are the policies of which one has to allow, whether they have rules or not.
	allows []*policy
	// NoneAllows is what to say where none does.
	noneAllows string
}

// Ignored is a policy that selects a workload and is not enforced there.
type Ignored struct {
	// Policy is namespace/name.
	Policy string
	Why    string
}

// For finds the policies that are for w.
func (p *Policies) For(w Workload) *Filter {
	f := &Filter{mesh: p.mesh, enforcer: w.Enforcer, namespace: w.Namespace}
	if w.Enforcer == None {
		return f
	}
	var custom []*policy
	for _, namespace := range namespacesFor(&w, p.mesh.RootNamespace) {
		for _, policy := range p.byNamespace[namespace] {
			if w.Enforcer == Ztunnel {
				f.addZtunnel(policy, &w)
				continue
			}
			if !policy.attachment.reaches(&w, p.mesh.RootNamespace) {
				f.explainUnattached(policy, &w)
				continue
			}
			if policy.action == istiosecurity.AuthorizationPolicy_CUSTOM {
				custom = append(custom, policy)
				continue
			}
			f.http.add(policy, policy.http)
			f.tcp.add(policy, policy.tcp)
		}
	}
	f.http.addCustom(custom, p.mesh.Providers, func(p *policy) []*rule { return p.http })
	f.tcp.addCustom(custom, p.mesh.Providers, func(p *policy) []*rule { return p.tcp })
	f.http.sort()
	f.tcp.sort()
	slices.SortFunc(f.ignored, func(a, b Ignored) int { return compareStrings(a.Policy, b.Policy) })
	return f
}

// Ignored are the policies that their namespace and selector make look as if they were enforced here, and are not.
func (f *Filter) Ignored() []Ignored { return slices.Clone(f.ignored) }

func (f *Filter) ignore(p *policy, why string) {
	f.ignored = append(f.ignored, Ignored{Policy: p.key(), Why: why})
}

func (f *Filter) explainUnattached(p *policy, w *Workload) {
	_, isGateway := w.gateway()
	switch {
	case len(p.attachment.targets) > 0 && !isGateway && p.namespace == w.Namespace:
		f.ignore(p, "it has targetRefs, which are for gateways and waypoints")
	case len(p.attachment.targets) == 0 && w.Enforcer == Waypoint && p.attachment.selects(w):
		f.ignore(p, "it has no targetRefs, and waypoints enforce no others")
	}
}

func (c *chain) add(p *policy, rules []*rule) {
	if p.dryRun {
		c.dryRun = append(c.dryRun, rules...)
		return
	}
	switch p.action {
	case istiosecurity.AuthorizationPolicy_DENY:
		c.deny = append(c.deny, rules...)
	case istiosecurity.AuthorizationPolicy_AUDIT:
		c.audit = append(c.audit, rules...)
	case istiosecurity.AuthorizationPolicy_ALLOW:
		c.allow = append(c.allow, rules...)
		c.allows = append(c.allows, p)
	}
}

// AddCustom adds CUSTOM policies. Istio refuses what they match where they name several providers, or one that it does not
// know. Those that are only tried count, too: what comes of them depends on the version of Istio.
func (c *chain) addCustom(policies []*policy, known []string, rulesOf func(*policy) []*rule) {
	var providers []string
	for _, p := range policies {
		if !slices.Contains(providers, p.provider) {
			providers = append(providers, p.provider)
		}
	}
	slices.Sort(providers)
	for _, p := range policies {
		refused := ""
		switch {
		case len(providers) > 1:
			refused = "the CUSTOM policies here name several providers, " + listed(providers) + ", and Istio takes one"
		case p.provider == "":
			refused = "the policy names no provider"
		case known != nil && !slices.Contains(known, p.provider):
			refused = "the mesh has no provider " + listed([]string{p.provider})
		}
		for _, r := range rulesOf(p) {
			if refused == "" {
				c.custom = append(c.custom, r)
			} else if !p.dryRun {
				refusing := *r
				refusing.refused = refused
				c.refused = append(c.refused, &refusing)
			}
		}
	}
}

// Sort gives rules the order in which Envoy tries them: that of their names.
func (c *chain) sort() {
	for _, rules := range [][]*rule{c.custom, c.refused, c.audit, c.deny, c.allow, c.dryRun} {
		slices.SortStableFunc(rules, func(a, b *rule) int { return compareStrings(a.by, b.by) })
	}
	slices.SortStableFunc(c.allows, func(a, b *policy) int { return compareStrings(a.key(), b.key()) })
	c.noneAllows = "no ALLOW policy here matches: " + namesOf(c.allows)
}
