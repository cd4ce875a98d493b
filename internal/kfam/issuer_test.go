// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"berth.dev/berth/internal/kfam"
)

// audience is whom the tokens of the tests are issued for.
const audience = "kfam"

// issuer is an identity provider.
type issuer struct {
	t   testing.TB
	url string
	key *ecdsa.PrivateKey
	// down has it answer nothing but errors; asked counts the requests.
	down  atomic.Bool
	asked atomic.Int64
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{t: t, key: key}
	server := httptest.NewServer(i)
	t.Cleanup(server.Close)
	i.url = server.URL
	return i
}

// ServeHTTP answers discovery and hands out the key.
func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.asked.Add(1)
	var answer any
	switch {
	case i.down.Load():
		http.Error(w, "down", http.StatusBadGateway)
		return
	case r.URL.Path == "/.well-known/openid-configuration":
		answer = map[string]any{"issuer": i.url, "jwks_uri": i.url + "/keys", "id_token_signing_alg_values_supported": []string{"ES256"}}
	default:
		answer = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}}}
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		i.t.Error(err)
	}
}

// option has the server believe the issuer.
func (i *issuer) option() func(*kfam.Options) {
	i.t.Helper()
	verifier, err := kfam.NewOIDC(kfam.OIDCOptions{Issuer: i.url, Audience: audience, UserClaim: "email", GroupsClaim: "groups"})
	if err != nil {
		i.t.Fatal(err)
	}
	return func(o *kfam.Options) { o.Authentication.Tokens = append(o.Authentication.Tokens, verifier) }
}

type claims map[string]any

// token is one of the issuer's, for ben unless extra claims say otherwise.
func (i *issuer) token(extra claims) string { return i.signed(i.key, extra) }

func (i *issuer) signed(key *ecdsa.PrivateKey, extra claims) string {
	i.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "1"}}, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	all := claims{
		"iss": i.url, "aud": audience, "sub": "1", "email": ben, "email_verified": true,
		"iat": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	maps.Copy(all, extra)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	text, err := jwt.Signed(signer).Claims(map[string]any(all)).Serialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return text
}
