// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"slices"

	istiosecurity "istio.io/api/security/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"

	"berth.dev/berth/internal/snapshot"
)

// PeerMode is what a workload takes on a port.
type PeerMode string

const (
	// Strict takes mTLS only.
	Strict PeerMode = "STRICT"
	// Permissive takes plain text too, from which nobody has an identity.
	Permissive PeerMode = "PERMISSIVE"
	// Disabled takes plain text only.
	Disabled PeerMode = "DISABLE"
	unset    PeerMode = ""
)

// PeerAuthentications are those of a mesh. They are safe for use by several goroutines.
type PeerAuthentications struct {
	mesh        snapshot.Mesh
	byNamespace map[string][]*securityv1beta1.PeerAuthentication
}

// CompilePeers prepares PeerAuthentications for questions.
func CompilePeers(list []*securityv1beta1.PeerAuthentication, mesh snapshot.Mesh) *PeerAuthentications {
	if mesh.RootNamespace == "" {
		mesh.RootNamespace = snapshot.DefaultMesh().RootNamespace
	}
	all := &PeerAuthentications{mesh: mesh, byNamespace: map[string][]*securityv1beta1.PeerAuthentication{}}
	for _, object := range list {
		if object != nil {
			all.byNamespace[object.Namespace] = append(all.byNamespace[object.Namespace], object)
		}
	}
	for _, objects := range all.byNamespace {
		slices.SortStableFunc(objects, func(a, b *securityv1beta1.PeerAuthentication) int {
			return older(&a.ObjectMeta, &b.ObjectMeta)
		})
	}
	return all
}

// Peers is what one workload takes.
type Peers struct {
	mode  PeerMode
	by    string
	ports map[uint16]PeerMode
	// PortsBy is the policy that has modes for ports.
	portsBy string
}

// For finds what w takes: the oldest policies of the mesh, of the namespace and of the workload, each of which inherits
// what it leaves open. It is not for ingress gateways, whose own listeners say what they take. Source: Istio's
// ComposePeerAuthentication, and for ztunnels its conversion of PeerAuthentications.
func (p *PeerAuthentications) For(w Workload) *Peers {
	switch w.Enforcer {
	case Waypoint:
		return &Peers{mode: Strict}
	case Gateway, None:
		return &Peers{mode: Permissive}
	case Ztunnel:
		return p.forZtunnel(&w)
	}
	root := p.mesh.RootNamespace
	peers := &Peers{mode: Permissive}
	peers.take(oldest(p.byNamespace[root], isGeneral))
	if w.Namespace == root {
		return peers
	}
	namespace, workload := p.own(&w)
	peers.take(namespace)
	peers.take(workload)
	if workload != nil {
		peers.takePorts(workload)
	}
	return peers
}

// Own are the policies of w's namespace: the general one, and the workload's.
func (p *PeerAuthentications) own(w *Workload) (namespace, workload *securityv1beta1.PeerAuthentication) {
	own := p.byNamespace[w.Namespace]
	return oldest(own, isGeneral), oldest(own, func(a *securityv1beta1.PeerAuthentication) bool {
		return !isGeneral(a) && (attachment{selector: a.Spec.GetSelector()}).selects(w)
	})
}

func oldest(sorted []*securityv1beta1.PeerAuthentication, fits func(*securityv1beta1.PeerAuthentication) bool) *securityv1beta1.PeerAuthentication {
	if i := slices.IndexFunc(sorted, fits); i >= 0 {
		return sorted[i]
	}
	return nil
}

func isGeneral(a *securityv1beta1.PeerAuthentication) bool {
	return len(a.Spec.GetSelector().GetMatchLabels()) == 0
}

func (p *Peers) take(a *securityv1beta1.PeerAuthentication) {
	if a == nil {
		return
	}
	if mode := modeOf(a.Spec.GetMtls()); mode != unset {
		p.mode, p.by = mode, a.Namespace+"/"+a.Name
	}
}

func (p *Peers) takePorts(a *securityv1beta1.PeerAuthentication) {
	for port, mtls := range a.Spec.GetPortLevelMtls() {
		if mode := modeOf(mtls); mode != unset && port <= 65535 {
			if p.ports == nil {
				p.ports = map[uint16]PeerMode{}
			}
			p.ports[uint16(port)] = mode
		}
	}
	p.portsBy = a.Namespace + "/" + a.Name
}

func modeOf(mtls *istiosecurity.PeerAuthentication_MutualTLS) PeerMode {
	switch mtls.GetMode() {
	case istiosecurity.PeerAuthentication_MutualTLS_STRICT:
		return Strict
	case istiosecurity.PeerAuthentication_MutualTLS_PERMISSIVE:
		return Permissive
	case istiosecurity.PeerAuthentication_MutualTLS_DISABLE:
		return Disabled
	}
	return unset
}

// Mode is what the workload takes on a port, and the policy that says so, as namespace/name; empty for what holds without
// any.
func (p *Peers) Mode(port uint16) (mode PeerMode, policy string) {
	if mode, found := p.ports[port]; found {
		return mode, p.portsBy
	}
	return p.mode, p.by
}

// Admit says what becomes of r: STRICT refuses plain text, and with DISABLE nobody has an identity. A port that is not
// known is unknown only if a port has a mode of its own.
func (p *Peers) Admit(r Request) (Request, Decision) {
	mode, policy := p.Mode(r.Port)
	admitted := Decision{Verdict: Allowed, Rule: -1, Policy: policy}
	switch {
	case mode == Disabled && (r.Port != 0 || len(p.ports) == 0):
		r.Principal = ""
		admitted.Why = "the workload takes plain text only: the caller has no identity" + p.said(policy)
	case r.Principal != "":
		admitted.Why = "the caller comes with mTLS"
	case r.Port == 0 && len(p.ports) > 0:
		admitted.Verdict, admitted.Unknown = Unknown, []string{"port"}
		admitted.Why = "the caller comes in plain text, and what is taken depends on the port, which is not known" + p.said(p.portsBy)
	case mode == Strict:
		admitted.Verdict = Denied
		admitted.Why = "the caller comes in plain text, and the workload takes mTLS only" + p.said(policy)
	default:
		admitted.Why = "the caller comes in plain text and has no identity" + p.said(policy)
	}
	return r, admitted
}

func (p *Peers) said(policy string) string {
	if policy == "" {
		return ""
	}
	return " (PeerAuthentication " + policy + ")"
}
