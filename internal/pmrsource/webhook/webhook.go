// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package webhook hears from git servers that something was pushed, so that a list need not wait for its next poll. What
// they send is proved with a secret and otherwise not read: a webhook says no more than "look now".
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// Path is where webhooks are heard. The last part names who is to look.
	Path = "/hooks/{name}"
	// maxBody is how long a request may be.
	maxBody = 1 << 20
	// tolerance is how far the clock of a server that sends the time may be off, and how long such a request can be
	// repeated by whoever overhears it.
	tolerance = 5 * time.Minute
)

// Options are what a handler needs. None may be nil but Now.
type Options struct {
	// Secret finds the secret that name shares with its git server. False means that there is none, and nothing is heard.
	// It is called for every request, before anything is proved: answer from a cache.
	Secret func(ctx context.Context, name string) ([]byte, bool)
	// Notify is called when something was pushed. It has to be idempotent and should only put name into a queue: never does
	// it run twice at a time for one name, and all that comes while it runs is one more call. The context does not end with
	// the request.
	Notify func(ctx context.Context, name string)
	// Now is the clock: time.Now where it is nil.
	Now func() time.Time
}

// handler hears webhooks.
type handler struct {
	options Options
	// decoy takes the place of a secret that is not there, so that looking for one takes as long.
	decoy []byte

	mu sync.Mutex
	// running has the names whose Notify runs, and whether it has to run once more.
	running map[string]bool
}

// New handles POST requests to Path. A request is proved by the first of these headers that it has:
//
//	X-Hub-Signature-256   sha256=HEX, the HMAC of the body (GitHub, Gitea, Forgejo)
//	Webhook-Signature     v1,BASE64, the HMAC of ID.TIME.BODY (GitLab's signing token, standard webhooks)
//	X-Gitlab-Token        the secret itself (GitLab's secret token)
//	X-Signature           sha256=HEX, the HMAC of the body (anything else)
//
// Whoever does not prove it gets the same answer whether or not the name exists.
func New(options Options) http.Handler {
	if options.Now == nil {
		options.Now = time.Now
	}
	h := &handler{options: options, decoy: []byte(rand.Text()), running: map[string]bool{}}
	mux := http.NewServeMux()
	mux.Handle("POST "+Path, h)
	return mux
}

// ServeHTTP hears one webhook.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		http.Error(w, "the request is longer than 1 MiB", http.StatusRequestEntityTooLarge)
		return
	case err != nil:
		http.Error(w, "the request can't be read", http.StatusBadRequest)
		return
	}
	name := r.PathValue("name")
	secret, known := h.options.Secret(r.Context(), name)
	secret = bytes.TrimRight(secret, "\r\n") // what an editor leaves in a Secret
	if known = known && len(secret) > 0; !known {
		secret = h.decoy
	}
	if proved := prove(r.Header, body, secret, h.options.Now()); !proved || !known {
		http.Error(w, "the request is not proved with the secret of this webhook", http.StatusUnauthorized)
		return
	}
	if r.Header.Get("X-GitHub-Event") == "ping" { // nothing was pushed: somebody set the webhook up
		w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(w, "pong\n") // whoever asked is gone otherwise
		return
	}
	h.notify(context.WithoutCancel(r.Context()), name)
	w.WriteHeader(http.StatusAccepted)
}

// notify calls Notify, or has the call that runs already be followed by another.
func (h *handler) notify(ctx context.Context, name string) {
	h.mu.Lock()
	if _, runs := h.running[name]; runs {
		h.running[name] = true
		h.mu.Unlock()
		return
	}
	h.running[name] = false
	h.mu.Unlock()
	ours := true
	defer func() {
		if ours { // Notify panicked, which must not silence the name for ever
			h.mu.Lock()
			delete(h.running, name)
			h.mu.Unlock()
		}
	}()
	for ours {
		h.options.Notify(ctx, name)
		h.mu.Lock()
		if ours = h.running[name]; ours {
			h.running[name] = false
		} else { // under the same lock, or what comes now would be lost
			delete(h.running, name)
		}
		h.mu.Unlock()
	}
}

// prove says whether whoever sent body knows the secret.
func prove(header http.Header, body, secret []byte, now time.Time) bool {
	switch {
	case header.Get("X-Hub-Signature-256") != "":
		return signed(header.Get("X-Hub-Signature-256"), body, secret)
	case header.Get("Webhook-Signature") != "":
		return standard(header, body, secret, now)
	case header.Get("X-Gitlab-Token") != "":
		return same([]byte(header.Get("X-Gitlab-Token")), secret)
	}
	return signed(header.Get("X-Signature"), body, secret)
}

// signed checks sha256=HEX.
func signed(signature string, body, secret []byte) bool {
	digits, ok := strings.CutPrefix(signature, "sha256=")
	sum, err := hex.DecodeString(digits)
	return ok && err == nil && hmac.Equal(sum, sumOf(secret, body))
}

// standard checks the signatures of which there is one per secret while a secret is replaced.
func standard(header http.Header, body, secret []byte, now time.Time) bool {
	id, sent := header.Get("Webhook-Id"), header.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(sent, 10, 64)
	if err != nil || id == "" || now.Sub(time.Unix(seconds, 0)).Abs() > tolerance {
		return false
	}
	if encoded, ok := bytes.CutPrefix(secret, []byte("whsec_")); ok {
		if secret, err = base64.StdEncoding.DecodeString(string(encoded)); err != nil {
			return false
		}
	}
	sum := sumOf(secret, []byte(id+"."+sent+"."), body)
	for signature := range strings.FieldsSeq(header.Get("Webhook-Signature")) {
		version, encoded, _ := strings.Cut(signature, ",")
		if got, err := base64.StdEncoding.DecodeString(encoded); version == "v1" && err == nil && hmac.Equal(got, sum) {
			return true
		}
	}
	return false
}

// sumOf is the HMAC of all parts.
func sumOf(secret []byte, parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, secret)
	for _, part := range parts {
		_, _ = mac.Write(part) // it can't fail
	}
	return mac.Sum(nil)
}

// same compares in a time that tells nothing, not even the length.
func same(a, b []byte) bool {
	x, y := sha256.Sum256(a), sha256.Sum256(b)
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
