// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"net/netip"
	"strings"

	istiosecurity "istio.io/api/security/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
)

// What a ztunnel enforces is compiled into the same rules as what Envoy does, from what istiod makes of it.

type ztunnelRules struct {
	// Given says whether the ztunnel gets the policy, and note what it lacks of it.
	given bool
	rules []*rule
	note  string
}

func compileZtunnel(p *policy, object *securityv1beta1.AuthorizationPolicy, root string) ztunnelRules {
	converted, note := ZtunnelRules(object, root)
	z := ztunnelRules{given: converted != nil, note: note}
	if converted == nil {
		return z
	}
	for _, group := range converted.Groups {
		r := newRule(p, group.Rule)
		for _, clause := range group.Clauses {
			var either alternatives
			for _, match := range clause.Matches {
				either = append(either, match.compile())
			}
			r.parts = append(r.parts, either)
		}
		r.finish()
		z.rules = append(z.rules, r)
	}
	return z
}

func (m *ZtunnelMatch) compile() clause {
	var c clause
	if m.empty() {
		return clause{never: true}
	}
	addTo(&c, "source.principal", gotPrincipal, m.Principals, m.NotPrincipals, ZtunnelText.principal)
	addTo(&c, "source.namespace", gotPrincipal, m.Namespaces, m.NotNamespaces, ZtunnelText.namespace)
	addTo(&c, "source.serviceAccount", gotPrincipal, m.ServiceAccounts, m.NotServiceAccounts, ZtunnelAccount.compile)
	addTo(&c, "source.ip", sourceIPs.got, m.SourceIPs, m.NotSourceIPs, func(a ZtunnelAddress) (matcher, string) {
		return a.compile("source IP", func(v *view) netip.Addr { return v.source })
	})
	addTo(&c, "destination.ip", destinationIPs.got, m.DestinationIPs, m.NotDestinationIPs, func(a ZtunnelAddress) (matcher, string) {
		return a.compile("destination IP", func(v *view) netip.Addr { return v.destination })
	})
	addTo(&c, "destination.port", destinationPorts.got, m.DestinationPorts, m.NotDestinationPorts, portMatcher)
	return c
}

// AddTo adds a condition. Compile makes a matcher of a value, and says how a policy writes it.
func addTo[T any](c *clause, name string, got func(*view) string, values, notValues []T, compile func(T) (matcher, string)) {
	if len(values)+len(notValues) == 0 {
		return
	}
	added := condition{field: name, got: got}
	for _, value := range values {
		m, written := compile(value)
		added.has, added.values = append(added.has, m), append(added.values, written)
	}
	for _, value := range notValues {
		m, written := compile(value)
		added.hasNot, added.notValues = append(added.hasNot, m), append(added.notValues, written)
	}
	c.conditions = append(c.conditions, added)
}

func (t ZtunnelText) written() string {
	switch {
	case t.Presence != nil:
		return "*"
	case t.Suffix != "":
		return "*" + t.Suffix
	case t.Prefix != "":
		return t.Prefix + "*"
	}
	return t.Exact
}

func (t ZtunnelText) principal() (matcher, string) {
	p := text(t.written())
	return func(v *view) truth {
		rest, found := strings.CutPrefix(v.principal, spiffeScheme)
		return truthOf(found && p(rest))
	}, t.written()
}

func (t ZtunnelText) namespace() (matcher, string) {
	p := text(t.written())
	return func(v *view) truth { return truthOf(p(v.sourceNamespace)) }, t.written()
}

func (a ZtunnelAccount) compile() (matcher, string) {
	return func(v *view) truth {
		return truthOf(v.sourceAccount != "" && v.sourceNamespace == a.Namespace && v.sourceAccount == a.ServiceAccount)
	}, a.Namespace + "/" + a.ServiceAccount
}

func (a ZtunnelAddress) compile(name string, of func(*view) netip.Addr) (matcher, string) {
	prefix := a.prefix()
	return prefixMatcher(prefix, name, of), prefix.String()
}

// AddZtunnel adds p if the ztunnel in front of w has it.
func (f *Filter) addZtunnel(p *policy, w *Workload) {
	if !p.attachment.inZtunnel(w, f.mesh.RootNamespace) {
		return
	}
	z := p.ztunnel()
	if z.note != "" {
		f.ignore(p, z.note)
	}
	switch {
	case !z.given:
	case p.action == istiosecurity.AuthorizationPolicy_DENY:
		f.tcp.deny = append(f.tcp.deny, z.rules...)
	default:
		f.tcp.allow = append(f.tcp.allow, z.rules...)
		f.tcp.allows = append(f.tcp.allows, p)
	}
}

// InZtunnel says whether a is for w as istiod and ztunnels see it, where an empty selector selects nothing.
func (a attachment) inZtunnel(w *Workload, root string) bool {
	if a.namespace != root && a.namespace != w.Namespace {
		return false
	}
	return a.selector == nil || len(a.selector.GetMatchLabels()) > 0 && a.selects(w)
}
