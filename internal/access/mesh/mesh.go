// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package mesh decides what Istio's policies say of a request to a workload, as a sidecar, a waypoint, a gateway or a
// ztunnel enforces them. It is pure, and independent of Istio's own code; the tests in conformance/ compare the two.
package mesh

import (
	"net/netip"
	"strconv"
	"strings"
)

// Verdict is what is decided.
type Verdict string

const (
	// Allowed lets the request through.
	Allowed Verdict = "allowed"
	// Denied refuses it.
	Denied Verdict = "denied"
	// Unknown is up to somebody who was not asked: an external authorizer, or an attribute that the question leaves open.
	Unknown Verdict = "unknown"
)

// Enforcer is what enforces policies in front of a workload.
type Enforcer string

const (
	// Sidecar is the proxy in the workload's own pod, and that of an ingress gateway set up as a plain deployment.
	Sidecar Enforcer = "sidecar"
	// Gateway is a gateway of the Gateway API.
	Gateway Enforcer = "gateway"
	// Waypoint is the proxy of a namespace or service in ambient mode.
	Waypoint Enforcer = "waypoint"
	// Ztunnel is the node's proxy in ambient mode, which sees connections and no requests.
	Ztunnel Enforcer = "ztunnel"
	// None is a workload outside the mesh: nothing is enforced.
	None Enforcer = "none"
)

// Workload is what a request is for, or passes through.
type Workload struct {
	Namespace string
	Name      string
	Labels    map[string]string
	Enforcer  Enforcer
	// Gateway is the name, and GatewayClass the class, of the Gateway that a gateway or waypoint belongs to.
	Gateway, GatewayClass string
	// Service is the Service of the same namespace that a request to a waypoint is for; and ServiceEntry likewise.
	Service, ServiceEntry string
	// ServiceNamespace is the namespace of that, where it is another than that of the waypoint.
	ServiceNamespace string
}

// Request is what is asked of a workload.
type Request struct {
	// Principal is the identity that the caller proved with mTLS, without spiffe://: cluster.local/ns/a/sa/b. It is empty in
	// plain text.
	Principal string
	// SourceIP is the peer's address, RemoteIP that of the original client. Invalid means that it is not known.
	SourceIP, RemoteIP, DestinationIP netip.Addr
	// Port is that of the workload: the target port of a Service.
	Port uint16
	// SNI is the server name of the TLS connection.
	SNI string

	// TCP is set for a connection of which nothing is known but the above.
	TCP    bool
	Method string
	// Path is that of the request line, with its query, before normalization.
	Path string
	Host string
	// Headers are by lower-case name; a repeated one has several values.
	Headers map[string][]string
	// Token is what a RequestAuthentication verified, nil for none.
	Token *Token
	// Received is the request as it came, before RequestAuthentications took tokens out and wrote headers: CUSTOM policies see
	// that. Nil means that nothing was changed. Authenticator.Authenticate sets it.
	Received *Request
}

// Token is a verified JSON Web Token.
type Token struct {
	Issuer, Subject string
	// Claims are all of its claims: strings, numbers, booleans, lists and mappings.
	Claims map[string]any
}

// Decision is what the policies of one workload say of a request.
type Decision struct {
	Verdict Verdict
	// Policy is the one that decided, as namespace/name, and Rule the index of its rule. Where none matched Policy is empty and
	// Rule is -1.
	Policy string
	Rule   int
	// Action is that of the policy: ALLOW, DENY or CUSTOM.
	Action string
	// Why is a sentence.
	Why string
	// Unknown are what could not be decided: extension providers that would be asked, attributes that nobody gave.
	Unknown []string
	// Audited are the AUDIT rules that match, and DryRun those of policies that are only tried (istio.io/dry-run), named as By
	// does.
	Audited, DryRun []string
}

// By names the rule that decided as Istio does, ns[x]-policy[y]-rule[i]; empty where none did.
func (d Decision) By() string {
	namespace, name, found := strings.Cut(d.Policy, "/")
	if !found || d.Rule < 0 {
		return ""
	}
	return ruleName(namespace, name, d.Rule)
}

// What Istio calls a rule of a policy.
func ruleName(namespace, name string, rule int) string {
	return "ns[" + namespace + "]-policy[" + name + "]-rule[" + strconv.Itoa(rule) + "]"
}
