// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package contributor

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/kube/status"
)

func TestRefusals_changed(t *testing.T) {
	var r refusals
	for i, step := range []struct {
		refused []string
		want    bool
	}{
		{nil, false},
		{[]string{"a"}, true},
		{[]string{"a"}, false},
		{[]string{"a", "b"}, true},
		{[]string{"a", "b"}, false},
		{nil, true},
		{nil, false},
		{[]string{"a"}, true},
	} {
		if got := r.changed("uid", step.refused); got != step.want {
			t.Errorf("step %d, %q: %t, want %t", i, step.refused, got, step.want)
		}
	}
	if !r.changed("another", []string{"a"}) {
		t.Error("what was told of one profile counts for another")
	}
	if r.changed("uid", nil); len(r.told) != 1 {
		t.Errorf("it remembers %v", r.told)
	}
}

func TestTold(t *testing.T) {
	var many []string
	var changes []apply.Change
	for i := range 500 {
		many = append(many, fmt.Sprintf("binding-%d", i))
		changes = append(changes, apply.Change{Action: apply.Create, Kind: "AuthorizationPolicy", Namespace: "team", Name: many[i]})
	}
	cases := map[string]struct {
		refused []string
		changes []apply.Change
		want    []string
	}{
		"nothing":         {},
		"a change":        {changes: changes[:1], want: []string{corev1.EventTypeNormal + " " + status.EventContributorPolicies}},
		"a refusal":       {refused: many[:1], want: []string{corev1.EventTypeWarning + " " + status.EventContributorRefused}},
		"many of the two": {refused: many, changes: changes, want: []string{"Normal ContributorPolicies", "Warning ContributorRefused"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			events := told(tc.refused, tc.changes)
			if len(events) != len(tc.want) {
				t.Fatalf("told %+v, want %q", events, tc.want)
			}
			for i, event := range events {
				if got := event.Type + " " + event.Reason; got != tc.want[i] {
					t.Errorf("told %q, want %q", got, tc.want[i])
				}
				if !strings.Contains(event.Note, "binding-0") || len(event.Note) > 1024 {
					t.Errorf("the note has %d bytes: %q", len(event.Note), event.Note)
				}
			}
		})
	}
}
