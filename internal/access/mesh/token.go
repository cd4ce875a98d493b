// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"slices"
	"strings"
)

// Spaced are the claims whose strings Istio splits at spaces.
var spaced = []string{"permission", "scope"}

// Claim finds a claim by its path.
func (t *Token) claim(path []string) (any, bool) {
	if t == nil || len(path) == 0 {
		return nil, false
	}
	value, found := t.top(path[0])
	for _, name := range path[1:] {
		within, ok := value.(map[string]any)
		if !ok {
			return nil, false
		}
		value, found = within[name]
	}
	return value, found
}

func (t *Token) top(name string) (any, bool) {
	value, found := t.Claims[name]
	if !found {
		switch {
		case name == "iss" && t.Issuer != "":
			return t.Issuer, true
		case name == "sub" && t.Subject != "":
			return t.Subject, true
		}
		return nil, false
	}
	if s, ok := value.(string); ok && (name == spaced[0] || name == spaced[1]) {
		return splitClaim(s), true
	}
	return value, found
}

// SplitClaim makes the list that Envoy makes of a claim with spaces. A claim without any words stays a string.
func splitClaim(s string) any {
	var words []any
	for word := range strings.SplitSeq(s, " ") {
		if word != "" {
			words = append(words, word)
		}
	}
	if words == nil {
		return s
	}
	return words
}

// ClaimMatcher is about a claim that is a string, or a list with one that fits. Numbers and booleans never match.
func claimMatcher(path []string, p predicate) matcher {
	return func(v *view) truth {
		if v.answered {
			return v.missing("token, which the external authorizer may write")
		}
		value, found := v.token.claim(path)
		return truthOf(found && claimHas(value, p))
	}
}

func claimHas(value any, p predicate) bool {
	switch value := value.(type) {
	case string:
		return p(value)
	case []any:
		for _, element := range value {
			if s, ok := element.(string); ok && p(s) {
				return true
			}
		}
	case []string:
		return slices.ContainsFunc(value, p)
	}
	return false
}

// StringClaim is about a claim that is a string and no list.
func stringClaim(name string, p predicate) matcher {
	return func(v *view) truth {
		if v.answered {
			return v.missing("token, which the external authorizer may write")
		}
		value, _ := v.token.claim([]string{name})
		s, ok := value.(string)
		return truthOf(ok && p(s))
	}
}

// RequestPrincipal compiles ISSUER/SUBJECT, at the last slash, since issuers have slashes too. One star may lead or trail.
func requestPrincipal(value string) matcher {
	issuer, subject := issuerAndSubject(value)
	byIssuer, bySubject := stringClaim("iss", issuer), stringClaim("sub", subject)
	return func(v *view) truth { return min(byIssuer(v), bySubject(v)) }
}

func issuerAndSubject(value string) (issuer, subject predicate) {
	i := strings.LastIndex(value, "/")
	found := i >= 0
	before, after := value, ""
	if found {
		before, after = value[:i], value[i+1:]
	}
	switch {
	case value == "*":
		return something, something
	case strings.HasPrefix(value, "*") && found:
		if before == "*" {
			return something, is(after)
		}
		return endsIn(before[1:]), is(after)
	case strings.HasPrefix(value, "*"):
		return something, endsIn(value[1:])
	case strings.HasSuffix(value, "*") && found:
		if after == "*" {
			return is(before), something
		}
		return is(before), beginsWith(after[:len(after)-1])
	case strings.HasSuffix(value, "*"):
		return beginsWith(value[:len(value)-1]), something
	}
	return is(before), is(after)
}
