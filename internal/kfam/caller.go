// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"berth.dev/berth/internal/access"
	"berth.dev/berth/internal/identity"
)

// TrustHeader is when the identity header is believed.
type TrustHeader string

const (
	// TrustPrincipal believes the header of requests whose sender the mesh has verified to be a trusted workload.
	TrustPrincipal TrustHeader = "principal"
	// TrustAlways believes the header of every request. Only the network keeps anybody from calling themselves what
	// they like.
	TrustAlways TrustHeader = "always"
)

// A TokenVerifier turns a bearer token into the user whom it was issued to. A token that is not good is an error.
type TokenVerifier interface {
	Verify(ctx context.Context, token string) (identity.User, error)
}

// clientCertificate is the header by which a sidecar tells who sent a request over mutual TLS.
const clientCertificate = "X-Forwarded-Client-Cert"

// Authentication is how callers are told apart.
type Authentication struct {
	// Header is the identity header; Prefix stands before the user's name in it.
	Header, Prefix string
	// Trust is when the header is believed.
	Trust TrustHeader
	// Gateways are the mesh identities of workloads that speak for whoever the header names.
	Gateways []string
	// Platform are the mesh identities of workloads that do so, too, and that may ask for themselves.
	Platform []string
	// Tokens verify bearer tokens, the first that knows one wins. There may be none.
	Tokens []TokenVerifier
}

// caller says who sent r. An error is for the caller to read.
func (a Authentication) caller(r *http.Request) (access.Caller, error) {
	token := identity.BearerToken(endToEnd(r, "Authorization"))
	if token != "" {
		if user, verified := a.verify(r.Context(), token); verified {
			return access.Caller{User: user}, nil
		}
	}
	trusted, platform := a.hop(r)
	if !trusted {
		return access.Caller{}, nil
	}
	user, err := identity.FromHeader(endToEnd(r, a.Header), a.Prefix)
	if err != nil {
		return access.Caller{}, failure{http.StatusBadRequest, fmt.Sprintf("the header %s can't be used: %v", strings.ToLower(a.Header), err)}
	}
	if user.IsNobody() && token != "" && len(a.Tokens) > 0 {
		return access.Caller{}, nil // somebody, but nobody knows who: not the platform itself
	}
	return access.Caller{User: user, Platform: user.IsNobody() && platform}, nil
}

// verify returns the user of token. Why a token is not good is nothing that whoever sent it needs to know.
func (a Authentication) verify(ctx context.Context, token string) (identity.User, bool) {
	for _, verifier := range a.Tokens {
		user, err := verifier.Verify(ctx, token)
		if err == nil && !user.IsNobody() {
			return user, true
		}
		log.FromContext(ctx).V(1).Info("A bearer token was not accepted", "reason", fmt.Sprint(err))
	}
	return identity.User{}, false
}

// hop says whether whoever sent r may speak for others, and whether for itself as well.
func (a Authentication) hop(r *http.Request) (trusted, platform bool) {
	if a.Trust == TrustAlways {
		return true, true
	}
	principal, err := identity.CallerPrincipal(endToEnd(r, clientCertificate))
	if err != nil || principal == "" {
		return false, false
	}
	platform = slices.Contains(a.Platform, principal)
	return platform || slices.Contains(a.Gateways, principal), platform
}

// endToEnd are the values of a header. One that Connection names was meant for the hop before and counts for nothing.
func endToEnd(r *http.Request, name string) []string {
	for _, line := range r.Header.Values("Connection") {
		for option := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(option), name) {
				return nil
			}
		}
	}
	return r.Header.Values(name)
}
