// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	istiosecurity "istio.io/api/security/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	rbacv1 "k8s.io/api/rbac/v1"

	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/identity"
)

// probes are requests that together tell policies apart: for each value that a policy names one that has it, and one that
// has none of them.
type probes struct {
	methods, paths []string
	ports          []uint16
	// people come by the gateway; principals come from inside.
	people, principals []string
}

// most of each kind of probe: policies of one namespace name a few.
const mostProbes = 24

// elsewhere stands for what no policy names.
const (
	elsewherePath      = "/anything/else"
	elsewhereNamespace = "another-namespace"
	// tenantAccount is what tenants run has, mostly.
	tenantAccount = "default-editor"
)

// collect adds what policies of e's mesh name.
func (p *probes) collect(e *Engine, policies []*securityv1beta1.AuthorizationPolicy) {
	for _, policy := range policies {
		for _, rule := range policy.Spec.GetRules() {
			for _, to := range rule.GetTo() {
				p.operation(to.GetOperation())
			}
			for _, from := range rule.GetFrom() {
				s := from.GetSource()
				p.sources(e, policy.Namespace, slices.Concat(s.GetPrincipals(), s.GetNotPrincipals()), slices.Concat(s.GetNamespaces(), s.GetNotNamespaces()),
					slices.Concat(s.GetServiceAccounts(), s.GetNotServiceAccounts()))
			}
			for _, when := range rule.GetWhen() {
				named := slices.Concat(when.GetValues(), when.GetNotValues())
				switch key := when.GetKey(); {
				case key == "source.principal":
					p.sources(e, policy.Namespace, named, nil, nil)
				case key == "source.namespace":
					p.sources(e, policy.Namespace, nil, named, nil)
				case key == "source.serviceAccount":
					p.sources(e, policy.Namespace, nil, nil, named)
				case key == "destination.port":
					p.operation(&istiosecurity.Operation{Ports: named})
				case strings.EqualFold(key, "request.headers["+e.options.UserHeader+"]"):
					for _, value := range named {
						p.people = append(p.people, strings.TrimPrefix(sample(value, stranger), e.options.UserPrefix))
					}
				}
			}
		}
	}
}

// sources adds workloads that a rule of a policy in namespace names in one of three ways.
func (p *probes) sources(e *Engine, namespace string, principals, namespaces, accounts []string) {
	for _, principal := range principals {
		p.principals = append(p.principals, sample(principal, e.principal(elsewhereNamespace, defaultAccount)))
	}
	for _, pattern := range namespaces {
		account := defaultAccount
		switch {
		case pattern == "*":
			pattern = elsewhereNamespace
		case e.isTenant(pattern):
			account = tenantAccount
		}
		p.principals = append(p.principals, e.principal(strings.ReplaceAll(pattern, "*", "x"), account))
	}
	for _, account := range accounts {
		of, name, qualified := strings.Cut(account, "/")
		if !qualified {
			of, name = namespace, account
		}
		p.principals = append(p.principals, e.principal(of, name))
	}
}

func (p *probes) operation(o *istiosecurity.Operation) {
	p.methods = slices.Concat(p.methods, o.GetMethods(), o.GetNotMethods())
	for _, path := range slices.Concat(o.GetPaths(), o.GetNotPaths()) {
		path = strings.NewReplacer("{**}", "x/y", "{*}", "x").Replace(path)
		p.paths = append(p.paths, sample(path, elsewherePath))
	}
	for _, port := range slices.Concat(o.GetPorts(), o.GetNotPorts()) {
		if number, err := strconv.ParseUint(port, 10, 16); err == nil {
			p.ports = append(p.ports, uint16(number))
		}
	}
}

// sample is a value that a pattern with * at one end matches; other for one that takes all.
func sample(pattern, other string) string {
	switch {
	case pattern == "*" || pattern == "":
		return other
	case strings.HasSuffix(pattern, "*"):
		return strings.TrimSuffix(pattern, "*") + "x"
	case strings.HasPrefix(pattern, "*/"):
		return "/x" + strings.TrimPrefix(pattern, "*")
	case strings.HasPrefix(pattern, "*"):
		return "x" + strings.TrimPrefix(pattern, "*")
	}
	return pattern
}

// finish sorts p, adds what policies do not name, and says whether something had to be left out.
func (p *probes) finish(trustDomain, namespace string) (cut bool) {
	tidy := func(list []string, more ...string) []string {
		list = append(list, more...)
		slices.Sort(list)
		list = slices.Compact(list)
		cut = cut || len(list) > mostProbes
		return list[:min(len(list), mostProbes)]
	}
	p.methods = slices.DeleteFunc(p.methods, func(m string) bool { return strings.Contains(m, "*") })
	p.methods = tidy(p.methods, "GET", "POST")
	p.paths = slices.DeleteFunc(p.paths, func(path string) bool { return !strings.HasPrefix(path, "/") })
	p.paths = tidy(p.paths, elsewherePath)
	p.people = tidy(p.people)
	p.principals = tidy(p.principals, trustDomain+"/ns/"+elsewhereNamespace+"/sa/"+defaultAccount, trustDomain+"/ns/"+namespace+"/sa/"+tenantAccount)
	p.ports = append(p.ports, 8888) //nolint:mnd // where notebooks listen
	slices.Sort(p.ports)
	p.ports = slices.Compact(p.ports)
	p.ports = p.ports[:min(len(p.ports), mostProbes)]
	return cut
}

// caller is somebody who makes requests.
type caller struct {
	who     string
	subject rbacv1.Subject
	// outsider is set where that does not follow from subject.
	outsider bool
	// principal is who comes from inside; empty in plain text. header is the user that they claim to be.
	principal, header string
	// gateway is set for those who come by it, signed in as user, or not.
	gateway bool
	user    string
}

// callers are all whose requests are compared in a namespace.
func (p *probes) callers(e *Engine, namespace string) []caller {
	var all []caller
	people := map[string]bool{}
	for _, name := range p.people {
		people[name] = true
	}
	claimed := ""
	for _, key := range slices.Sorted(maps.Keys(e.members(namespace))) {
		if name, isUser := strings.CutPrefix(key, rbacv1.UserKind+"\x00"); isUser && !strings.HasPrefix(name, "system:") {
			people[name], claimed = true, name
		}
	}
	delete(people, stranger)
	for _, name := range slices.Sorted(maps.Keys(people)) {
		s := rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
		all = append(all, caller{who: name, subject: s, gateway: true, user: name})
	}
	all = append(all,
		caller{who: "anybody else who has signed in", outsider: true, gateway: true, user: stranger},
		caller{who: "anybody who has not signed in", outsider: true, gateway: true},
		caller{who: "callers in plain text, without identity", outsider: true})
	for _, principal := range p.principals {
		s, ok := accountOf(principal)
		if !ok {
			continue
		}
		who := whoText(s)
		if s.Namespace == elsewhereNamespace {
			who = "workloads of other namespaces"
		}
		c := caller{who: who, subject: s, principal: principal, outsider: s.Namespace == elsewhereNamespace}
		all = append(all, c)
		if claimed != "" && principal != e.principal(e.gateway.Namespace, e.gateway.account) {
			c.who, c.header = c.who+" that claim to be a member", claimed
			all = append(all, c)
		}
	}
	return all
}

// accountOf is the service account of a principal.
func accountOf(principal string) (rbacv1.Subject, bool) {
	_, rest, found := strings.Cut(principal, "/ns/")
	namespace, name, both := strings.Cut(rest, "/sa/")
	s := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}
	_, _, ok := identity.ServiceAccount(s)
	return s, found && both && ok
}

// ask is what is said to a caller's request to a place, in the variant x if that is not nil; where the gateway lets it
// through, by the place itself.
func (e *Engine) ask(c *caller, at *place, r mesh.Request, x *variant) mesh.Decision {
	r.Headers = map[string][]string{}
	v := visit{Request: x.with(r)}
	if !c.gateway {
		v.Principal = c.principal
		if c.header != "" {
			v.Headers[e.options.UserHeader] = []string{e.options.UserPrefix + c.header}
		}
		if x.bears() {
			v.carry(x.tokenFor(at))
		}
		return e.decide(at, v)
	}
	if x.bears() {
		v.tokens = map[string]mesh.Presented{signedIn: {Token: x.token}}
	}
	var step Step
	seen, denied := e.signIn(rbac.SignedIn(c.user), v, &step)
	if denied {
		return mesh.Decision{Verdict: mesh.Denied, Rule: -1}
	}
	first := e.gateway.filter.Decide(seen.Request)
	if first.Verdict == mesh.Denied {
		return first
	}
	seen.Received, seen.Token = nil, nil
	// The connection is the gateway's from here on, and none that a policy names.
	seen.Principal, seen.SourceIP, seen.SNI = e.principal(e.gateway.Namespace, e.gateway.account), elsewhereAddress, ""
	then := e.decide(at, seen)
	if then.Verdict == mesh.Allowed {
		then.Verdict = first.Verdict
	}
	return then
}
