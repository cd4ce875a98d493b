// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package generate

import (
	"fmt"
	"time"

	istiosecurity "istio.io/api/security/v1beta1"
	istiotype "istio.io/api/type/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var modes = []istiosecurity.PeerAuthentication_MutualTLS_Mode{
	istiosecurity.PeerAuthentication_MutualTLS_UNSET, istiosecurity.PeerAuthentication_MutualTLS_STRICT,
	istiosecurity.PeerAuthentication_MutualTLS_PERMISSIVE, istiosecurity.PeerAuthentication_MutualTLS_DISABLE,
}

// Peers returns PeerAuthentications for the mesh, for namespaces and for workloads, no two of them of the same age.
func (g Generator) Peers(w World) []*securityv1beta1.PeerAuthentication {
	var all []*securityv1beta1.PeerAuthentication
	for i := range 1 + g.IntN(5) {
		age := time.Duration(g.IntN(100)*10+i) * time.Hour
		p := &securityv1beta1.PeerAuthentication{ObjectMeta: metav1.ObjectMeta{
			Name:              fmt.Sprintf("p%d", i),
			Namespace:         pick(g, []string{w.Mesh.RootNamespace, w.Workload.Namespace, w.Workload.Namespace, "a", "b"}),
			CreationTimestamp: metav1.NewTime(time.Unix(0, 0).Add(age)),
		}}
		mtls := func() *istiosecurity.PeerAuthentication_MutualTLS {
			if g.oneIn(4) {
				return nil
			}
			return &istiosecurity.PeerAuthentication_MutualTLS{Mode: pick(g, modes)}
		}
		p.Spec.Mtls = mtls()
		switch g.IntN(8) {
		case 0:
			p.Spec.Selector = &istiotype.WorkloadSelector{}
		case 1, 2, 3, 4:
			p.Spec.Selector = &istiotype.WorkloadSelector{MatchLabels: map[string]string{"app": pick(g, apps)}}
			for range g.IntN(3) {
				if p.Spec.PortLevelMtls == nil {
					p.Spec.PortLevelMtls = map[uint32]*istiosecurity.PeerAuthentication_MutualTLS{}
				}
				p.Spec.PortLevelMtls[pick(g, []uint32{80, 8080, 9000})] = mtls()
			}
		}
		all = append(all, p)
	}
	return all
}

// RequestAuthentication returns one that asks for tokens of an issuer, for what a policy of the world is for.
func (g Generator) RequestAuthentication(w World) *securityv1beta1.RequestAuthentication {
	p := pick(g, w.Policies)
	a := &securityv1beta1.RequestAuthentication{ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace}}
	a.Spec.Selector, a.Spec.TargetRef, a.Spec.TargetRefs = p.Spec.GetSelector(), p.Spec.GetTargetRef(), p.Spec.GetTargetRefs()
	a.Spec.JwtRules = []*istiosecurity.JWTRule{{Issuer: issuers[0]}}
	return a
}
