// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"maps"

	meshconfig "istio.io/api/mesh/v1alpha1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/security/authz/builder"
	"istio.io/istio/pilot/pkg/security/trustdomain"
	"istio.io/istio/pilot/pkg/serviceregistry/provider"
	"istio.io/istio/pkg/config/host"
	"istio.io/istio/pkg/log"

	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/snapshot"
)

// gatewayLabel is on the pods of gateways of the Gateway API, and of waypoints.
const gatewayLabel = "gateway.networking.k8s.io/gateway-name"

// Quiet stops Istio's code from logging each invalid rule.
func Quiet() {
	for _, scope := range log.Scopes() {
		scope.SetOutputLevel(log.NoneLevel)
	}
}

// Proxy returns the oracle of the proxy of a workload: what Istio would configure it with.
func Proxy(policies []*securityv1beta1.AuthorizationPolicy, m snapshot.Mesh, w mesh.Workload) (*Oracle, error) {
	push := pushContext(m)
	result := Selected(policies, m, w)
	bundle := trustdomain.NewBundle(m.TrustDomain, m.TrustDomainAliases)
	waypoint := w.Enforcer == mesh.Waypoint
	custom := builder.New(bundle, push, result, builder.Option{IsCustomBuilder: true, UseFilterState: waypoint})
	other := builder.New(bundle, push, result, builder.Option{UseFilterState: waypoint})
	// The order in which Istio puts them in front of a workload.
	forHTTP, forTCP := built(custom).BuildHTTP(), built(custom).BuildTCP()
	forHTTP, forTCP = append(forHTTP, built(other).BuildHTTP()...), append(forTCP, built(other).BuildTCP()...)
	return Filters(forHTTP, forTCP, m.PathNormalization)
}

// Selected are the policies that Istio selects for a workload.
func Selected(policies []*securityv1beta1.AuthorizationPolicy, m snapshot.Mesh, w mesh.Workload) model.AuthorizationPoliciesResult {
	all := &model.AuthorizationPolicies{
		NamespaceToPolicies: map[string][]model.AuthorizationPolicy{},
		RootNamespace:       m.RootNamespace,
	}
	for _, p := range policies {
		all.NamespaceToPolicies[p.Namespace] = append(all.NamespaceToPolicies[p.Namespace], model.AuthorizationPolicy{
			Name: p.Name, Namespace: p.Namespace, Annotations: p.Annotations, Spec: &p.Spec,
		})
	}
	return all.ListAuthorizationPolicies(Matcher(m, w))
}

// Matcher is a workload as Istio compares it with policies.
func Matcher(m snapshot.Mesh, w mesh.Workload) model.WorkloadPolicyMatcher {
	labels := maps.Clone(w.Labels)
	if w.Gateway != "" {
		if labels == nil {
			labels = map[string]string{}
		}
		labels[gatewayLabel] = w.Gateway
	}
	matcher := model.PolicyMatcherFor(w.Namespace, labels, w.Enforcer == mesh.Waypoint).WithRootNamespace(m.RootNamespace)
	service := model.ServiceInfoForPolicyMatcher{Namespace: w.ServiceNamespace}
	if service.Namespace == "" {
		service.Namespace = w.Namespace
	}
	switch {
	case w.Service != "":
		service.Name, service.Registry = w.Service, provider.Kubernetes
	case w.ServiceEntry != "":
		service.Name, service.Registry = w.ServiceEntry, provider.External
	default:
		return matcher
	}
	matcher.Services = append(matcher.Services, service)
	return matcher
}

// built is a builder that builds nothing where there is nothing to build.
func built(b *builder.Builder) *builder.Builder {
	if b == nil {
		return &builder.Builder{}
	}
	return b
}

// pushContext has what Istio needs to know of extension providers: that they exist.
func pushContext(m snapshot.Mesh) *model.PushContext {
	push := model.NewPushContext()
	push.Mesh = &meshconfig.MeshConfig{}
	for _, name := range m.Providers {
		hostname := fmt.Sprintf("%s.providers.svc.cluster.local", name)
		push.Mesh.ExtensionProviders = append(push.Mesh.ExtensionProviders, &meshconfig.MeshConfig_ExtensionProvider{
			Name: name,
			Provider: &meshconfig.MeshConfig_ExtensionProvider_EnvoyExtAuthzGrpc{
				EnvoyExtAuthzGrpc: &meshconfig.MeshConfig_ExtensionProvider_EnvoyExternalAuthorizationGrpcProvider{
					Service: "providers/" + hostname, Port: 9000,
				},
			},
		})
		push.ServiceIndex.HostnameAndNamespace[host.Name(hostname)] = map[string]*model.Service{
			"providers": {Hostname: host.Name(hostname)},
		}
	}
	return push
}
