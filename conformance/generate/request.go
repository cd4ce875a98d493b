// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package generate

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	istiosecurity "istio.io/api/security/v1beta1"

	"berth.dev/berth/internal/access/mesh"
)

// wanted are the values in policies, by what they are compared with.
type wanted map[string][]string

// Requests returns a function that makes requests to the world's workload. Half of them are made after all that policies
// say, the others to match one rule.
func (g Generator) Requests(w World) func() mesh.Request {
	all := wanted{}
	var rules []*istiosecurity.Rule
	for _, p := range w.Policies {
		for _, r := range p.Spec.GetRules() {
			all.from(r.GetFrom()...)
			all.to(r.GetTo()...)
			all.when(r.GetWhen()...)
			rules = append(rules, r)
		}
	}
	return func() mesh.Request {
		if len(rules) == 0 || g.oneIn(2) {
			return g.request(all)
		}
		return g.matching(pick(g, rules))
	}
}

// matching makes a request that a rule matches, more often than not.
func (g Generator) matching(r *istiosecurity.Rule) mesh.Request {
	want := wanted{}
	if from := r.GetFrom(); len(from) > 0 {
		want.from(pick(g, from))
	}
	if to := r.GetTo(); len(to) > 0 {
		want.to(pick(g, to))
	}
	want.when(r.GetWhen()...)
	g.precise = true
	return g.request(want)
}

func (want wanted) add(what string, values, notValues []string) {
	if len(values) > 0 {
		want[what] = append(want[what], values...)
		return
	}
	want[notKey+what] = append(want[notKey+what], notValues...)
}

// notKey is put in front of attributes that should have none of the values.
const notKey = "not "

func (want wanted) from(all ...*istiosecurity.Rule_From) {
	for _, f := range all {
		s := f.GetSource()
		want.add("source.principal", s.GetPrincipals(), s.GetNotPrincipals())
		want.add("source.namespace", s.GetNamespaces(), s.GetNotNamespaces())
		want.add("source.serviceAccount", s.GetServiceAccounts(), s.GetNotServiceAccounts())
		want.add("source.trustDomain", s.GetTrustDomains(), s.GetNotTrustDomains())
		want.add("source.ip", s.GetIpBlocks(), s.GetNotIpBlocks())
		want.add("remote.ip", s.GetRemoteIpBlocks(), s.GetNotRemoteIpBlocks())
		want.add("request.auth.principal", s.GetRequestPrincipals(), s.GetNotRequestPrincipals())
	}
}

func (want wanted) to(all ...*istiosecurity.Rule_To) {
	for _, t := range all {
		o := t.GetOperation()
		want.add("host", o.GetHosts(), o.GetNotHosts())
		want.add("path", o.GetPaths(), o.GetNotPaths())
		want.add("method", o.GetMethods(), o.GetNotMethods())
		want.add("destination.port", o.GetPorts(), o.GetNotPorts())
	}
}

func (want wanted) when(all ...*istiosecurity.Condition) {
	for _, c := range all {
		want.add(c.GetKey(), c.GetValues(), c.GetNotValues())
	}
}

// values are those that an attribute should have, or, now and then, should not have.
func (g Generator) values(want wanted, what string) []string {
	if g.precise && len(want[what]) > 0 {
		return want[what]
	}
	if g.precise && !g.oneIn(6) || g.oneIn(4) {
		return nil
	}
	return append(slices.Clip(want[what]), want[notKey+what]...)
}

// word is one that the policies have in mind, or any.
func (g Generator) word(want wanted, what string, words []string) string {
	if values := g.values(want, what); len(values) > 0 {
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
		TCP:           g.Connections || !g.NoConnections && !g.precise && g.oneIn(8),
	}
	if port, err := strconv.ParseUint(g.word(want, "destination.port", ports), 10, 16); err == nil && port > 0 {
		r.Port = uint16(port)
	}
	if g.oneIn(2) || g.precise && len(want["connection.sni"]) > 0 {
		r.SNI = g.word(want, "connection.sni", servers)
	}
	if r.TCP {
		return r
	}
	r.Method = nonEmpty(g.word(want, "method", methods), "GET")
	r.Host = nonEmpty(g.word(want, "host", hosts), "x")
	r.Path = g.requestPath(want)
	r.Headers = g.headers(want)
	if g.IntN(3) > 0 || g.precise {
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
	choice := g.IntN(8)
	if g.precise && len(want["source.principal"]) > 0 {
		choice = 4
	} else if g.precise && len(want["source.namespace"])+len(want["source.serviceAccount"])+len(want["source.trustDomain"]) > 0 {
		choice = 7
	}
	switch choice {
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
	if values := g.values(want, what); len(values) > 0 {
		text, _, _ := strings.Cut(pick(g, values), "/")
		if addr, err := netip.ParseAddr(text); err == nil {
			if g.oneIn(2) && !g.precise {
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
	here := wanted{}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		attribute, not := strings.CutPrefix(key, notKey)
		name, isHeader := strings.CutPrefix(attribute, "request.headers[")
		name = strings.ToLower(strings.TrimSuffix(name, "]"))
		switch {
		case !isHeader || name == "" || name[0] == ':':
			continue
		case not:
			here[notKey+name] = append(here[notKey+name], want[key]...)
			continue
		}
		here[name] = append(here[name], want[key]...)
		if !slices.Contains(headerNames, name) {
			// Of headers that only golden policies name.
			all[name] = []string{g.word(here, name, headerTexts)}
		}
	}
	for _, name := range headerNames {
		choice := g.IntN(8)
		if g.precise && len(here[name]) > 0 && choice > 0 {
			choice = 1
		}
		switch choice {
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
	if values := g.values(want, "request.auth.principal"); len(values) > 0 {
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
	choice := g.IntN(10)
	if g.precise && len(want[key]) > 0 {
		choice %= 6
	}
	switch choice {
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
