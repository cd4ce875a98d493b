// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// Names of the NetworkPolicies of a class with isolation.network.
const (
	DenyPolicyName    = "berth-default-deny"
	ingressPolicyName = "berth-allow-ingress"
	egressPolicyName  = "berth-allow-egress"
)

// Ports of the platform.
const (
	portDNS            = 53
	portDNSTarget      = 5353 // where OpenShift's name service listens behind port 53
	portHBONE          = 15008
	portXDS            = 15012
	portLocalGateway   = 8080
	portActivator      = 8012
	portActivatorTLS   = 8112
	portMLPipeline     = 8888
	portMLPipelineGRPC = 8887
	portMetadata       = 8080
	portSeaweed        = 8333
	portMinio          = 9000
	portKatib          = 6789
	portRegistry       = 8080
)

const (
	// kubeletInAmbient is the address from which ambient mode has the kubelet's probes come.
	kubeletInAmbient = "169.254.7.127/32"
	// nodeLocalDNS is where the cluster's cache of names listens on each node, if there is one.
	nodeLocalDNS = "169.254.20.10/32"
)

// network renders what may pass into and out of the namespace's pods: one policy that denies, and one for each
// direction with all openings, as two objects for each profile cost less than one for each opening.
func network(p *kubeflowv1.Profile, in Input) Part {
	isolation := in.Class.isolation().Network
	if isolation == nil {
		return Part{}
	}
	isolation = isolation.DeepCopy()
	isolation.Namespaces = whereabouts(isolation.Namespaces)
	types := []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	if isolation.Egress != nil {
		types = append(types, networkingv1.PolicyTypeEgress)
	}
	ambient := in.Config.MeshMode == MeshAmbient
	part := Part{
		Reason:  kubeflowv1.ReasonReady,
		Message: "network policies are in place",
		Objects: []Object{
			// Openings first: nothing that is allowed breaks for a moment.
			networkPolicy(p, ingressPolicyName, "lets in what the class opens", networkingv1.NetworkPolicySpec{
				PolicyTypes: types[:1], Ingress: ingressRules(*isolation, ambient),
			}),
		},
	}
	if isolation.Egress != nil {
		part.Objects = append(part.Objects, networkPolicy(p, egressPolicyName, "lets out what the class opens", networkingv1.NetworkPolicySpec{
			PolicyTypes: types[1:], Egress: egressRules(*isolation, ambient),
		}))
	}
	part.Objects = append(part.Objects, networkPolicy(p, DenyPolicyName, "denies all other traffic",
		networkingv1.NetworkPolicySpec{PolicyTypes: types}))
	return part
}

// whereabouts are the namespaces of the platform, those of Kubeflow where at names none. The API server fills them in;
// a class that was read from a file has not been there.
func whereabouts(at berthv1alpha1.PlatformNamespaces) berthv1alpha1.PlatformNamespaces {
	return berthv1alpha1.PlatformNamespaces{
		Istio:      orElse(at.Istio, "istio-system"),
		Knative:    orElse(at.Knative, "knative-serving"),
		Kubeflow:   orElse(at.Kubeflow, "kubeflow"),
		Monitoring: orElse(at.Monitoring, "monitoring"),
		DNS:        orElse(at.DNS, "kube-system"),
	}
}

func networkPolicy(p *kubeflowv1.Profile, name, purpose string, spec networkingv1.NetworkPolicySpec) Object {
	return Object{
		Resource: &networkingv1.NetworkPolicy{
			TypeMeta:   metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "NetworkPolicy"},
			ObjectMeta: partMeta(p, partNetwork, name),
			Spec:       spec,
		},
		Purpose: purpose,
		Exact:   []string{"spec"},
	}
}

// ingressRules are the openings into the namespace: those by name in a fixed order, then the class's own.
func ingressRules(isolation berthv1alpha1.NetworkIsolation, ambient bool) []networkingv1.NetworkPolicyIngressRule {
	var rules []networkingv1.NetworkPolicyIngressRule
	from := func(peers ...networkingv1.NetworkPolicyPeer) {
		rules = append(rules, networkingv1.NetworkPolicyIngressRule{From: peers})
	}
	allow, at := isolation.Allow, isolation.Namespaces
	if on(allow.SameNamespace) {
		from(samePods())
	}
	if on(allow.Gateway) {
		from(pods(at.Istio, "app", "istio-ingressgateway", "cluster-local-gateway"))
	}
	if on(allow.Knative) {
		from(pods(at.Knative, "app", "activator", "autoscaler"))
	}
	if on(allow.Pipelines) {
		from(pods(at.Kubeflow, "app", "ml-pipeline-ui"))
	}
	if on(allow.NotebookController) {
		from(pods(at.Kubeflow, "app", "notebook-controller"))
	}
	if on(allow.Monitoring) {
		from(namespaces(at.Monitoring))
	}
	if ambient {
		// The mesh's tunnel comes from pods in the mesh; who may use it is decided by the mesh. Probes come by themselves.
		rules = append(rules,
			networkingv1.NetworkPolicyIngressRule{Ports: tcp(portHBONE)},
			networkingv1.NetworkPolicyIngressRule{From: []networkingv1.NetworkPolicyPeer{cidr(kubeletInAmbient)}})
	}
	for _, rule := range isolation.IngressRules {
		rule = *rule.DeepCopy()
		fillIn(rule.Ports)
		rules = append(rules, rule)
	}
	return rules
}

// egressRules are the openings out of the namespace.
func egressRules(isolation berthv1alpha1.NetworkIsolation, ambient bool) []networkingv1.NetworkPolicyEgressRule {
	var rules []networkingv1.NetworkPolicyEgressRule
	to := func(ports []networkingv1.NetworkPolicyPort, peers ...networkingv1.NetworkPolicyPeer) {
		rules = append(rules, networkingv1.NetworkPolicyEgressRule{To: peers, Ports: ports})
	}
	allow, at := isolation.Allow, isolation.Namespaces
	if on(allow.SameNamespace) {
		to(nil, samePods())
	}
	if on(allow.DNS) {
		to(append(udp(portDNS, portDNSTarget), tcp(portDNS, portDNSTarget)...), namespaces(at.DNS), cidr(nodeLocalDNS))
	}
	if on(allow.APIServer) {
		var peers []networkingv1.NetworkPolicyPeer
		for _, block := range isolation.Egress.APIServerCIDRs {
			peers = append(peers, cidr(block))
		}
		if len(peers) > 0 { // a rule without peers would let everything out
			to(nil, peers...)
		}
	}
	if on(allow.Gateway) {
		to(tcp(portXDS), pods(at.Istio, "app", "istiod"))
		to(tcp(portLocalGateway), pods(at.Istio, "app", "cluster-local-gateway"))
	}
	if on(allow.Knative) {
		to(tcp(portActivator, portActivatorTLS), pods(at.Knative, "app", "activator"))
	}
	if on(allow.Pipelines) {
		to(tcp(portMLPipeline, portMLPipelineGRPC), pods(at.Kubeflow, "app", "ml-pipeline"))
		to(tcp(portMetadata), pods(at.Kubeflow, "component", "metadata-grpc-server"))
		to(tcp(portSeaweed, portMinio), pods(at.Kubeflow, "app", "seaweedfs", "minio"))
		to(tcp(portKatib), pods(at.Kubeflow, "katib.kubeflow.org/component", "db-manager"))
		to(tcp(portRegistry), pods(at.Kubeflow, "component", "model-registry-server"))
	}
	if ambient {
		to(tcp(portHBONE))
	}
	for _, rule := range isolation.Egress.Rules {
		rule = *rule.DeepCopy()
		fillIn(rule.Ports)
		rules = append(rules, rule)
	}
	return rules
}

// fillIn sets what the API server sets by itself, so that comparing finds no difference where there is none.
func fillIn(ports []networkingv1.NetworkPolicyPort) {
	for i := range ports {
		if ports[i].Protocol == nil {
			ports[i].Protocol = new(corev1.ProtocolTCP)
		}
	}
}

func samePods() networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}}
}

func namespaces(name string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: name}},
	}
}

// pods are those in a namespace whose label has one of the values.
func pods(namespace, label string, values ...string) networkingv1.NetworkPolicyPeer {
	peer := namespaces(namespace)
	peer.PodSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: label, Operator: metav1.LabelSelectorOpIn, Values: values},
	}}
	return peer
}

func cidr(block string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: block}}
}

func tcp(numbers ...int) []networkingv1.NetworkPolicyPort { return ports(corev1.ProtocolTCP, numbers) }

func udp(numbers ...int) []networkingv1.NetworkPolicyPort { return ports(corev1.ProtocolUDP, numbers) }

func ports(protocol corev1.Protocol, numbers []int) []networkingv1.NetworkPolicyPort {
	var list []networkingv1.NetworkPolicyPort
	for _, number := range numbers {
		port := intstr.FromInt(number)
		list = append(list, networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: &port})
	}
	return list
}
