// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"berth.dev/berth/internal/pmr"
	"berth.dev/berth/internal/render"
)

// list is a list of so many profiles in flow style, with ten contributors each.
func list(profiles int) []byte {
	var text bytes.Buffer
	text.WriteString("profiles:\n")
	for i := range profiles {
		fmt.Fprintf(&text, "- name: team-%05d\n  owner: {kind: User, name: lead-%d@example.com}\n  resources: {hard: {requests.cpu: \"16\"}}\n  contributors:\n", i, i)
		for j := range 10 {
			fmt.Fprintf(&text, "  - {name: person-%d-%d@example.com, role: %s}\n", i, j, render.Roles[j%3])
		}
	}
	return text.Bytes()
}

// now is when the tests take place.
var now = time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC)

// rulesFor are those of a sync that says nothing.
func rulesFor(sync string) pmr.Rules {
	return pmr.Rules{
		Sync: sync, Now: now, ConfigOf: func(string) render.Config { return render.DefaultConfig() }, Limits: pmr.DefaultLimits(),
	}
}

func BenchmarkRead(b *testing.B) {
	data := list(10_000)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if doc, found := pmr.Read(pmr.Input{Files: []pmr.File{{Path: "pmr.yaml", Data: data}}}); len(doc.Profiles) != 10_000 || len(found) > 0 {
			b.Fatal(found)
		}
	}
}

func BenchmarkLint(b *testing.B) {
	doc, _ := pmr.Read(pmr.Input{Files: []pmr.File{{Data: list(10_000)}}})
	b.ReportAllocs()
	for b.Loop() {
		pmr.Lint(doc, pmr.LintRules{Now: now})
	}
}

func BenchmarkDiff(b *testing.B) {
	doc, _ := pmr.Read(pmr.Input{Files: []pmr.File{{Data: list(10_000)}}})
	want := pmr.Resolve(doc)
	rules := rulesFor("bench")
	first := pmr.Diff(want, pmr.Have{}, rules)
	have := pmr.After(first, pmr.Have{}, rules)
	b.Run("everything is there", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if plan := pmr.Diff(want, have, rules); len(plan.Actions) > 0 {
				b.Fatal(plan.Actions[0])
			}
		}
	})
	b.Run("nothing is there", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			pmr.Diff(want, pmr.Have{}, rules)
		}
	})
}
