// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/snapshot"
)

// Options are how the platform is set up.
type Options struct {
	// UserHeader and UserPrefix carry who has signed in, behind the gateway; GroupsHeader their groups.
	UserHeader, UserPrefix, GroupsHeader string
	// Gateway is the Gateway of Istio that people come in by, as namespace/name.
	Gateway string
}

// DefaultOptions are those of Kubeflow.
func DefaultOptions() Options {
	return Options{UserHeader: "kubeflow-userid", GroupsHeader: "kubeflow-groups", Gateway: "kubeflow/kubeflow-gateway"}
}

// Engine answers questions about one snapshot. Its answers never change, and any number may ask it at once.
type Engine struct {
	options  Options
	snapshot *snapshot.Snapshot

	rbac            *rbac.Authorizer
	policies        *mesh.Policies
	authentications *mesh.Authentications
	peers           *mesh.PeerAuthentications

	namespaces map[string]*corev1.Namespace
	services   map[string]*corev1.Service // by namespace/name
	pods       map[string][]*corev1.Pod   // by namespace
	// byNamespace are the AuthorizationPolicies of each.
	byNamespace map[string][]*securityv1beta1.AuthorizationPolicy
	bindingsIn  map[string][]*rbacv1.RoleBinding
	// gateway is where people come in, and routes lead from there.
	gateway place
	routes  routes
	issuers []issuer
	// places are those behind Services that were asked about, by name and port.
	places sync.Map
}

// New returns the engine for s.
func New(s *snapshot.Snapshot, options Options) *Engine {
	e := &Engine{
		options: options, snapshot: s, rbac: rbac.New(s),
		policies:        mesh.Compile(s.AuthorizationPolicies, s.Mesh),
		authentications: mesh.CompileAuthentication(s.RequestAuthentications, s.Mesh),
		peers:           mesh.CompilePeers(s.PeerAuthentications, s.Mesh),
		namespaces:      make(map[string]*corev1.Namespace, len(s.Namespaces)),
		services:        make(map[string]*corev1.Service, len(s.Services)),
		pods:            map[string][]*corev1.Pod{},
		byNamespace:     map[string][]*securityv1beta1.AuthorizationPolicy{},
		bindingsIn:      map[string][]*rbacv1.RoleBinding{},
	}
	e.options.UserHeader, e.options.GroupsHeader = strings.ToLower(options.UserHeader), strings.ToLower(options.GroupsHeader)
	for _, ns := range s.Namespaces {
		e.namespaces[ns.Name] = ns
	}
	for _, service := range s.Services {
		e.services[service.Namespace+"/"+service.Name] = service
	}
	for _, pod := range s.Pods {
		if pod.DeletionTimestamp.IsZero() && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			e.pods[pod.Namespace] = append(e.pods[pod.Namespace], pod)
		}
	}
	for _, policy := range s.AuthorizationPolicies {
		e.byNamespace[policy.Namespace] = append(e.byNamespace[policy.Namespace], policy)
	}
	for _, binding := range s.RoleBindings {
		e.bindingsIn[binding.Namespace] = append(e.bindingsIn[binding.Namespace], binding)
	}
	e.gateway = e.gatewayPlace()
	e.guard(&e.gateway)
	e.issuers = issuersOf(s.RequestAuthentications, e.options.UserHeader)
	e.routes = routesOf(s.VirtualServices, options.Gateway)
	return e
}

// RBAC answers questions about the Kubernetes API alone.
func (e *Engine) RBAC() *rbac.Authorizer { return e.rbac }

// Can decides about q, layer by layer. An error says what in the question makes no sense.
func (e *Engine) Can(q Question) (Decision, error) {
	if q.Resource != nil {
		return decided([]Step{e.resource(q.User, *q.Resource)}), nil
	}
	return e.web(q)
}

// resource is what RBAC says.
func (e *Engine) resource(user rbac.User, q rbac.Question) Step {
	step := Step{Layer: "RBAC", Verdict: mesh.Denied, Why: "no binding gives it: what is not given is denied"}
	d := e.rbac.Can(user, q)
	if d.Allowed {
		step.Verdict = mesh.Allowed
	}
	switch {
	case d.Master:
		step.By, step.Why = "group "+rbac.GroupMasters, "members of it may do everything"
	case d.Allowed:
		step.By, step.Why = d.Grants[0].Binding.String(), said(d.Grants[0])
		for _, g := range d.Grants[1:] {
			step.Notes = append(step.Notes, "so does "+g.Binding.String()+": "+said(g))
		}
	}
	if q.Namespace != "" && e.namespaces[q.Namespace] == nil && len(e.namespaces) > 0 {
		step.Notes = append(step.Notes, fmt.Sprintf("there is no namespace %q", q.Namespace))
	}
	return step
}

// said is a grant as a sentence.
func said(g rbac.Grant) string {
	text := "it gives " + g.Role.String() + " to " + strings.ToLower(g.Subject.Kind) + " " + namespaced(g.Subject.Namespace, g.Subject.Name)
	rule := "rule " + strconv.Itoa(g.Rule.Index)
	if g.Rule.From != g.Role {
		rule += " of " + g.Rule.From.String() + ", which is part of it,"
	}
	return text + "; " + rule + " allows " + strings.Join(g.Rule.Policy.Verbs, ", ") + " on " + on(g)
}

func namespaced(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// on is what a rule is about.
func on(g rbac.Grant) string {
	p := g.Rule.Policy
	if len(p.NonResourceURLs) > 0 {
		return strings.Join(p.NonResourceURLs, ", ")
	}
	const most = 6
	resources := p.Resources
	text := strings.Join(resources[:min(most, len(resources))], ", ")
	if more := len(resources) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	if len(p.ResourceNames) > 0 {
		text += " called " + strings.Join(p.ResourceNames, ", ")
	}
	return text
}
