// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"berth.dev/berth/internal/kfam"
	"berth.dev/berth/internal/testkit"
)

// A token counts only if it is the issuer's, for this audience, in its time, and names somebody whom the issuer may name.
func TestOIDC_tokensThatCount(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	provider, other := newIssuer(t), newIssuer(t)
	a := serve(t, at, provider.option())
	ns := tenantOf(t, at, person(ben), a)
	team := tenantOf(t, at, rbacv1.Subject{Kind: "Group", Name: owners}, a)
	forger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Minute).Unix()
	cases := map[string]struct {
		token string
		want  int // of a request that only the owner, ben, may make
	}{
		"as it should be":                  {provider.token(nil), 200},
		"one of several audiences":         {provider.token(claims{"aud": []string{"other", audience}}), 200},
		"no word on whether it's verified": {provider.token(claims{"email_verified": nil}), 200},
		"for another audience":             {provider.token(claims{"aud": "other"}), 401},
		"for no audience":                  {provider.token(claims{"aud": nil}), 401},
		"expired":                          {provider.token(claims{"exp": past}), 401},
		"without an end":                   {provider.token(claims{"exp": nil}), 401},
		"not yet":                          {provider.token(claims{"nbf": time.Now().Add(time.Hour).Unix()}), 401},
		"of another issuer":                {other.token(nil), 401},
		"that says it is this issuer's":    {other.token(claims{"iss": provider.url}), 401},
		"signed with another key":          {provider.signed(forger, nil), 401},
		"an address nobody has verified":   {provider.token(claims{"email_verified": false}), 401},
		"verified, in a string":            {provider.token(claims{"email_verified": "true"}), 401},
		"without a name":                   {provider.token(claims{"email": nil}), 401},
		"an empty name":                    {provider.token(claims{"email": ""}), 401},
		"a name that is a list":            {provider.token(claims{"email": []string{ben}}), 401},
		"a name with a wildcard":           {provider.token(claims{"email": "*"}), 401},
		"a name of Kubernetes' own":        {provider.token(claims{"email": "system:admin"}), 401},
		"somebody else's":                  {provider.token(claims{"email": eve}), 403},
		"rubbish":                          {"rubbish", 401},
		"no signature":                     {strings.Join(strings.Split(provider.token(nil), ".")[:2], ".") + ".", 401},
		"cut short":                        {provider.token(nil)[:50], 401},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := a.send(http.MethodPost, bindingsPath, invite(ns, cleo, "edit"), bearer(tc.token)); got.code != tc.want {
				t.Errorf("want %d, got %d %s", tc.want, got.code, got.body)
			}
		})
	}
	groups := map[string]struct {
		claim any
		want  int
	}{
		"a list":               {[]string{"a", owners}, 200},
		"a string":             {owners, 200},
		"others":               {[]string{"a"}, 403},
		"none":                 {nil, 403},
		"an object":            {map[string]string{owners: owners}, 403},
		"a list of odd things": {[]any{1, nil, owners}, 200},
	}
	for name, tc := range groups {
		t.Run("groups as "+name, func(t *testing.T) {
			token := provider.token(claims{"email": eve, "groups": tc.claim})
			if got := a.send(http.MethodPost, bindingsPath, invite(team, cleo, "edit"), bearer(token)); got.code != tc.want {
				t.Errorf("want %d, got %d %s", tc.want, got.code, got.body)
			}
		})
	}
}

// No provider may make anybody a group of Kubernetes' own: RBAC would believe it.
func TestOIDC_groupsOfKubernetesItselfAreDropped(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	provider := newIssuer(t)
	a := serve(t, at, provider.option())
	ns := tenant(t, at, a)
	for _, groups := range []any{"system:masters", []string{"system:masters"}} {
		token := provider.token(claims{"email": eve, "groups": groups})
		a.wants(http.StatusForbidden, "", http.MethodPost, bindingsPath, invite(ns, eve, "admin"), bearer(token))
	}
	wantInvited(t, at, ns)
}

// While the provider is down its tokens are nobody's and it is not asked for each; once it is back they count, without a
// restart. What the server knows already goes on.
func TestOIDC_providerIsDownThenUp(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	provider := newIssuer(t)
	provider.down.Store(true)
	a := serve(t, at, provider.option())
	ns := tenantOf(t, at, person(ben), a)
	for range 20 {
		a.wants(http.StatusUnauthorized, "", http.MethodPost, bindingsPath, invite(ns, cleo, "edit"), bearer(provider.token(nil)))
	}
	if asked := provider.asked.Load(); asked > 2 {
		t.Errorf("the provider that is down was asked %d times", asked)
	}
	a.must(http.MethodPost, bindingsPath, invite(ns, cleo, "edit"), user(ben)) // others are served as ever
	provider.down.Store(false)
	testkit.Eventually(t, patience, func() error {
		if got := a.send(http.MethodPost, bindingsPath, invite(ns, cleo, "edit"), bearer(provider.token(nil))); got.code != http.StatusOK {
			return fmt.Errorf("still %d", got.code)
		}
		return nil
	})
	provider.down.Store(true)
	a.must(http.MethodPost, bindingsPath, invite(ns, cleo, "edit"), bearer(provider.token(nil)))
}

// An issuer without an audience, or with an authority that can't be read, is a mistake at the start.
func TestNewOIDC_saysWhatIsWrong(t *testing.T) {
	for want, options := range map[string]kfam.OIDCOptions{
		"audience":  {Issuer: "https://issuer.example"},
		"authority": {Issuer: "https://issuer.example", Audience: audience, CAFile: "no-such-file"},
		"PEM":       {Issuer: "https://issuer.example", Audience: audience, CAFile: "openapi.json"},
	} {
		if _, err := kfam.NewOIDC(options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error about %q, got %v", want, err)
		}
	}
}

// A token of the cluster's counts for the audience it was asked for, and only for that.
func TestTokenReview_audience(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	review := func(audiences ...string) func(*kfam.Options) {
		return func(o *kfam.Options) {
			o.Authentication.Tokens = []kfam.TokenVerifier{kfam.NewTokenReview(o.Client, audiences)}
		}
	}
	whole, narrow := serve(t, at, review()), serve(t, at, review("kfam"))
	account := testkit.Name(t, "account")
	create(t, at, serviceAccount("default", account))
	token := bearer(quiet.Use(t).ServiceAccountConfig(t, "default", account).BearerToken)
	name := "system:serviceaccount:default:" + account
	ns := tenantOf(t, at, rbacv1.Subject{Kind: "ServiceAccount", Namespace: "default", Name: account}, whole, narrow)
	whole.must(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), token)
	if have := whole.listed("?namespace="+ns, token); !slices.Contains(have, "User "+ben+" edit") {
		t.Errorf("the account that owns the profile sees %q", have)
	}
	narrow.wants(http.StatusUnauthorized, "", http.MethodPost, bindingsPath, invite(ns, ben, "edit"), token)
	whole.wants(http.StatusForbidden, "spec.owner", http.MethodPost, profilesPath, profileBody(profileName(t), ben), token)
	if strings.Contains(whole.log.text(), name) {
		t.Error("the log names the account")
	}
}
