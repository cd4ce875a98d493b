// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"berth.dev/berth/internal/kfam"
	"berth.dev/berth/internal/testkit"
)

func TestBody_over1MiBIsRefused(t *testing.T) {
	t.Parallel()
	a := serve(t, onQuiet(t))
	long := invite("team-a", strings.Repeat("x", 1<<20), "edit")
	for _, method := range []string{http.MethodPost, http.MethodDelete} {
		a.wants(http.StatusRequestEntityTooLarge, "1048576 bytes", method, bindingsPath, long, user(ann))
	}
	a.wants(http.StatusRequestEntityTooLarge, "1048576 bytes", http.MethodPost, profilesPath, long, user(ann))
	a.listed("", user(ann))
}

// A connection lives on after a request that Kubeflow's API answered by dropping it.
func TestConnection_livesOnAfterMistakes(t *testing.T) {
	t.Parallel()
	a := serve(t, onQuiet(t), dropIn)
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(a.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for _, tc := range []struct {
		method, header, body string
		want                 int
	}{
		{"POST", userHeader + ": " + userPrefix + ann, `{}`, 400},
		{"POST", userHeader + ": " + userPrefix + ann, `{"user":{},"referredNamespace":"a"}`, 400},
		{"DELETE", userHeader + ": short", `{}`, 400},
		{"DELETE", "x: y", `{"user":null}`, 400},
		{"POST", userHeader + ": " + userPrefix + ann, ``, 403},
		{"POST", userHeader + ": " + userPrefix + ann, `null`, 400},
		{"GET", userHeader + ": " + userPrefix + ann, ``, 200},
	} {
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: kfam\r\n%s\r\nContent-Length: %d\r\n\r\n%s", tc.method, bindingsPath, tc.header, len(tc.body), tc.body)
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatalf("%+v: the connection was dropped: %v", tc, err)
		}
		body, err := io.ReadAll(response.Body)
		if err = errors.Join(err, response.Body.Close()); err != nil || response.StatusCode != tc.want {
			t.Errorf("%+v: got %d %s (error %v)", tc, response.StatusCode, body, err)
		}
	}
}

// Defect 28: a server that is to end serves what it has begun, and refuses more.
func TestStop_finishesARunningRequest(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	running, proceed := make(chan struct{}), make(chan struct{})
	var once sync.Once
	a := serve(t, at, through(t, at, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			if kindOf(obj) == "policy" {
				once.Do(func() { close(running); <-proceed })
			}
			return c.Create(ctx, obj, opts...)
		},
	}))
	ns := tenant(t, at, a)
	var request, stop sync.WaitGroup
	request.Go(func() { a.wants(http.StatusOK, "", http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann)) })
	<-running
	stop.Go(func() {
		if err := a.stop(); err != nil {
			t.Errorf("the server did not end well: %v", err)
		}
	})
	testkit.Eventually(t, patience, func() error {
		_, err := a.try(a.request(t.Context(), http.MethodGet, "/healthz", "", nil))
		if err == nil {
			return errors.New("new requests are still served")
		}
		return nil
	})
	close(proceed)
	request.Wait()
	stop.Wait()
	wantInvited(t, at, ns, pair(benEdit)...)
	eventuallyNotes(t, at, ns, "added User "+ben+" (edit) by "+ann)
}

// Defect 28: it says whether it lives, and whether it has read the cluster.
func TestProbes_readyOnceTheClusterHasBeenRead(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	options := kfam.Options{Authentication: kfam.Authentication{Header: userHeader, Trust: kfam.TrustAlways}}
	if err := kfam.Connect(at.config, &options); err != nil {
		t.Fatal(err)
	}
	server := kfam.New(options)
	ask := func(path string) int {
		w := httptest.NewRecorder()
		server.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
		return w.Code
	}
	if health, ready := ask("/healthz"), ask("/readyz"); health != http.StatusOK || ready != http.StatusServiceUnavailable {
		t.Errorf("before: want 200 and 503, got %d and %d", health, ready)
	}
	if code := ask(bindingsPath); code != http.StatusServiceUnavailable {
		t.Errorf("what has not been read is not empty: want 503, got %d", code)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if health, ready := ask("/healthz"), ask("/readyz"); health != http.StatusOK || ready != http.StatusOK {
		t.Errorf("after: want 200 twice, got %d and %d", health, ready)
	}
}

// One who changes too much at once is held back; others are not, and nobody's reads are.
func TestLimit_isEachCallersOwn(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at, func(o *kfam.Options) { o.WritesPerSecond = 1 })
	ns := tenant(t, at, a)
	var limited answer
	for range 20 {
		if limited = a.send(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann)); limited.code != http.StatusOK {
			break
		}
	}
	if limited.code != http.StatusTooManyRequests || limited.header.Get("Retry-After") != "1" || limited.body == "" {
		t.Errorf("want 429 with Retry-After, got %+v", limited)
	}
	a.must(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(root))
	a.must(http.MethodPost, profilesPath, profileBody(profileName(t), eve), theDashboard())
	a.listed("", user(ann))
	testkit.Eventually(t, patience, func() error {
		if got := a.send(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann)); got.code != http.StatusOK {
			return fmt.Errorf("still held back: %d", got.code)
		}
		return nil
	})
}

// What is logged at the level info names no person and no path that was sent.
func TestLog_namesNobody(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at, principalsOnly)
	ns := tenant(t, at, a)
	a.must(http.MethodPost, bindingsPath, invite(ns, "private@example.com", "edit"), user(ann))
	a.must(http.MethodDelete, bindingsPath, invite(ns, "private@example.com", "edit"), user(ann))
	a.wants(http.StatusForbidden, "", http.MethodPost, bindingsPath, invite(ns, "private@example.com", "edit"), user(eve))
	a.wants(http.StatusUnauthorized, "", http.MethodDelete, profilesPath+"/secret-path@example.com", "", user(eve))
	a.wants(http.StatusNotFound, "", http.MethodGet, "/secret-path@example.com", "", user(eve))
	a.must(http.MethodPost, profilesPath, profileBody(profileName(t), ann), user(ann))
	text := a.log.text() + a.must(http.MethodGet, "/metrics", "", nobody())
	for _, secret := range []string{"@", "secret-path", "private"} {
		if strings.Contains(text, secret) {
			t.Errorf("log or metrics contain %q:\n%s", secret, a.log.text())
		}
	}
	if !strings.Contains(a.log.text(), "Added a contributor") || !strings.Contains(a.log.text(), ns) {
		t.Errorf("the log does not say what was done:\n%s", a.log.text())
	}
}

// TLS is served, and the certificate follows the files.
func TestTLS_followsTheCertificate(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	dir := t.TempDir()
	how := kfam.Listen{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}
	first := writeCertificate(t, how, 1)
	a := listen(t, at, how)
	serves := func(want []byte) error {
		dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // the test compares the certificate itself
		conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(a.url, "http://"))
		if err != nil {
			return err
		}
		defer conn.Close()
		state := conn.(*tls.Conn).ConnectionState() //nolint:forcetypeassert // that is what the dialer makes
		if have := state.PeerCertificates[0].Raw; !bytes.Equal(have, want) {
			return errors.New("another certificate is served")
		}
		return nil
	}
	if err := serves(first); err != nil {
		t.Fatal(err)
	}
	second := writeCertificate(t, how, 2)
	testkit.Eventually(t, patience, func() error { return serves(second) })
	if err := os.WriteFile(how.CertFile, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := serves(second); err != nil {
		t.Errorf("after a broken file: %v", err)
	}
	plain := a.send(http.MethodGet, "/healthz", "", nil)
	if plain.code == http.StatusOK {
		t.Error("TLS is served, and plain text as well")
	}
}

func writeCertificate(t *testing.T, how kfam.Listen, serial int64) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "kfam"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"kfam"},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		how.CertFile: {Type: "CERTIFICATE", Bytes: raw}, how.KeyFile: {Type: "EC PRIVATE KEY", Bytes: encoded},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return raw
}

// A server that can't have its address or certificate says so at once.
func TestServe_saysWhyItCannot(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	for want, how := range map[string]kfam.Listen{
		"listen":      {Address: strings.TrimPrefix(a.url, "http://")},
		"certificate": {Address: "127.0.0.1:0", CertFile: "no-such-file", KeyFile: "no-such-file"},
	} {
		var options kfam.Options
		if err := kfam.Connect(at.config, &options); err != nil {
			t.Fatal(err)
		}
		if err := kfam.New(options).Serve(t.Context(), how); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error about %q, got %v", want, err)
		}
	}
	if !slices.Contains(a.server.Routes(), "GET "+bindingsPath) {
		t.Error("the first server has no routes")
	}
}
