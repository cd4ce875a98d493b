// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmrsource_test

import (
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/pmrsource"
)

func TestSelection_Pick(t *testing.T) {
	entries := []pmrsource.Entry{
		{Path: "teams/b.yml"},
		{Path: "teams/a.yaml"},
		{Path: "teams/deep/c.yaml"},
		{Path: "teams/README.md"},
		{Path: "teams/.hidden.yaml"},
		{Path: ".github/workflows/ci.yaml"},
		{Path: "docs/index.md"},
		{Path: "clusters/x.yaml"},
		{Path: "odd[1].yaml"},
		{Path: "link", Link: true},
		{Path: "linked/one.yaml", Link: true},
	}
	all := []string{"clusters/x.yaml", "odd[1].yaml", "teams/a.yaml", "teams/b.yml", "teams/deep/c.yaml"}
	type result struct {
		Files, Overlays []string
		Reason          pmrsource.Reason
	}
	failed := func(reason pmrsource.Reason) result { return result{Reason: reason} }
	for name, tc := range map[string]struct {
		selection pmrsource.Selection
		want      result
	}{
		"a file":                           {pmrsource.Selection{Path: "teams/README.md"}, result{Files: []string{"teams/README.md"}}},
		"a file with needless parts":       {pmrsource.Selection{Path: "./teams//a.yaml"}, result{Files: []string{"teams/a.yaml"}}},
		"a file that looks like a pattern": {pmrsource.Selection{Path: "odd[1].yaml"}, result{Files: []string{"odd[1].yaml"}}},
		"a directory":                      {pmrsource.Selection{Path: "teams/"}, result{Files: all[2:]}},
		"a pattern":                        {pmrsource.Selection{Path: "teams/*.y{a,}ml"}, result{Files: []string{"teams/.hidden.yaml", "teams/a.yaml", "teams/b.yml"}}},
		"a pattern of any depth":           {pmrsource.Selection{Path: "teams/**/c.yaml"}, result{Files: []string{"teams/deep/c.yaml"}}},
		"overlays in their order": {
			pmrsource.Selection{Path: "teams", Overlays: []string{"teams/b.yml", "clusters"}},
			result{Files: []string{"teams/a.yaml", "teams/deep/c.yaml"}, Overlays: []string{"teams/b.yml", "clusters/x.yaml"}},
		},
		"a missing file":            {pmrsource.Selection{Path: "teams/d.yaml"}, failed(pmrsource.NotFound)},
		"a missing overlay":         {pmrsource.Selection{Path: "teams", Overlays: []string{"d"}}, failed(pmrsource.NotFound)},
		"a directory without lists": {pmrsource.Selection{Path: "docs"}, failed(pmrsource.NotFound)},
		"a pattern without files":   {pmrsource.Selection{Path: "docs/*.yaml"}, failed(pmrsource.NotFound)},
		"a link":                    {pmrsource.Selection{Path: "link"}, failed(pmrsource.NotFound)},
		"a path through a link":     {pmrsource.Selection{Path: "link/a.yaml"}, failed(pmrsource.NotFound)},
		"a link among others":       {pmrsource.Selection{}, failed(pmrsource.NotFound)},
		"a way out":                 {pmrsource.Selection{Path: "teams/../../a"}, failed(pmrsource.BadConfiguration)},
		"an absolute path":          {pmrsource.Selection{Path: "/teams"}, failed(pmrsource.BadConfiguration)},
		"half a pattern":            {pmrsource.Selection{Path: "teams/{a"}, failed(pmrsource.BadConfiguration)},
	} {
		t.Run(name, func(t *testing.T) {
			var got result
			var err error
			if got.Files, got.Overlays, err = tc.selection.Pick(entries); err != nil {
				got = failed(pmrsource.ReasonOf(err))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if bad := tc.selection.Check() != nil; bad != (tc.want.Reason == pmrsource.BadConfiguration) {
				t.Errorf("checked beforehand, it is bad: %t", bad)
			}
		})
	}
	files, _, err := pmrsource.Selection{}.Pick(entries[:9])
	if diff := cmp.Diff(all, files); diff != "" || err != nil {
		t.Errorf("the root directory: %v %s", err, diff)
	}
}

func TestBudget(t *testing.T) {
	budget := pmrsource.NewBudget(pmrsource.Limits{Files: 2, Bytes: 10})
	if err := budget.Charge(2, 10); err != nil {
		t.Error(err)
	}
	if err := budget.Charge(0, 1); pmrsource.ReasonOf(err) != pmrsource.TooLarge {
		t.Errorf("one byte too much: %v", err)
	}
	if err := pmrsource.NewBudget(pmrsource.Limits{}).Charge(1001, 0); pmrsource.ReasonOf(err) != pmrsource.TooLarge {
		t.Errorf("one file more than the default: %v", err)
	}
}

func TestMeter(t *testing.T) {
	meter := pmrsource.NewMeter(10)
	if got, err := io.ReadAll(meter.Reader(strings.NewReader("12345"))); err != nil || string(got) != "12345" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := io.ReadAll(meter.Reader(strings.NewReader("67890"))); err != nil || string(got) != "67890" || meter.Err() != nil {
		t.Errorf("got %q, %v, all of what is allowed", got, err)
	}
	got, err := io.ReadAll(meter.Reader(strings.NewReader("x")))
	if len(got) > 0 || pmrsource.ReasonOf(err) != pmrsource.TooLarge || meter.Err() == nil {
		t.Errorf("got %q, %v, want that it is too much", got, err)
	}
}
