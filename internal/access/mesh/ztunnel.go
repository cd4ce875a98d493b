// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	istiosecurity "istio.io/api/security/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
)

// ZtunnelPolicy is what istiod makes of an AuthorizationPolicy for ztunnels. Its JSON is that of Istio's own message, but for
// the values that are zero there: scope GLOBAL and action ALLOW.
type ZtunnelPolicy struct {
	Name      string `json:"name,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	// Scope is GLOBAL, NAMESPACE or WORKLOAD_SELECTOR.
	Scope string `json:"scope"`
	// Action is ALLOW or DENY.
	Action string `json:"action"`
	// Groups are alternatives.
	Groups []ZtunnelGroup `json:"groups,omitempty"`
}

// ZtunnelGroup is what is left of a rule. All of its clauses have to match; without any it matches everything.
type ZtunnelGroup struct {
	// Rule is the index of the rule in the policy.
	Rule    int             `json:"-"`
	Clauses []ZtunnelClause `json:"rules,omitempty"`
}

// ZtunnelClause matches where one of its matches does.
type ZtunnelClause struct {
	Matches []ZtunnelMatch `json:"matches,omitempty"`
}

// ZtunnelMatch matches where all that it has does. One that has nothing never matches.
type ZtunnelMatch struct {
	Namespaces          []ZtunnelText    `json:"namespaces,omitempty"`
	NotNamespaces       []ZtunnelText    `json:"notNamespaces,omitempty"`
	ServiceAccounts     []ZtunnelAccount `json:"serviceAccounts,omitempty"`
	NotServiceAccounts  []ZtunnelAccount `json:"notServiceAccounts,omitempty"`
	Principals          []ZtunnelText    `json:"principals,omitempty"`
	NotPrincipals       []ZtunnelText    `json:"notPrincipals,omitempty"`
	SourceIPs           []ZtunnelAddress `json:"sourceIps,omitempty"`
	NotSourceIPs        []ZtunnelAddress `json:"notSourceIps,omitempty"`
	DestinationIPs      []ZtunnelAddress `json:"destinationIps,omitempty"`
	NotDestinationIPs   []ZtunnelAddress `json:"notDestinationIps,omitempty"`
	DestinationPorts    []uint16         `json:"destinationPorts,omitempty"`
	NotDestinationPorts []uint16         `json:"notDestinationPorts,omitempty"`
}

// ZtunnelText is one of four kinds of matches.
type ZtunnelText struct {
	Exact  string `json:"exact,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	Suffix string `json:"suffix,omitempty"`
	// Presence is set for *.
	Presence *struct{} `json:"presence,omitempty"`
}

// ZtunnelAccount is a service account.
type ZtunnelAccount struct {
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
}

// ZtunnelAddress is a range of IP addresses.
type ZtunnelAddress struct {
	Address []byte `json:"address"`
	Length  uint32 `json:"length"`
}

// What a ztunnel enforces and where; a message is for a policy that it does not get at all.
const (
	scopeGlobal    = "GLOBAL"
	scopeNamespace = "NAMESPACE"
	scopeSelector  = "WORKLOAD_SELECTOR"
	actionAllow    = "ALLOW"
	actionDeny     = "DENY"
)

// ZtunnelRules converts a policy as istiod does for ztunnels, which see connections and no requests. Where it returns nil,
// the ztunnel does not get the policy, and the string says why. Else the string says what was lost, if anything.
func ZtunnelRules(policy *securityv1beta1.AuthorizationPolicy, rootNamespace string) (*ZtunnelPolicy, string) {
	spec := &policy.Spec
	if dry, known := dryRunOf(policy.Annotations); dry && known {
		return nil, "it is only tried (istio.io/dry-run)"
	}
	if len(attachmentOf(policy.Namespace, spec).targets) > 0 {
		return nil, "it has targetRefs"
	}
	z := &ZtunnelPolicy{Name: policy.Name, Namespace: policy.Namespace, Scope: scopeSelector, Action: actionAllow}
	if spec.GetSelector() == nil {
		z.Scope = scopeNamespace
		if policy.Namespace == rootNamespace {
			z.Scope = scopeGlobal
		}
	}
	switch spec.GetAction() {
	case istiosecurity.AuthorizationPolicy_ALLOW:
	case istiosecurity.AuthorizationPolicy_DENY:
		z.Action = actionDeny
	default:
		return nil, "ztunnels know no action " + spec.GetAction().String()
	}
	var lost []string
	for i, rule := range spec.GetRules() {
		clauses, http := ztunnelClauses(rule, policy.Namespace)
		if len(http) > 0 {
			lost = append(lost, fmt.Sprintf("rule %d %s, as ztunnels don't see %s", i, lossOf(z.Action, clauses), strings.Join(http, ", ")))
			if z.Action == actionAllow {
				continue
			}
		}
		z.Groups = append(z.Groups, ZtunnelGroup{Rule: i, Clauses: clauses})
	}
	return z, strings.Join(lost, "; ")
}

func lossOf(action string, clauses []ZtunnelClause) string {
	if action == actionAllow {
		return "is dropped"
	}
	for _, c := range clauses {
		if !slices.ContainsFunc(c.Matches, func(m ZtunnelMatch) bool { return !m.empty() }) {
			return "never matches, and so denies nothing"
		}
	}
	return "denies more than it says"
}

// ZtunnelClauses returns what a ztunnel can see of a rule, and the names of what it can't.
func ztunnelClauses(rule *istiosecurity.Rule, namespace string) (clauses []ZtunnelClause, http []string) {
	var to, from ZtunnelClause
	for _, t := range rule.GetTo() {
		o := t.GetOperation()
		http = append(http, present(
			named{"hosts", o.GetHosts()}, named{"notHosts", o.GetNotHosts()}, named{"methods", o.GetMethods()},
			named{"notMethods", o.GetNotMethods()}, named{"paths", o.GetPaths()}, named{"notPaths", o.GetNotPaths()})...)
		to.Matches = append(to.Matches, ZtunnelMatch{
			DestinationPorts: ztunnelPorts(o.GetPorts()), NotDestinationPorts: ztunnelPorts(o.GetNotPorts()),
		})
	}
	for _, f := range rule.GetFrom() {
		s := f.GetSource()
		http = append(http, present(
			named{"remoteIpBlocks", s.GetRemoteIpBlocks()}, named{"notRemoteIpBlocks", s.GetNotRemoteIpBlocks()},
			named{"requestPrincipals", s.GetRequestPrincipals()}, named{"notRequestPrincipals", s.GetNotRequestPrincipals()})...)
		from.Matches = append(from.Matches, ZtunnelMatch{
			SourceIPs: ztunnelAddresses(s.GetIpBlocks()), NotSourceIPs: ztunnelAddresses(s.GetNotIpBlocks()),
			Namespaces: ztunnelTexts(s.GetNamespaces()), NotNamespaces: ztunnelTexts(s.GetNotNamespaces()),
			ServiceAccounts:    ztunnelAccounts(s.GetServiceAccounts(), namespace),
			NotServiceAccounts: ztunnelAccounts(s.GetNotServiceAccounts(), namespace),
			Principals:         ztunnelTexts(s.GetPrincipals()), NotPrincipals: ztunnelTexts(s.GetNotPrincipals()),
		})
	}
	for _, c := range []ZtunnelClause{to, from} {
		if len(c.Matches) > 0 {
			clauses = append(clauses, c)
		}
	}
	for _, when := range rule.GetWhen() {
		match, seen := ztunnelWhen(when)
		if !seen {
			http = append(http, when.GetKey())
		}
		clauses = append(clauses, ZtunnelClause{Matches: []ZtunnelMatch{match}})
	}
	slices.Sort(http)
	return clauses, slices.Compact(http)
}

func ztunnelWhen(when *istiosecurity.Condition) (match ZtunnelMatch, seen bool) {
	values, not := when.GetValues(), when.GetNotValues()
	switch when.GetKey() {
	case "source.ip":
		return ZtunnelMatch{SourceIPs: ztunnelAddresses(values), NotSourceIPs: ztunnelAddresses(not)}, true
	case "source.namespace":
		return ZtunnelMatch{Namespaces: ztunnelTexts(values), NotNamespaces: ztunnelTexts(not)}, true
	case "source.principal":
		return ZtunnelMatch{Principals: ztunnelTexts(values), NotPrincipals: ztunnelTexts(not)}, true
	case "destination.ip":
		return ZtunnelMatch{DestinationIPs: ztunnelAddresses(values), NotDestinationIPs: ztunnelAddresses(not)}, true
	case "destination.port":
		return ZtunnelMatch{DestinationPorts: ztunnelPorts(values), NotDestinationPorts: ztunnelPorts(not)}, true
	}
	return ZtunnelMatch{}, false
}

func (m *ZtunnelMatch) empty() bool {
	return len(m.Namespaces)+len(m.NotNamespaces)+len(m.ServiceAccounts)+len(m.NotServiceAccounts)+len(m.Principals)+
		len(m.NotPrincipals)+len(m.SourceIPs)+len(m.NotSourceIPs)+len(m.DestinationIPs)+len(m.NotDestinationIPs)+
		len(m.DestinationPorts)+len(m.NotDestinationPorts) == 0
}

type named struct {
	name   string
	values []string
}

func present(fields ...named) []string {
	var names []string
	for _, f := range fields {
		if len(f.values) > 0 {
			names = append(names, f.name)
		}
	}
	return names
}

func ztunnelTexts(values []string) []ZtunnelText {
	var all []ZtunnelText
	for _, value := range values {
		switch {
		case value == "*":
			all = append(all, ZtunnelText{Presence: &struct{}{}})
		case strings.HasPrefix(value, "*"):
			all = append(all, ZtunnelText{Suffix: value[1:]})
		case strings.HasSuffix(value, "*"):
			all = append(all, ZtunnelText{Prefix: value[:len(value)-1]})
		default:
			all = append(all, ZtunnelText{Exact: value})
		}
	}
	return all
}

func ztunnelAccounts(values []string, namespace string) []ZtunnelAccount {
	var all []ZtunnelAccount
	for _, value := range values {
		before, after, found := strings.Cut(value, "/")
		if !found {
			before, after = namespace, value
		}
		all = append(all, ZtunnelAccount{Namespace: before, ServiceAccount: after})
	}
	return all
}

// ZtunnelPorts leaves out what is no port, which makes a match wider or, where nothing is left, impossible.
func ztunnelPorts(values []string) []uint16 {
	var all []uint16
	for _, value := range values {
		if n, err := parsePort(value); err == nil {
			all = append(all, n)
		}
	}
	return all
}

func ztunnelAddresses(values []string) []ZtunnelAddress {
	var all []ZtunnelAddress
	for _, value := range values {
		if prefix, err := parsePrefix(value); err == nil {
			all = append(all, ZtunnelAddress{Address: prefix.Addr().AsSlice(), Length: uint32(prefix.Bits())}) //nolint:gosec // 0 to 128
		}
	}
	return all
}

func (a ZtunnelAddress) prefix() netip.Prefix {
	address, _ := netip.AddrFromSlice(a.Address)
	return netip.PrefixFrom(address, int(a.Length))
}
