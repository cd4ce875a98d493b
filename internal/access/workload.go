// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/snapshot"
)

// What says how a namespace, a pod or a service takes part in the mesh. Source: Istio's reference of resource labels.
const (
	labelInjection      = "istio-injection"
	labelRevision       = "istio.io/rev"
	labelInject         = "sidecar.istio.io/inject"
	labelDataplane      = "istio.io/dataplane-mode"
	labelWaypoint       = "istio.io/use-waypoint"
	labelWaypointIn     = "istio.io/use-waypoint-namespace"
	labelIngressToPoint = "istio.io/ingress-use-waypoint"
	labelGateway        = "gateway.networking.k8s.io/gateway-name"
	annotationSidecar   = "sidecar.istio.io/status"
	proxyContainer      = "istio-proxy"
	dataplaneAmbient    = "ambient"
	nothing             = "none"
	defaultAccount      = "default"
)

// place is a workload that a request comes to, or passes.
type place struct {
	mesh.Workload

	// account is the service account that it has as a client.
	account string
	port    uint16
	notes   []string

	filter        *mesh.Filter
	authenticator *mesh.Authenticator
	peers         *mesh.Peers
}

// guard looks up what guards p.
func (e *Engine) guard(p *place) {
	p.filter, p.authenticator, p.peers = e.policies.For(p.Workload), e.authentications.For(p.Workload), e.peers.For(p.Workload)
}

// principal is who a place is for those behind it.
func (e *Engine) principal(namespace, account string) string {
	return e.snapshot.Mesh.TrustDomain + "/ns/" + namespace + "/sa/" + account
}

// layer is how a step calls p.
func (p *place) layer() string {
	what := string(p.Enforcer)
	if p.Enforcer == mesh.None {
		what = "workload"
	}
	return what + " " + namespaced(p.Namespace, p.Name)
}

// gatewayPlace is the workload behind the Gateway that people come in by.
func (e *Engine) gatewayPlace() place {
	selector := map[string]string{"app": "istio-ingressgateway", "istio": "ingressgateway"}
	var notes []string
	found := false
	for _, g := range e.snapshot.IngressGateways {
		if g.Namespace+"/"+g.Name == e.options.Gateway && len(g.Spec.GetSelector()) > 0 {
			selector, found = g.Spec.GetSelector(), true
		}
	}
	if !found {
		notes = append(notes, fmt.Sprintf("there is no Gateway %s: Istio's own ingress gateway is taken for it", e.options.Gateway))
	}
	for _, pod := range e.snapshot.Pods {
		if labels.SelectorFromSet(selector).Matches(labels.Set(pod.Labels)) {
			return place{
				Workload: e.workload(pod), account: cmp.Or(pod.Spec.ServiceAccountName, defaultAccount), notes: notes,
			}
		}
	}
	notes = append(notes, "there are no pods of the gateway: Kubeflow's are taken for granted")
	all := map[string]string{"app": "istio-ingressgateway", "istio": "ingressgateway"}
	maps.Copy(all, selector)
	return place{
		Workload: mesh.Workload{Namespace: e.snapshot.Mesh.RootNamespace, Name: "istio-ingressgateway", Labels: all, Enforcer: mesh.Sidecar},
		account:  "istio-ingressgateway-service-account", notes: notes,
	}
}

// workload is what a pod is to the mesh.
func (e *Engine) workload(pod *corev1.Pod) mesh.Workload {
	w := mesh.Workload{Namespace: pod.Namespace, Name: workloadName(pod), Labels: pod.Labels, Enforcer: mesh.None}
	proxied := func(c corev1.Container) bool { return c.Name == proxyContainer }
	_, injected := pod.Annotations[annotationSidecar]
	switch {
	case pod.Labels[labelGateway] != "":
		w.Gateway = pod.Labels[labelGateway]
		w.Enforcer, w.GatewayClass = e.gatewayKind(pod.Namespace, w.Gateway)
	case injected || slices.ContainsFunc(pod.Spec.Containers, proxied) || slices.ContainsFunc(pod.Spec.InitContainers, proxied):
		w.Enforcer = mesh.Sidecar
	case e.isAmbient(pod.Namespace, pod.Labels) && !pod.Spec.HostNetwork:
		w.Enforcer = mesh.Ztunnel
	}
	return w
}

// workloadName is what people call a pod: its app rather than the name with a hash.
func workloadName(pod *corev1.Pod) string {
	return cmp.Or(pod.Labels["notebook-name"], pod.Labels["app"], pod.Labels["app.kubernetes.io/name"], pod.Name)
}

func (e *Engine) gatewayKind(namespace, name string) (mesh.Enforcer, string) {
	for _, g := range e.snapshot.Gateways {
		if g.Namespace == namespace && g.Name == name {
			if g.Class == snapshot.WaypointClass {
				return mesh.Waypoint, g.Class
			}
			return mesh.Gateway, g.Class
		}
	}
	return mesh.Gateway, ""
}

func (e *Engine) isAmbient(namespace string, pod map[string]string) bool {
	mode := pod[labelDataplane]
	if ns := e.namespaces[namespace]; ns != nil && mode == "" {
		mode = ns.Labels[labelDataplane]
	}
	return mode == dataplaneAmbient
}

// assumed is how the mesh guards pods of a namespace that are not in the snapshot.
func (e *Engine) assumed(namespace string, pod map[string]string) mesh.Enforcer {
	ns := e.namespaces[namespace]
	switch {
	case e.isAmbient(namespace, pod):
		return mesh.Ztunnel
	case ns == nil || pod[labelInject] == "false" || ns.Labels[labelInjection] == "disabled":
		return mesh.None
	case ns.Labels[labelInjection] == "enabled" || ns.Labels[labelRevision] != "" || pod[labelInject] == "true":
		return mesh.Sidecar
	}
	return mesh.None
}

// servicePort is a Service, written namespace/name, and one of its ports.
type servicePort struct {
	name string
	port uint32
}

// behind is the workload behind a port of a Service, and the Service. What guards it is looked up once.
func (e *Engine) behind(name string, port uint32) (*place, *corev1.Service, error) {
	key := servicePort{name, port}
	if known, found := e.places.Load(key); found {
		if at, ok := known.(*place); ok {
			return at, e.services[name], nil
		}
	}
	at, service, err := e.servicePlace(name, port)
	if err != nil {
		return nil, nil, err
	}
	e.guard(&at)
	e.places.Store(key, &at)
	return &at, service, nil
}

// servicePlace is the workload behind a Service, which is written namespace/name. An error says what is not there.
func (e *Engine) servicePlace(name string, port uint32) (place, *corev1.Service, error) {
	namespace, short, _ := strings.Cut(name, "/")
	service := e.services[name]
	if service == nil {
		return place{}, nil, fmt.Errorf("there is no Service %s", name)
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return place{}, nil, fmt.Errorf("the Service %s stands for %s, which is not followed", name, service.Spec.ExternalName)
	}
	if len(service.Spec.Selector) == 0 {
		return place{}, nil, fmt.Errorf("the Service %s selects no pods", name)
	}
	found := place{
		Workload: mesh.Workload{Namespace: namespace, Name: short, Labels: service.Spec.Selector, Enforcer: e.assumed(namespace, service.Spec.Selector)},
		account:  defaultAccount,
	}
	pod := e.podOf(service)
	if pod != nil {
		found.Workload, found.account = e.workload(pod), cmp.Or(pod.Spec.ServiceAccountName, defaultAccount)
	} else {
		found.notes = append(found.notes, "it has no pods: how they would be guarded follows from the labels of the Service's selector and the namespace")
	}
	var known bool
	if found.port, known = targetPort(service, pod, port); !known {
		found.notes = append(found.notes, "the port is not known")
	}
	return found, service, nil
}

func (e *Engine) podOf(service *corev1.Service) *corev1.Pod {
	for _, pod := range e.pods[service.Namespace] {
		if labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pod.Labels)) {
			return pod
		}
	}
	return nil
}

// targetPort is the port of the pod behind one of the Service; of the only one where none is said.
func targetPort(service *corev1.Service, pod *corev1.Pod, port uint32) (uint16, bool) {
	for _, p := range service.Spec.Ports {
		if port != 0 && uint32(p.Port) != port { //nolint:gosec // ports are positive
			continue
		}
		switch {
		case p.TargetPort.Type == intstr.Int && p.TargetPort.IntVal > 0:
			return uint16(p.TargetPort.IntVal), true //nolint:gosec // the API server checks it
		case p.TargetPort.Type == intstr.Int:
			return uint16(p.Port), true //nolint:gosec // the API server checks it
		case pod == nil:
			return 0, false
		}
		for _, c := range pod.Spec.Containers {
			for _, named := range c.Ports {
				if named.Name == p.TargetPort.StrVal {
					return uint16(named.ContainerPort), true //nolint:gosec // the API server checks it
				}
			}
		}
		return 0, false
	}
	return 0, false
}

// waypoint is the one that requests to a service go through; fromGateway says whether they come from outside, which goes
// past it unless a label says otherwise.
func (e *Engine) waypoint(service *corev1.Service, fromGateway bool) (*place, bool) {
	ns := e.namespaces[service.Namespace]
	if ns == nil {
		ns = &corev1.Namespace{}
	}
	label := func(key string) string { return cmp.Or(service.Labels[key], ns.Labels[key]) }
	name := label(labelWaypoint)
	if name == "" || name == nothing || fromGateway && label(labelIngressToPoint) != "true" {
		return nil, false
	}
	namespace := cmp.Or(label(labelWaypointIn), service.Namespace)
	found := &place{
		Workload: mesh.Workload{
			Namespace: namespace, Name: name, Labels: map[string]string{labelGateway: name}, Enforcer: mesh.Waypoint, Gateway: name,
			GatewayClass: snapshot.WaypointClass, Service: service.Name, ServiceNamespace: service.Namespace,
		},
		account: e.waypointAccount(namespace, name),
	}
	e.guard(found)
	return found, true
}

// waypointAccount is the service account of a waypoint: that of its pods, or the one that Istio makes, which has its name.
func (e *Engine) waypointAccount(namespace, name string) string {
	for _, pod := range e.pods[namespace] {
		if pod.Labels[labelGateway] == name {
			return cmp.Or(pod.Spec.ServiceAccountName, defaultAccount)
		}
	}
	return name
}
