// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"berth.dev/berth/internal/pmrsource"
	"berth.dev/berth/internal/pmrsource/git"
)

// repository is one that git itself made.
type repository struct {
	t   *testing.T
	dir string
	env []string
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	dir := t.TempDir()
	r := &repository{t: t, dir: filepath.Join(dir, "list"), env: append(os.Environ(),
		"HOME="+dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.com", "GIT_AUTHOR_DATE=2026-01-02T03:04:05Z",
		"GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.com", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z",
	)}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.git("init", "--quiet", "--initial-branch=main")
	return r
}

// git runs git in the repository.
func (r *repository) git(args ...string) string { r.t.Helper(); return r.pipe("", args...) }

// pipe runs git with something to read.
func (r *repository) pipe(in string, args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", args...)
	cmd.Dir, cmd.Env, cmd.Stdin = r.dir, r.env, strings.NewReader(in)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, said.String())
	}
	return strings.TrimSpace(string(out))
}

// write writes a file.
func (r *repository) write(path, content string) {
	r.t.Helper()
	path = filepath.Join(r.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// commit commits a list that says what, and returns the commit.
func (r *repository) commit(what string, options ...string) string {
	r.t.Helper()
	r.write("pmr.yaml", "profiles: # "+what+"\n")
	r.git("add", ".")
	r.git(append([]string{"commit", "--quiet", "--message", what}, options...)...)
	return r.git("rev-parse", "HEAD")
}

// backend is git's own web server for the repository, which is at /list.
func (r *repository) backend() http.Handler {
	return &cgi.Handler{
		Path:   filepath.Join(r.git("--exec-path"), "git-http-backend"),
		Env:    append(slices.Clone(r.env), "GIT_PROJECT_ROOT="+filepath.Dir(r.dir), "GIT_HTTP_EXPORT_ALL=1"),
		Stderr: r.t.Output(),
		Logger: log.New(r.t.Output(), "", 0),
	}
}

// serve serves the repository and returns its URL.
func (r *repository) serve() string {
	r.t.Helper()
	server := httptest.NewServer(r.backend())
	r.t.Cleanup(server.Close)
	return server.URL + "/list"
}

// counted counts the requests for objects.
func counted(handler http.Handler, packs *atomic.Int32) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			packs.Add(1)
		}
		handler.ServeHTTP(w, r)
	})
}

// source is one that can be made; its selection is pmr.yaml unless options say otherwise.
func source(t *testing.T, options git.Options) *git.Source {
	t.Helper()
	if options.Selection.Path == "" {
		options.Selection.Path = "pmr.yaml"
	}
	s, err := git.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// fetch fetches from a source that works.
func fetch(t *testing.T, s *git.Source) pmrsource.Files {
	t.Helper()
	files, err := s.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// fails wants err to be for that reason, and to say all of the words.
func fails(t *testing.T, err error, reason pmrsource.Reason, words ...string) {
	t.Helper()
	var typed *pmrsource.Error
	if !errors.As(err, &typed) || typed.Reason != reason {
		t.Fatalf("got the error %v, want one with the reason %s", err, reason)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error %q does not say %q", err, word)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error %q has a secret", err)
	}
}

// authority is a certificate authority of the test's own.
type authority struct {
	t           *testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.certificate = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	var der []byte
	der, a.key = a.sign(a.certificate, nil)
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// sign certifies a new key; the authority's own where by is nil.
func (a *authority) sign(template *x509.Certificate, by *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), by)
	if err != nil {
		a.t.Fatal(err)
	}
	return der, key
}

// pair is a certificate for 127.0.0.1 and its key.
func (a *authority) pair() (certificate, key []byte) {
	a.t.Helper()
	der, private := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "berth"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: a.certificate.NotBefore, NotAfter: a.certificate.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, a.key)
	bytes, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bytes})
}

// serve serves handler with a certificate of the authority's, and wants one of clients if it says so.
func (a *authority) serve(handler http.Handler, clients bool) string {
	a.t.Helper()
	pair, err := tls.X509KeyPair(a.pair())
	if err != nil {
		a.t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	// In version 1.3 a client only learns with the first answer that its certificate is missing.
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12}
	if clients {
		server.TLS.ClientAuth = tls.RequireAndVerifyClientCert
		server.TLS.ClientCAs = x509.NewCertPool()
		server.TLS.ClientCAs.AppendCertsFromPEM(a.pem)
	}
	server.Config.ErrorLog = log.New(a.t.Output(), "", 0)
	server.StartTLS()
	a.t.Cleanup(server.Close)
	return server.URL + "/list"
}
