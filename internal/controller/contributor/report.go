// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package contributor

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/render"
)

// told are the Events of what was done: one for all policies, as a change of the configuration changes every one.
func told(admission render.Admission, changes []apply.Change) []status.Event {
	var events []status.Event
	if len(changes) > 0 {
		events = append(events, status.Event{
			Type: corev1.EventTypeNormal, Reason: status.EventContributorPolicies,
			Note: status.Note("brought the mesh's policies in line with the contributors' RoleBindings: " + status.List(changes)),
		})
	}
	if len(admission.Refused) > 0 {
		events = append(events, status.Event{
			Type: corev1.EventTypeWarning, Reason: status.EventContributorRefused,
			Note: status.Note(fmt.Sprintf("nobody is let in through the mesh by RoleBinding %s: its subjects can't be told apart from others; "+
				"name one user, group or service account, without '*' and spaces", strings.Join(admission.Refused, ", "))),
		})
	}
	return events
}
