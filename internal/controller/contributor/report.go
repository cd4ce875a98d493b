// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package contributor

import (
	"fmt"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/kube/status"
)

// told are the Events of what was done: one for all policies, as a change of the configuration changes every one.
func told(refused []string, changes []apply.Change) []status.Event {
	var events []status.Event
	if len(changes) > 0 {
		events = append(events, status.Event{
			Type: corev1.EventTypeNormal, Reason: status.EventContributorPolicies,
			Note: status.Note("brought the mesh's policies in line with the contributors' RoleBindings: " + status.List(changes)),
		})
	}
	if len(refused) > 0 {
		events = append(events, status.Event{
			Type: corev1.EventTypeWarning, Reason: status.EventContributorRefused,
			Note: status.Note(fmt.Sprintf("nobody is let in through the mesh by RoleBinding %s: either its subjects can't be told apart from others, "+
				"then name one user, group or service account, without '*' and spaces; or an AuthorizationPolicy of its name is somebody else's, "+
				"then rename one of the two", strings.Join(refused, ", "))),
		})
	}
	return events
}

// refusals remembers which RoleBindings let nobody in, by profile: that is told when it changes, and not at each look.
// The zero value has told nothing.
type refusals struct {
	mu   sync.Mutex
	told map[types.UID]string
}

// changed says whether other bindings are refused than at the last call.
func (r *refusals) changed(profile types.UID, refused []string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := strings.Join(refused, ",")
	if now == r.told[profile] {
		return false
	}
	if r.told == nil {
		r.told = map[types.UID]string{}
	}
	if r.told[profile] = now; now == "" {
		delete(r.told, profile)
	}
	return true
}
