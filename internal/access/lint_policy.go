// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"fmt"
	"slices"
	"strings"

	istiosecurity "istio.io/api/security/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"

	"berth.dev/berth/internal/snapshot"
)

// policy looks for traps in one AuthorizationPolicy.
func (l *linter) policy(policy *securityv1beta1.AuthorizationPolicy) {
	object := "AuthorizationPolicy " + policy.Namespace + "/" + policy.Name
	action := policy.Spec.GetAction()
	for i, rule := range policy.Spec.GetRules() {
		where := fmt.Sprintf("rule %d", i)
		if len(rule.GetFrom())+len(rule.GetTo())+len(rule.GetWhen()) == 0 && action == istiosecurity.AuthorizationPolicy_ALLOW {
			l.allowsEverything(policy, object, where)
		}
		for _, from := range rule.GetFrom() {
			l.source(policy, object, where, from.GetSource())
		}
		for _, to := range rule.GetTo() {
			l.operation(object, where, action, to.GetOperation())
		}
		for _, when := range rule.GetWhen() {
			l.condition(object, where, action, when, rule)
		}
	}
	l.attachment(policy, object)
	l.enforcement(policy, object)
}

// allowsEverything: ALLOW policies add up, over the root namespace, the namespace and selectors.
func (l *linter) allowsEverything(policy *securityv1beta1.AuthorizationPolicy, object, where string) {
	if selector := policy.Spec.GetSelector().GetMatchLabels(); policy.Namespace == l.gateway.Namespace && len(selector) > 0 {
		return // gateways are opened like that: tokens are asked for by DENY policies there
	}
	severity := Warning
	if l.isTenant(policy.Namespace) || policy.Namespace == l.snapshot.Mesh.RootNamespace {
		severity = Error
	}
	var cancelled []string
	for _, other := range l.byNamespace[policy.Namespace] {
		if other.Name != policy.Name && other.Spec.GetAction() == istiosecurity.AuthorizationPolicy_ALLOW {
			cancelled = append(cancelled, other.Name)
		}
	}
	slices.Sort(cancelled)
	message := where + " is empty: it allows everything, from anywhere"
	if len(cancelled) > 0 {
		message += "; ALLOW policies add up, so it cancels what these restrict: " + strings.Join(cancelled, ", ")
	}
	l.add(CodeAllowsEverything, severity, object, "say in the rule from whom, to what or when; or delete it", "%s", message)
}

// source looks at who is meant.
func (l *linter) source(policy *securityv1beta1.AuthorizationPolicy, object, where string, s *istiosecurity.Source) {
	action := policy.Spec.GetAction()
	not := slices.Concat(s.GetNotPrincipals(), s.GetNotNamespaces(), s.GetNotServiceAccounts())
	positive := len(s.GetPrincipals())+len(s.GetNamespaces())+len(s.GetServiceAccounts()) > 0
	if action == istiosecurity.AuthorizationPolicy_ALLOW && len(not) > 0 && !positive {
		l.add(CodeNotOnMissing, Error, object, "add principals: [\"*\"] to the same source, which asks for an identity",
			"%s allows all but %s: callers in plain text have no identity, are none of those, and are let in", where, strings.Join(not, ", "))
	}
	if action == istiosecurity.AuthorizationPolicy_ALLOW && len(s.GetNotRequestPrincipals()) > 0 && len(s.GetRequestPrincipals()) == 0 {
		l.add(CodeNotOnMissing, Error, object, "add requestPrincipals: [\"*\"] to the same source, which asks for a token",
			"%s allows all but the tokens of %s: requests without a token are let in", where, strings.Join(s.GetNotRequestPrincipals(), ", "))
	}
	if action == istiosecurity.AuthorizationPolicy_DENY && positive && l.takesPlainText(policy) {
		l.add(CodeDenyNeedsIdentity, Error, object, "make mTLS STRICT with a PeerAuthentication, or allow those who may come rather than deny those who may not",
			"%s denies by identity, and the workloads take plain text, in which nobody has one: who is denied needs only leave it out", where)
	}
	for _, list := range []struct {
		field  string
		values []string
	}{
		{"principals", s.GetPrincipals()},
		{"notPrincipals", s.GetNotPrincipals()},
		{"requestPrincipals", s.GetRequestPrincipals()},
		{"notRequestPrincipals", s.GetNotRequestPrincipals()},
	} {
		l.wildcards(object, where+", "+list.field, list.values)
	}
}

// wildcards: only one * at the beginning or the end means anything.
func (l *linter) wildcards(object, where string, values []string) {
	for _, value := range values {
		inner := value
		if value != "*" {
			inner = strings.TrimPrefix(value, "*")
			if inner == value {
				inner = strings.TrimSuffix(value, "*")
			}
		}
		if value != "*" && strings.Contains(inner, "*") {
			severity := Error
			if slices.ContainsFunc(values, func(other string) bool {
				prefix, open := strings.CutSuffix(other, "*")
				return open && other != value && strings.HasPrefix(value, prefix)
			}) {
				severity = Warning // another value matches what this one was meant for
			}
			l.add(CodeInnerWildcard, severity, object, "use one * at one end, or list the values",
				"%s: in %q one * at an end stands for anything, and the other for itself: it never matches", where, value)
		}
	}
}

// operation looks at what is meant.
func (l *linter) operation(object, where string, action istiosecurity.AuthorizationPolicy_Action, o *istiosecurity.Operation) {
	l.wildcards(object, where+", methods", slices.Concat(o.GetMethods(), o.GetNotMethods()))
	l.wildcards(object, where+", hosts", slices.Concat(o.GetHosts(), o.GetNotHosts()))
	for _, paths := range [][]string{o.GetPaths(), o.GetNotPaths()} {
		l.wildcards(object, where+", paths", slices.DeleteFunc(slices.Clone(paths), func(path string) bool { return strings.Contains(path, "{") }))
	}
	normal := l.snapshot.Mesh.PathNormalization
	if action == istiosecurity.AuthorizationPolicy_DENY && len(o.GetPaths()) > 0 && (normal == snapshot.NormalizeNone || normal == snapshot.NormalizeBase || normal == "") {
		l.add(CodeDenyPath, Warning, object, "set pathNormalization.normalization: DECODE_AND_MERGE_SLASHES in the mesh configuration, or allow paths rather than deny them",
			"%s denies paths, and the mesh does not merge slashes nor decode %%2F: //admin and /%%61dmin%%2F are other paths", where)
	}
	for _, host := range o.GetHosts() {
		plain, _, hasPort := strings.Cut(host, ":")
		other := slices.ContainsFunc(o.GetHosts(), func(h string) bool {
			return h != host && (strings.HasPrefix(h, plain+":") || hasPort && h == plain)
		})
		if !strings.Contains(host, "*") && !other {
			l.add(CodeHostPort, Warning, object, fmt.Sprintf("write both %s and %s:*", plain, plain),
				"%s names the host %s: the port is a part of what is compared, so it matches only one way of writing it", where, host)
		}
	}
}

// condition looks at conditions.
func (l *linter) condition(object, where string, action istiosecurity.AuthorizationPolicy_Action, c *istiosecurity.Condition, rule *istiosecurity.Rule) {
	key := c.GetKey()
	where += ", when " + key
	header, isHeader := strings.CutPrefix(strings.ToLower(key), "request.headers[")
	header = strings.TrimSuffix(header, "]")
	if action == istiosecurity.AuthorizationPolicy_ALLOW && len(c.GetNotValues()) > 0 && len(c.GetValues()) == 0 && !slices.Contains(c.GetNotValues(), "*") {
		l.add(CodeNotOnMissing, Error, object, "ask for the attribute too: a condition on the same key with values: [\"*\"]",
			"%s allows all but %s: requests that don't have it at all are let in", where, strings.Join(c.GetNotValues(), ", "))
	}
	if !isHeader {
		l.wildcards(object, where, slices.Concat(c.GetValues(), c.GetNotValues()))
		return
	}
	for _, value := range slices.Concat(c.GetValues(), c.GetNotValues()) {
		switch {
		case value == "*" || !strings.Contains(value, "*"):
		case header == l.options.UserHeader:
			l.add(CodeIdentityWildcard, Error, object, "name the people, one value each",
				"%s: %q is a pattern, and lets everybody in whose name fits it; a user with a * in the name can't be named", where, value)
		default:
			l.add(CodeHeaderPattern, Error, object, "compare whole values, or use a claim of a verified token: request.auth.claims",
				"%s: %q is compared with all headers of that name joined by commas: a client that sends a second one makes the beginning or the end fit", where, value)
		}
	}
	if header == l.options.GroupsHeader && len(c.GetValues()) > 0 {
		l.add(CodeGroupsHeader, Error, object, "use request.auth.claims[groups], which compares each group for itself",
			"%s: several groups come as one value with commas, which no single group equals, and claims that are lists come as base64, or not at all", where)
	}
	if header == l.options.UserHeader && action == istiosecurity.AuthorizationPolicy_ALLOW && len(c.GetValues()) > 0 && !l.comesFromTrusted(rule) {
		l.add(CodeHeaderUnguarded, Error, object, "ask in the same rule for source.principals of the ingress gateway",
			"%s is believed from any caller: whoever reaches the workload can send the header of somebody else", where)
	}
}

// openToAll are service accounts whose proxies let anybody's headers through, as Kubeflow sets them up.
var openToAll = []string{"/ns/knative-serving/sa/activator", "/ns/istio-system/sa/cluster-local-gateway-service-account"}

// comesFromTrusted says whether every source of a rule is a workload that does not pass on what others claim to be.
func (l *linter) comesFromTrusted(rule *istiosecurity.Rule) bool {
	trusted := func(principals []string) bool {
		return len(principals) > 0 && !slices.ContainsFunc(principals, func(p string) bool {
			return strings.Contains(p, "*") || slices.ContainsFunc(openToAll, func(open string) bool { return strings.HasSuffix(p, open) })
		})
	}
	for _, when := range rule.GetWhen() {
		if when.GetKey() == "source.principal" && trusted(when.GetValues()) {
			return true
		}
	}
	if len(rule.GetFrom()) == 0 {
		return false
	}
	for _, from := range rule.GetFrom() {
		s := from.GetSource()
		if !trusted(s.GetPrincipals()) && len(s.GetRequestPrincipals()) == 0 && len(s.GetServiceAccounts()) == 0 {
			return false
		}
	}
	return true
}
