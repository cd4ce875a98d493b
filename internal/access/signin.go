// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"

	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/access/rbac"
)

// visit is a request on its way, and what the tokens say that it carries.
type visit struct {
	mesh.Request

	tokens map[string]mesh.Presented
}

// signedIn is the text of the token of somebody who has signed in: what it says is known, not how it is written.
const signedIn = "signed-in"

// authorization is the header for tokens.
const authorization = "authorization"

// carry has v carry a token that is good.
func (v *visit) carry(token mesh.Token) {
	v.Headers = maps.Clone(v.Headers)
	v.Headers[authorization] = []string{"Bearer " + signedIn}
	v.tokens = map[string]mesh.Presented{signedIn: {Token: token}}
}

// issuer is one that has a claim written into the header of the user.
type issuer struct {
	name, audience string
	// claims hold the user.
	claims []string
}

// issuersOf are those of RequestAuthentications, each way to write its tokens once: every tenant may have its own copy.
func issuersOf(authentications []*securityv1beta1.RequestAuthentication, userHeader string) []issuer {
	var found []issuer
	for _, a := range authentications {
		for _, rule := range a.Spec.GetJwtRules() {
			one := issuer{name: rule.GetIssuer()}
			for _, out := range rule.GetOutputClaimToHeaders() {
				if strings.EqualFold(out.GetHeader(), userHeader) {
					one.claims = append(one.claims, out.GetClaim())
				}
			}
			if len(rule.GetAudiences()) > 0 {
				one.audience = rule.GetAudiences()[0]
			}
			same := func(other issuer) bool {
				return other.name == one.name && other.audience == one.audience && slices.Equal(other.claims, one.claims)
			}
			if len(one.claims) > 0 && !slices.ContainsFunc(found, same) {
				found = append(found, one)
			}
		}
	}
	return found
}

// token is one that user may have of i.
func (i *issuer) token(user rbac.User) mesh.Token {
	var groups []any
	for _, group := range user.Groups {
		if !strings.HasPrefix(group, "system:") {
			groups = append(groups, group)
		}
	}
	token := mesh.Token{Issuer: i.name, Subject: user.Name, Claims: map[string]any{"iss": i.name, "sub": user.Name, "groups": groups}}
	for _, claim := range i.claims {
		token.Claims[claim] = user.Name
	}
	if i.audience != "" {
		token.Claims["aud"] = i.audience
	}
	return token
}

// signIn has v carry what a user who has signed in carries: a token of an issuer whose claims the gateway writes into the
// header of the user, or, where none does that, the header itself. A token that v has already is one of the user's: what it
// says besides who they are stays.
func (e *Engine) signIn(user rbac.User, v visit, step *Step) (visit, bool) {
	authenticator := e.gateway.authenticator
	if isNobody(user) {
		a := authenticator.Authenticate(v.Request, v.tokens)
		v.Request = a.Request
		return v, refusedToken(step, a)
	}
	said := v.tokens[signedIn]
	for _, issuer := range e.issuers {
		if said.Issuer != "" && said.Issuer != issuer.name {
			continue
		}
		token := issuer.token(user)
		if said.Subject != "" {
			token.Subject, token.Claims["sub"] = said.Subject, said.Subject
		}
		for claim, value := range said.Claims {
			if !slices.Contains(issuer.claims, claim) {
				token.Claims[claim] = value
			}
		}
		bearing := v
		bearing.carry(token)
		a := authenticator.Authenticate(bearing.Request, bearing.tokens)
		if a.Verdict == mesh.Allowed && strings.Join(a.Request.Headers[e.options.UserHeader], ",") == e.options.UserPrefix+user.Name {
			step.Notes = append(step.Notes, user.Name+" has signed in with a token of "+issuer.name)
			bearing.Request = a.Request
			return bearing, false
		}
	}
	a := authenticator.Authenticate(v.Request, v.tokens)
	if v.Request = a.Request; refusedToken(step, a) {
		return v, true
	}
	step.Notes = append(step.Notes, fmt.Sprintf("no RequestAuthentication of the gateway writes %s: it is taken for granted that whoever signs people in does, "+
		"and that what clients send of it is removed", e.options.UserHeader))
	v.Headers = maps.Clone(v.Headers)
	v.Headers[e.options.UserHeader] = []string{e.options.UserPrefix + user.Name}
	return v, false
}

func isNobody(user rbac.User) bool { return slices.Contains(user.Groups, rbac.GroupUnauthenticated) }

func refusedToken(step *Step, a mesh.Authentication) bool {
	if a.Verdict == mesh.Denied {
		step.Verdict, step.Why = mesh.Denied, a.Why
	}
	return a.Verdict == mesh.Denied
}
