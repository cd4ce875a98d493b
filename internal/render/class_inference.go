// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"slices"
	"strings"

	istiosecurity "istio.io/api/security/v1beta1"
	istiotype "istio.io/api/type/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// InferenceServiceKind is KServe's kind of a model that is served.
var InferenceServiceKind = schema.GroupVersionKind{Group: "serving.kserve.io", Version: "v1beta1", Kind: "InferenceService"}

// inferenceLabel is on the pods of an InferenceService, with its name.
const inferenceLabel = "serving.kserve.io/inferenceservice"

// inferenceAccess renders a policy for each InferenceService of the namespace, which lets the platform and the callers
// of the class in.
func inferenceAccess(p *kubeflowv1.Profile, in Input) Part {
	access := in.Class.Spec.InferenceAccess
	if access == nil {
		return Part{}
	}
	if !in.Mesh.AuthorizationPolicy {
		return Part{Problem: notInstalled(AuthorizationPolicyKind, "nobody can be let in to InferenceServices")}
	}
	part := Part{Reason: kubeflowv1.ReasonReady, Message: "the platform may reach the InferenceServices"}
	if !in.Mesh.InferenceService {
		part.Reason, part.Message = kubeflowv1.ReasonKServeNotInstalled, "the cluster does not serve InferenceServices, so there is nothing to let in to"
		return part
	}
	var from []*istiosecurity.Rule_From
	callers := slices.Clone(access.Callers)
	domain := in.Config.trustDomain()
	if on(access.Gateway) {
		callers = append(callers, in.Config.Principals.IngressGateway)
	}
	if on(access.Activator) {
		at := in.Class.whereabouts()
		callers = append(callers, domain+"/ns/"+at.Knative+"/sa/activator",
			domain+"/ns/"+at.Istio+"/sa/cluster-local-gateway-service-account")
	}
	if len(callers) > 0 {
		from = principals(distinct(callers)...)
	}
	if len(access.CallerNamespaces) > 0 {
		from = append(from, &istiosecurity.Rule_From{Source: &istiosecurity.Source{Namespaces: distinct(slices.Clone(access.CallerNamespaces))}})
	}
	if len(from) == 0 {
		part.Message = "the class lets nobody in to InferenceServices"
		return part // a rule without callers would let everybody in
	}
	rule := &istiosecurity.Rule{From: from}
	if len(access.Methods)+len(access.Paths) > 0 {
		rule.To = operation(&istiosecurity.Operation{Methods: slices.Clone(access.Methods), Paths: slices.Clone(access.Paths)})
	}
	for _, service := range slices.Sorted(slices.Values(in.InferenceServices)) {
		part.Objects = append(part.Objects, inferencePolicy(p, in.Config, service, rule))
	}
	return part
}

func inferencePolicy(p *kubeflowv1.Profile, config Config, service string, rule *istiosecurity.Rule) Object {
	ap := &securityv1beta1.AuthorizationPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: AuthorizationPolicyKind.GroupVersion().String(), Kind: AuthorizationPolicyKind.Kind},
		ObjectMeta: partMeta(p, partInference, inferencePolicyName(service)),
	}
	ap.Spec.Rules = []*istiosecurity.Rule{rule.DeepCopy()}
	if config.MeshMode == MeshAmbient {
		ap.Spec.TargetRefs = []*istiotype.PolicyTargetReference{{Kind: "Service", Name: service + "-predictor"}}
	} else {
		ap.Spec.Selector = &istiotype.WorkloadSelector{MatchLabels: map[string]string{inferenceLabel: service}}
	}
	return Object{
		Resource: ap, Purpose: "lets the platform reach a model that is served", Exact: []string{"spec"},
		AbsentAnnotations: []string{"istio.io/dry-run"},
	}
}

// inferencePrefix is what the names of the policies of InferenceServices begin with, and those of no others.
const inferencePrefix = "berth-isvc-"

// inferencePolicyName is the name of the policy of an InferenceService.
func inferencePolicyName(service string) string {
	const longest = validation.DNS1123SubdomainMaxLength - len(inferencePrefix)
	if len(service) <= longest {
		return inferencePrefix + service
	}
	suffix := "-" + shortHash(service)
	return inferencePrefix + strings.TrimRight(service[:longest-len(suffix)], "-.") + suffix
}
