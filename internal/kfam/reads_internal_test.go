// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/render"
)

const (
	// teams is how many profiles there are, with so many contributors each, besides the owner.
	teams, contributorsEach = 2000, 10
	// clients is how many connections are read over at once.
	clients = 8
)

// many is a server that has read that many profiles, and logs as the command does.
func many(t testing.TB) *Server {
	t.Helper()
	config := render.DefaultConfig()
	s := New(Options{
		Render:         config,
		Authentication: Authentication{Header: config.UserIDHeader, Prefix: config.UserIDPrefix, Trust: TrustAlways},
		Log:            zap.New(zap.WriteTo(io.Discard)),
	})
	for i := range teams {
		p := &kubeflowv1.Profile{ObjectMeta: metav1.ObjectMeta{Name: team(i), UID: types.UID(team(i))}}
		p.Spec.Owner = rbacv1.Subject{Kind: rbacv1.UserKind, Name: member(i)}
		s.index.setProfile(p)
		for j := range contributorsEach + 1 {
			c := render.Contributor{Role: render.Roles[j%3], Subject: rbacv1.Subject{Kind: rbacv1.UserKind, Name: member(i + j*teams/(contributorsEach+1))}}
			binding, ok := render.ContributorBinding(p, config, c, render.BindingNames(c)[0]).Resource.(*rbacv1.RoleBinding)
			if !ok {
				t.Fatal("the binding of a contributor is none")
			}
			s.index.setBinding(binding)
		}
	}
	s.synced.Store(true)
	return s
}

func team(i int) string { return fmt.Sprintf("team-%05d", i%teams) }

func member(i int) string { return fmt.Sprintf("person-%05d@example.com", i%teams) }

// reads are the paths that are read, by what they ask for.
var reads = []struct {
	what string
	path func(i int) string
}{
	{"user", func(i int) string { return "/kfam/v1/bindings?user=" + url.QueryEscape(member(i*7919)) }},
	{"namespace", func(i int) string { return "/kfam/v1/bindings?namespace=" + team(i*7919) }},
	{"all", func(int) string { return "/kfam/v1/bindings" }},
}

// discarded is an answer that nobody reads.
type discarded struct {
	header http.Header
	code   int
}

func (d *discarded) Header() http.Header            { return d.header }
func (d *discarded) Write(data []byte) (int, error) { return len(data), nil }
func (d *discarded) WriteHeader(code int)           { d.code = code }

// broken is a connection that ends with the first bytes.
type broken struct{ discarded }

func (*broken) Write([]byte) (int, error) { return 0, errors.New("the client has gone") }

// TestListBindings_sharesNothing: lists that are read at once, by clients of whom some leave, have their own entries each.
func TestListBindings_sharesNothing(t *testing.T) {
	handler := many(t).Handler()
	read := func(i int) string {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, reads[i%len(reads)].path(i), http.NoBody))
		return w.Body.String()
	}
	const lists = 30
	var want [lists]string
	for i := range want {
		if want[i] = read(i); !json.Valid([]byte(want[i])) || len(want[i]) < 1000 {
			t.Fatalf("%d is answered with %q", i, want[i])
		}
	}
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for i := range want {
				handler.ServeHTTP(&broken{discarded{header: http.Header{}}},
					httptest.NewRequestWithContext(t.Context(), http.MethodGet, reads[i%len(reads)].path(i+1), http.NoBody))
				if got := read(i); got != want[i] {
					t.Errorf("%d is answered with %d bytes, which are not the %d of before", i, len(got), len(want[i]))
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkRead measures the handler alone.
func BenchmarkRead(b *testing.B) {
	handler := many(b).Handler()
	for _, read := range reads {
		b.Run(read.what, func(b *testing.B) {
			b.ReportAllocs()
			requests := make([]*http.Request, teams)
			for i := range requests {
				requests[i] = httptest.NewRequestWithContext(b.Context(), http.MethodGet, read.path(i), http.NoBody)
			}
			for i := 0; b.Loop(); i++ {
				w := &discarded{header: http.Header{}}
				handler.ServeHTTP(w, requests[i%teams])
				if w.code != 0 {
					b.Fatalf("answered with %d", w.code)
				}
			}
		})
	}
}

// BenchmarkReadOverLoopback measures what clients see who keep their connections.
func BenchmarkReadOverLoopback(b *testing.B) {
	server := httptest.NewServer(many(b).Handler())
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	for _, read := range reads {
		b.Run(read.what, func(b *testing.B) {
			b.ReportAllocs()
			took := make([]time.Duration, b.N)
			var next atomic.Int64
			var wg sync.WaitGroup
			for range clients {
				wg.Go(func() {
					for i := int(next.Add(1)) - 1; i < b.N; i = int(next.Add(1)) - 1 {
						began := time.Now()
						answer, err := client.Get(server.URL + read.path(i)) //nolint:noctx // it is our own server
						if err != nil {
							b.Error(err)
							return
						}
						_, err = io.Copy(io.Discard, answer.Body)
						if answer.Body.Close(); err != nil || answer.StatusCode != http.StatusOK {
							b.Errorf("answered with %s, %v", answer.Status, err)
						}
						took[i] = time.Since(began)
					}
				})
			}
			wg.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
