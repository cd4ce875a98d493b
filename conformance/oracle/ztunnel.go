// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	_ "unsafe" // for go:linkname

	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	"istio.io/istio/pilot/pkg/model"
	_ "istio.io/istio/pilot/pkg/serviceregistry/ambient" // has what is linked to
	"istio.io/istio/pkg/config/labels"
	"istio.io/istio/pkg/workloadapi/security"

	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/snapshot"
)

// convert is how Istio turns a policy into what ztunnels enforce. Only Istio's own controller can call it otherwise.
//
//go:linkname convert istio.io/istio/pilot/pkg/serviceregistry/ambient.convertAuthorizationPolicy
func convert(rootNamespace string, policy *securityv1.AuthorizationPolicy) (*security.Authorization, *model.StatusMessage)

// convertPeer is the same for PeerAuthentications: that of a workload, of its namespace and of the mesh.
//
//go:linkname convertPeer istio.io/istio/pilot/pkg/serviceregistry/ambient.convertPeerAuthentication
func convertPeer(rootNamespace string, workload, namespace, root *securityv1.PeerAuthentication) *security.Authorization

// Convert is Istio's own conversion of a policy for ztunnels; nil if they are not to enforce it.
func Convert(policy *securityv1beta1.AuthorizationPolicy, m snapshot.Mesh) *security.Authorization {
	a, _ := convert(m.RootNamespace, &securityv1.AuthorizationPolicy{
		ObjectMeta: *policy.ObjectMeta.DeepCopy(), Spec: *policy.Spec.DeepCopy(),
	})
	return a
}

// ConvertPeer is Istio's own conversion of the PeerAuthentication of a workload for ztunnels, merged with those of its
// namespace and of the mesh, which may be nil. It is nil where what those say is all.
func ConvertPeer(m snapshot.Mesh, workload, namespace, root *securityv1beta1.PeerAuthentication) *security.Authorization {
	v1 := func(p *securityv1beta1.PeerAuthentication) *securityv1.PeerAuthentication {
		if p == nil {
			return nil
		}
		return &securityv1.PeerAuthentication{ObjectMeta: *p.ObjectMeta.DeepCopy(), Spec: *p.Spec.DeepCopy()}
	}
	return convertPeer(m.RootNamespace, v1(workload), v1(namespace), v1(root))
}

// Ztunnel are the policies of a workload as the ztunnel of its node enforces them.
type Ztunnel []*security.Authorization

// AtZtunnel returns what the ztunnel enforces for a workload: Istio selects by namespace and labels.
func AtZtunnel(policies []*securityv1beta1.AuthorizationPolicy, m snapshot.Mesh, w mesh.Workload) Ztunnel {
	var z Ztunnel
	for _, p := range policies {
		a := Convert(p, m)
		switch {
		case a == nil, p.Namespace != m.RootNamespace && p.Namespace != w.Namespace:
		case a.GetScope() != security.Scope_WORKLOAD_SELECTOR || selects(model.NewSelector(p.Spec.GetSelector().GetMatchLabels()), w.Labels):
			z = append(z, a)
		}
	}
	return z
}

// selects does what buildWorkloadPolicies does in Istio: a selector without labels at all selects nothing.
func selects(selector model.LabelSelector, workload labels.Instance) bool {
	wanted := labels.Instance(selector.GetLabelSelector())
	return wanted != nil && wanted.SubsetOf(workload)
}

// Answer says what is done with a connection, as ztunnel's src/rbac.rs and src/state.rs do it.
func (z Ztunnel) Answer(r mesh.Request) Answer {
	var answer Answer
	var denied, allowed, allows bool
	for _, a := range z {
		matched := matchesAny(a, r)
		if matched {
			answer.Matched = append(answer.Matched, fmt.Sprintf("%s/%s", a.GetNamespace(), a.GetName()))
		}
		if a.GetAction() == security.Action_DENY {
			denied = denied || matched
			continue
		}
		allows = true
		allowed = allowed || matched
	}
	answer.Allowed = !denied && (allowed || !allows)
	slices.Sort(answer.Matched)
	return answer
}

// matchesAny is true where any group has only rules that have no match, or one that matches.
func matchesAny(a *security.Authorization, r mesh.Request) bool {
	return slices.ContainsFunc(a.GetGroups(), func(g *security.Group) bool {
		return !slices.ContainsFunc(g.GetRules(), func(rule *security.Rules) bool {
			return len(rule.GetMatches()) > 0 && !slices.ContainsFunc(rule.GetMatches(), func(m *security.Match) bool {
				return matches(m, r)
			})
		})
	})
}

// matches is false for an empty match: a ztunnel passes over those.
func matches(m *security.Match, r mesh.Request) bool {
	namespace, account := identity(r.Principal)
	said := false
	ok := both(&said, m.GetNamespaces(), m.GetNotNamespaces(), func(s *security.StringMatch) bool {
		return matchText(s, namespace)
	})
	ok = both(&said, m.GetServiceAccounts(), m.GetNotServiceAccounts(), func(s *security.ServiceAccountMatch) bool {
		return r.Principal != "" && s.GetNamespace() == namespace && s.GetServiceAccount() == account
	}) && ok
	ok = both(&said, m.GetPrincipals(), m.GetNotPrincipals(), func(s *security.StringMatch) bool {
		return r.Principal != "" && matchText(s, r.Principal)
	}) && ok
	ok = both(&said, m.GetSourceIps(), m.GetNotSourceIps(), func(a *security.Address) bool {
		return within(a, r.SourceIP)
	}) && ok
	ok = both(&said, m.GetDestinationIps(), m.GetNotDestinationIps(), func(a *security.Address) bool {
		return within(a, r.DestinationIP)
	}) && ok
	ok = both(&said, m.GetDestinationPorts(), m.GetNotDestinationPorts(), func(port uint32) bool {
		return port == uint32(r.Port)
	}) && ok
	return said && ok
}

func both[T any](said *bool, values, notValues []T, match func(T) bool) bool {
	*said = *said || len(values)+len(notValues) > 0
	return (len(values) == 0 || slices.ContainsFunc(values, match)) && !slices.ContainsFunc(notValues, match)
}

func matchText(m *security.StringMatch, text string) bool {
	switch match := m.GetMatchType().(type) {
	case *security.StringMatch_Exact:
		return text == match.Exact
	case *security.StringMatch_Prefix:
		return strings.HasPrefix(text, match.Prefix)
	case *security.StringMatch_Suffix:
		return strings.HasSuffix(text, match.Suffix)
	}
	return text != ""
}

func within(a *security.Address, addr netip.Addr) bool {
	from, ok := netip.AddrFromSlice(a.GetAddress())
	return ok && netip.PrefixFrom(from, int(a.GetLength())).Contains(addr)
}

// identity returns namespace and service account of td/ns/NAMESPACE/sa/ACCOUNT.
func identity(principal string) (string, string) {
	parts := strings.Split(principal, "/")
	if len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa" {
		return "", ""
	}
	return parts[2], parts[4]
}
