// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"berth.dev/berth/internal/pmrsource/webhook"
)

const body = `{"ref":"refs/heads/main"}`

func sum(secret, text string) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = mac.Write([]byte(text))
	return mac.Sum(nil)
}

func digits(secret, text string) string { return "sha256=" + hex.EncodeToString(sum(secret, text)) }

func letters(secret, text string) string {
	return "v1," + base64.StdEncoding.EncodeToString(sum(secret, text))
}

// send posts what a git server would.
func send(t *testing.T, handler http.Handler, name, text string, header map[string]string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/hooks/"+name, strings.NewReader(text))
	for key, value := range header {
		r.Header.Set(key, value)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

func TestHandler(t *testing.T) {
	raw := "0123456789abcdef0123456789abcdef"
	secrets := map[string]string{"list": "hunter2\n", "signed": "whsec_" + base64.StdEncoding.EncodeToString([]byte(raw)), "empty": ""}
	now := time.Unix(1_800_000_000, 0)
	standard := func(at, signature string) map[string]string {
		return map[string]string{"Webhook-Id": "7", "Webhook-Timestamp": at, "Webhook-Signature": signature}
	}
	for name, tc := range map[string]struct {
		name   string
		header map[string]string
		body   string
		want   int
		told   bool
	}{
		"GitHub":                     {"list", map[string]string{"X-Hub-Signature-256": digits("hunter2", body), "X-GitHub-Event": "push"}, body, 202, true},
		"a ping of GitHub's":         {"list", map[string]string{"X-Hub-Signature-256": digits("hunter2", body), "X-GitHub-Event": "ping"}, body, 200, false},
		"a ping that is not proved":  {"list", map[string]string{"X-GitHub-Event": "ping"}, body, 401, false},
		"GitLab's secret token":      {"list", map[string]string{"X-Gitlab-Token": "hunter2"}, body, 202, true},
		"another token":              {"list", map[string]string{"X-Gitlab-Token": "hunter"}, body, 401, false},
		"GitLab's signing token":     {"signed", standard("1800000000", letters(raw, "7.1800000000."+body)), body, 202, true},
		"one of two signatures":      {"signed", standard("1799999800", letters("old", "x")+" "+letters(raw, "7.1799999800."+body)), body, 202, true},
		"a signature from yesterday": {"signed", standard("1799900000", letters(raw, "7.1799900000."+body)), body, 401, false},
		"another time than signed":   {"signed", standard("1800000001", letters(raw, "7.1800000000."+body)), body, 401, false},
		"anything else":              {"list", map[string]string{"X-Signature": digits("hunter2", body)}, body, 202, true},
		"another secret":             {"list", map[string]string{"X-Signature": digits("hunter3", body)}, body, 401, false},
		"another body":               {"list", map[string]string{"X-Signature": digits("hunter2", body)}, body + " ", 401, false},
		"another sum":                {"list", map[string]string{"X-Signature": "sha1=" + hex.EncodeToString(sum("hunter2", body))}, body, 401, false},
		"no proof":                   {"list", nil, body, 401, false},
		"the better proof decides":   {"list", map[string]string{"X-Hub-Signature-256": "sha256=00", "X-Gitlab-Token": "hunter2"}, body, 401, false},
		"an unknown name":            {"other", map[string]string{"X-Signature": digits("hunter2", body)}, body, 401, false},
		"an unknown name, no secret": {"other", map[string]string{"X-Signature": digits("", body)}, body, 401, false},
		"an empty secret":            {"empty", map[string]string{"X-Signature": digits("", body)}, body, 401, false},
		"too long":                   {"list", nil, strings.Repeat("x", 1<<20+1), 413, false},
	} {
		t.Run(name, func(t *testing.T) {
			var told []string
			handler := webhook.New(webhook.Options{
				Secret: func(_ context.Context, name string) ([]byte, bool) { s, ok := secrets[name]; return []byte(s), ok },
				Notify: func(_ context.Context, name string) { told = append(told, name) },
				Now:    func() time.Time { return now },
			})
			got := send(t, handler, tc.name, tc.body, tc.header)
			if got.Code != tc.want || (len(told) == 1 && told[0] == tc.name) != tc.told {
				t.Errorf("status %d, told %v", got.Code, told)
			}
			if want := send(t, handler, "nobody", body, nil).Body.String(); got.Code == 401 && got.Body.String() != want {
				t.Errorf("the answer %q is not that for an unknown name", got.Body)
			}
		})
	}
}

// What comes while a call runs is one more call.
func TestHandler_coalesces(t *testing.T) {
	var calls atomic.Int32
	began, end := make(chan struct{}, 10), make(chan struct{})
	handler := webhook.New(webhook.Options{
		Secret: func(context.Context, string) ([]byte, bool) { return []byte("s"), true },
		Notify: func(context.Context, string) { calls.Add(1); began <- struct{}{}; <-end },
	})
	proof := map[string]string{"X-Gitlab-Token": "s"}
	done := make(chan struct{})
	go func() { defer close(done); send(t, handler, "list", body, proof) }()
	<-began
	for range 5 {
		if got := send(t, handler, "list", body, proof); got.Code != http.StatusAccepted {
			t.Errorf("status %d", got.Code)
		}
	}
	close(end)
	<-done
	if calls.Load() != 2 {
		t.Errorf("%d calls, want 2", calls.Load())
	}
	send(t, handler, "list", body, proof)
	if calls.Load() != 3 {
		t.Errorf("%d calls after that, want 3", calls.Load())
	}
}
