// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"slices"
	_ "unsafe" // for go:linkname

	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/security/authn"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/labels"
	"istio.io/istio/pkg/config/schema/gvk"
	"istio.io/istio/pkg/workloadapi/security"

	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/snapshot"
)

// byAge is how Istio sorts policies.
//
//go:linkname byAge istio.io/istio/pilot/pkg/model.sortConfigByCreationTime
func byAge(configs []config.Config) []config.Config

// forWorkload is how Istio selects the PeerAuthentications and RequestAuthentications of a workload.
//
//go:linkname forWorkload istio.io/istio/pilot/pkg/model.getConfigsForWorkload
func forWorkload(rootNamespace string, byNamespace map[string][]config.Config, w model.WorkloadPolicyMatcher) []*config.Config

// peersOfZtunnel are the names of the policies that a ztunnel is to enforce for what PeerAuthentications say.
//
//go:linkname peersOfZtunnel istio.io/istio/pilot/pkg/serviceregistry/ambient.convertedSelectorPeerAuthentications
func peersOfZtunnel(rootNamespace string, configs []*securityv1.PeerAuthentication) []string

// PeerMode is what the sidecar of a workload takes on a port, by Istio's own selection and merge: STRICT, PERMISSIVE or
// DISABLE.
func PeerMode(policies []*securityv1beta1.PeerAuthentication, m snapshot.Mesh, w mesh.Workload, port uint16) string {
	var configs []config.Config
	for _, p := range policies {
		configs = append(configs, config.Config{
			Meta: config.Meta{
				GroupVersionKind: gvk.PeerAuthentication, Name: p.Name, Namespace: p.Namespace,
				CreationTimestamp: p.CreationTimestamp.Time,
			},
			Spec: &p.Spec,
		})
	}
	merged := authn.ComposePeerAuthentication(m.RootNamespace, forWorkload(m.RootNamespace, grouped(byAge(configs)), Matcher(m, w)))
	mode, ok := merged.PerPort[uint32(port)]
	if !ok {
		mode = merged.Mode
	}
	return mode.String()
}

func grouped(configs []config.Config) map[string][]config.Config {
	byNamespace := map[string][]config.Config{}
	for _, c := range configs {
		byNamespace[c.Namespace] = append(byNamespace[c.Namespace], c)
	}
	return byNamespace
}

// Authenticates says whether Istio selects the RequestAuthentication for a workload.
func Authenticates(p *securityv1beta1.RequestAuthentication, m snapshot.Mesh, w mesh.Workload) bool {
	c := config.Config{
		Meta: config.Meta{GroupVersionKind: gvk.RequestAuthentication, Name: p.Name, Namespace: p.Namespace}, Spec: &p.Spec,
	}
	return len(forWorkload(m.RootNamespace, grouped([]config.Config{c}), Matcher(m, w))) > 0
}

// PeersAtZtunnel returns what a ztunnel enforces of PeerAuthentications for a workload.
func PeersAtZtunnel(policies []*securityv1beta1.PeerAuthentication, m snapshot.Mesh, w mesh.Workload) Ztunnel {
	// As fetchPeerAuthentications and PolicyCollections do it, which are about Istio's own collections of objects.
	var here []*securityv1.PeerAuthentication
	var root, namespace *securityv1beta1.PeerAuthentication
	for _, p := range policies {
		general := p.Spec.GetSelector() == nil
		if general && p.Namespace == m.RootNamespace {
			root = older(root, p)
		}
		if general && p.Namespace == w.Namespace {
			namespace = older(namespace, p)
		}
		if general && p.Namespace == m.RootNamespace || p.Namespace == w.Namespace &&
			labels.Instance(p.Spec.GetSelector().GetMatchLabels()).SubsetOf(w.Labels) {
			here = append(here, &securityv1.PeerAuthentication{ObjectMeta: p.ObjectMeta, Spec: *p.Spec.DeepCopy()})
		}
	}
	names := peersOfZtunnel(m.RootNamespace, here)
	var z Ztunnel
	if slices.Contains(names, m.RootNamespace+"/istio_converted_static_strict") {
		z = append(z, strict())
	}
	for _, p := range policies {
		a := ConvertPeer(m, p, namespace, root)
		if a != nil && slices.Contains(names, a.GetNamespace()+"/"+a.GetName()) {
			z = append(z, a)
		}
	}
	return z
}

func older(a, b *securityv1beta1.PeerAuthentication) *securityv1beta1.PeerAuthentication {
	if a == nil || b.CreationTimestamp.Before(&a.CreationTimestamp) {
		return b
	}
	return a
}

// strict denies whoever has no identity.
func strict() *security.Authorization {
	anybody := &security.StringMatch{MatchType: &security.StringMatch_Presence{}}
	return &security.Authorization{Action: security.Action_DENY, Groups: []*security.Group{{Rules: []*security.Rules{{
		Matches: []*security.Match{{NotPrincipals: []*security.StringMatch{anybody}}},
	}}}}}
}
