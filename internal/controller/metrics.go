// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authentication "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorization "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	// reviewTimeout is how long the API server may take to say who asks and whether they may.
	reviewTimeout = 10 * time.Second
	// reviewsAtATime keeps strangers from having us flood the API server with questions.
	reviewsAtATime = 4
)

// metricsOptions are how the metrics are served: to anybody, or over TLS to those who may read them.
func metricsOptions(o Options) server.Options {
	metrics := server.Options{BindAddress: o.MetricsAddress}
	if o.MetricsSecure {
		metrics.SecureServing = true
		metrics.FilterProvider = readersOnly
		metrics.TLSOpts = []func(*tls.Config){func(c *tls.Config) {
			c.NextProtos = []string{"http/1.1"} // HTTP/2 gives strangers more to wear us out with, and a scrape nothing
		}}
	}
	return metrics
}

// readersOnly lets a request through if its token is good and whoever has it may use the URL: may get /metrics. It asks
// the API server, twice for each scrape. controller-runtime has a filter that does the same, and brings 150 packages
// along, an expression language and OpenTelemetry's exporters among them.
func readersOnly(config *rest.Config, httpClient *http.Client) (server.Filter, error) {
	tokens, err := authentication.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("set up the check of tokens: %w", err)
	}
	access, err := authorization.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("set up the check of access: %w", err)
	}
	g := guard{tokens: tokens.TokenReviews(), access: access.SubjectAccessReviews(), slots: make(chan struct{}, reviewsAtATime)}
	return func(log logr.Logger, next http.Handler) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			status, err := g.check(r)
			if err != nil {
				log.Error(err, "Could not check a request for the metrics")
			}
			if status == http.StatusOK {
				next.ServeHTTP(w, r)
				return
			}
			if status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			http.Error(w, http.StatusText(status), status)
		}), nil
	}, nil
}

// guard asks the API server.
type guard struct {
	tokens authentication.TokenReviewInterface
	access authorization.SubjectAccessReviewInterface
	slots  chan struct{} // one for each request that is being checked
}

// check returns the status to answer with: 200 lets the request through.
func (g guard) check(r *http.Request) (status int, err error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return http.StatusUnauthorized, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), reviewTimeout)
	defer cancel()
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	case <-ctx.Done():
		return http.StatusServiceUnavailable, nil
	}
	who, err := g.tokens.Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return http.StatusInternalServerError, fmt.Errorf("review a token: %w", err)
	}
	if !who.Status.Authenticated {
		return http.StatusUnauthorized, nil
	}
	may, err := g.access.Create(ctx, accessReview(who.Status.User, r), metav1.CreateOptions{})
	if err != nil {
		return http.StatusInternalServerError, fmt.Errorf("review the access to %s: %w", r.URL.Path, err)
	}
	if !may.Status.Allowed {
		return http.StatusForbidden, nil
	}
	return http.StatusOK, nil
}

// accessReview asks whether the user may make the request.
func accessReview(user authenticationv1.UserInfo, r *http.Request) *authorizationv1.SubjectAccessReview {
	extra := map[string]authorizationv1.ExtraValue{}
	for key, values := range user.Extra {
		extra[key] = authorizationv1.ExtraValue(values)
	}
	return &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: r.URL.Path, Verb: strings.ToLower(r.Method)},
	}}
}
