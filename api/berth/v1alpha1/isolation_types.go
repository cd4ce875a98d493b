// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	networkingv1 "k8s.io/api/networking/v1"
)

// Isolation keeps other tenants out of the namespace.
//
// +kubebuilder:validation:XValidation:rule="!has(self.userToken) || self.userToken != 'Strip' || (has(self.tokenIssuers) && size(self.tokenIssuers) > 0)",message="userToken: Strip needs tokenIssuers: a token is taken off only where the mesh knows who issued it"
// +kubebuilder:validation:XValidation:rule="!has(self.mtlsExceptions) || (has(self.mtls) && self.mtls == 'Strict')",message="mtlsExceptions are exceptions to mtls: Strict"
type Isolation struct {
	// network denies all traffic into the namespace's pods but what is opened here. Needs a network plugin that enforces
	// NetworkPolicies.
	// +optional
	Network *NetworkIsolation `json:"network,omitempty"`

	// mtls: Strict has the mesh refuse plain text to the namespace's workloads.
	// +optional
	MTLS MTLSMode `json:"mtls,omitempty"`
	// mtlsExceptions are ports that callers outside the mesh may reach in plain text.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	MTLSExceptions []MTLSException `json:"mtlsExceptions,omitempty"`

	// userToken: Strip takes the token of a visitor off each request before it reaches a workload, which could use it in
	// the visitor's name otherwise. Requests with a token of anybody but tokenIssuers are refused then: profiles whose
	// workloads take other tokens in the same header keep it by the label berth.dev/user-token: keep.
	// +optional
	UserToken UserTokenMode `json:"userToken,omitempty"`
	// userTokenSelector limits userToken to the pods with these labels.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	UserTokenSelector map[string]string `json:"userTokenSelector,omitempty"`
	// tokenIssuers are those whose tokens the gateway takes.
	// +optional
	// +listType=map
	// +listMapKey=issuer
	// +kubebuilder:validation:MaxItems=8
	TokenIssuers []TokenIssuer `json:"tokenIssuers,omitempty"`

	// probes says who may ask for /healthz, /metrics and /wait-for-drain through the mesh: Anyone, as with Kubeflow, or
	// Knative, whose probes they are.
	// +optional
	Probes ProbeAccess `json:"probes,omitempty"`
	// probePrincipals are the mesh identities of Knative's probes, without the scheme spiffe://. The default is those of
	// its activator and its controller in the namespace knative-serving.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:Pattern=`^[^*]+$`
	ProbePrincipals []string `json:"probePrincipals,omitempty"`
}

// MTLSMode says what the mesh takes.
// +kubebuilder:validation:Enum=Inherit;Strict
type MTLSMode string

const (
	// MTLSInherit leaves it to the mesh.
	MTLSInherit MTLSMode = "Inherit"
	// MTLSStrict refuses plain text.
	MTLSStrict MTLSMode = "Strict"
)

// MTLSException is ports of some pods that take plain text.
type MTLSException struct {
	// name of the exception.
	// +required
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// matchLabels select the pods.
	// +required
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	MatchLabels map[string]string `json:"matchLabels"`
	// ports of the pods.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	Ports []int32 `json:"ports"`
}

// UserTokenMode says what becomes of a visitor's token.
// +kubebuilder:validation:Enum=Keep;Strip
type UserTokenMode string

const (
	// UserTokenKeep leaves it on the request.
	UserTokenKeep UserTokenMode = "Keep"
	// UserTokenStrip takes it off.
	UserTokenStrip UserTokenMode = "Strip"
)

// TokenIssuer is who issues tokens.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.jwksUri) && has(self.jwks))",message="jwksUri and jwks exclude each other"
type TokenIssuer struct {
	// issuer as in the claim iss.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Issuer string `json:"issuer"`
	// jwksUri is where the issuer's public keys are; found by OpenID discovery where it is left out.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^https?://`
	JWKSURI string `json:"jwksUri,omitempty"`
	// jwks are the issuer's public keys themselves.
	// +optional
	// +kubebuilder:validation:MaxLength=16384
	JWKS string `json:"jwks,omitempty"`
	// audiences are those of which a token must have one; any where it is left out.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	Audiences []string `json:"audiences,omitempty"`
}

// ProbeAccess says who may reach the paths of probes.
// +kubebuilder:validation:Enum=Anyone;Knative
type ProbeAccess string

const (
	// ProbesAnyone lets everybody.
	ProbesAnyone ProbeAccess = "Anyone"
	// ProbesKnative lets Knative alone.
	ProbesKnative ProbeAccess = "Knative"
)

// NetworkIsolation is what may pass into and out of the namespace's pods.
//
// +kubebuilder:validation:XValidation:rule="!has(self.egress) || (has(self.allow) && has(self.allow.apiserver) && !self.allow.apiserver) || (has(self.egress.apiServerCIDRs) && size(self.egress.apiServerCIDRs) > 0)",message="egress.apiServerCIDRs is missing: name the addresses of the API server, or switch allow.apiserver off"
type NetworkIsolation struct {
	// allow are the openings that Kubeflow needs. All are open where they are not switched off.
	// +optional
	// +kubebuilder:default={}
	Allow NetworkOpenings `json:"allow,omitempty"`
	// namespaces are where the platform's own workloads run.
	// +optional
	// +kubebuilder:default={}
	Namespaces PlatformNamespaces `json:"namespaces,omitempty"`
	// ingressRules are further openings into the namespace.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	IngressRules []networkingv1.NetworkPolicyIngressRule `json:"ingressRules,omitempty"`
	// egress denies all traffic out of the namespace but what is opened here. Where it is left out, all may go out.
	// +optional
	Egress *EgressIsolation `json:"egress,omitempty"`
	// tenantPolicies says which NetworkPolicies tenants may make themselves, enforced by the guard rails: any (Allow);
	// those that open the namespace's pods to each other only (SameNamespace); or none (Deny).
	// +optional
	// +kubebuilder:default=SameNamespace
	TenantPolicies TenantPolicies `json:"tenantPolicies,omitempty"`
}

// TenantPolicies says which NetworkPolicies tenants may make.
// +kubebuilder:validation:Enum=Allow;SameNamespace;Deny
type TenantPolicies string

const (
	// TenantPoliciesAllow lets tenants make any.
	TenantPoliciesAllow TenantPolicies = "Allow"
	// TenantPoliciesSameNamespace lets tenants open their pods to each other.
	TenantPoliciesSameNamespace TenantPolicies = "SameNamespace"
	// TenantPoliciesDeny lets tenants make none.
	TenantPoliciesDeny TenantPolicies = "Deny"
)

// NetworkOpenings are openings by name. Each is for traffic in, and where egress is denied also for traffic out.
type NetworkOpenings struct {
	// gateway lets the ingress gateway and Knative's local gateway in, and pods out to the mesh's control plane and the
	// local gateway.
	// +optional
	Gateway *bool `json:"gateway,omitempty"`
	// knative lets Knative's activator and autoscaler in, and pods out to the activator.
	// +optional
	Knative *bool `json:"knative,omitempty"`
	// pipelines lets the UI of Kubeflow Pipelines in, and pods out to the services of Kubeflow Pipelines, Katib and the
	// model registry.
	// +optional
	Pipelines *bool `json:"pipelines,omitempty"`
	// notebookController lets the notebook controller in, to find idle notebooks.
	// +optional
	NotebookController *bool `json:"notebookController,omitempty"`
	// monitoring lets the monitoring namespace in.
	// +optional
	Monitoring *bool `json:"monitoring,omitempty"`
	// dns lets pods out to the cluster's name service.
	// +optional
	DNS *bool `json:"dns,omitempty"`
	// apiserver lets pods out to the API server.
	// +optional
	APIServer *bool `json:"apiserver,omitempty"`
	// sameNamespace lets the namespace's pods reach each other.
	// +optional
	SameNamespace *bool `json:"sameNamespace,omitempty"`
}

// PlatformNamespaces are where the platform's own workloads run.
type PlatformNamespaces struct {
	// istio has the gateways and the mesh's control plane.
	// +optional
	// +kubebuilder:default=istio-system
	Istio string `json:"istio,omitempty"`
	// knative has Knative Serving.
	// +optional
	// +kubebuilder:default=knative-serving
	Knative string `json:"knative,omitempty"`
	// kubeflow has Kubeflow.
	// +optional
	// +kubebuilder:default=kubeflow
	Kubeflow string `json:"kubeflow,omitempty"`
	// monitoring has Prometheus.
	// +optional
	// +kubebuilder:default=monitoring
	Monitoring string `json:"monitoring,omitempty"`
	// dns has the cluster's name service.
	// +optional
	// +kubebuilder:default=kube-system
	DNS string `json:"dns,omitempty"`
}

// EgressIsolation is what may pass out of the namespace's pods.
type EgressIsolation struct {
	// rules are further openings out of the namespace.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Rules []networkingv1.NetworkPolicyEgressRule `json:"rules,omitempty"`
	// apiServerCIDRs are the addresses of the API server, for the opening apiserver.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.all(c, isCIDR(c))",message="apiServerCIDRs must be CIDRs, such as 10.0.0.1/32"
	APIServerCIDRs []string `json:"apiServerCIDRs,omitempty"`
}
