// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/pmrsource"
	"berth.dev/berth/internal/pmrsource/git"
	"berth.dev/berth/internal/pmrsource/web"
)

func TestSource_refs(t *testing.T) {
	r := newRepository(t)
	first := r.commit("first")
	r.git("tag", "light")
	second := r.commit("second")
	r.git("tag", "--annotate", "--message", "m", "heavy")
	r.git("branch", "side", first)
	third := r.commit("third")
	url := r.serve()
	for name, tc := range map[string]struct {
		ref                  git.Ref
		commit, text, prefix string
	}{
		"HEAD":                           {git.Ref{}, third, "third", "main@"},
		"a branch":                       {git.Ref{Branch: "side"}, first, "first", "side@"},
		"a branch by its whole name":     {git.Ref{Branch: "refs/heads/side"}, first, "first", "side@"},
		"a lightweight tag":              {git.Ref{Tag: "light"}, first, "first", "light@"},
		"an annotated tag":               {git.Ref{Tag: "heavy"}, second, "second", "heavy@"},
		"a commit that a branch has":     {git.Ref{Commit: first}, first, "first", ""},
		"a commit in between":            {git.Ref{Commit: second}, second, "second", ""},
		"a commit, and where to find it": {git.Ref{Commit: strings.ToUpper(second), Branch: "main"}, second, "second", ""},
	} {
		t.Run(name, func(t *testing.T) {
			want := pmrsource.Files{
				Files: []pmrsource.File{{Path: "pmr.yaml", Data: []byte("profiles: # " + tc.text + "\n")}},
				Provenance: pmrsource.Provenance{
					URL: url, Revision: tc.prefix + "sha1:" + tc.commit, Commit: tc.commit,
					Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Author: "Ann <ann@example.com>",
				},
			}
			if diff := cmp.Diff(want, fetch(t, source(t, git.Options{URL: url, Ref: tc.ref}))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSource_notFound(t *testing.T) {
	r := newRepository(t)
	url := r.serve()
	_, err := source(t, git.Options{URL: url}).Fetch(t.Context())
	fails(t, err, pmrsource.NotFound, "empty")

	r.commit("first")
	for name, tc := range map[string]struct {
		options git.Options
		words   []string
	}{
		"repository": {git.Options{URL: url + "s"}, []string{"/lists", "404"}},
		"branch":     {git.Options{URL: url, Ref: git.Ref{Branch: "mian"}}, []string{`"mian"`, `"main"`}},
		"tag":        {git.Options{URL: url, Ref: git.Ref{Tag: "v1"}}, []string{`"v1"`, "none"}},
		"commit":     {git.Options{URL: url, Ref: git.Ref{Commit: strings.Repeat("a", 40)}}, []string{strings.Repeat("a", 40)}},
		"path":       {git.Options{URL: url, Selection: pmrsource.Selection{Path: "prm.yaml"}}, []string{`"prm.yaml"`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := source(t, tc.options).Fetch(t.Context())
			fails(t, err, pmrsource.NotFound, tc.words...)
		})
	}
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "text/html") }))
	defer page.Close()
	_, err = source(t, git.Options{URL: page.URL}).Fetch(t.Context())
	fails(t, err, pmrsource.NotFound, "text/html")
}

func TestSource_selection(t *testing.T) {
	r := newRepository(t)
	r.write("teams/b.yml", "b")
	r.write("teams/a.yaml", "a")
	r.write("teams/README.md", "no")
	r.write("teams/deep/c.yaml", "c")
	r.write("clusters/one.yaml", "one")
	r.git("symbolic-ref", "HEAD", "refs/heads/main")
	r.commit("first")
	names := func(files []pmrsource.File) (names []string) {
		for _, f := range files {
			names = append(names, f.Path+"="+string(f.Data))
		}
		return names
	}
	for name, lazy := range map[string]string{"all files are sent": "false", "only the selected are": "true"} {
		t.Run(name, func(t *testing.T) {
			r.git("config", "uploadpack.allowFilter", lazy)
			r.git("config", "uploadpack.allowAnySHA1InWant", lazy)
			files := fetch(t, source(t, git.Options{URL: r.serve(), Selection: pmrsource.Selection{Path: "teams", Overlays: []string{"clusters/one.yaml", "teams/b.yml"}}}))
			if diff := cmp.Diff([]string{"teams/a.yaml=a", "teams/deep/c.yaml=c"}, names(files.Files)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{"clusters/one.yaml=one", "teams/b.yml=b"}, names(files.Overlays)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSource_linksAndPointers(t *testing.T) {
	r := newRepository(t)
	r.write("pointer.yaml", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
	r.commit("first")
	link := r.pipe("/etc/passwd", "hash-object", "-w", "--stdin")
	r.git("update-index", "--add", "--cacheinfo", "120000,"+link+",passwd.yaml")
	r.git("commit", "--quiet", "--message", "link")
	url := r.serve()
	for path, reason := range map[string]pmrsource.Reason{"passwd.yaml": pmrsource.NotFound, ".": pmrsource.NotFound, "pointer.yaml": pmrsource.BadConfiguration} {
		_, err := source(t, git.Options{URL: url, Selection: pmrsource.Selection{Path: path}}).Fetch(t.Context())
		fails(t, err, reason)
	}
}

func TestSource_unchanged(t *testing.T) {
	r := newRepository(t)
	commit := r.commit("first")
	var packs atomic.Int32
	server := httptest.NewServer(counted(r.backend(), &packs))
	defer server.Close()
	for name, ref := range map[string]git.Ref{"branch": {}, "commit": {Commit: commit}} {
		t.Run(name, func(t *testing.T) {
			packs.Store(0)
			s := source(t, git.Options{URL: server.URL + "/list", Ref: ref})
			first, second := fetch(t, s), fetch(t, s)
			if packs.Load() != 1 {
				t.Errorf("objects were fetched %d times", packs.Load())
			}
			if first.Unchanged || !second.Unchanged || &first.Files[0] != &second.Files[0] {
				t.Error("the second time has not the same files, or does not say so")
			}
		})
	}
	s := source(t, git.Options{URL: server.URL + "/list"})
	fetch(t, s)
	if want := r.commit("second"); fetch(t, s).Commit != want {
		t.Error("what was pushed is not fetched")
	}
}

func TestSource_credentials(t *testing.T) {
	r := newRepository(t)
	r.commit("first")
	backend := r.backend()
	guarded := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		name, password, _ := q.BasicAuth()
		switch {
		case name == "bot" && password == "secret", q.Header.Get("Authorization") == "Bearer secret":
			backend.ServeHTTP(w, q)
		case name == "guest":
			w.WriteHeader(http.StatusForbidden)
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer guarded.Close()
	for name, tc := range map[string]struct {
		credentials web.Credentials
		want        string
	}{
		"password":                {web.Credentials{Username: "bot", Password: "secret\n"}, ""},
		"token":                   {web.Credentials{Token: "secret"}, ""},
		"none":                    {web.Credentials{}, "there are none"},
		"wrong":                   {web.Credentials{Token: "my-secret"}, "401"},
		"right, but not for this": {web.Credentials{Username: "guest", Password: "secret"}, "403"},
	} {
		t.Run(name, func(t *testing.T) {
			s := source(t, git.Options{URL: guarded.URL + "/list", Web: tc.credentials})
			if tc.want == "" {
				fetch(t, s)
				return
			}
			_, err := s.Fetch(t.Context())
			fails(t, err, pmrsource.AuthenticationFailed, tc.want)
		})
	}
}

// Two sources with different certificates don't get in each other's way, however often they fetch at once.
func TestSource_certificates(t *testing.T) {
	r := newRepository(t)
	r.commit("first")
	one, other := newAuthority(t), newAuthority(t)
	private, mutual := one.serve(r.backend(), false), other.serve(r.backend(), true)
	certificate, key := other.pair()
	sources := []*git.Source{
		source(t, git.Options{URL: private, Web: web.Credentials{CA: one.pem}}),
		source(t, git.Options{URL: mutual, Web: web.Credentials{CA: other.pem, Certificate: certificate, Key: key}}),
	}
	var all sync.WaitGroup
	for range 3 {
		for _, s := range sources {
			all.Go(func() {
				if _, err := s.Fetch(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()

	_, err := source(t, git.Options{URL: private}).Fetch(t.Context())
	fails(t, err, pmrsource.CertificateInvalid, "authority")
	_, err = source(t, git.Options{URL: private, Web: web.Credentials{CA: other.pem}}).Fetch(t.Context())
	fails(t, err, pmrsource.CertificateInvalid, "authority")
	_, err = source(t, git.Options{URL: mutual, Web: web.Credentials{CA: other.pem}}).Fetch(t.Context())
	fails(t, err, pmrsource.AuthenticationFailed, "client certificate")
}

func TestSource_redirects(t *testing.T) {
	r := newRepository(t)
	r.commit("first")
	var stolen atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen.Add(1) }))
	defer elsewhere.Close()
	backend := r.backend()
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch rest, moved := strings.CutPrefix(q.URL.Path, "/old/"); {
		case moved:
			http.Redirect(w, q, server.URL+"/"+rest+"?"+q.URL.RawQuery, http.StatusMovedPermanently)
		case strings.HasPrefix(q.URL.Path, "/gone/"):
			http.Redirect(w, q, elsewhere.URL+q.URL.Path, http.StatusFound)
		case strings.HasPrefix(q.URL.Path, "/secure/"):
			http.Redirect(w, q, "https://"+q.Host+q.URL.Path, http.StatusFound)
		case strings.HasPrefix(q.URL.Path, "/loop/"):
			http.Redirect(w, q, q.URL.String(), http.StatusFound)
		default:
			backend.ServeHTTP(w, q)
		}
	}))
	defer server.Close()
	secret := web.Credentials{Token: "secret"}
	fetch(t, source(t, git.Options{URL: server.URL + "/old/list", Web: secret}))
	_, err := source(t, git.Options{URL: server.URL + "/gone/list", Web: secret}).Fetch(t.Context())
	fails(t, err, pmrsource.BadConfiguration, "another server", elsewhere.URL)
	_, err = source(t, git.Options{URL: server.URL + "/secure/list", Web: secret}).Fetch(t.Context())
	fails(t, err, pmrsource.BadConfiguration, "from http to https")
	_, err = source(t, git.Options{URL: server.URL + "/loop/list"}).Fetch(t.Context())
	fails(t, err, pmrsource.Unreachable, "more than 3 times")
	if stolen.Load() > 0 {
		t.Error("the other server was asked")
	}
}

func TestSource_limits(t *testing.T) {
	noise := make([]byte, 1<<20)
	_, _ = rand.Read(noise) // it never fails
	for name, content := range map[string]string{
		"much is sent":               base64.StdEncoding.EncodeToString(noise),
		"little unpacks to too much": strings.Repeat("a: b\n", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepository(t)
			r.write("large", content)
			r.commit("first")
			url := r.serve()
			limits := pmrsource.Limits{Transfer: 256 << 10}
			_, err := source(t, git.Options{URL: url, Limits: limits}).Fetch(t.Context())
			fails(t, err, pmrsource.TooLarge)

			r.git("config", "uploadpack.allowFilter", "true")
			r.git("config", "uploadpack.allowAnySHA1InWant", "true")
			fetch(t, source(t, git.Options{URL: url, Limits: limits}))
			_, err = source(t, git.Options{URL: url, Limits: limits, Selection: pmrsource.Selection{Path: "large"}}).Fetch(t.Context())
			fails(t, err, pmrsource.TooLarge)
			_, err = source(t, git.Options{URL: url, Limits: pmrsource.Limits{Bytes: 1 << 20}, Selection: pmrsource.Selection{Path: "large"}}).Fetch(t.Context())
			fails(t, err, pmrsource.TooLarge, "1 MiB")
		})
	}
}

func TestSource_hangs(t *testing.T) {
	r := newRepository(t)
	r.commit("first")
	backend := r.backend()
	asked := make(chan struct{}, 4)
	for name, method := range map[string]string{"at the first question": http.MethodGet, "at the second": http.MethodPost} {
		t.Run(name, func(t *testing.T) {
			done := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				if q.Method == method {
					asked <- struct{}{}
					<-done
					return
				}
				backend.ServeHTTP(w, q)
			}))
			defer server.Close()
			defer close(done)
			_, err := source(t, git.Options{URL: server.URL + "/list", Limits: pmrsource.Limits{Timeout: 2 * time.Second}}).Fetch(t.Context())
			fails(t, err, pmrsource.Timeout, "2s")
			<-asked

			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-asked; cancel() }()
			if _, err := source(t, git.Options{URL: server.URL + "/list"}).Fetch(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want that it was canceled", err)
			}
		})
	}
}

// A source that failed is as good as before once its server is.
func TestSource_recovers(t *testing.T) {
	r := newRepository(t)
	r.commit("first")
	backend := r.backend()
	var down atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		backend.ServeHTTP(w, q)
	}))
	defer server.Close()
	s := source(t, git.Options{URL: server.URL + "/list"})
	fetch(t, s)
	down.Store(true)
	_, err := s.Fetch(t.Context())
	fails(t, err, pmrsource.Unreachable, "503")
	down.Store(false)
	if !fetch(t, s).Unchanged {
		t.Error("what was fetched is forgotten")
	}
}
