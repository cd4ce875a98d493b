// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package gcpwi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2/google"
	iamv1 "google.golang.org/api/iam/v1"

	"berth.dev/berth/internal/cloud"
	"berth.dev/berth/internal/cloud/cloudtest"
)

const trainer = "trainer@models.iam.gserviceaccount.com"

// start is a server with one service account, and ServiceAccounts that talk to it from the project "cluster".
func start(t *testing.T, bindings ...*iamv1.Binding) (*cloudtest.GCP, *ServiceAccounts) {
	t.Helper()
	server := cloudtest.NewGCP(t)
	server.SetServiceAccount(t, trainer, bindings...)
	return server, New(Options{Endpoint: server.URL, Credentials: server.Credentials("cluster")})
}

func checkBindings(t *testing.T, server *cloudtest.GCP, want ...*iamv1.Binding) {
	t.Helper()
	if diff := cmp.Diff(text(t, want), text(t, server.Bindings(trainer))); diff != "" {
		t.Errorf("bindings: -want, +got:\n%s", diff)
	}
}

func TestServiceAccounts_applyAndRevokeThroughTheSDK(t *testing.T) {
	foreign := until2030(binding(workloadIdentityUser, theirs))
	admin := binding("roles/iam.serviceAccountAdmin", "user:ann@example.com")
	server, accounts := start(t, foreign, admin)
	steps := []struct {
		name       string
		do         func(context.Context, string, string) error
		want       []*iamv1.Binding
		wantWrites int
	}{
		{"apply", accounts.Apply, []*iamv1.Binding{foreign, admin, binding(workloadIdentityUser, ours)}, 1},
		{"apply again", accounts.Apply, []*iamv1.Binding{foreign, admin, binding(workloadIdentityUser, ours)}, 1},
		{"revoke", accounts.Revoke, []*iamv1.Binding{foreign, admin}, 2},
		{"revoke again", accounts.Revoke, []*iamv1.Binding{foreign, admin}, 2},
	}
	for _, step := range steps {
		if err := step.do(t.Context(), "team-a", trainer); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		checkBindings(t, server, step.want...)
		if got := server.Writes(); got != step.wantWrites {
			t.Errorf("%s: %d writes so far, want %d", step.name, got, step.wantWrites)
		}
	}
}

func TestServiceAccounts_lastRevokeEmptiesThePolicy(t *testing.T) {
	server, accounts := start(t, binding(workloadIdentityUser, ours))
	if err := accounts.Revoke(t.Context(), "team-a", trainer); err != nil {
		t.Fatal(err)
	}
	checkBindings(t, server)
}

func TestServiceAccounts_pool(t *testing.T) {
	cases := map[string]struct {
		option, credentials, email, want string
	}{
		"of the credentials":     {credentials: "cluster", email: trainer, want: ours},
		"of the service account": {email: trainer, want: "serviceAccount:models.svc.id.goog[team-a/default-editor]"},
		"as set":                 {option: "fleet", credentials: "cluster", email: trainer, want: "serviceAccount:fleet.svc.id.goog[team-a/default-editor]"},
		"domain-scoped": {
			email: "trainer@models.example.com.iam.gserviceaccount.com",
			want:  "serviceAccount:example.com:models.svc.id.goog[team-a/default-editor]",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			server := cloudtest.NewGCP(t)
			server.SetServiceAccount(t, tc.email)
			accounts := New(Options{Endpoint: server.URL, Credentials: server.Credentials(tc.credentials), Project: tc.option})
			if err := accounts.Apply(t.Context(), "team-a", tc.email); err != nil {
				t.Fatal(err)
			}
			want := []*iamv1.Binding{binding(workloadIdentityUser, tc.want)}
			if diff := cmp.Diff(text(t, want), text(t, server.Bindings(tc.email))); diff != "" {
				t.Errorf("-want, +got:\n%s", diff)
			}
		})
	}
}

func TestServiceAccounts_errors(t *testing.T) {
	conflicting := func(g *cloudtest.GCP) {
		g.Interfere(99, func(*iamv1.Policy) {})
	}
	cases := map[string]struct {
		namespace, email           string
		sabotage                   func(*cloudtest.GCP)
		wantInvalid, wantUntouched bool
		wantText                   string
		wantWrites                 int
	}{
		"a short name":       {email: "a@b", wantInvalid: true, wantUntouched: true, wantText: "<name>@<project>.iam.gserviceaccount.com"},
		"an empty name":      {email: "", wantInvalid: true, wantUntouched: true},
		"no namespace":       {namespace: "a/b", email: trainer, wantInvalid: true, wantUntouched: true},
		"no such account":    {email: "gone@models.iam.gserviceaccount.com", wantUntouched: true, wantText: "does not exist"},
		"read refused":       {email: trainer, sabotage: func(g *cloudtest.GCP) { g.FailNext(1, "403") }, wantUntouched: true, wantText: "403 Forbidden"},
		"read failing":       {email: trainer, sabotage: func(g *cloudtest.GCP) { g.FailNext(1, "503") }, wantUntouched: true, wantText: "503"},
		"write refused":      {email: trainer, sabotage: func(g *cloudtest.GCP) { g.FailNextWrite(1, "403") }, wantText: "403", wantWrites: 1},
		"write failing":      {email: trainer, sabotage: func(g *cloudtest.GCP) { g.FailNextWrite(1, "500") }, wantText: "500", wantWrites: 1},
		"conflicts for ever": {email: trainer, sabotage: conflicting, wantUntouched: true, wantText: "409", wantWrites: maxTries},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			server, accounts := start(t, binding(workloadIdentityUser, theirs))
			if tc.sabotage != nil {
				tc.sabotage(server)
			}
			if tc.namespace == "" {
				tc.namespace = "team-a"
			}
			err := accounts.Apply(t.Context(), tc.namespace, tc.email)
			if err == nil {
				t.Fatal("no error")
			}
			if got := errors.Is(err, cloud.ErrInvalid); got != tc.wantInvalid {
				t.Errorf("ErrInvalid: %t: %v", got, err)
			}
			if got := errors.Is(err, cloud.ErrUntouched); got != tc.wantUntouched {
				t.Errorf("ErrUntouched: %t: %v", got, err)
			}
			if !strings.Contains(err.Error(), tc.wantText) {
				t.Errorf("error lacks %q: %v", tc.wantText, err)
			}
			if strings.Contains(err.Error(), cloudtest.Secret) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error holds the token, or several lines: %v", err)
			}
			if got := server.Writes(); got != tc.wantWrites {
				t.Errorf("%d writes, want %d", got, tc.wantWrites)
			}
			checkBindings(t, server, binding(workloadIdentityUser, theirs))
		})
	}
}

func TestServiceAccounts_revokeOfAnAccountThatIsGone(t *testing.T) {
	server, accounts := start(t, binding(workloadIdentityUser, ours))
	server.FailNextWrite(1, "404") // deleted between read and write
	if err := accounts.Revoke(t.Context(), "team-a", trainer); err != nil {
		t.Errorf("deleted before the write: %v", err)
	}
	server.DeleteServiceAccount(trainer)
	if err := accounts.Revoke(t.Context(), "team-a", trainer); err != nil {
		t.Errorf("deleted before the read: %v", err)
	}
	server.FailNext(1, "403")
	if err := accounts.Revoke(t.Context(), "team-a", trainer); !errors.Is(err, cloud.ErrUntouched) {
		t.Errorf("read refused: %v, want ErrUntouched", err)
	}
}

func TestServiceAccounts_conflictStartsAgainFromAFreshRead(t *testing.T) {
	server, accounts := start(t)
	other := 0
	server.Interfere(2, func(p *iamv1.Policy) {
		other++
		p.Bindings = append(p.Bindings, binding(fmt.Sprintf("roles/foreign%d", other), "user:ann@example.com"))
	})
	server.FailNextWrite(1, "412")
	if err := accounts.Apply(t.Context(), "team-a", trainer); err != nil {
		t.Fatal(err)
	}
	checkBindings(t, server, binding("roles/foreign1", "user:ann@example.com"), binding("roles/foreign2", "user:ann@example.com"),
		binding(workloadIdentityUser, ours))
}

func TestServiceAccounts_twoProcessesOnOneAccount(t *testing.T) {
	const each = 4
	server, first := start(t, until2030(binding(workloadIdentityUser, theirs)))
	second := New(Options{Endpoint: server.URL, Credentials: server.Credentials("cluster")})
	run := func(do func(accounts *ServiceAccounts, namespace string) error) {
		var wg sync.WaitGroup
		for i, accounts := range []*ServiceAccounts{first, second} {
			for j := range each {
				wg.Go(func() {
					namespace := fmt.Sprintf("ns-%d-%d", i, j)
					// A caller tries again after a conflict too many, as the controller does.
					for err := do(accounts, namespace); err != nil; err = do(accounts, namespace) {
						if status(err) != http.StatusConflict {
							t.Error(err)
							return
						}
					}
				})
			}
		}
		wg.Wait()
	}
	run(func(accounts *ServiceAccounts, namespace string) error {
		return accounts.Apply(t.Context(), namespace, trainer)
	})
	bindings := server.Bindings(trainer)
	if len(bindings) != 2 || len(bindings[1].Members) != 2*each {
		t.Fatalf("want one more binding with %d members, got %s", 2*each, text(t, bindings))
	}
	run(func(accounts *ServiceAccounts, namespace string) error {
		return accounts.Revoke(t.Context(), namespace, trainer)
	})
	checkBindings(t, server, until2030(binding(workloadIdentityUser, theirs)))
}

func TestServiceAccounts_credentialsAreFoundLazilyAndOnce(t *testing.T) {
	server := cloudtest.NewGCP(t)
	server.SetServiceAccount(t, trainer)
	loads := 0
	accounts := New(Options{Endpoint: server.URL, Credentials: func(ctx context.Context) (*google.Credentials, error) {
		if loads++; loads == 1 {
			return nil, errors.New("not yet")
		}
		return server.Credentials("cluster")(ctx)
	}})
	if loads != 0 {
		t.Error("looked for before first use")
	}
	if err := accounts.Apply(t.Context(), "team-a", trainer); !errors.Is(err, cloud.ErrUntouched) {
		t.Errorf("first: %v, want ErrUntouched", err)
	}
	// The context of the call that found the credentials ends; they stay good.
	ctx, cancel := context.WithCancel(t.Context())
	if err := accounts.Apply(ctx, "team-a", trainer); err != nil {
		t.Errorf("second: %v", err)
	}
	cancel()
	if err := accounts.Revoke(t.Context(), "team-a", trainer); err != nil {
		t.Errorf("third: %v", err)
	}
	if loads != 2 {
		t.Errorf("%d loads, want 2", loads)
	}
}

func TestServiceAccounts_searchForCredentialsIsBounded(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	accounts := New(Options{Timeout: 20 * time.Millisecond, Credentials: func(context.Context) (*google.Credentials, error) {
		<-release // as a metadata server that never answers: no context helps
		return nil, errors.New("released")
	}})
	err := accounts.Apply(t.Context(), "team-a", trainer)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, cloud.ErrUntouched) {
		t.Errorf("got %v, want a deadline with nothing touched", err)
	}
}

func TestServiceAccounts_defaultCredentialsMissing(t *testing.T) {
	server := cloudtest.NewGCP(t)
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "missing.json"))
	err := New(Options{Endpoint: server.URL}).Apply(t.Context(), "team-a", trainer)
	if !errors.Is(err, cloud.ErrUntouched) || errors.Is(err, cloud.ErrInvalid) {
		t.Errorf("got %v, want ErrUntouched only", err)
	}
	if server.Reads() != 0 {
		t.Error("a request without credentials was sent")
	}
}
