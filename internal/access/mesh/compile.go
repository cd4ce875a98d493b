// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	istiosecurity "istio.io/api/security/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"

	"berth.dev/berth/internal/snapshot"
)

// Policies are the AuthorizationPolicies of a mesh, compiled once. They are safe for use by several goroutines.
type Policies struct {
	mesh        snapshot.Mesh
	byNamespace map[string][]*policy
	problems    []Problem
}

// A policy is one AuthorizationPolicy, its rules once for requests and once for connections.
type policy struct {
	namespace, name string
	action          istiosecurity.AuthorizationPolicy_Action
	dryRun          bool
	provider        string
	attachment      attachment
	http, tcp       []*rule
	// Ztunnel compiles, once and if asked, what a ztunnel has of it.
	ztunnel func() ztunnelRules
}

func (p *policy) key() string { return p.namespace + "/" + p.name }

// Problem is what Istio silently makes of a policy that says something else.
type Problem struct {
	// Policy is namespace/name, Rule the index of the rule, or -1.
	Policy string
	Rule   int
	// Field is such as to.paths, or the key of a condition.
	Field string
	// Why says what is wrong, and what comes of it.
	Why string
}

func (p Problem) String() string {
	where := p.Policy
	if p.Rule >= 0 {
		where += fmt.Sprintf(", rule %d", p.Rule)
	}
	if p.Field != "" {
		where += ", " + p.Field
	}
	return where + ": " + p.Why
}

// Compile prepares policies for questions. What Istio ignores of them is among Problems.
func Compile(policies []*securityv1beta1.AuthorizationPolicy, mesh snapshot.Mesh) *Policies {
	if mesh.RootNamespace == "" {
		mesh.RootNamespace = snapshot.DefaultMesh().RootNamespace
	}
	c := compiler{domains: domainsOf(mesh), root: mesh.RootNamespace}
	all := &Policies{mesh: mesh, byNamespace: map[string][]*policy{}}
	for _, object := range policies {
		if object == nil {
			continue
		}
		p := c.policy(object)
		if p != nil {
			all.byNamespace[p.namespace] = append(all.byNamespace[p.namespace], p)
		}
	}
	all.problems = c.problems
	slices.SortFunc(all.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Field, b.Field),
			cmp.Compare(a.Why, b.Why))
	})
	all.problems = slices.Compact(all.problems)
	return all
}

// Problems are what Istio makes of invalid values, sorted by policy and rule.
func (p *Policies) Problems() []Problem { return slices.Clone(p.problems) }

const dryRunAnnotation = "istio.io/dry-run"

type compiler struct {
	domains  trustDomains
	root     string
	problems []Problem
}

func (c *compiler) policy(object *securityv1beta1.AuthorizationPolicy) *policy {
	spec := &object.Spec
	p := &policy{
		namespace: object.Namespace, name: object.Name, action: spec.GetAction(),
		provider:   spec.GetProvider().GetName(),
		attachment: attachmentOf(object.Namespace, spec),
	}
	p.ztunnel = sync.OnceValue(func() ztunnelRules { return compileZtunnel(p, object, c.root) })
	if _, known := istiosecurity.AuthorizationPolicy_Action_name[int32(p.action)]; !known {
		c.report(p, -1, "action", "Istio knows no such action: the policy is ignored")
		return nil
	}
	dry, known := dryRunOf(object.Annotations)
	if p.dryRun = dry; !known {
		c.report(p, -1, dryRunAnnotation, "it is neither true nor false: the policy is enforced")
	}
	for i, r := range spec.GetRules() {
		if r == nil {
			c.report(p, i, "", "the rule is null: it is dropped")
			continue
		}
		compiled, usesHTTP := c.rule(p, i, r, false)
		if compiled != nil {
			p.http = append(p.http, compiled)
		}
		if usesHTTP {
			compiled, _ = c.rule(p, i, r, true)
		}
		if compiled != nil {
			p.tcp = append(p.tcp, compiled)
		}
	}
	return p
}

// DryRunOf returns false for known if the annotation is there and makes no sense.
func dryRunOf(annotations map[string]string) (dry, known bool) {
	value, found := annotations[dryRunAnnotation]
	if !found {
		return false, true
	}
	dry, err := strconv.ParseBool(value)
	return dry, err == nil
}

func (c *compiler) report(p *policy, rule int, field, why string) {
	c.problems = append(c.problems, Problem{Policy: p.key(), Rule: rule, Field: field, Why: why})
}

// Rule compiles a rule for requests or, with forTCP, for connections. It returns nil for a rule that Istio drops, and
// whether it has what only requests have.
func (c *compiler) rule(p *policy, index int, spec *istiosecurity.Rule, forTCP bool) (r *rule, usesHTTP bool) {
	b := clauseBuilder{compiler: c, policy: p, index: index, forTCP: forTCP, migrations: 1}
	var from, to alternatives
	for _, f := range spec.GetFrom() {
		from = append(from, b.source(f.GetSource()))
	}
	for _, t := range spec.GetTo() {
		to = append(to, b.operation(t.GetOperation()))
	}
	// Istio shares conditions between the sources of a rule, and rewrites them once for each.
	b.migrations = max(1, len(from))
	var when alternatives
	if c := b.when(spec.GetWhen()); len(c.conditions) > 0 {
		when = alternatives{c}
	}
	if b.drop {
		return nil, b.usesHTTP
	}
	r = newRule(p, index)
	for _, part := range []alternatives{from, to, when} {
		if len(part) > 0 {
			r.parts = append(r.parts, part)
		}
	}
	r.finish()
	return r, b.usesHTTP
}

// A clauseBuilder compiles one rule.
type clauseBuilder struct {
	*compiler
	policy *policy
	index  int
	forTCP bool
	// Migrations says how often values are rewritten for the aliases of trust domains.
	migrations int
	usesHTTP   bool
	// Drop is set once the rule can't be kept.
	drop bool
}

func (b *clauseBuilder) source(s *istiosecurity.Source) clause {
	var c clause
	b.add(&c, "from.principals", principals, s.GetPrincipals(), s.GetNotPrincipals())
	b.add(&c, "from.requestPrincipals", requestPrincipals, s.GetRequestPrincipals(), s.GetNotRequestPrincipals())
	b.add(&c, "from.serviceAccounts", accounts, s.GetServiceAccounts(), s.GetNotServiceAccounts())
	b.add(&c, "from.trustDomains", trustedDomains, s.GetTrustDomains(), s.GetNotTrustDomains())
	b.add(&c, "from.namespaces", namespaces, s.GetNamespaces(), s.GetNotNamespaces())
	b.add(&c, "from.remoteIpBlocks", remoteIPs, s.GetRemoteIpBlocks(), s.GetNotRemoteIpBlocks())
	b.add(&c, "from.ipBlocks", sourceIPs, s.GetIpBlocks(), s.GetNotIpBlocks())
	return c
}

func (b *clauseBuilder) operation(o *istiosecurity.Operation) clause {
	var c clause
	b.add(&c, "to.hosts", hosts, o.GetHosts(), o.GetNotHosts())
	b.add(&c, "to.methods", methods, o.GetMethods(), o.GetNotMethods())
	b.add(&c, "to.paths", paths, o.GetPaths(), o.GetNotPaths())
	b.add(&c, "to.ports", destinationPorts, o.GetPorts(), o.GetNotPorts())
	return c
}

func (b *clauseBuilder) when(conditions []*istiosecurity.Condition) clause {
	var c clause
	for _, condition := range conditions {
		key := condition.GetKey()
		f, err := whenField(key)
		if err != nil {
			b.drop = true
			b.reportOnce(key, err.Error()+": the whole rule is dropped")
			continue
		}
		b.add(&c, "when "+key, f, condition.GetValues(), condition.GetNotValues())
	}
	return c
}

// Add appends a condition. What can't be compiled drops an ALLOW rule as a whole, which allows less; of other rules it
// drops the value, and a condition without values, which denies more.
func (b *clauseBuilder) add(c *clause, name string, f field, values, notValues []string) {
	if len(values) == 0 && len(notValues) == 0 {
		return
	}
	has := b.matchers(name, f, b.migrated(f, values))
	hasNot := b.matchers("not "+name, f, b.migrated(f, notValues))
	if len(has) == 0 && len(hasNot) == 0 {
		return
	}
	c.conditions = append(c.conditions, condition{
		field: name, has: has, hasNot: hasNot, values: values, notValues: notValues, got: f.got,
	})
}

// MaxPrincipals bounds what repeated rewriting makes of a rule with many sources.
const maxPrincipals = 1 << 12

func (b *clauseBuilder) migrated(f field, values []string) []string {
	switch f.trust {
	case principalTrust:
		for range b.migrations {
			values = b.domains.principals(values)
			slices.Sort(values)
			if values = slices.Compact(values); len(values) > maxPrincipals {
				break
			}
		}
		return values
	case domainTrust:
		return b.domains.expand(values)
	}
	return values
}

func (b *clauseBuilder) matchers(name string, f field, values []string) []matcher {
	var all []matcher
	for _, value := range values {
		b.usesHTTP = b.usesHTTP || f.http
		if f.http && b.forTCP {
			b.drop = b.drop || b.allows()
			continue
		}
		m, err := f.compile(value, b.policy.namespace)
		if err == nil {
			all = append(all, m)
			continue
		}
		effect := ": the value is ignored, which makes the rule match more"
		if b.allows() {
			b.drop = true
			effect = ": the whole rule is dropped"
		}
		b.reportOnce(strings.TrimPrefix(name, "when "), err.Error()+effect)
	}
	return all
}

func (b *clauseBuilder) allows() bool {
	return b.policy.action == istiosecurity.AuthorizationPolicy_ALLOW
}

// ReportOnce reports for the rule for requests; that for connections has the same problems.
func (b *clauseBuilder) reportOnce(field, why string) {
	if !b.forTCP {
		b.report(b.policy, b.index, field, why)
	}
}
