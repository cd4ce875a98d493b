// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"

	"berth.dev/berth/internal/kube/apply"
)

func TestEvents(t *testing.T) {
	ns := apply.Change{Action: apply.Create, Kind: "Namespace", Name: "a"}
	made := apply.Change{Action: apply.Create, Kind: "RoleBinding", Namespace: "a", Name: "b"}
	patched := apply.Change{Action: apply.Patch, Kind: "RoleBinding", Namespace: "a", Name: "b", Fields: []string{"subjects", "metadata.labels"}}
	cases := map[string]struct {
		occasion Occasion
		changes  []apply.Change
		// want are the types, reasons and what the notes say besides.
		want [][3]string
	}{
		"nothing done, nothing told": {occasion: Drift},
		"a new tenant is one Event": {
			occasion: New, changes: []apply.Change{ns, made},
			want: [][3]string{{corev1.EventTypeNormal, EventCreated, "namespace a ready: Namespace a, RoleBinding b"}},
		},
		"a changed spec": {
			occasion: Changed, changes: []apply.Change{patched},
			want: [][3]string{{corev1.EventTypeNormal, EventUpdated, "RoleBinding b (subjects, metadata.labels)"}},
		},
		"each repair is told": {
			occasion: Drift, changes: []apply.Change{made, patched},
			want: [][3]string{
				{corev1.EventTypeWarning, EventRepaired, "RoleBinding b"},
				{corev1.EventTypeWarning, EventRepaired, "RoleBinding b (subjects, metadata.labels)"},
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := slices.Clone(tc.changes)
			told := Events("a", tc.occasion, tc.changes)
			if len(told) != len(tc.want) {
				t.Fatalf("told %d Events, want %d: %v", len(told), len(tc.want), told)
			}
			for i, want := range tc.want {
				if got := told[i]; got.Type != want[0] || got.Reason != want[1] || !strings.Contains(got.Note, want[2]) {
					t.Errorf("Event %d is %+v, want %v", i, got, want)
				}
			}
			for i := range before {
				if before[i].String() != tc.changes[i].String() {
					t.Errorf("change %d became %s", i, tc.changes[i])
				}
			}
		})
	}
}

// The API server refuses an Event whose note is longer than 1,024 bytes.
func TestEvents_fit(t *testing.T) {
	profile := strings.Repeat("p", 63)
	for _, n := range []int{1, 2, 8, 50, 5000} {
		for _, length := range []int{1, 63, 253} {
			changes := []apply.Change{{Action: apply.Create, Kind: "Namespace", Name: profile}}
			for i := range n {
				changes = append(changes, apply.Change{
					Action: apply.Patch, Kind: "AuthorizationPolicy", Namespace: profile, Name: strings.Repeat("n", length),
					Fields: []string{"metadata.annotations", "metadata.labels", "metadata.ownerReferences", "spec", fmt.Sprint(i)},
				})
			}
			for _, occasion := range []Occasion{New, Changed, Drift} {
				for _, event := range Events(profile, occasion, changes) {
					if len(event.Note) > 1024 {
						t.Fatalf("%d changes of names of %d bytes: the note has %d bytes", n, length, len(event.Note))
					}
				}
			}
			if note := Events(profile, New, changes)[0].Note; n == 5000 && !strings.Contains(note, "more") {
				t.Errorf("nothing says that there are more: %s", note)
			}
		}
	}
}

func TestNote(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "short": "as it is", "long": strings.Repeat("x", 5000), "long, of wide letters": "x" + strings.Repeat("日", 5000),
		"not UTF-8": "caf\xe9", "long, and not UTF-8": strings.Repeat("\xe9", 5000),
	} {
		t.Run(name, func(t *testing.T) {
			got := Note(text)
			if len(got) > 1024 || !utf8.ValidString(got) {
				t.Errorf("it has %d bytes, valid %t", len(got), utf8.ValidString(got))
			}
			if len(text) < 1000 && utf8.ValidString(text) && got != text {
				t.Errorf("it became %q", got)
			}
		})
	}
}
