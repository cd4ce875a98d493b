// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	istiosecurity "istio.io/api/security/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/snapshot"
)

// reached are the namespaces that a policy is for: its own, or where it is for the whole mesh those that have what it
// selects.
func (l *linter) reached(policy *securityv1beta1.AuthorizationPolicy) []string {
	if policy.Namespace != l.snapshot.Mesh.RootNamespace {
		return []string{policy.Namespace}
	}
	selector := labels.SelectorFromSet(policy.Spec.GetSelector().GetMatchLabels())
	var all []string
	for _, ns := range l.snapshot.Namespaces {
		if selector.Empty() || slices.ContainsFunc(l.pods[ns.Name], func(pod *corev1.Pod) bool { return selector.Matches(labels.Set(pod.Labels)) }) {
			all = append(all, ns.Name)
		}
	}
	return all
}

// takesPlainText says whether some workload that a policy is for takes plain text.
func (l *linter) takesPlainText(policy *securityv1beta1.AuthorizationPolicy) bool {
	w := mesh.Workload{Namespace: policy.Namespace, Labels: policy.Spec.GetSelector().GetMatchLabels(), Enforcer: mesh.Sidecar}
	mode, _ := l.peers.For(w).Mode(0)
	return mode != mesh.Strict
}

// attachment looks for policies that are for nothing.
func (l *linter) attachment(policy *securityv1beta1.AuthorizationPolicy, object string) {
	selector := policy.Spec.GetSelector().GetMatchLabels()
	if len(selector) > 0 {
		pods, found := 0, false
		within := []string{policy.Namespace}
		if policy.Namespace == l.snapshot.Mesh.RootNamespace {
			within = slices.Sorted(maps.Keys(l.pods))
		}
		for _, namespace := range within {
			pods += len(l.pods[namespace])
			for _, pod := range l.pods[namespace] {
				if !labels.SelectorFromSet(selector).Matches(labels.Set(pod.Labels)) {
					continue
				}
				found = true
				if w := l.workload(pod); w.Enforcer == mesh.Waypoint {
					l.add(CodeNotEnforced, Error, object, "name the Gateway "+w.Gateway+" in spec.targetRefs",
						"it selects the pods of the waypoint %s/%s, which enforce only policies that name it in targetRefs", namespace, w.Gateway)
				}
			}
		}
		if pods > 0 && !found {
			l.add(CodeSelectsNothing, Warning, object, "compare spec.selector with the labels of the pods: kubectl get pods --show-labels",
				"no pod has the labels %s: it guards nothing now", labels.Set(selector))
		}
	}
	targets := policy.Spec.GetTargetRefs()
	if one := policy.Spec.GetTargetRef(); one != nil {
		targets = append(slices.Clone(targets), one)
	}
	for _, target := range targets {
		there := true
		switch target.GetKind() {
		case "Service":
			there = l.services[policy.Namespace+"/"+target.GetName()] != nil
		case "Gateway":
			there = slices.ContainsFunc(l.snapshot.Gateways, func(g snapshot.Gateway) bool { return g.Namespace == policy.Namespace && g.Name == target.GetName() })
		}
		if !there {
			l.add(CodeTargetMissing, Error, object, "name one of the same namespace, or make it", "there is no %s %s in namespace %s: the policy guards nothing",
				target.GetKind(), target.GetName(), policy.Namespace)
		}
	}
}

// waypoints looks for those that let everybody through: behind one, callers have its identity.
func (l *linter) waypoints(namespace string) {
	for _, ns := range l.snapshot.Namespaces {
		name := ns.Labels[labelWaypoint]
		if name == "" || name == nothing || !l.isAmbient(ns.Name, nil) || namespace != "" && ns.Name != namespace || !l.isTenant(ns.Name) {
			continue
		}
		in := cmp.Or(ns.Labels[labelWaypointIn], ns.Name)
		guarded := slices.ContainsFunc(slices.Concat(l.byNamespace[in], l.byNamespace[ns.Name], l.byNamespace[l.snapshot.Mesh.RootNamespace]),
			func(policy *securityv1beta1.AuthorizationPolicy) bool {
				targets := policy.Spec.GetTargetRefs()
				if one := policy.Spec.GetTargetRef(); one != nil {
					targets = append(slices.Clone(targets), one)
				}
				return policy.Spec.GetAction() == istiosecurity.AuthorizationPolicy_ALLOW && len(targets) > 0
			})
		if !guarded {
			l.add(CodeWaypointOpen, Error, "Namespace "+ns.Name, "attach ALLOW policies to it with spec.targetRefs: Gateway "+name,
				"its waypoint %s/%s has no ALLOW policy attached and lets every request through; behind it, callers come as %s", in, name, "service account "+in+"/"+l.waypointAccount(in, name))
		}
	}
}

// hasHTTP says whether a rule asks for what only requests have.
func hasHTTP(rule *istiosecurity.Rule) bool {
	return slices.ContainsFunc(rule.GetFrom(), func(f *istiosecurity.Rule_From) bool {
		s := f.GetSource()
		return len(s.GetRequestPrincipals())+len(s.GetNotRequestPrincipals())+len(s.GetRemoteIpBlocks())+len(s.GetNotRemoteIpBlocks()) > 0
	}) || slices.ContainsFunc(rule.GetTo(), func(t *istiosecurity.Rule_To) bool {
		o := t.GetOperation()
		return len(o.GetHosts())+len(o.GetNotHosts())+len(o.GetMethods())+len(o.GetNotMethods())+len(o.GetPaths())+len(o.GetNotPaths()) > 0
	}) || slices.ContainsFunc(rule.GetWhen(), func(c *istiosecurity.Condition) bool {
		return strings.HasPrefix(c.GetKey(), "request.")
	})
}

// enforcement looks for policies that what guards their workloads can't enforce.
func (l *linter) enforcement(policy *securityv1beta1.AuthorizationPolicy, object string) {
	if !slices.ContainsFunc(policy.Spec.GetRules(), hasHTTP) {
		return
	}
	l.onTCP(policy, object)
	if len(policy.Spec.GetTargetRefs()) > 0 || policy.Spec.GetTargetRef() != nil {
		return
	}
	var ambient []string
	for _, namespace := range l.reached(policy) {
		if l.isAmbient(namespace, nil) {
			ambient = append(ambient, namespace)
		}
	}
	if len(ambient) == 0 {
		return
	}
	if policy.Spec.GetSelector() != nil && len(policy.Spec.GetSelector().GetMatchLabels()) == 0 {
		l.add(CodeNotEnforced, Error, object, "leave spec.selector out", "its selector is empty, and ztunnels, which guard %s, never enforce such policies",
			strings.Join(ambient[:min(len(ambient), mostNamed)], ", "))
		return
	}
	_, lost := mesh.ZtunnelRules(policy, l.snapshot.Mesh.RootNamespace)
	if lost == "" {
		return
	}
	where := strings.Join(ambient[:min(len(ambient), mostNamed)], ", ")
	severity, comes := Warning, "who was meant to be let in is refused"
	if policy.Spec.GetAction() == istiosecurity.AuthorizationPolicy_DENY {
		severity, comes = Error, "who was meant to be refused may be let in"
	}
	l.add(CodeHTTPInAmbient, severity, object, "attach it to a waypoint with targetRefs, and use the waypoint",
		"ztunnels guard %s and see connections, not requests: %s; %s", where, lost, comes)
}

// mostNamed is how many names a message has.
const mostNamed = 3

// onTCP looks for rules about requests on ports that carry something else.
func (l *linter) onTCP(policy *securityv1beta1.AuthorizationPolicy, object string) {
	selector := labels.SelectorFromSet(policy.Spec.GetSelector().GetMatchLabels())
	var ports []string
	for _, namespace := range l.reached(policy) {
		for _, service := range l.snapshot.Services {
			if service.Namespace != namespace {
				continue
			}
			pod := l.podOf(service)
			if set := labels.Set(service.Spec.Selector); !selector.Matches(set) && (pod == nil || !selector.Matches(labels.Set(pod.Labels))) {
				continue
			}
			for _, port := range service.Spec.Ports {
				if isTCP(port) {
					ports = append(ports, fmt.Sprintf("%s/%s:%d", namespace, service.Name, port.Port))
				}
			}
		}
	}
	if len(ports) == 0 {
		return
	}
	comes := "ALLOW rules about them never let anybody in there"
	if policy.Spec.GetAction() == istiosecurity.AuthorizationPolicy_DENY {
		comes = "DENY rules about them deny all connections there"
	}
	l.add(CodeHTTPOnTCP, Warning, object, "name the ports that carry HTTP in spec.rules[].to[].operation.ports, or call them http- in the Service",
		"it asks about requests, and %s carry connections only: %s", strings.Join(ports[:min(len(ports), mostNamed)], ", "), comes)
}

// isTCP says whether Istio is told that a port carries no HTTP. Source: Istio's protocol selection.
func isTCP(port corev1.ServicePort) bool {
	protocol, _, _ := strings.Cut(port.Name, "-")
	if port.AppProtocol != nil {
		protocol = strings.ToLower(*port.AppProtocol)
	}
	return slices.Contains([]string{"tcp", "tls", "https", "mongo", "mysql", "redis"}, protocol) || port.Protocol == corev1.ProtocolUDP
}

// problems are values that Istio takes silently for something else.
func (l *linter) problems(namespace string) {
	for _, p := range l.policies.Problems() {
		if of, _, _ := strings.Cut(p.Policy, "/"); namespace != "" && of != namespace {
			continue
		}
		where := p.Field
		if p.Rule >= 0 {
			where = fmt.Sprintf("rule %d, %s", p.Rule, p.Field)
		}
		l.add(CodeInvalidValue, Error, "AuthorizationPolicy "+p.Policy, "correct the value", "%s: %s", where, p.Why)
	}
}

// tokens looks for RequestAuthentications that nothing makes anybody meet.
func (l *linter) tokens(namespace string) {
	for _, a := range l.snapshot.RequestAuthentications {
		if namespace != "" && a.Namespace != namespace || len(a.Spec.GetJwtRules()) == 0 {
			continue
		}
		selector := labels.Set(a.Spec.GetSelector().GetMatchLabels())
		asks := slices.ContainsFunc(slices.Concat(l.byNamespace[a.Namespace], l.byNamespace[l.snapshot.Mesh.RootNamespace]),
			func(policy *securityv1beta1.AuthorizationPolicy) bool {
				other := policy.Spec.GetSelector().GetMatchLabels()
				overlaps := len(other) == 0 || len(selector) == 0 || labels.SelectorFromSet(other).Matches(selector) || labels.SelectorFromSet(selector).Matches(labels.Set(other))
				return overlaps && slices.ContainsFunc(policy.Spec.GetRules(), asksForToken)
			})
		if !asks {
			l.add(CodeTokenOptional, Warning, "RequestAuthentication "+a.Namespace+"/"+a.Name,
				"add an AuthorizationPolicy with action DENY and notRequestPrincipals: [\"*\"]",
				"it verifies tokens of those who bring one, and no AuthorizationPolicy asks for one: requests without are let through")
		}
	}
}

func asksForToken(rule *istiosecurity.Rule) bool {
	return slices.ContainsFunc(rule.GetFrom(), func(f *istiosecurity.Rule_From) bool {
		return len(f.GetSource().GetRequestPrincipals())+len(f.GetSource().GetNotRequestPrincipals()) > 0
	}) || slices.ContainsFunc(rule.GetWhen(), func(c *istiosecurity.Condition) bool { return strings.HasPrefix(c.GetKey(), "request.auth.") })
}

// providers looks for external authorizers that are not there, and workloads that have several.
func (l *linter) providers(namespace string) {
	byNamespace := map[string][]string{}
	for _, policy := range l.snapshot.AuthorizationPolicies {
		if policy.Spec.GetAction() != istiosecurity.AuthorizationPolicy_CUSTOM || namespace != "" && policy.Namespace != namespace {
			continue
		}
		object, name := "AuthorizationPolicy "+policy.Namespace+"/"+policy.Name, policy.Spec.GetProvider().GetName()
		if l.snapshot.Mesh.Providers != nil && !slices.Contains(l.snapshot.Mesh.Providers, name) {
			l.add(CodeProviderMissing, Error, object, "name one of the extensionProviders of the mesh configuration",
				"the mesh has no provider %q: all requests that the policy matches are refused", name)
		}
		key := policy.Namespace + " " + labels.Set(policy.Spec.GetSelector().GetMatchLabels()).String()
		if others := byNamespace[key]; len(others) > 0 && !slices.Contains(others, name) {
			l.add(CodeSeveralProviders, Error, object, "use one provider for a workload",
				"the same workloads ask %s and %s: Istio refuses all that both would be asked about", strings.Join(others, ", "), name)
		}
		byNamespace[key] = append(byNamespace[key], name)
	}
}
