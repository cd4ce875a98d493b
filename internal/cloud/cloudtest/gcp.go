// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cloudtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	iamv1 "google.golang.org/api/iam/v1"

	"berth.dev/berth/internal/cloud"
)

// GCP is a Google IAM server that keeps service accounts and the policies on them.
type GCP struct {
	// URL is the endpoint.
	URL string

	mu        sync.Mutex
	faults    faults
	policies  map[string]*iamv1.Policy // by resource name
	interfere func(*iamv1.Policy)
	conflict  int
	reads     int
	writes    int
}

// NewGCP starts an IAM server that ends with the test.
func NewGCP(t testing.TB) *GCP {
	g := &GCP{policies: map[string]*iamv1.Policy{}}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	g.URL = server.URL
	return g
}

// Credentials are application default credentials of the given project (none: empty) that this server accepts.
func (g *GCP) Credentials(project string) func(context.Context) (*google.Credentials, error) {
	return func(context.Context) (*google.Credentials, error) {
		token := &oauth2.Token{AccessToken: Secret, TokenType: "Bearer"}
		return &google.Credentials{ProjectID: project, TokenSource: oauth2.StaticTokenSource(token)}, nil
	}
}

// SetServiceAccount creates or replaces a service account with these bindings on it.
func (g *GCP) SetServiceAccount(t testing.TB, email string, bindings ...*iamv1.Binding) {
	t.Helper()
	account, err := cloud.ParseServiceAccount(email)
	if err != nil {
		t.Fatalf("set service account: %v", err)
	}
	g.locked(func() {
		policy := &iamv1.Policy{Bindings: bindings, Etag: "e0"}
		g.policies["projects/"+account.Project+"/serviceAccounts/"+email] = clone(policy)
	})
}

// DeleteServiceAccount forgets a service account.
func (g *GCP) DeleteServiceAccount(email string) {
	g.locked(func() { delete(g.policies, g.resource(email)) })
}

// Bindings are those on a service account now; none where there is no such account.
func (g *GCP) Bindings(email string) (bindings []*iamv1.Binding) {
	g.locked(func() {
		if policy := g.policies[g.resource(email)]; policy != nil {
			bindings = clone(policy).Bindings
		}
	})
	return bindings
}

// FailNext answers the next n requests with an HTTP status, given as text ("403").
func (g *GCP) FailNext(n int, code string) { g.locked(func() { g.faults.next(n, code, false) }) }

// FailNextWrite does the same for writes only; reads go on.
func (g *GCP) FailNextWrite(n int, code string) { g.locked(func() { g.faults.next(n, code, true) }) }

// Interfere lets another writer change the policy between the read and the write of the next n writes.
func (g *GCP) Interfere(n int, edit func(*iamv1.Policy)) {
	g.locked(func() { g.conflict, g.interfere = n, edit })
}

// Reads counts the getIamPolicy requests so far, failed ones too.
func (g *GCP) Reads() (n int) { g.locked(func() { n = g.reads }); return n }

// Writes counts the setIamPolicy requests so far, failed ones too.
func (g *GCP) Writes() (n int) { g.locked(func() { n = g.writes }); return n }

func (g *GCP) locked(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

func (g *GCP) resource(email string) string {
	for name := range g.policies {
		if strings.HasSuffix(name, "/serviceAccounts/"+email) {
			return name
		}
	}
	return ""
}

// ServeHTTP speaks Google's REST with JSON.
func (g *GCP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	path, isV1 := strings.CutPrefix(r.URL.Path, "/v1/")
	resource, write := strings.CutSuffix(path, ":setIamPolicy")
	if write {
		g.writes++
	} else {
		g.reads++
		resource, _ = strings.CutSuffix(path, ":getIamPolicy")
	}
	if r.Header.Get("Authorization") != "Bearer "+Secret {
		googleError(w, http.StatusUnauthorized, "Request is missing required authentication credential.")
		return
	}
	if code, err := strconv.Atoi(g.faults.take(write)); err == nil {
		googleError(w, code, "injected by the test")
		return
	}
	policy, ok := g.policies[resource]
	switch {
	case r.Method != http.MethodPost || !isV1 || resource == path:
		googleError(w, http.StatusNotFound, "The requested URL was not found on this server.")
	case !ok:
		googleError(w, http.StatusNotFound, "Unknown service account")
	case write:
		g.set(w, r, resource)
	default:
		googleReply(w, http.StatusOK, view(policy, r.URL.Query().Get("options.requestedPolicyVersion")))
	}
}

func (g *GCP) set(w http.ResponseWriter, r *http.Request, resource string) {
	var in iamv1.SetIamPolicyRequest
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Policy == nil {
		googleError(w, http.StatusBadRequest, "Invalid JSON payload received.")
		return
	}
	if g.conflict > 0 {
		g.conflict--
		g.interfere(g.policies[resource])
		g.policies[resource].Etag += "x"
	}
	have := g.policies[resource]
	if in.Policy.Etag != "" && in.Policy.Etag != have.Etag {
		googleError(w, http.StatusConflict, "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff.")
		return
	}
	for _, b := range in.Policy.Bindings {
		if len(b.Members) == 0 {
			googleError(w, http.StatusBadRequest, "Binding has no members.")
			return
		}
		if b.Condition != nil && in.Policy.Version != 3 {
			googleError(w, http.StatusBadRequest, "Policies with conditions must have version 3.")
			return
		}
	}
	// Everything outside the default update mask, "bindings, etag", stays as it is.
	stored := clone(have)
	stored.Bindings, stored.Etag = clone(in.Policy).Bindings, fmt.Sprintf("e%d", g.writes)
	g.policies[resource] = stored
	googleReply(w, http.StatusOK, view(stored, "3"))
}

// view is the policy as Google shows it: below version 3 conditions are hidden behind a changed role name.
func view(policy *iamv1.Policy, version string) *iamv1.Policy {
	out := clone(policy)
	out.Version = 1
	for _, b := range out.Bindings {
		switch {
		case b.Condition == nil:
		case version == "3":
			out.Version = 3
		default:
			b.Role, b.Condition = b.Role+"_withcond_0123456789abcdef", nil
		}
	}
	return out
}

func clone(policy *iamv1.Policy) *iamv1.Policy {
	raw, err := json.Marshal(policy)
	if err != nil {
		panic(err) // plain data
	}
	out := &iamv1.Policy{}
	if err := json.Unmarshal(raw, out); err != nil {
		panic(err)
	}
	return out
}

var googleStatus = map[int]string{
	400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED",
	412: "FAILED_PRECONDITION", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE",
}

func googleError(w http.ResponseWriter, code int, message string) {
	googleReply(w, code, map[string]any{"error": map[string]any{"code": code, "message": message, "status": googleStatus[code]}})
}

func googleReply(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // the client sees a broken reply
}
