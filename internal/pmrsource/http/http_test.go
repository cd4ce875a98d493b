// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package http_test

import (
	"encoding/pem"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"berth.dev/berth/internal/pmrsource"
	"berth.dev/berth/internal/pmrsource/http"
	"berth.dev/berth/internal/pmrsource/web"
)

func source(t *testing.T, options http.Options) *http.Source {
	t.Helper()
	s, err := http.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func fetch(t *testing.T, s *http.Source) pmrsource.Files {
	t.Helper()
	files, err := s.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A file that stays the same is sent once where the server has ETags, and is the same file where it has none.
func TestSource_unchanged(t *testing.T) {
	for name, etag := range map[string]string{"with an ETag": `"1"`, "without": ""} {
		t.Run(name, func(t *testing.T) {
			var sent atomic.Int32
			var content atomic.Value
			content.Store("profiles:\n")
			server := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
				if etag != "" {
					w.Header().Set("ETag", etag+content.Load().(string)[:3])
				}
				if etag != "" && r.Header.Get("If-None-Match") == w.Header().Get("ETag") {
					w.WriteHeader(nethttp.StatusNotModified)
					return
				}
				sent.Add(1)
				_, _ = w.Write([]byte(content.Load().(string)))
			}))
			defer server.Close()
			s := source(t, http.Options{URL: server.URL + "/pmr.yaml?token=secret"})
			first, second := fetch(t, s), fetch(t, s)
			if first.Unchanged || !second.Unchanged || &first.Files[0] != &second.Files[0] {
				t.Error("the second time has not the same files, or does not say so")
			}
			if etag != "" && sent.Load() != 1 {
				t.Errorf("the file was sent %d times", sent.Load())
			}
			if first.Files[0].Path != "pmr.yaml" || strings.Contains(first.URL, "secret") || !strings.HasPrefix(first.Revision, "sha256:") {
				t.Errorf("got %+v", first)
			}
			content.Store("changed:\n")
			if third := fetch(t, s); third.Unchanged || third.Revision == first.Revision || string(third.Files[0].Data) != "changed:\n" {
				t.Errorf("got %+v after a change", third)
			}
		})
	}
}

func TestSource_refusals(t *testing.T) {
	done := make(chan struct{})
	mux := nethttp.NewServeMux()
	mux.HandleFunc("/page", func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
	})
	mux.HandleFunc("/hidden", func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte("<!DOCTYPE html>"))
	})
	mux.HandleFunc("/long", func(w nethttp.ResponseWriter, _ *nethttp.Request) { _, _ = w.Write(make([]byte, 100)) })
	mux.HandleFunc("/slow", func(nethttp.ResponseWriter, *nethttp.Request) { <-done })
	mux.HandleFunc("/closed", func(w nethttp.ResponseWriter, _ *nethttp.Request) { w.WriteHeader(nethttp.StatusUnauthorized) })
	server := httptest.NewServer(mux)
	defer server.Close()
	defer close(done)
	for path, want := range map[string]pmrsource.Reason{
		"/page": pmrsource.BadConfiguration, "/hidden": pmrsource.BadConfiguration, "/long": pmrsource.TooLarge,
		"/slow": pmrsource.Timeout, "/closed": pmrsource.AuthenticationFailed, "/none": pmrsource.NotFound,
	} {
		_, err := source(t, http.Options{URL: server.URL + path, Limits: pmrsource.Limits{Bytes: 99, Timeout: time.Second}}).Fetch(t.Context())
		if got := pmrsource.ReasonOf(err); err == nil || got != want {
			t.Errorf("%s: got %v, want the reason %s", path, err, want)
		}
	}
	for _, url := range []string{"http://example.com/x", "https://a:secret@example.com/x", "ftp://example.com/x", "x"} {
		_, err := http.New(http.Options{URL: url})
		if pmrsource.ReasonOf(err) != pmrsource.BadConfiguration || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", url, err)
		}
	}
}

func TestSource_privateAuthority(t *testing.T) {
	server := httptest.NewTLSServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(nethttp.StatusForbidden)
		}
	}))
	defer server.Close()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	fetch(t, source(t, http.Options{URL: server.URL + "/pmr.yaml", Credentials: web.Credentials{CA: authority, Token: "secret\n"}}))
}
