// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package snapshot is the plain value of everything that decides who may do what in a cluster: from a live one, or from
// files. What reasons about access takes nothing else.
package snapshot

import (
	networkingv1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// Snapshot is what decides who may do what. Whoever has one changes none of its objects. It has no Secrets.
type Snapshot struct {
	Namespaces      []*corev1.Namespace
	ServiceAccounts []*corev1.ServiceAccount
	// Pods and Services are the workloads, and how they are reached. Of Pods it has what selects and identifies them:
	// labels, service account, containers' names and ports.
	Pods     []*corev1.Pod
	Services []*corev1.Service

	Roles               []*rbacv1.Role
	RoleBindings        []*rbacv1.RoleBinding
	ClusterRoles        []*rbacv1.ClusterRole
	ClusterRoleBindings []*rbacv1.ClusterRoleBinding

	AuthorizationPolicies  []*securityv1beta1.AuthorizationPolicy
	RequestAuthentications []*securityv1beta1.RequestAuthentication
	PeerAuthentications    []*securityv1beta1.PeerAuthentication
	// VirtualServices lead from IngressGateways to Services.
	VirtualServices []*networkingv1beta1.VirtualService
	IngressGateways []*networkingv1beta1.Gateway
	// Gateways are those of the Gateway API, waypoints among them.
	Gateways []Gateway
	Mesh     Mesh

	Profiles []*kubeflowv1.Profile
	// Resources are the kinds that the cluster serves.
	Resources []Resource

	// resources are the places in Resources, while they are put there, and meshFrom the ConfigMap that Mesh is from.
	resources map[schema.GroupResource]int
	meshFrom  string
}

// Gateway is one of the Gateway API.
type Gateway struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Class is the name of its GatewayClass.
	Class string `json:"class"`
}

// WaypointClass is the GatewayClass of Istio's waypoints.
const WaypointClass = "istio-waypoint"

// Resource is a kind that the cluster serves, as RBAC names it.
type Resource struct {
	Group string `json:"group"`
	// Name is the plural, such as inferenceservices; Kind is InferenceService.
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Singular and ShortNames are what else people call it.
	Singular   string   `json:"singular,omitempty"`
	ShortNames []string `json:"shortNames,omitempty"`
	// Namespaced is false for what RoleBindings can't grant.
	Namespaced bool `json:"namespaced"`
	// Subresources are such as status and scale.
	Subresources []string `json:"subresources,omitempty"`
	// Verbs are what can be done with it; empty where that is not known.
	Verbs []string `json:"verbs,omitempty"`
}

// Mesh is how Istio is installed.
type Mesh struct {
	// RootNamespace has the policies that are for all namespaces.
	RootNamespace string `json:"rootNamespace"`
	TrustDomain   string `json:"trustDomain"`
	// TrustDomainAliases are taken for the trust domain in principals.
	TrustDomainAliases []string `json:"trustDomainAliases,omitempty"`
	// PathNormalization is what is done with a path before policies see it.
	PathNormalization PathNormalization `json:"pathNormalization,omitempty"`
	// Providers are the names of extension providers that CUSTOM policies can ask. Nil means that they are not known, and an
	// empty list that there are none.
	Providers []string `json:"providers"`
}

// PathNormalization is that of Istio's mesh configuration.
type PathNormalization string

// Path normalizations. Empty means BASE.
const (
	NormalizeNone           PathNormalization = "NONE"
	NormalizeBase           PathNormalization = "BASE"
	NormalizeMergeSlashes   PathNormalization = "MERGE_SLASHES"
	NormalizeDecodeAndMerge PathNormalization = "DECODE_AND_MERGE_SLASHES"
	defaultRootNamespace                      = "istio-system"
	defaultTrustDomain                        = "cluster.local"
)

// DefaultMesh is how Istio is installed where nothing is said.
func DefaultMesh() Mesh {
	return Mesh{RootNamespace: "istio-system", TrustDomain: "cluster.local", PathNormalization: NormalizeBase}
}
