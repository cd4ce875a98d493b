// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync

import (
	"bytes"
	"context"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
)

// keyToken is the entry of a webhook's Secret.
const keyToken = "token"

// tokenAge is how long a webhook's secret is remembered: anybody may ask, and each question must not be one to the API
// server.
const tokenAge = 10 * time.Second

// tokens remembers the secrets of webhooks.
type tokens struct {
	mu    sync.Mutex
	known map[string]token
}

type token struct {
	text []byte
	read time.Time
}

// WebhookSecret is the secret that the webhook of a sync is proved by. False means that there is none.
func (r *Reconciler) WebhookSecret(ctx context.Context, name string) ([]byte, bool) {
	var s berthv1alpha1.ProfileSync
	if err := r.Client.Get(ctx, client.ObjectKey{Name: name}, &s); err != nil || s.Spec.Webhook == nil {
		return nil, false
	}
	r.tokens.mu.Lock()
	defer r.tokens.mu.Unlock()
	secret := s.Spec.Webhook.SecretRef.Name
	known, found := r.tokens.known[secret]
	if !found || r.Now().Sub(known.read) > tokenAge {
		data, err := r.secrets.read(ctx, &s.Spec.Webhook.SecretRef)
		if err != nil {
			data = nil
		}
		known = token{text: bytes.TrimRight(data[keyToken], "\r\n"), read: r.Now()}
		if r.tokens.known == nil {
			r.tokens.known = map[string]token{}
		}
		r.tokens.known[secret] = known
	}
	return known.text, len(known.text) > 0
}
