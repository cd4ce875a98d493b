// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package contributor

import (
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/render"
)

// hold is how long a policy has to be missing, or to be one too many, before that is mended. Whoever writes a RoleBinding
// writes its policy next, the access-management API and others alike: they are not to find that done already.
const hold = time.Second

// held remembers since when which policies have been missing or too many. Its zero value remembers none.
type held struct {
	mu    sync.Mutex
	since map[types.UID]map[string]time.Time
}

// ripe takes out of t what is not to be written yet, and says how long that has to wait.
func (h *held) ripe(profile types.UID, now time.Time, t todo) (todo, time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before, after := h.since[profile], map[string]time.Time{}
	var wait time.Duration
	isUnripe := func(op apply.Op) bool {
		if op.Name == render.InviteesPolicyName || op.Action != apply.Create && op.Action != apply.Delete {
			return false
		}
		key := string(op.Action) + " " + op.Name
		since, known := before[key]
		if !known {
			since = now
		}
		after[key] = since
		wait = max(wait, since.Add(hold).Sub(now))
		return since.Add(hold).After(now)
	}
	admitting := len(t.admit)
	t.admit = slices.DeleteFunc(t.admit, isUnripe)
	t.stale = slices.DeleteFunc(t.stale, isUnripe)
	if len(t.admit) < admitting {
		t.replaced = nil // not before what replaces it
	}
	if len(after) == 0 {
		delete(h.since, profile)
		return t, 0
	}
	if h.since == nil {
		h.since = map[types.UID]map[string]time.Time{}
	}
	h.since[profile] = after
	return t, wait
}
