// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package hookclient_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/hookclient"
)

// serve answers as a hook.
func serve(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/sync":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(w, "%s %s %s", r.Method, r.Header.Get("Content-Type"), body)
	case "/status":
		http.Error(w, "secret", http.StatusTeapot)
	case "/most", "/more":
		w.Write(bytes.Repeat([]byte("x"), hookclient.MaxAnswer)) //nolint:errcheck // the client may have had enough
		if r.URL.Path == "/more" {
			w.Write([]byte("x")) //nolint:errcheck // the client may have had enough
		}
	case "/slow":
		io.Copy(io.Discard, r.Body) //nolint:errcheck // that it ends is all that counts
		<-r.Context().Done()
	case "/cut":
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "short")
	case "/elsewhere":
		http.Redirect(w, r, "http://localhost:1/sync", http.StatusTemporaryRedirect)
	case "/here":
		http.Redirect(w, r, "/sync", http.StatusTemporaryRedirect)
	case "/get":
		http.Redirect(w, r, "/sync", http.StatusFound)
	case "/loop":
		http.Redirect(w, r, "/loop", http.StatusPermanentRedirect)
	}
}

func TestClient_Ask(t *testing.T) {
	plain, secure := httptest.NewServer(http.HandlerFunc(serve)), httptest.NewTLSServer(http.HandlerFunc(serve))
	defer plain.Close()
	defer secure.Close()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	cases := map[string]struct {
		url        string
		ca         []byte
		want       string
		wantLength int
		wantError  string
	}{
		"an answer":                  {url: plain.URL + "/sync", want: `POST application/json {"a":1}`},
		"an answer by TLS":           {url: secure.URL + "/sync", ca: authority, want: `POST application/json {"a":1}`},
		"an authority nobody knows":  {url: secure.URL + "/sync", wantError: "tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		"a bundle without any":       {url: secure.URL + "/sync", ca: []byte("x"), wantError: "its caBundle has no certificate in PEM"},
		"a status":                   {url: plain.URL + "/status", wantError: "the answer has status 418"},
		"the longest answer":         {url: plain.URL + "/most", wantLength: 4 << 20},
		"a longer one":               {url: plain.URL + "/more", wantError: "the answer is longer than 4 MiB"},
		"none in time":               {url: plain.URL + "/slow?secret", wantError: "no answer within 1s"},
		"one cut short":              {url: plain.URL + "/cut", wantError: "the connection was closed before the answer was there"},
		"a redirect to another host": {url: plain.URL + "/elsewhere", wantError: "the answer is a redirect to another server, which is not followed"},
		"a redirect on the host":     {url: plain.URL + "/here", want: `POST application/json {"a":1}`},
		"a redirect to be got":       {url: plain.URL + "/get", wantError: "the answer is a redirect that drops the request, which is not followed"},
		"redirects without end":      {url: plain.URL + "/loop", wantError: "the answer is one redirect too many"},
		"nobody there":               {url: "http://127.0.0.1:1/?secret", wantError: "dial: connect: connection refused"},
		"no URL":                     {url: "http://", wantError: "its url is not that of an HTTP server"},
		"a file":                     {url: "file:///secret", wantError: "its url is not that of an HTTP server"},
	}
	var c hookclient.Client
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			endpoint := berthv1alpha1.HookEndpoint{URL: tc.url, CABundle: tc.ca, TimeoutSeconds: 1}
			got, err := c.Ask(t.Context(), endpoint, map[string]int{"a": 1})
			if tc.wantError != "" {
				if err == nil || !strings.HasSuffix(err.Error(), tc.wantError) || strings.Contains(err.Error(), "secret") {
					t.Errorf("error %v, want %s", err, tc.wantError)
				}
				return
			}
			if err != nil || tc.wantLength == 0 && string(got) != tc.want || tc.wantLength > 0 && len(got) != tc.wantLength {
				t.Errorf("%d bytes (error %v), want %q", len(got), err, tc.want)
			}
		})
	}
}

func TestClient_Ask_endsWithItsContext(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(serve))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var c hookclient.Client
	if _, err := c.Ask(ctx, berthv1alpha1.HookEndpoint{URL: server.URL + "/slow"}, nil); err == nil {
		t.Error("no error")
	}
}
