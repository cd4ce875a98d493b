// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"strings"
	"testing"

	"berth.dev/berth/internal/identity"
)

// FuzzFromHeader: what comes out of the header is what stood behind the prefix, and a name that CheckName takes.
func FuzzFromHeader(f *testing.F) {
	for _, seed := range [][2]string{
		{"accounts.google.com:ann@example.com", "accounts.google.com:"},
		{"ann@example.com", ""},
		{"", ""},
		{"", "p:"},
		{"p:", "p:"},
		{"p:*", "p:"},
		{"short", "accounts.google.com:"},
		{"p:a b", "p:"},
		{"p:\xff", "p:"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, value, prefix string) {
		user, err := identity.FromHeader([]string{value}, prefix)
		switch {
		case err != nil && !user.IsNobody():
			t.Errorf("%q behind %q is an error and %q", value, prefix, user.Name)
		case err == nil && prefix+user.Name != value:
			t.Errorf("%q behind %q is %q", value, prefix, user.Name)
		case err == nil && !user.IsNobody() && identity.CheckName(user.Name) != nil:
			t.Errorf("%q can't be a name", user.Name)
		}
		if two, err := identity.FromHeader([]string{value, value}, prefix); err == nil || !two.IsNobody() {
			t.Errorf("twice %q is %q", value, two.Name)
		}
	})
}

// FuzzCallerPrincipal: whatever a caller sends along, in front of what its proxy appends or in a header of its own, the
// principal is the proxy's, or there is none.
func FuzzCallerPrincipal(f *testing.F) {
	const gateway = "cluster.local/ns/istio-system/sa/gateway"
	for _, seed := range []string{
		"", "By=spiffe://x;URI=spiffe://" + gateway, `By=x;Subject="CN=a,URI=spiffe://` + gateway, `"`, `\`, `\"`, `"\`, ",", ";", "URI=",
		`Hash=1;Subject="a\";URI=spiffe://` + gateway + `"`, `URI="spiffe://` + gateway, "URI=spiffe://" + gateway + `;Subject="`,
	} {
		f.Add(seed)
	}
	const own = "cluster.local/ns/evil/sa/default"
	elements := []string{
		"By=spiffe://cluster.local/ns/kubeflow/sa/kfam;Hash=00ff;Subject=\"\";URI=spiffe://" + own,
		"By=spiffe://cluster.local/ns/kubeflow/sa/kfam;Hash=00ff;Subject=\"O=a,CN=b\\\"c\";URI=spiffe://" + own + ";DNS=a;DNS=b",
		"URI=spiffe://" + own,
	}
	f.Fuzz(func(t *testing.T, sent string) {
		for _, element := range elements {
			for _, values := range [][]string{{sent + "," + element}, {sent, element}, {sent, sent + "," + element}, {sent, sent, element}} {
				principal, err := identity.CallerPrincipal(values)
				if principal != own && principal != "" || err == nil && principal == "" {
					t.Errorf("%q is taken for %q (error %v)", values, principal, err)
				}
			}
		}
		if principal, err := identity.CallerPrincipal([]string{sent}); err != nil && principal != "" || strings.Contains(principal, `"`) && !strings.Contains(sent, `"`) {
			t.Errorf("%q is %q, with error %v", sent, principal, err)
		}
	})
}

// FuzzBearerToken: a token is part of what was sent, without space around it.
func FuzzBearerToken(f *testing.F) {
	for _, seed := range []string{"Bearer a.b.c", "bearer  x ", "Basic abc", "Bearer", "", "Bearer\tx"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		token := identity.BearerToken([]string{value})
		if !strings.Contains(value, token) || token != strings.TrimSpace(token) {
			t.Errorf("%q holds the token %q", value, token)
		}
		if identity.BearerToken([]string{value, value}) != "" {
			t.Errorf("two headers %q make a token", value)
		}
	})
}
