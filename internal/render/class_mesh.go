// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"maps"
	"slices"

	istiosecurity "istio.io/api/security/v1beta1"
	istiotype "istio.io/api/type/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// Kinds of the mesh that only some classes ask for.
var (
	PeerAuthenticationKind    = schema.GroupVersionKind{Group: "security.istio.io", Version: "v1beta1", Kind: "PeerAuthentication"}
	RequestAuthenticationKind = schema.GroupVersionKind{Group: "security.istio.io", Version: "v1beta1", Kind: "RequestAuthentication"}
)

const (
	mtlsName      = "berth-mtls"
	userTokenName = "berth-user-token"
)

// mtls renders the refusal of plain text, and its exceptions: one object for each, as exceptions by port need a
// selector.
func mtls(p *kubeflowv1.Profile, in Input) Part {
	isolation := in.Class.isolation()
	if isolation.MTLS != berthv1alpha1.MTLSStrict {
		return Part{}
	}
	if !in.Mesh.PeerAuthentication {
		return Part{Problem: notInstalled(PeerAuthenticationKind, "plain text can't be refused")}
	}
	part := Part{Reason: kubeflowv1.ReasonReady, Message: "the mesh refuses plain text"}
	strict := &istiosecurity.PeerAuthentication_MutualTLS{Mode: istiosecurity.PeerAuthentication_MutualTLS_STRICT}
	for _, exception := range isolation.MTLSExceptions {
		object := peerAuthentication(p, mtlsName+"-"+exception.Name, "takes plain text at the ports that the class excepts")
		spec := &object.Resource.(*securityv1beta1.PeerAuthentication).Spec //nolint:forcetypeassert // made one line above
		spec.Selector = &istiotype.WorkloadSelector{MatchLabels: maps.Clone(exception.MatchLabels)}
		spec.Mtls = strict
		spec.PortLevelMtls = map[uint32]*istiosecurity.PeerAuthentication_MutualTLS{}
		for _, port := range exception.Ports {
			spec.PortLevelMtls[uint32(port)] = &istiosecurity.PeerAuthentication_MutualTLS{Mode: istiosecurity.PeerAuthentication_MutualTLS_PERMISSIVE} //nolint:gosec // ports are between 1 and 65535
		}
		part.Objects = append(part.Objects, object)
	}
	object := peerAuthentication(p, mtlsName, "has the mesh refuse plain text")
	object.Resource.(*securityv1beta1.PeerAuthentication).Spec.Mtls = strict //nolint:forcetypeassert // made one line above
	part.Objects = append(part.Objects, object)
	return part
}

func peerAuthentication(p *kubeflowv1.Profile, name, purpose string) Object {
	return Object{
		Resource: &securityv1beta1.PeerAuthentication{
			TypeMeta:   metav1.TypeMeta{APIVersion: PeerAuthenticationKind.GroupVersion().String(), Kind: PeerAuthenticationKind.Kind},
			ObjectMeta: partMeta(p, partMTLS, name),
		},
		Purpose: purpose,
		Exact:   []string{"spec"},
	}
}

// userToken renders the verification of a visitor's token once more at the namespace's workloads, which takes it off:
// the gateway passes it on for those who need it.
func userToken(p *kubeflowv1.Profile, in Input) Part {
	isolation := in.Class.isolation()
	if isolation.UserToken != berthv1alpha1.UserTokenStrip {
		return Part{}
	}
	if p.Labels[berthv1alpha1.KeepUserTokenLabel] == "keep" {
		return Part{Reason: kubeflowv1.ReasonUserTokenKept, Message: "workloads get the tokens of visitors, as the profile's label " +
			berthv1alpha1.KeepUserTokenLabel + " says"}
	}
	ambient := in.Config.MeshMode == MeshAmbient
	if ambient && len(isolation.UserTokenSelector) > 0 {
		return Part{Problem: &Problem{Reason: kubeflowv1.ReasonSelectorUnsupported, Message: "in ambient mode the waypoint takes " +
			"tokens off, for all workloads or none, so workloads get the tokens of visitors: leave isolation.userTokenSelector of the class out"}}
	}
	if !in.Mesh.RequestAuthentication {
		return Part{Problem: notInstalled(RequestAuthenticationKind, "workloads get the tokens of visitors")}
	}
	ra := &securityv1beta1.RequestAuthentication{
		TypeMeta:   metav1.TypeMeta{APIVersion: RequestAuthenticationKind.GroupVersion().String(), Kind: RequestAuthenticationKind.Kind},
		ObjectMeta: partMeta(p, partUserToken, userTokenName),
	}
	for _, issuer := range isolation.TokenIssuers {
		ra.Spec.JwtRules = append(ra.Spec.JwtRules, &istiosecurity.JWTRule{
			Issuer: issuer.Issuer, JwksUri: issuer.JWKSURI, Jwks: issuer.JWKS, Audiences: slices.Clone(issuer.Audiences),
			ForwardOriginalToken: false,
		})
	}
	if len(isolation.UserTokenSelector) > 0 {
		ra.Spec.Selector = &istiotype.WorkloadSelector{MatchLabels: maps.Clone(isolation.UserTokenSelector)}
	} else if ambient {
		ra.Spec.TargetRefs = waypointRef()
	}
	return Part{
		Reason:  kubeflowv1.ReasonReady,
		Message: "workloads do not get the tokens of visitors",
		Objects: []Object{{Resource: ra, Purpose: "takes the tokens of visitors off requests", Exact: []string{"spec"}}},
	}
}

// waypointRef attaches a policy to the namespace's waypoint.
func waypointRef() []*istiotype.PolicyTargetReference {
	return []*istiotype.PolicyTargetReference{{Group: GatewayKind.Group, Kind: GatewayKind.Kind, Name: waypointName}}
}

// probeRule lets in whoever may ask for the paths of Knative's probes.
func probeRule(in Input) *istiosecurity.Rule {
	rule := &istiosecurity.Rule{To: operation(&istiosecurity.Operation{Paths: []string{"/healthz", "/metrics", "/wait-for-drain"}})}
	isolation := in.Class.isolation()
	if isolation.Probes == berthv1alpha1.ProbesKnative || in.Class.Unknown {
		allowed := slices.Clone(isolation.ProbePrincipals)
		if len(allowed) == 0 {
			knative := in.Config.trustDomain() + "/ns/" + in.Class.whereabouts().Knative
			allowed = []string{knative + "/sa/activator", knative + "/sa/controller"}
		}
		rule.From = principals(allowed...)
	}
	return rule
}
