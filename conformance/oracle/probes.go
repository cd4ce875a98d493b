// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacpb "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routepb "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	uritemplate "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	matcherpb "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/rbacbridge"
	"google.golang.org/protobuf/proto"

	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/snapshot"
)

// probes are the matchers that gRPC's engine has not, or has otherwise than Envoy. Each is put in the engine's configuration
// as a matcher of a header that no request has, and each request gets the headers whose probes say yes.
type probes struct {
	all []func(mesh.Request) bool
	// normalization is what is done with paths first.
	normalization snapshot.PathNormalization
}

// Headers that carry what gRPC would overwrite.
const (
	methodHeader = "x-oracle-method"
	pathHeader   = "x-oracle-path"
	probeHeader  = "x-oracle-probe-"
)

func (p *probes) add(probe func(mesh.Request) bool) *routepb.HeaderMatcher {
	p.all = append(p.all, probe)
	return &routepb.HeaderMatcher{
		Name:                 fmt.Sprintf("%s%d", probeHeader, len(p.all)-1),
		HeaderMatchSpecifier: &routepb.HeaderMatcher_PresentMatch{PresentMatch: true},
	}
}

// rewrite returns the policy with probes in it.
func (p *probes) rewrite(policy *rbacpb.Policy) *rbacpb.Policy {
	policy = proto.CloneOf(policy)
	p.permissions(policy.GetPermissions()...)
	p.principals(policy.GetPrincipals()...)
	return policy
}

func (p *probes) permissions(all ...*rbacpb.Permission) {
	for _, one := range all {
		switch rule := one.GetRule().(type) {
		case *rbacpb.Permission_AndRules:
			p.permissions(rule.AndRules.GetRules()...)
		case *rbacpb.Permission_OrRules:
			p.permissions(rule.OrRules.GetRules()...)
		case *rbacpb.Permission_NotRule:
			p.permissions(rule.NotRule)
		case *rbacpb.Permission_Header:
			rule.Header = p.header(rule.Header)
		case *rbacpb.Permission_Metadata:
			one.Rule = &rbacpb.Permission_Header{Header: p.metadata(one.GetMetadata())} //nolint:staticcheck // Istio writes it
		case *rbacpb.Permission_UriTemplate:
			var config uritemplate.UriTemplateMatchConfig
			if err := rule.UriTemplate.GetTypedConfig().UnmarshalTo(&config); err != nil {
				panic(err)
			}
			one.Rule = &rbacpb.Permission_Header{Header: p.add(func(r mesh.Request) bool {
				return matchTemplate(config.GetPathTemplate(), urlPath(r.Path))
			})}
		case *rbacpb.Permission_RequestedServerName:
			one.Rule = &rbacpb.Permission_Header{Header: p.add(func(r mesh.Request) bool {
				return matchString(rule.RequestedServerName, r.SNI)
			})}
		}
	}
}

func (p *probes) principals(all ...*rbacpb.Principal) {
	for _, one := range all {
		switch id := one.GetIdentifier().(type) {
		case *rbacpb.Principal_AndIds:
			p.principals(id.AndIds.GetIds()...)
		case *rbacpb.Principal_OrIds:
			p.principals(id.OrIds.GetIds()...)
		case *rbacpb.Principal_NotId:
			p.principals(id.NotId)
		case *rbacpb.Principal_Header:
			id.Header = p.header(id.Header)
		case *rbacpb.Principal_Metadata:
			one.Identifier = &rbacpb.Principal_Header{Header: p.metadata(one.GetMetadata())} //nolint:staticcheck // Istio writes it
		case *rbacpb.Principal_RemoteIp:
			one.Identifier = &rbacpb.Principal_Header{Header: p.add(func(r mesh.Request) bool {
				return contains(id.RemoteIp, r.RemoteIP)
			})}
		case *rbacpb.Principal_FilterState:
			// Waypoints have the identity of the caller there; it is the same.
			one.Identifier = &rbacpb.Principal_Authenticated_{Authenticated: &rbacpb.Principal_Authenticated{
				PrincipalName: id.FilterState.GetStringMatch(),
			}}
		}
	}
}

// header returns what matches as Envoy would: names of headers in any case, and a header without a value as present.
func (p *probes) header(m *routepb.HeaderMatcher) *routepb.HeaderMatcher {
	name := strings.ToLower(m.GetName())
	if _, ok := m.GetHeaderMatchSpecifier().(*routepb.HeaderMatcher_PresentMatch); ok {
		return p.add(func(r mesh.Request) bool {
			switch name {
			case ":method", ":path", ":authority":
				return true
			}
			return r.Headers[name] != nil
		})
	}
	switch name {
	case ":method":
		name = methodHeader
	case ":path":
		name = pathHeader
	}
	m.Name = name
	return m
}

func (p *probes) metadata(m *matcherpb.MetadataMatcher) *routepb.HeaderMatcher {
	return p.add(func(r mesh.Request) bool { return matchMetadata(m, r) })
}

// context returns a request as gRPC's engine wants it.
func (p *probes) context(r mesh.Request) context.Context {
	headers := metadata.MD{}
	if !r.TCP {
		r.Path = normalized(r.Path, p.normalization)
		for name, values := range r.Headers {
			headers[strings.ToLower(name)] = slices.Clone(values)
		}
		headers[":authority"] = []string{r.Host}
		headers[methodHeader] = []string{r.Method}
		headers[pathHeader] = []string{r.Path}
	}
	for i, probe := range p.all {
		if probe(r) {
			headers[fmt.Sprintf("%s%d", probeHeader, i)] = []string{"yes"}
		}
	}
	from := &peer.Peer{Addr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(r.SourceIP, 1024))}
	if r.Principal != "" {
		id := &url.URL{Scheme: "spiffe", Opaque: "//" + r.Principal}
		from.AuthInfo = credentials.TLSInfo{State: tls.ConnectionState{
			PeerCertificates: []*x509.Certificate{{URIs: []*url.URL{id}}},
		}}
	}
	//nolint:forbidigo // the engine takes nothing but a context, and waits for nothing
	ctx := metadata.NewIncomingContext(context.Background(), headers)
	ctx = peer.NewContext(ctx, from)
	ctx = grpc.NewContextWithServerTransportStream(ctx, stream(urlPath(r.Path)))
	return rbacbridge.WithConnection(ctx, connection{to: netip.AddrPortFrom(r.DestinationIP, r.Port)})
}

// urlPath is what Envoy compares with paths: without query.
func urlPath(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return path
}

func contains(cidr *corepb.CidrRange, addr netip.Addr) bool {
	prefix, err := netip.ParseAddr(cidr.GetAddressPrefix())
	if err != nil {
		panic(err)
	}
	return netip.PrefixFrom(prefix, int(cidr.GetPrefixLen().GetValue())).Contains(addr)
}

func matchString(m *matcherpb.StringMatcher, value string) bool {
	ok, err := rbacbridge.Match(m, value)
	if err != nil {
		panic(err)
	}
	return ok
}

// stream is a request of which only the path is known.
type stream string

func (s stream) Method() string             { return string(s) }
func (stream) SetHeader(metadata.MD) error  { return nil }
func (stream) SendHeader(metadata.MD) error { return nil }
func (stream) SetTrailer(metadata.MD) error { return nil }

// connection is one of which only the address that it was made to is known.
type connection struct {
	net.Conn

	to netip.AddrPort
}

func (c connection) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.to) }
