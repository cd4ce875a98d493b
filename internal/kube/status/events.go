// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"berth.dev/berth/internal/kube/apply"
)

// Reasons of Events on a Profile.
const (
	EventCreated         = "Created"
	EventAdopted         = "Adopted"
	EventUpdated         = "Updated"
	EventRepaired        = "Repaired"
	EventOwnerChanged    = "OwnerChanged"
	EventDeletionBlocked = "DeletionBlocked"
	EventReleased        = "Released"
	EventPluginApplied   = "PluginApplied"
	EventPluginRevoked   = "PluginRevoked"
	EventPluginFailed    = "PluginFailed"
	EventClassApplied    = "ClassApplied"
	EventBreakGlass      = "BreakGlass"
	EventGuardRailsOn    = "GuardRailsOn"

	EventRequested           = "Requested"
	EventContributorsChanged = "ContributorsChanged"
	EventContributorPolicies = "ContributorPolicies"
	EventContributorRefused  = "ContributorRefused"

	EventHookFinalizeTimedOut = "HookFinalizeTimedOut"
)

// Event is something that happened to a Profile.
type Event struct {
	Type   string
	Reason string
	Note   string
	// Related is the object that it happened to, where that is one; nil otherwise.
	Related *corev1.ObjectReference
}

// Occasion is why objects were written.
type Occasion string

const (
	// New: the profile had never been complete.
	New Occasion = "new"
	// Changed: the profile's spec or the controller's configuration had changed.
	Changed Occasion = "changed"
	// Drift: nothing had been asked for; somebody else had changed what is ours.
	Drift Occasion = "drift"
)

// Events tells what was done: in one Event where a namespace was made, else in one for each object, because Events
// with the same reason and object are counted together.
func Events(profile string, occasion Occasion, changes []apply.Change) []Event {
	made := slices.ContainsFunc(changes, func(c apply.Change) bool { return c.Action == apply.Create && c.Kind == "Namespace" })
	if occasion == New && made {
		return []Event{{
			Type: corev1.EventTypeNormal, Reason: EventCreated,
			Note: fmt.Sprintf("made namespace %s ready: %s", profile, List(changes)),
		}}
	}
	var told []Event
	for _, change := range changes {
		event := Event{
			Type: corev1.EventTypeNormal, Reason: EventUpdated, Note: "brought in line with the spec: " + List([]apply.Change{change}),
			Related: &corev1.ObjectReference{Kind: change.Kind, Namespace: change.Namespace, Name: change.Name},
		}
		if occasion == Drift {
			event.Type, event.Reason = corev1.EventTypeWarning, EventRepaired
			event.Note = "restored what had been changed or deleted: " + List([]apply.Change{change})
		}
		told = append(told, event)
	}
	return told
}

// Note makes text one that the API server takes as the note of an Event: at most 1,024 bytes.
func Note(text string) string {
	const limit = 1000
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "..."
}

// List names the changed objects; an Event's note has at most 1,024 bytes.
func List(changes []apply.Change) string {
	const limit = 800
	var names []string
	length := 0
	for i, change := range changes {
		name := change.Kind + " " + change.Name
		if len(change.Fields) > 0 {
			name += " (" + strings.Join(change.Fields, ", ") + ")"
		}
		if length += len(name) + 2; length > limit {
			return strings.Join(names, ", ") + fmt.Sprintf(" and %d more", len(changes)-i)
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}
