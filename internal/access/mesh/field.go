// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A field is what a condition is about.
type field struct {
	// HTTP is set for what only requests have: in rules for TCP its values are errors.
	http bool
	// Compile makes a matcher of a value; namespace is the policy's own.
	compile func(value, namespace string) (matcher, error)
	// Trust says what trust domains' aliases do to the values.
	trust trust
	// Got is what a request has of it, for explanations.
	got func(*view) string
}

type trust int

const (
	noTrust trust = iota
	principalTrust
	domainTrust
)

func infallible(compile func(string) matcher) func(string, string) (matcher, error) {
	return func(value, _ string) (matcher, error) { return compile(value), nil }
}

var (
	sourceIPs        = addressField("source IP", func(v *view) netip.Addr { return v.source })
	remoteIPs        = addressField("remote IP", func(v *view) netip.Addr { return v.remote })
	destinationIPs   = addressField("destination IP", func(v *view) netip.Addr { return v.destination })
	destinationPorts = field{compile: port, got: func(v *view) string { return strconv.Itoa(int(v.port)) }}
	serverNames      = field{compile: infallible(serverName), got: func(v *view) string { return v.sni }}
	namespaces       = field{compile: infallible(sourceNamespace), got: gotPrincipal}
	trustedDomains   = field{compile: infallible(sourceTrustDomain), trust: domainTrust, got: gotPrincipal}
	principals       = field{compile: infallible(principal), trust: principalTrust, got: gotPrincipal}
	accounts         = field{got: gotPrincipal, compile: func(value, namespace string) (matcher, error) {
		return sourceAccount(value, namespace), nil
	}}
	requestPrincipals = field{compile: infallible(requestPrincipal), http: true, got: func(v *view) string {
		issuer, _ := v.token.claim([]string{"iss"})
		subject, _ := v.token.claim([]string{"sub"})
		if issuer == nil && subject == nil {
			return ""
		}
		return fmt.Sprintf("%v/%v", issuer, subject)
	}}
	hosts   = field{compile: infallible(host), http: true, got: func(v *view) string { return v.host }}
	methods = field{compile: infallible(method), http: true, got: func(v *view) string { return v.method }}
	paths   = field{compile: path, http: true, got: func(v *view) string { return v.path }}
)

func gotPrincipal(v *view) string { return strings.TrimPrefix(v.principal, spiffeScheme) }

func addressField(name string, of func(*view) netip.Addr) field {
	return field{compile: address(name, of), got: func(v *view) string {
		if a := of(v); a.IsValid() {
			return a.String()
		}
		return ""
	}}
}

// WhenField finds what a condition's key is about. An error means that Istio drops the whole rule, whatever its action.
func whenField(key string) (field, error) {
	switch key {
	case "source.ip":
		return sourceIPs, nil
	case "remote.ip":
		return remoteIPs, nil
	case "destination.ip":
		return destinationIPs, nil
	case "destination.port":
		return destinationPorts, nil
	case "connection.sni":
		return serverNames, nil
	case "source.namespace":
		return namespaces, nil
	case "source.trustDomain":
		return trustedDomains, nil
	case "source.serviceAccount":
		return accounts, nil
	case "source.principal":
		return principals, nil
	case "request.auth.principal":
		return requestPrincipals, nil
	case "request.auth.audiences":
		return claimField([]string{"aud"}, nil), nil
	case "request.auth.presenter":
		return claimField([]string{"azp"}, nil), nil
	}
	if rest, found := strings.CutPrefix(key, "request.headers"); found {
		return headerField(rest), nil
	}
	if rest, found := strings.CutPrefix(key, "request.auth.claims"); found {
		return claimField(claimPath(rest)), nil
	}
	if rest, found := strings.CutPrefix(key, "experimental."); found && strings.HasPrefix(rest, "envoy.filters.") {
		return envoyField(key), nil
	}
	return field{}, fmt.Errorf("there is no attribute %q", key)
}

func headerField(rest string) field {
	name, err := bracketed(rest)
	return field{http: true, got: func(v *view) string {
		value, _ := v.header(lowerASCII(name))
		return value
	}, compile: func(value, _ string) (matcher, error) {
		if err == nil && name == "" {
			return nil, fmt.Errorf("the header has no name")
		}
		return headerMatcher(lowerASCII(name), value), err
	}}
}

func claimField(path []string, err error) field {
	return field{http: true, got: func(v *view) string {
		value, found := v.token.claim(path)
		if !found {
			return ""
		}
		return fmt.Sprint(value)
	}, compile: func(value, _ string) (matcher, error) {
		return claimMatcher(path, text(value)), err
	}}
}

// EnvoyField is about metadata of Envoy's filters, which nobody knows from outside.
func envoyField(key string) field {
	return field{got: func(*view) string { return "" }, compile: func(_, _ string) (matcher, error) {
		if !strings.Contains(key, "[") {
			return nil, fmt.Errorf("%q has no name in brackets", key)
		}
		return func(v *view) truth { return v.missing(key) }, nil
	}}
}

func bracketed(s string) (string, error) {
	if len(s) < 2 || s[0] != '[' || s[len(s)-1] != ']' {
		return "", fmt.Errorf("%q is no name in brackets", s)
	}
	return s[1 : len(s)-1], nil
}

// ClaimPath reads [a][b]. What has other brackets is the name of one claim.
func claimPath(s string) ([]string, error) {
	var path []string
	for rest := s; rest != ""; {
		end := strings.IndexByte(rest, ']')
		if rest[0] != '[' || end < 0 || strings.Contains(rest[1:end], "[") {
			name, err := bracketed(s)
			return []string{name}, err
		}
		path = append(path, rest[1:end])
		rest = rest[end+1:]
	}
	return path, nil
}

func address(name string, of func(*view) netip.Addr) func(string, string) (matcher, error) {
	return func(value, _ string) (matcher, error) {
		prefix, err := parsePrefix(value)
		if err != nil {
			return nil, err
		}
		return prefixMatcher(prefix, name, of), nil
	}
}

func prefixMatcher(prefix netip.Prefix, name string, of func(*view) netip.Addr) matcher {
	return func(v *view) truth {
		a := of(v)
		if !a.IsValid() {
			return v.missing(name)
		}
		return truthOf(prefix.Contains(a))
	}
}

func parsePrefix(value string) (netip.Prefix, error) {
	if strings.Contains(value, "/") {
		prefix, err := netip.ParsePrefix(value)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("%q is no range of IP addresses", value)
		}
		return prefix, nil
	}
	a, err := netip.ParseAddr(value)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no IP address", value)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func port(value, _ string) (matcher, error) {
	n, err := parsePort(value)
	if err != nil {
		return nil, err
	}
	m, _ := portMatcher(n)
	return m, nil
}

func portMatcher(n uint16) (matcher, string) {
	return func(v *view) truth {
		if v.port == 0 {
			return v.missing("port")
		}
		return truthOf(v.port == n)
	}, strconv.Itoa(int(n))
}

func parsePort(value string) (uint16, error) {
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is no port", value)
	}
	return uint16(n), nil
}

func serverName(value string) matcher {
	p := text(value)
	return func(v *view) truth { return truthOf(p(v.sni)) }
}

func host(value string) matcher {
	p := headerText(lowerASCII(value))
	return func(v *view) truth {
		if v.host == "" {
			return v.missing("host")
		}
		return truthOf(p(v.hostFolded))
	}
}

func method(value string) matcher { return headerMatcher(":method", value) }

// HeaderMatcher is about a header's value; * is about its being there, be it empty.
func headerMatcher(name, value string) matcher {
	p := headerText(value)
	return func(v *view) truth {
		got, present := v.header(name)
		if present == yes {
			return truthOf(p(got))
		}
		return present
	}
}

func headerText(value string) predicate {
	if value == "*" {
		return func(string) bool { return true }
	}
	return text(value)
}

func path(value, _ string) (matcher, error) {
	p := text(value)
	if isTemplate(value) {
		pattern, err := template(value)
		if p = nil; err == nil {
			p = pattern.MatchString
		}
	}
	return func(v *view) truth {
		switch {
		case p == nil:
			// The proxy keeps what it had before, whatever that was.
			return v.missing("path template " + value + ", which Envoy refuses")
		case v.path == "":
			return v.missing("path")
		}
		matches := p(v.path)
		if v.olderPath != v.path && p(v.olderPath) != matches {
			return v.missing("path, as versions of Envoy differ over " + v.olderPath)
		}
		return truthOf(matches)
	}, nil
}
