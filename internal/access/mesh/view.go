// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"net/netip"
	"slices"
	"strings"

	"berth.dev/berth/internal/snapshot"
)

const spiffeScheme = "spiffe://"

// A view is a request as matchers see it: normalized once.
type view struct {
	principal                      string // with spiffe://, or empty
	source, remote, destination    netip.Addr
	port                           uint16
	sni                            string
	method, path, target           string // target is the path with its query
	host, hostFolded               string
	olderPath                      string // the path as older versions of Envoy see it
	headers                        map[string][]string
	token                          *Token
	answered                       bool // an external authorizer that may write headers has let it through
	unknowns                       []string
	refusedBy                      *rule // of a CUSTOM policy that Istio makes a denial of
	refusal                        truth
	sourceNamespace, sourceAccount string // of the principal, where it has the usual form
}

// NewView returns nil and the reason for a request that Envoy refuses by itself.
func newView(r *Request, normalization snapshot.PathNormalization) (*view, string) {
	v := &view{
		source: plain(r.SourceIP), remote: plain(r.RemoteIP), destination: plain(r.DestinationIP), port: r.Port, sni: r.SNI,
	}
	if r.Principal != "" {
		v.principal = spiffeScheme + strings.TrimPrefix(r.Principal, spiffeScheme)
		v.sourceNamespace, v.sourceAccount = identityOf(v.principal)
	}
	if r.TCP {
		return v, ""
	}
	v.method, v.host, v.headers, v.token = r.Method, r.Host, lowerNames(r.Headers), r.Token
	v.hostFolded = lowerASCII(r.Host)
	if r.Path == "" {
		return v, ""
	}
	path := normalizePath(r.Path, normalization)
	if path.refused != "" {
		return nil, path.refused
	}
	v.target, v.olderPath = path.path, path.older
	v.path = withoutQuery(path.path)
	return v, ""
}

// Plain takes IPv4 addresses out of IPv6 ones, as sockets do.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func lowerNames(headers map[string][]string) map[string][]string {
	lower := true
	for name := range headers {
		lower = lower && lowerASCII(name) == name
	}
	if lower {
		return headers
	}
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)
	folded := make(map[string][]string, len(headers))
	for _, name := range names {
		folded[lowerASCII(name)] = append(folded[lowerASCII(name)], headers[name]...)
	}
	return folded
}

// IdentityOf takes namespace and service account from spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT.
func identityOf(principal string) (namespace, account string) {
	parts := strings.Split(strings.TrimPrefix(principal, spiffeScheme), "/")
	if len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa" {
		return "", ""
	}
	return parts[2], parts[4]
}

// Missing is the result of a matcher whose attribute nobody gave.
func (v *view) missing(attribute string) truth {
	if !slices.Contains(v.unknowns, attribute) {
		v.unknowns = append(v.unknowns, attribute)
	}
	return unknown
}

// Header is the value that Envoy matches: values of a repeated header are joined. The truth says whether it is there.
func (v *view) header(name string) (string, truth) {
	switch name {
	case ":method":
		return v.method, v.given(v.method, "method")
	case ":path":
		return v.target, v.given(v.target, "path")
	case ":authority", "host":
		return v.host, v.given(v.host, "host")
	case ":scheme":
		return "", v.missing("scheme")
	}
	if v.answered {
		return "", v.missing("header " + name + ", which the external authorizer may write")
	}
	values := v.headers[name]
	if len(values) == 1 {
		return values[0], yes
	}
	return strings.Join(values, ","), truthOf(len(values) > 0)
}

func (v *view) given(value, attribute string) truth {
	if value == "" {
		return v.missing(attribute)
	}
	return yes
}
