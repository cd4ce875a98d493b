// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	istiosecurity "istio.io/api/security/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth.dev/berth/internal/snapshot"
)

// Authentications are the RequestAuthentications of a mesh. They are safe for use by several goroutines.
type Authentications struct {
	mesh        snapshot.Mesh
	byNamespace map[string][]authentication
}

type authentication struct {
	attachment attachment
	rules      []*jwtRule
}

// CompileAuthentication prepares RequestAuthentications for questions.
func CompileAuthentication(list []*securityv1beta1.RequestAuthentication, mesh snapshot.Mesh) *Authentications {
	if mesh.RootNamespace == "" {
		mesh.RootNamespace = snapshot.DefaultMesh().RootNamespace
	}
	all := &Authentications{mesh: mesh, byNamespace: map[string][]authentication{}}
	list = slices.DeleteFunc(slices.Clone(list), func(a *securityv1beta1.RequestAuthentication) bool { return a == nil })
	slices.SortStableFunc(list, func(a, b *securityv1beta1.RequestAuthentication) int {
		return older(&a.ObjectMeta, &b.ObjectMeta)
	})
	for _, object := range list {
		a := authentication{attachment: attachmentOf(object.Namespace, &object.Spec)}
		for i, spec := range object.Spec.GetJwtRules() {
			if spec != nil {
				a.rules = append(a.rules, compileJWT(object.Namespace+"/"+object.Name, i, spec))
			}
		}
		all.byNamespace[object.Namespace] = append(all.byNamespace[object.Namespace], a)
	}
	return all
}

// Older is Istio's order of objects, of which the first may win.
func older(a, b *metav1.ObjectMeta) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Namespace, b.Namespace))
}

// An Authenticator is what verifies tokens in front of one workload. It is safe for use by several goroutines.
type Authenticator struct {
	rules []*jwtRule
}

// For finds the RequestAuthentications that are for w. Ztunnels see no tokens.
func (a *Authentications) For(w Workload) *Authenticator {
	found := &Authenticator{}
	if w.Enforcer == None || w.Enforcer == Ztunnel {
		return found
	}
	root := a.mesh.RootNamespace
	names := []string{w.Namespace}
	for _, namespace := range []string{root, w.serviceNamespace()} {
		if !slices.Contains(names, namespace) {
			names = append(names, namespace)
		}
	}
	for _, namespace := range names {
		for _, one := range a.byNamespace[namespace] {
			if one.attachment.reaches(&w, root) {
				found.rules = append(found.rules, one.rules...)
			}
		}
	}
	slices.SortStableFunc(found.rules, func(a, b *jwtRule) int { return compareStrings(a.issuer, b.issuer) })
	return found
}

// Takes finds the issuer, and an audience, of tokens that the first rule for the issuer takes; for an empty one the first rule
// of all. The audience is empty where none is asked for.
func (a *Authenticator) Takes(issuer string) (name, audience string) {
	for _, rule := range a.rules {
		if issuer == "" || rule.issuer == issuer {
			if len(rule.audiences) > 0 {
				audience = rule.audiences[0]
			}
			return rule.issuer, audience
		}
	}
	return issuer, ""
}

// Presented is a token that a request carries, as somebody sees it who can verify it.
type Presented struct {
	Token
	// Invalid says why the token is not good: a wrong signature, or its time. It is empty for a good one.
	Invalid string
}

// Authentication is what became of a request where tokens are verified.
type Authentication struct {
	// Verdict is Allowed or Denied.
	Verdict Verdict
	// Status is the HTTP status of a denial: 401, or 403 for a token for others.
	Status int
	// Request is what policies and the next hop see.
	Request Request
	// Policy is the RequestAuthentication whose rule verified a token, or refused one, as namespace/name; and Rule the
	// index of the rule, or -1.
	Policy string
	Rule   int
	// Why is a sentence.
	Why string
}

// Authenticate does to r what Envoy's jwt_authn filter does: it takes tokens from headers, query parameters and cookies,
// verifies them, removes what clients sent of the headers that it writes, writes them, and removes the token where it is
// not forwarded. Tokens says of each text of a token what it is; one of which it says nothing counts as invalid.
//
// Rules are tried in the order of their issuers, and the first that is satisfied ends it: headers of rules behind it are
// neither written nor removed. CORS preflights pass as they are. Source: Envoy's jwt_authn, and Istio's requirement of any
// rule, or no token at all.
func (a *Authenticator) Authenticate(r Request, tokens map[string]Presented) Authentication {
	r.Token, r.Received = nil, nil
	r.Headers = lowerNames(r.Headers)
	result := Authentication{Verdict: Allowed, Request: r, Rule: -1, Why: "no token is asked for"}
	if len(a.rules) == 0 || r.TCP {
		return result
	}
	if isPreflight(&r) {
		result.Why = "CORS preflights are not authenticated, and keep all headers"
		return result
	}
	received := r
	r.Received, r.Headers = &received, maps.Clone(r.Headers)
	var failed []failure
	for _, rule := range a.rules {
		f := rule.verify(&r, tokens)
		if f == nil {
			result.Request, result.Policy, result.Rule = r, rule.policy, rule.index
			result.Why = rule.String() + ", verified a token of " + rule.issuer
			return result
		}
		failed = append(failed, *f)
	}
	result.Request = r
	if worst := worstOf(failed); worst.kind != missing {
		r.Token = nil
		result = Authentication{
			Verdict: Denied, Status: 401, Request: r, Policy: worst.rule.policy, Rule: worst.rule.index,
			Why: worst.rule.String() + ", refuses a token: " + worst.why,
		}
		if worst.kind == wrongAudience {
			result.Status = 403
		}
		return result
	}
	result.Request.Token = nil
	result.Why = "the request has no token, which RequestAuthentications alone allow"
	return result
}

const preflightMethod = "OPTIONS"

func isPreflight(r *Request) bool {
	return r.Method == preflightMethod && strings.Join(r.Headers["origin"], "") != "" &&
		strings.Join(r.Headers["access-control-request-method"], "") != ""
}

type failureKind int

const (
	missing failureKind = iota
	wrongIssuer
	wrongAudience
	invalid
)

type failure struct {
	kind failureKind
	rule *jwtRule
	why  string
}

// WorstOf is the failure that Envoy answers with.
func worstOf(all []failure) failure {
	worst := failure{kind: missing}
	for _, f := range all {
		if f.kind > wrongIssuer || worst.kind == missing {
			worst = f
		}
	}
	return worst
}

// The default places of tokens.
var (
	bearer      = &istiosecurity.JWTHeader{Name: "authorization", Prefix: "Bearer "}
	accessToken = "access_token"
)
