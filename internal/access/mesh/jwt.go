// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	istiosecurity "istio.io/api/security/v1beta1"
)

// A jwtRule is one of a RequestAuthentication.
type jwtRule struct {
	policy    string
	index     int
	issuer    string
	audiences []string
	headers   []*istiosecurity.JWTHeader
	params    []string
	cookies   []string
	claims    []*istiosecurity.ClaimToHeader
	payload   string
	forward   bool
	spaced    []string
	written   []string // the headers that the rule writes
}

func compileJWT(policy string, index int, spec *istiosecurity.JWTRule) *jwtRule {
	r := &jwtRule{
		policy: policy, index: index, issuer: spec.GetIssuer(), headers: slices.Clone(spec.GetFromHeaders()),
		params: spec.GetFromParams(), cookies: spec.GetFromCookies(), claims: spec.GetOutputClaimToHeaders(),
		payload: lowerASCII(spec.GetOutputPayloadToHeader()), forward: spec.GetForwardOriginalToken(),
		spaced: append([]string{"permission", "scope"}, spec.GetSpaceDelimitedClaims()...),
	}
	for _, audience := range spec.GetAudiences() {
		r.audiences = append(r.audiences, plainAudience(audience))
	}
	if len(r.headers)+len(r.params)+len(r.cookies) == 0 {
		r.headers, r.params = []*istiosecurity.JWTHeader{bearer}, []string{accessToken}
	}
	slices.SortStableFunc(r.headers, func(a, b *istiosecurity.JWTHeader) int {
		return compareStrings(lowerASCII(a.GetName())+a.GetPrefix(), lowerASCII(b.GetName())+b.GetPrefix())
	})
	if r.payload != "" {
		r.written = append(r.written, r.payload)
	}
	for _, c := range r.claims {
		r.written = append(r.written, lowerASCII(c.GetHeader()))
	}
	return r
}

func (r *jwtRule) String() string {
	return fmt.Sprintf("RequestAuthentication %s, rule %d", r.policy, r.index)
}

// A find is a token in its place.
type find struct {
	text string
	// Remove takes it out of the request.
	remove func(*Request)
}

// Verify tries the rule on q and changes q as Envoy does, even where it fails half-way. Nil means that the rule is
// satisfied: at least one token, and all of them good.
func (r *jwtRule) verify(q *Request, tokens map[string]Presented) *failure {
	for _, name := range r.written {
		delete(q.Headers, name)
	}
	found := r.find(q)
	if len(found) == 0 {
		return &failure{kind: missing, rule: r}
	}
	for _, f := range slices.Backward(found) {
		token, known := tokens[f.text]
		if !known {
			return &failure{kind: invalid, rule: r, why: "nothing says that it is good"}
		}
		if fail := r.check(&token); fail != nil {
			return fail
		}
		r.write(q, &token.Token)
		if !r.forward {
			f.remove(q)
		}
		q.Token = r.verified(&token.Token)
	}
	return nil
}

func (r *jwtRule) check(token *Presented) *failure {
	issuer := token.Issuer
	if issuer == "" {
		issuer, _ = token.Claims["iss"].(string)
	}
	switch {
	case r.issuer != "" && issuer != r.issuer:
		return &failure{wrongIssuer, r, fmt.Sprintf("it is of %q, and not of %q", issuer, r.issuer)}
	case token.Invalid != "":
		return &failure{invalid, r, token.Invalid}
	case len(r.audiences) > 0 && !slices.ContainsFunc(audiencesOf(&token.Token), func(audience string) bool {
		return slices.Contains(r.audiences, plainAudience(audience))
	}):
		return &failure{wrongAudience, r, "it is for none of the audiences " + listed(r.audiences)}
	}
	return nil
}

func audiencesOf(t *Token) []string {
	switch aud := t.Claims["aud"].(type) {
	case string:
		return []string{aud}
	case []string:
		return aud
	case []any:
		var all []string
		for _, a := range aud {
			if s, ok := a.(string); ok {
				all = append(all, s)
			}
		}
		return all
	}
	return nil
}

// PlainAudience drops what Envoy disregards in audiences: the scheme and a trailing slash.
func plainAudience(audience string) string {
	audience = strings.TrimSuffix(audience, "/")
	if rest, found := strings.CutPrefix(audience, "http://"); found {
		return rest
	}
	return strings.TrimPrefix(audience, "https://")
}

func (r *jwtRule) find(q *Request) []find {
	var found []find
	for _, location := range r.headers {
		name := lowerASCII(location.GetName())
		for _, value := range q.Headers[name] {
			if text, ok := afterPrefix(value, location.GetPrefix()); ok {
				found = append(found, find{text, func(q *Request) { delete(q.Headers, name) }})
			}
		}
	}
	for _, name := range sorted(r.params) {
		if text, ok := parameter(q.Path, name); ok {
			found = append(found, find{text, func(q *Request) { q.Path = withoutParameter(q.Path, name) }})
		}
	}
	for _, name := range sorted(r.cookies) {
		if text, ok := cookie(q.Headers["cookie"], name); ok {
			// Envoy leaves cookies where they are.
			found = append(found, find{text, func(*Request) {}})
		}
	}
	return found
}

func sorted(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}

const tokenAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

// AfterPrefix finds the token behind a prefix, which may be anywhere in value.
func afterPrefix(value, prefix string) (string, bool) {
	if prefix == "" {
		return value, true
	}
	_, rest, found := strings.Cut(value, prefix)
	if !found {
		return "", false
	}
	i := strings.IndexAny(rest, tokenAlphabet)
	if i < 0 {
		return value, true
	}
	return rest[i:], true
}

func parameter(target, name string) (string, bool) {
	target, _, _ = strings.Cut(target, "#")
	_, query, _ := strings.Cut(target, "?")
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if percentDecoded(key) == name {
			return percentDecoded(value), true
		}
	}
	return "", false
}

func percentDecoded(s string) string {
	if decoded, err := url.PathUnescape(s); err == nil {
		return decoded
	}
	return s
}

func withoutParameter(target, name string) string {
	target, _, _ = strings.Cut(target, "#")
	path, query, _ := strings.Cut(target, "?")
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		if key, _, _ := strings.Cut(pair, "="); percentDecoded(key) != name {
			kept = append(kept, pair)
		}
	}
	if len(kept) == 0 {
		return path
	}
	return path + "?" + strings.Join(kept, "&")
}

func cookie(headers []string, name string) (string, bool) {
	for _, header := range headers {
		for pair := range strings.SplitSeq(header, ";") {
			key, value, found := strings.Cut(strings.TrimSpace(pair), "=")
			if found && key == name {
				return strings.Trim(value, `"`), true
			}
		}
	}
	return "", false
}

// Write copies claims to headers. Lists and mappings become the base64 of their JSON, which no policy can read.
func (r *jwtRule) write(q *Request, token *Token) {
	if r.payload != "" {
		q.Headers = added(q.Headers, r.payload, base64.RawURLEncoding.EncodeToString(toJSON(token.Claims)))
	}
	for _, c := range r.claims {
		value, _ := token.claim(strings.Split(c.GetClaim(), "."))
		if s := headerValue(value); s != "" {
			q.Headers = added(q.Headers, lowerASCII(c.GetHeader()), s)
		}
	}
}

func added(headers map[string][]string, name, value string) map[string][]string {
	if headers == nil {
		headers = map[string][]string{}
	}
	headers[name] = append(slices.Clone(headers[name]), value)
	return headers
}

func headerValue(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case string:
		return value
	case bool:
		return strconv.FormatBool(value)
	case float64:
		return number(value)
	case int:
		return number(float64(value))
	case int64:
		return number(float64(value))
	case json.Number:
		f, err := value.Float64()
		if err != nil {
			return ""
		}
		return number(f)
	}
	return base64.StdEncoding.EncodeToString(toJSON(value))
}

// Number writes numbers as Envoy does: what is an integer and not negative without a point, all others with six digits.
func number(f float64) string {
	if f < 0 || f >= math.MaxUint64 || f != math.Trunc(f) {
		return strconv.FormatFloat(f, 'f', 6, 64)
	}
	return strconv.FormatUint(uint64(f), 10)
}

func toJSON(value any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(value) != nil {
		return nil
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Verified is the token as policies see it: claims with spaces are lists.
func (r *jwtRule) verified(token *Token) *Token {
	seen := *token
	seen.Claims = maps.Clone(token.Claims)
	for _, name := range r.spaced {
		if s, ok := seen.Claims[name].(string); ok {
			seen.Claims[name] = splitClaim(s)
		}
	}
	return &seen
}
