// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	istiosecurity "istio.io/api/security/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"

	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/access/rbac"
)

// variant is what a rule asks for besides who, what and where: it is tried with the requests that this rule is about.
type variant struct {
	text string
	probes

	// headers of the request, and its host and addresses.
	headers                     map[string]string
	host, sni                   string
	source, remote, destination netip.Addr
	// token is what a token says that the request carries.
	token mesh.Token
}

// key is the same for variants that are the same.
func (v *variant) key() string {
	return strings.Join(slices.Concat([]string{v.text}, v.methods, v.paths), "\x00") + fmt.Sprint(v.ports)
}

// trait is one value of one thing that a rule asks for.
type trait struct {
	text string
	set  func(*variant)
}

// elsewhereHost and elsewhereAddress are what no policy names. Source of the address: RFC 5737.
const elsewhereHost = "another-host.example"

var elsewhereAddress = netip.AddrFrom4([4]byte{192, 0, 2, 1})

// variantsOf are those of all rules, each once: for each value that a rule names one that has it, and else the first that it
// asks for of everything.
func variantsOf(policies []*securityv1beta1.AuthorizationPolicy, userHeader string) []variant {
	var all []variant
	for _, policy := range policies {
		for _, rule := range policy.Spec.GetRules() {
			asked := asks(rule, userHeader)
			for i := range asked {
				for _, one := range slices.Concat(asked[i].wanted, asked[i].unwanted) {
					v := variant{headers: map[string]string{}}
					for j := range asked {
						if j != i && len(asked[j].wanted) > 0 {
							v.have(asked[j].wanted[0])
						}
					}
					v.have(one)
					for _, to := range rule.GetTo() {
						v.operation(to.GetOperation())
					}
					all = append(all, v)
				}
			}
		}
	}
	return all
}

func (v *variant) have(t trait) {
	if v.text != "" {
		v.text += " and "
	}
	v.text += t.text
	t.set(v)
}

// ask is one thing that a rule names: the values of which it wants one, and those that it does not want.
type ask struct{ wanted, unwanted []trait }

func askFor(wanted, unwanted []string, traits func(named []string) []trait) ask {
	return ask{traits(wanted), traits(unwanted)}
}

// or adds what another part of the rule names of the same thing: either will do.
func (a *ask) or(other ask) {
	a.wanted, a.unwanted = append(a.wanted, other.wanted...), append(a.unwanted, other.unwanted...)
}

// asks are the things that rule names.
func asks(rule *istiosecurity.Rule, userHeader string) []ask {
	var sources, remotes, callers, hosts ask
	for _, from := range rule.GetFrom() {
		s := from.GetSource()
		sources.or(askFor(s.GetIpBlocks(), s.GetNotIpBlocks(), addresses("from the address ", setSource)))
		remotes.or(askFor(s.GetRemoteIpBlocks(), s.GetNotRemoteIpBlocks(), addresses("of a client at ", setRemote)))
		callers.or(askFor(s.GetRequestPrincipals(), s.GetNotRequestPrincipals(), requestPrincipals))
	}
	for _, to := range rule.GetTo() {
		hosts.or(askFor(to.GetOperation().GetHosts(), to.GetOperation().GetNotHosts(),
			values("for the host ", elsewhereHost, func(v *variant, host string) { v.host = host })))
	}
	all := []ask{sources, remotes, callers, hosts}
	for _, when := range rule.GetWhen() {
		if traits := condition(when.GetKey(), userHeader); traits != nil {
			all = append(all, askFor(when.GetValues(), when.GetNotValues(), traits))
		}
	}
	return all
}

// condition makes the traits of a condition, and is nil for those that are tried in other ways: by callers, and by ports.
func condition(key string, userHeader string) func(named []string) []trait {
	switch key {
	case "source.ip":
		return addresses("from the address ", setSource)
	case "remote.ip":
		return addresses("of a client at ", setRemote)
	case "destination.ip":
		return addresses("to the address ", func(v *variant, a netip.Addr) { v.destination = a })
	case "connection.sni":
		return values("for the server name ", elsewhereHost, func(v *variant, name string) { v.sni = name })
	case "request.auth.principal":
		return requestPrincipals
	case "request.auth.audiences":
		return claim("aud")
	case "request.auth.presenter":
		return claim("azp")
	}
	if rest, found := strings.CutPrefix(key, "request.auth.claims["); found {
		return claim(strings.Split(strings.TrimSuffix(rest, "]"), "][")...)
	}
	name, found := strings.CutPrefix(strings.ToLower(key), "request.headers[")
	if name = strings.TrimSuffix(name, "]"); !found || name == userHeader || strings.HasPrefix(name, ":") {
		return nil
	}
	return values("with the header "+name+": ", "anything", func(v *variant, value string) { v.headers[name] = value })
}

// values makes traits with a sample of each of the values.
func values(text, other string, set func(v *variant, value string)) func(named []string) []trait {
	return func(named []string) (all []trait) {
		for _, value := range named {
			all = append(all, trait{text + value, func(v *variant) { set(v, sample(value, other)) }})
		}
		return all
	}
}

func setSource(v *variant, a netip.Addr) { v.source = a }
func setRemote(v *variant, a netip.Addr) { v.remote = a }

// addresses makes traits with the first address of each range.
func addresses(text string, set func(*variant, netip.Addr)) func(named []string) []trait {
	return func(named []string) (all []trait) {
		for _, value := range named {
			a, err := netip.ParseAddr(value)
			if prefix, bad := netip.ParsePrefix(value); bad == nil {
				a, err = prefix.Masked().Addr(), nil
			}
			if err == nil {
				all = append(all, trait{text + value, func(v *variant) { set(v, a) }})
			}
		}
		return all
	}
}

// claim makes traits of a token. Claims within others are mappings.
func claim(path ...string) func(named []string) []trait {
	return values("with a token whose "+strings.Join(path, ".")+" is ", "anything", func(v *variant, value string) {
		if v.token.Claims == nil {
			v.token.Claims = map[string]any{}
		}
		into := v.token.Claims
		for _, name := range path[:len(path)-1] {
			within, ok := into[name].(map[string]any)
			if !ok {
				within = map[string]any{}
				into[name] = within
			}
			into = within
		}
		into[path[len(path)-1]] = value
	})
}

// requestPrincipals are written ISSUER/SUBJECT. What a star stands for follows from who verifies the token, and whose it is.
func requestPrincipals(named []string) []trait {
	var all []trait
	for _, value := range named {
		at := max(strings.LastIndex(value, "/"), 0)
		name, subject := strings.Trim(value[:at], "*"), strings.Trim(strings.TrimPrefix(value[at:], "/"), "*")
		text := "with a token of " + value
		if value == "*" {
			text = "with any token that is verified"
		}
		all = append(all, trait{text, func(v *variant) {
			v.token.Issuer, v.token.Subject = name, subject
			if v.token.Claims == nil {
				v.token.Claims = map[string]any{}
			}
		}})
	}
	return all
}

// with is r as a request of v, and where v says nothing, or is nil, one of what no policy names.
func (v *variant) with(r mesh.Request) mesh.Request {
	r.Host, r.SourceIP, r.RemoteIP, r.DestinationIP = elsewhereHost, elsewhereAddress, elsewhereAddress, elsewhereAddress
	if v == nil {
		return r
	}
	for name, value := range v.headers {
		r.Headers[name] = []string{value}
	}
	if v.host != "" {
		r.Host = v.host
	}
	for _, a := range []struct{ from, to *netip.Addr }{{&v.source, &r.SourceIP}, {&v.remote, &r.RemoteIP}, {&v.destination, &r.DestinationIP}} {
		if a.from.IsValid() {
			*a.to = *a.from
		}
	}
	r.SNI = v.sni
	return r
}

// bears says whether v is about a token.
func (v *variant) bears() bool { return v != nil && v.token.Claims != nil }

// tokenFor is the token of v for a place, as one of its issuers would write it.
func (v *variant) tokenFor(at *place) mesh.Token {
	name, audience := at.authenticator.Takes(v.token.Issuer)
	by := issuer{name: name, audience: audience}
	token := by.token(rbac.SignedIn(stranger))
	if v.token.Subject != "" {
		token.Subject, token.Claims["sub"] = v.token.Subject, v.token.Subject
	}
	maps.Copy(token.Claims, v.token.Claims)
	return token
}
