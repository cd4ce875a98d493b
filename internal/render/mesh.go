// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"

	istiosecurity "istio.io/api/security/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

const (
	// OwnerPolicyName is the AuthorizationPolicy that lets the owner and the platform in.
	OwnerPolicyName = "ns-owner-access-istio"
	// InviteesPolicyName is the AuthorizationPolicy for the people whom the owner invites.
	InviteesPolicyName = "ns-access-istio"
)

// UnenforcedMessage is that of policies which only a waypoint enforces, where making one is left to others.
const UnenforcedMessage = "authorization policies are in place; in ambient mode they are enforced by a waypoint named " +
	waypointName + ", which this controller was not asked to make"

// Kinds of the mesh. AuthorizationPolicies are written in the version that every Istio serves.
var (
	AuthorizationPolicyKind = schema.GroupVersionKind{Group: "security.istio.io", Version: "v1beta1", Kind: "AuthorizationPolicy"}
	GatewayKind             = schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "Gateway"}
)

// mesh renders who gets in through the service mesh.
func mesh(p *kubeflowv1.Profile, in Input) Part {
	part := Part{
		Condition: kubeflowv1.ConditionMeshReady,
		Reason:    kubeflowv1.ReasonReady,
		Message:   "authorization policies are in place",
	}
	ambient := in.Config.MeshMode == MeshAmbient
	if ambient && !in.Config.CreateWaypoint {
		part.Message = UnenforcedMessage
	}
	if in.Mesh.AuthorizationPolicy {
		part.Objects = append(part.Objects,
			policy(p, in.Config, OwnerPolicyName, "lets the owner and the platform in through the mesh", ownerAnnotations(p), ownerRules(p, in)),
			inviteesPlace(p, in.Config))
	} else {
		part.Problem = notInstalled(AuthorizationPolicyKind, "nobody can be let in or kept out by the mesh")
	}
	switch {
	case ambient && in.Config.CreateWaypoint && in.Mesh.Gateway:
		part.Objects = append([]Object{waypoint(p)}, part.Objects...)
	case ambient && in.Config.CreateWaypoint && part.Problem == nil:
		part.Problem = notInstalled(GatewayKind, "there is no waypoint to enforce policies")
	case in.Mesh.Gateway:
		part.Absent = []Object{waypoint(p)}
	}
	if part.Problem == nil {
		part.Problem = OwnerProblem(p.Spec.Owner)
	}
	return part
}

func notInstalled(kind schema.GroupVersionKind, consequence string) *Problem {
	return &Problem{
		Reason: kubeflowv1.ReasonMeshNotInstalled,
		Message: fmt.Sprintf("the cluster does not serve %s (%s), so %s; install the mesh's CustomResourceDefinitions, "+
			"and this will be made up for", kind.Kind, kind.GroupVersion(), consequence),
	}
}

func policy(p *kubeflowv1.Profile, config Config, name, purpose string, annotations map[string]string, rules []*istiosecurity.Rule) Object {
	ap := &securityv1beta1.AuthorizationPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: AuthorizationPolicyKind.GroupVersion().String(), Kind: AuthorizationPolicyKind.Kind},
		ObjectMeta: objectMeta(p, name),
	}
	ap.Annotations = annotations
	ap.Spec.Rules = rules
	if config.MeshMode == MeshAmbient {
		// Without sidecars only a waypoint can tell users apart, and it enforces the policies attached to it alone.
		ap.Spec.TargetRefs = waypointRef()
	}
	return Object{
		Resource: ap, Purpose: purpose, Exact: []string{"spec"},
		AbsentAnnotations: []string{"istio.io/dry-run"}, // it would switch the policy off
	}
}

// ownerRules are, in this order: the owner, the namespace itself, Knative's probes, the culling of idle notebooks and,
// in ambient mode, Katib.
func ownerRules(p *kubeflowv1.Profile, in Input) []*istiosecurity.Rule {
	config := in.Config
	rules := []*istiosecurity.Rule{
		{When: []*istiosecurity.Condition{{Key: "source.namespace", Values: []string{p.Name}}}},
		probeRule(in),
		{
			From: principals(config.Principals.NotebookController),
			To:   operation(&istiosecurity.Operation{Methods: []string{"GET"}, Paths: []string{"*/api/kernels"}}),
		},
	}
	if config.MeshMode == MeshAmbient {
		rules = append(rules, &istiosecurity.Rule{From: principals(config.Principals.Katib)})
	}
	if OwnerProblem(p.Spec.Owner) != nil {
		return rules // nobody gets in as an owner whom we can't tell apart
	}
	return append([]*istiosecurity.Rule{ownerRule(p.Spec.Owner, config)}, rules...)
}

// ownerRule lets the owner in: a user by the header that the gateway sets, a group by the verified token's claim, as
// no header can carry a list of groups safely, and a service account by its own mesh identity.
func ownerRule(owner rbacv1.Subject, config Config) *istiosecurity.Rule {
	people := principals(config.Principals.IngressGateway, config.Principals.KFPUI)
	switch owner.Kind {
	case rbacv1.GroupKind:
		return &istiosecurity.Rule{
			From: people,
			When: []*istiosecurity.Condition{{Key: "request.auth.claims[groups]", Values: []string{owner.Name}}},
		}
	case rbacv1.ServiceAccountKind:
		return &istiosecurity.Rule{
			From: principals(fmt.Sprintf("%s/ns/%s/sa/%s", config.trustDomain(), owner.Namespace, owner.Name)),
		}
	default:
		return &istiosecurity.Rule{
			From: people,
			When: []*istiosecurity.Condition{{
				Key:    fmt.Sprintf("request.headers[%s]", config.UserIDHeader),
				Values: []string{config.UserIDPrefix + owner.Name},
			}},
		}
	}
}

func principals(names ...string) []*istiosecurity.Rule_From {
	return []*istiosecurity.Rule_From{{Source: &istiosecurity.Source{Principals: names}}}
}

func operation(op *istiosecurity.Operation) []*istiosecurity.Rule_To {
	return []*istiosecurity.Rule_To{{Operation: op}}
}

// waypoint is the proxy that enforces the namespace's policies in ambient mode.
func waypoint(p *kubeflowv1.Profile) Object {
	meta := objectMeta(p, waypointName)
	gateway := &unstructured.Unstructured{Object: map[string]any{
		"spec": map[string]any{
			"gatewayClassName": "istio-waypoint",
			"listeners": []any{map[string]any{
				"name":          "mesh",
				"port":          int64(15008),
				"protocol":      "HBONE",
				"allowedRoutes": map[string]any{"namespaces": map[string]any{"from": "Same"}},
			}},
		},
	}}
	gateway.SetGroupVersionKind(GatewayKind)
	gateway.SetName(meta.Name)
	gateway.SetNamespace(meta.Namespace)
	gateway.SetOwnerReferences(meta.OwnerReferences)
	labels := meta.Labels
	// Services and pods alike: what is sent straight to a pod must not get around the policies.
	labels["istio.io/waypoint-for"] = "all"
	gateway.SetLabels(labels)
	// The spec is shared: the API server fills in defaults that differ between versions.
	return Object{Resource: gateway, Purpose: "enforces the namespace's policies"}
}
