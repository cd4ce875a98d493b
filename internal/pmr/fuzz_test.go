// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr_test

import (
	"os"
	"path/filepath"
	"testing"

	"berth.dev/berth/internal/pmr"
)

// Whatever is written, it is read or refused, and what is read can be planned, to an end.
func FuzzDiff(f *testing.F) {
	for _, tc := range shapes {
		f.Add([]byte(tc.text), false)
	}
	samples, err := filepath.Glob("testdata/*/*/list.yaml")
	if err != nil || len(samples) == 0 {
		f.Fatalf("%d samples: %v", len(samples), err)
	}
	for _, sample := range samples {
		data, err := os.ReadFile(sample)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, compat bool) {
		validation := pmr.Strict
		if compat {
			validation = pmr.Compat
		}
		doc, findings := pmr.Read(pmr.Input{Files: []pmr.File{{Path: "a", Data: data}}, Validation: validation})
		if pmr.HasErrors(findings) || pmr.HasErrors(pmr.Lint(doc, pmr.LintRules{Validation: validation, Now: now})) && validation == pmr.Strict {
			return
		}
		want, rules := pmr.Resolve(doc), rulesFor("sync")
		have, plan := settle(t, want, pmr.Have{}, rules)
		if len(have.Profiles)+len(plan.Problems) < len(want.Profiles) {
			t.Errorf("of %d profiles %d are there, and there are %d problems", len(want.Profiles), len(have.Profiles), len(plan.Problems))
		}
	})
}

// settle carries plans out until there is nothing to do, which takes one and, where admins were approved, one more to
// note that.
func settle(t *testing.T, want pmr.Want, have pmr.Have, rules pmr.Rules) (pmr.Have, pmr.Plan) {
	t.Helper()
	rules.Limits = pmr.Limits{MaxRemovals: 1 << 30, AllowEmpty: true, AllowNewAdmins: true, AllowLastAdmin: true}
	plan := pmr.Diff(want, have, rules)
	have = pmr.After(plan, have, rules)
	again := pmr.Diff(want, have, rules)
	if len(again.Actions) > 0 {
		t.Errorf("after the plan was carried out, there is still to do: %+v", again.Actions)
	}
	return have, again
}
