// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package rbacbridge lends gRPC's engine for Envoy's role-based access control to the conformance tests. The engine is
// internal to gRPC; a package whose import path lies below google.golang.org/grpc may use it, and nothing else here is so
// named.
package rbacbridge

import (
	"context"
	"net"

	rbacpb "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	matcherpb "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc/internal/transport"
	"google.golang.org/grpc/internal/xds/matcher"
	"google.golang.org/grpc/internal/xds/rbac"
)

// Engine decides whether a request is authorized.
type Engine interface {
	// IsAuthorized returns nil for a request that is. Its context has metadata, peer, method and connection.
	IsAuthorized(ctx context.Context) error
}

// NewEngine returns the engine of one configuration.
func NewEngine(config *rbacpb.RBAC) (Engine, error) {
	return rbac.NewChainEngine([]*rbacpb.RBAC{config}, "")
}

// WithConnection returns a context in which the engine finds the connection that a request came by.
func WithConnection(ctx context.Context, conn net.Conn) context.Context {
	return transport.SetConnection(ctx, conn)
}

// Match says whether a value satisfies a matcher.
func Match(m *matcherpb.StringMatcher, value string) (bool, error) {
	sm, err := matcher.StringMatcherFromProto(m)
	if err != nil {
		return false, err
	}
	return sm.Match(value), nil
}
