// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"maps"
	"slices"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
)

// ZtunnelPeerRules converts a PeerAuthentication of a workload with modes for ports, as istiod does for ztunnels: what they
// refuse becomes a DENY. Namespace and mesh are the oldest general ones, or nil. Nil means that nothing is converted.
func ZtunnelPeerRules(workload, namespace, mesh *securityv1beta1.PeerAuthentication, rootNamespace string) *ZtunnelPolicy {
	spec := &workload.Spec
	if workload.Namespace == rootNamespace || spec.GetSelector() == nil || len(spec.GetPortLevelMtls()) == 0 {
		return nil
	}
	mode, above := modeOf(spec.GetMtls()), peerModes{of(namespace), of(mesh), namespace != nil, mesh != nil}
	var clauses []ZtunnelClause
	var groups []ZtunnelGroup
	if mode == Strict {
		clauses = append(clauses, clauseOf(ZtunnelMatch{NotPrincipals: anyPrincipal}))
	}
	exempt := false
	for _, number := range slices.Sorted(maps.Keys(spec.GetPortLevelMtls())) {
		if number > 65535 {
			continue
		}
		port := []uint16{uint16(number)}
		switch modeOf(spec.GetPortLevelMtls()[number]) {
		case Strict:
			if !above.covers(mode) {
				groups = append(groups, ZtunnelGroup{Clauses: []ZtunnelClause{clauseOf(ZtunnelMatch{NotPrincipals: anyPrincipal, DestinationPorts: port})}})
			}
		case Permissive, Disabled:
			if mode == Strict || mode == unset && !above.open() {
				exempt = true
				clauses = append(clauses, clauseOf(ZtunnelMatch{NotDestinationPorts: port}))
			}
		}
	}
	if mode == Strict && !exempt || len(clauses)+len(groups) == 0 {
		return nil
	}
	if exempt && above.strict() {
		clauses = append(clauses, clauseOf(ZtunnelMatch{NotPrincipals: anyPrincipal}))
	}
	if len(clauses) > 0 {
		groups = append(groups, ZtunnelGroup{Clauses: clauses})
	}
	return &ZtunnelPolicy{
		Name: "converted_peer_authentication_" + workload.Name, Namespace: workload.Namespace, Scope: scopeSelector, Action: actionDeny,
		Groups: groups,
	}
}

var anyPrincipal = []ZtunnelText{{Presence: &struct{}{}}}

func clauseOf(m ZtunnelMatch) ZtunnelClause { return ZtunnelClause{Matches: []ZtunnelMatch{m}} }

func of(a *securityv1beta1.PeerAuthentication) PeerMode {
	if a == nil {
		return unset
	}
	return modeOf(a.Spec.GetMtls())
}

// PeerModes are those above a workload.
type peerModes struct {
	namespace, mesh       PeerMode
	hasNamespace, hasMesh bool
}

// Strict says whether what is above is STRICT.
func (p peerModes) strict() bool {
	return p.mesh == Strict && (p.namespace == unset || p.namespace == Strict) || p.namespace == Strict
}

// Covers says whether istiod takes a STRICT port for said already. That the mesh's mode counts even where the workload has
// its own is istiod's.
func (p peerModes) covers(workload PeerMode) bool {
	return workload == Strict || workload == unset && p.namespace == Strict || p.namespace == unset && p.mesh == Strict
}

// Open says whether istiod sees nothing STRICT above. That a namespace without a mode hides the mesh's is istiod's.
func (p peerModes) open() bool {
	switch {
	case p.hasNamespace:
		return p.namespace != Strict
	case p.hasMesh:
		return p.mesh != Strict
	}
	return true
}

// ForZtunnel finds what a ztunnel takes: istiod refers it to its own policy that is STRICT everywhere, or to what it makes
// of the workload's policy, or to nothing.
func (p *PeerAuthentications) forZtunnel(w *Workload) *Peers {
	root := p.mesh.RootNamespace
	mesh := oldest(p.byNamespace[root], func(a *securityv1beta1.PeerAuthentication) bool {
		return isGeneral(a) && (a.Spec.GetSelector() == nil || w.Namespace == root)
	})
	peers := &Peers{mode: Permissive}
	peers.take(mesh)
	if w.Namespace == root {
		return peers.plain()
	}
	namespace, workload := p.own(w)
	peers.take(namespace)
	inherited := peers.mode
	peers.take(workload)
	if workload == nil {
		return peers.plain()
	}
	ports := slices.Collect(maps.Values(workload.Spec.GetPortLevelMtls()))
	has := func(modes ...PeerMode) bool {
		for _, mtls := range ports {
			if slices.Contains(modes, modeOf(mtls)) {
				return true
			}
		}
		return false
	}
	var converts bool
	switch mode := modeOf(workload.Spec.GetMtls()); {
	case mode == Strict:
		converts = has(Permissive, Disabled)
	case mode == unset && inherited == Strict:
		converts = has(Permissive)
	default:
		converts = has(Strict)
	}
	if !converts {
		return peers.plain()
	}
	// The conversion does not see a general policy with an empty selector.
	namespace = oldest(p.byNamespace[w.Namespace], func(a *securityv1beta1.PeerAuthentication) bool { return a.Spec.GetSelector() == nil })
	return peers.converted(ZtunnelPeerRules(workload, namespace, mesh, root), workload)
}

// Plain is for a ztunnel that has nothing for single ports.
func (p *Peers) plain() *Peers {
	if p.mode == Disabled {
		p.mode = Permissive
	}
	return p
}

// Converted takes modes from what was converted. Where that is nil, the ztunnel is referred to what there is not, and
// refuses nothing.
func (p *Peers) converted(policy *ZtunnelPolicy, workload *securityv1beta1.PeerAuthentication) *Peers {
	p.by, p.portsBy = workload.Namespace+"/"+workload.Name, workload.Namespace+"/"+workload.Name
	p.ports = map[uint16]PeerMode{}
	if p.mode = Permissive; policy == nil {
		return p
	}
	if policy.refusesPlainText(0) {
		p.mode = Strict
	}
	for number := range workload.Spec.GetPortLevelMtls() {
		if number == 0 || number > 65535 {
			continue
		}
		p.ports[uint16(number)] = Permissive
		if policy.refusesPlainText(uint16(number)) {
			p.ports[uint16(number)] = Strict
		}
	}
	return p
}

// RefusesPlainText evaluates what ZtunnelPeerRules made, which has one match in each clause.
func (z *ZtunnelPolicy) refusesPlainText(port uint16) bool {
	return slices.ContainsFunc(z.Groups, func(g ZtunnelGroup) bool {
		return !slices.ContainsFunc(g.Clauses, func(c ZtunnelClause) bool {
			m := c.Matches[0]
			return len(m.DestinationPorts) > 0 && !slices.Contains(m.DestinationPorts, port) || slices.Contains(m.NotDestinationPorts, port)
		})
	})
}
