// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"berth.dev/berth/internal/identity"
)

// systemPrefix is reserved for Kubernetes' own users and groups, whom no identity provider may name.
const systemPrefix = "system:"

// OIDCOptions say whose tokens are believed.
type OIDCOptions struct {
	// Issuer is the URL of the identity provider, which is asked for its keys by OpenID Connect discovery.
	Issuer string
	// Audience is whom a token must have been issued for.
	Audience string
	// UserClaim and GroupsClaim are the claims that hold the user's name and groups.
	UserClaim, GroupsClaim string
	// CAFile is a PEM file with the authority of the provider's certificate; empty for those of the system.
	CAFile string
}

// NewOIDC returns what verifies the tokens of an identity provider. The provider is asked when the first token comes,
// and again while it can't be reached.
func NewOIDC(options OIDCOptions) (TokenVerifier, error) {
	if options.Audience == "" {
		return nil, errors.New("an OIDC issuer without an audience would let in whoever holds any of its tokens: name the audience")
	}
	transport := http.DefaultTransport
	if options.CAFile != "" {
		pem, err := os.ReadFile(options.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the authority of the OIDC issuer: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the authority of the OIDC issuer in %q holds no certificate in PEM", options.CAFile)
		}
		own := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it always is one
		own.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		transport = own
	}
	return &oidcVerifier{OIDCOptions: options, http: &http.Client{Transport: transport, Timeout: askWithin}}, nil
}

const (
	// askWithin is how long an identity provider may take to answer.
	askWithin = 10 * time.Second
	// askAgain is how soon one that did not answer is asked again.
	askAgain = 5 * time.Second
)

type oidcVerifier struct {
	OIDCOptions

	http *http.Client

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier
	failed   time.Time
}

// discovered is the provider's verifier. The keys are fetched, and fetched again, with the context that it was made
// with, so that must not end with a request.
func (v *oidcVerifier) discovered(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.verifier != nil {
		return v.verifier, nil
	}
	if time.Since(v.failed) < askAgain {
		return nil, errors.New("the identity provider can't be reached")
	}
	provider, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), v.http), v.Issuer)
	if err != nil {
		v.failed = time.Now()
		return nil, fmt.Errorf("ask the identity provider: %w", err)
	}
	v.verifier = provider.Verifier(&oidc.Config{ClientID: v.Audience})
	return v.verifier, nil
}

// Verify checks signature, issuer, audience and time of token and reads its claims.
func (v *oidcVerifier) Verify(ctx context.Context, token string) (identity.User, error) {
	verifier, err := v.discovered(ctx)
	if err != nil {
		return identity.User{}, err
	}
	verified, err := verifier.Verify(ctx, token)
	if err != nil {
		return identity.User{}, err
	}
	var claims map[string]any
	if err := verified.Claims(&claims); err != nil {
		return identity.User{}, err
	}
	return v.user(claims)
}

// user reads the user from the claims of a verified token.
func (v *oidcVerifier) user(claims map[string]any) (identity.User, error) {
	name, ok := claims[v.UserClaim].(string)
	if !ok {
		return identity.User{}, fmt.Errorf("the token has no claim %s", v.UserClaim)
	}
	if verified, told := claims["email_verified"]; v.UserClaim == "email" && told && verified != true {
		return identity.User{}, errors.New("the provider has not verified the e-mail address")
	}
	if err := identity.CheckName(name); err != nil {
		return identity.User{}, err
	}
	if strings.HasPrefix(name, systemPrefix) {
		return identity.User{}, fmt.Errorf("the provider names a user of Kubernetes itself")
	}
	user := identity.User{Name: name}
	switch groups := claims[v.GroupsClaim].(type) {
	case string:
		user.Groups = []string{groups}
	case []any:
		for _, group := range groups {
			if group, ok := group.(string); ok {
				user.Groups = append(user.Groups, group)
			}
		}
	}
	user.Groups = slices.DeleteFunc(user.Groups, func(group string) bool {
		return identity.CheckName(group) != nil || strings.HasPrefix(group, systemPrefix)
	})
	return user, nil
}

// NewTokenReview returns what has the cluster verify tokens: those of service accounts, and whatever else the API
// server accepts. Answers are kept for a moment. Audiences are whom a token must have been issued for; with none, the
// API server itself.
func NewTokenReview(c client.Client, audiences []string) TokenVerifier {
	return &tokenReview{client: c, audiences: audiences, answers: cache.NewLRUExpireCache(manyCallers)}
}

// reviewFor is how long an answer of the API server about a token is kept.
const reviewFor = 10 * time.Second

type tokenReview struct {
	client    client.Client
	audiences []string
	answers   *cache.LRUExpireCache
}

// Verify asks the cluster.
func (v *tokenReview) Verify(ctx context.Context, token string) (identity.User, error) {
	key := sha256.Sum256([]byte(token)) // so that no token stays in memory
	if answer, found := v.answers.Get(key); found {
		if user, ok := answer.(identity.User); ok {
			return known(user)
		}
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: v.audiences}}
	if err := v.client.Create(ctx, review); err != nil {
		return identity.User{}, fmt.Errorf("review a token: %w", err)
	}
	var user identity.User
	if status := review.Status; status.Authenticated && (len(v.audiences) == 0 || slices.ContainsFunc(status.Audiences, func(audience string) bool { return slices.Contains(v.audiences, audience) })) {
		user = identity.User{Name: status.User.Username, Groups: status.User.Groups}
	}
	v.answers.Add(key, user, reviewFor)
	return known(user)
}

func known(user identity.User) (identity.User, error) {
	if user.IsNobody() {
		return user, errors.New("the cluster does not know the token")
	}
	return user, nil
}
