// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package generate

import (
	"net/netip"
	"strconv"
	"strings"

	istiosecurity "istio.io/api/security/v1beta1"

	"berth.dev/berth/internal/access/mesh"
)

// wanted are the values in policies, by what they are compared with.
type wanted map[string][]string

// Requests returns a function that makes requests to the world's workload.
func (g Generator) Requests(w World) func() mesh.Request {
	want := wanted{}
	for _, p := range w.Policies {
		for _, r := range p.Spec.GetRules() {
			want.rule(r)
		}
	}
	return func() mesh.Request { return g.request(want) }
}

func (want wanted) add(what string, values ...[]string) {
	for _, v := range values {
		want[what] = append(want[what], v...)
	}
}

func (want wanted) rule(r *istiosecurity.Rule) {
	for _, f := range r.GetFrom() {
		s := f.GetSource()
		want.add("source.principal", s.GetPrincipals(), s.GetNotPrincipals())
		want.add("source.namespace", s.GetNamespaces(), s.GetNotNamespaces())
		want.add("source.serviceAccount", s.GetServiceAccounts(), s.GetNotServiceAccounts())
		want.add("source.trustDomain", s.GetTrustDomains(), s.GetNotTrustDomains())
		want.add("source.ip", s.GetIpBlocks(), s.GetNotIpBlocks())
		want.add("remote.ip", s.GetRemoteIpBlocks(), s.GetNotRemoteIpBlocks())
		want.add("request.auth.principal", s.GetRequestPrincipals(), s.GetNotRequestPrincipals())
	}
	for _, t := range r.GetTo() {
		o := t.GetOperation()
		want.add("host", o.GetHosts(), o.GetNotHosts())
		want.add("path", o.GetPaths(), o.GetNotPaths())
		want.add("method", o.GetMethods(), o.GetNotMethods())
		want.add("destination.port", o.GetPorts(), o.GetNotPorts())
	}
	for _, c := range r.GetWhen() {
		want.add(c.GetKey(), c.GetValues(), c.GetNotValues())
	}
}

// word is one that the policies have in mind, or any.
func (g Generator) word(want wanted, what string, words []string) string {
	if values := want[what]; len(values) > 0 && g.IntN(4) > 0 {
		return g.like(pick(g, values), words)
	}
	return pick(g, words)
}

func (g Generator) request(want wanted) mesh.Request {
	r := mesh.Request{
		Principal:     g.caller(want),
		SourceIP:      g.address(want, "source.ip"),
		RemoteIP:      g.address(want, "remote.ip"),
		DestinationIP: g.address(want, "destination.ip"),
		Port:          8080,
		TCP:           g.Connections || g.oneIn(8),
	}
	if port, err := strconv.ParseUint(g.word(want, "destination.port", ports), 10, 16); err == nil && port > 0 {
		r.Port = uint16(port)
	}
	if g.oneIn(2) {
		r.SNI = g.word(want, "connection.sni", servers)
	}
	if r.TCP {
		return r
	}
	r.Method = nonEmpty(g.word(want, "method", methods), "GET")
	r.Host = nonEmpty(g.word(want, "host", hosts), "x")
	r.Path = g.requestPath(want)
	r.Headers = g.headers(want)
	if g.IntN(3) > 0 {
		r.Token = g.token(want)
	}
	return r
}

func nonEmpty(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// caller is an identity in which, if policies name but a part, that part is.
func (g Generator) caller(want wanted) string {
	switch g.IntN(8) {
	case 0:
		return ""
	case 1:
		return pick(g, oddIdentities)
	case 2, 3:
		return pick(g, identities)
	case 4, 5:
		return g.word(want, "source.principal", identities)
	}
	domain := g.word(want, "source.trustDomain", trustDomains)
	namespace := g.word(want, "source.namespace", namespaces)
	account := g.word(want, "source.serviceAccount", serviceAccounts)
	if ns, name, ok := strings.Cut(account, "/"); ok {
		namespace, account = ns, name
	}
	return domain + "/ns/" + namespace + "/sa/" + account
}

func (g Generator) address(want wanted, what string) netip.Addr {
	if values := want[what]; len(values) > 0 && g.oneIn(2) {
		text, _, _ := strings.Cut(pick(g, values), "/")
		if addr, err := netip.ParseAddr(text); err == nil {
			if g.oneIn(2) {
				addr = addr.Next()
			}
			return addr
		}
	}
	return netip.MustParseAddr(pick(g, addresses))
}

func (g Generator) requestPath(want wanted) string {
	path := g.word(want, "path", paths)
	path = strings.ReplaceAll(path, "{**}", pick(g, []string{"", "x", "x/y", "a/b/c"}))
	path = strings.ReplaceAll(path, "{*}", pick(g, []string{"x", "b", "", "x/y", "x=y", "a.b"}))
	path = strings.Map(func(c rune) rune {
		if c == '{' || c == '}' {
			return -1
		}
		return c
	}, path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	if g.oneIn(6) {
		path += pick(g, queries)
	}
	return path
}

func (g Generator) headers(want wanted) map[string][]string {
	all := map[string][]string{}
	for _, name := range headerNames {
		here := wanted{}
		for key, values := range want {
			if strings.EqualFold(key, "request.headers["+name+"]") {
				here.add(name, values)
			}
		}
		switch g.IntN(8) {
		case 0, 1, 2, 3:
			all[name] = []string{g.word(here, name, headerTexts)}
		case 4:
			all[name] = []string{g.word(here, name, headerTexts), g.word(here, name, headerTexts)}
		case 5:
			all[name] = []string{""}
		}
	}
	return all
}

// token is one whose claims are of all types, and whose lists are sometimes strings.
func (g Generator) token(want wanted) *mesh.Token {
	issuer, subject := pick(g, issuers), pick(g, subjects)
	if values := want["request.auth.principal"]; len(values) > 0 && g.oneIn(2) {
		text := g.like(pick(g, values), []string{issuer + "/" + subject})
		issuer = text
		if i := strings.LastIndex(text, "/"); i >= 0 {
			issuer, subject = text[:i], text[i+1:]
		}
	}
	t := &mesh.Token{Issuer: issuer, Subject: subject, Claims: map[string]any{"iss": issuer, "sub": subject}}
	if g.oneIn(10) {
		t.Subject = ""
		delete(t.Claims, "sub")
	}
	for _, key := range []string{"groups", "email", "scope", "permission", "n", "a.b"} {
		if value, ok := g.claim(want, "request.auth.claims["+key+"]", claimTexts); ok {
			t.Claims[key] = value
		}
	}
	if value, ok := g.claim(want, "request.auth.claims[realm][roles]", claimTexts); ok {
		t.Claims["realm"] = map[string]any{"roles": value}
	}
	if value, ok := g.claim(want, "request.auth.audiences", audiences); ok {
		t.Claims["aud"] = value
	}
	if value, ok := g.claim(want, "request.auth.presenter", audiences); ok {
		t.Claims["azp"] = value
	}
	return t
}

func (g Generator) claim(want wanted, key string, words []string) (any, bool) {
	switch g.IntN(10) {
	case 0, 1, 2, 3:
		return g.word(want, key, words), true
	case 4, 5:
		return []any{g.word(want, key, words), g.word(want, key, words)}, true
	case 6:
		return pick(g, []any{true, float64(7), nil, []any{}, []any{true, float64(7)}, map[string]any{"a": "b"}}), true
	case 7:
		return g.word(want, key, words) + " " + g.word(want, key, words), true
	}
	return nil, false
}
