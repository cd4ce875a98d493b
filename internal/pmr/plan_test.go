// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr_test

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"berth.dev/berth/internal/kube/gather"
	"berth.dev/berth/internal/pmr"
)

var update = flag.Bool("update", false, "write the golden files")

// ruled are rules as the first line of a list has them.
type ruled struct {
	Additive, AdoptAnnotated, AllStale, ReportDrift    bool
	AllowEmpty, AllowNewAdmins, AllowLastAdmin, Delete bool
	MaxRemovals                                        *int
	RevokeAfter, QuarantineAfter, GracePeriod          string
}

func (r ruled) rules(t *testing.T) pmr.Rules {
	t.Helper()
	duration := func(text string) time.Duration {
		d, err := time.ParseDuration(cmp.Or(text, "0s"))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	rules := rulesFor("sync")
	rules.AdoptAnnotated, rules.AllStale, rules.ReportDrift = r.AdoptAnnotated, r.AllStale, r.ReportDrift
	rules.Limits.AllowEmpty, rules.Limits.AllowNewAdmins, rules.Limits.AllowLastAdmin = r.AllowEmpty, r.AllowNewAdmins, r.AllowLastAdmin
	if r.MaxRemovals != nil {
		rules.Limits.MaxRemovals = *r.MaxRemovals
	}
	rules.Stale = pmr.StaleRules{RevokeAfter: duration(r.RevokeAfter), GracePeriod: duration(cmp.Or(r.GracePeriod, "720h")), Delete: r.Delete}
	if r.QuarantineAfter != "" {
		after := duration(r.QuarantineAfter)
		rules.Stale.QuarantineAfter = &after
	}
	return rules
}

// planned reads what is in a directory: list.yaml, whose first line may begin with "# rules:", and the cluster.
func planned(t *testing.T, dir string) (pmr.Want, pmr.Have, pmr.Rules) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "list.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var r ruled
	first, _, _ := bytes.Cut(data, []byte("\n"))
	if text, given := bytes.CutPrefix(first, []byte("# rules:")); given {
		if err := yaml.UnmarshalStrict(text, &r); err != nil {
			t.Fatal(err)
		}
	}
	doc, findings := pmr.Read(pmr.Input{Files: []pmr.File{{Path: "list.yaml", Data: data}}})
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	have, err := gather.Files(os.DirFS(dir))
	if err != nil && !strings.Contains(err.Error(), "there is no Profile") {
		t.Fatal(err)
	}
	return pmr.Resolve(doc), have, r.rules(t)
}

// printed is a plan as the golden files have it.
func printed(plan pmr.Plan) string {
	var out strings.Builder
	for _, a := range plan.Actions {
		fmt.Fprintf(&out, "%s %s", a.Type, a.Profile)
		if a.Subject != nil {
			fmt.Fprintf(&out, " %s %s", a.Subject.Name, a.Role)
		}
		if a.From+a.To != "" {
			fmt.Fprintf(&out, ": %s -> %s", cmp.Or(a.From, "''"), cmp.Or(a.To, "''"))
		}
		fmt.Fprintf(&out, " (%s; %s risk", a.Reason, a.Risk)
		if a.Drift {
			out.WriteString("; drift")
		}
		if a.Held != "" {
			out.WriteString("; held: " + a.Held)
		}
		for _, b := range a.Bindings {
			out.WriteString("; binding " + b.Name)
		}
		for _, p := range a.Policies {
			out.WriteString("; policy " + p)
		}
		out.WriteString(")\n")
	}
	for _, p := range plan.Problems {
		fmt.Fprintf(&out, "problem %s %s: %s\n", p.Profile, p.Reason, p.Message)
	}
	for _, e := range plan.Exceeded {
		fmt.Fprintf(&out, "exceeded %s\n", e)
	}
	if !plan.Next.IsZero() {
		fmt.Fprintf(&out, "next %s\n", plan.Next.UTC().Format(time.RFC3339))
	}
	fmt.Fprintf(&out, "%d profiles, %d contributors\n", plan.Profiles, plan.Contributors)
	return out.String()
}

func TestDiff_golden(t *testing.T) {
	dirs, err := filepath.Glob("testdata/plan/*")
	if err != nil || len(dirs) < 20 {
		t.Fatalf("found %d: %v", len(dirs), err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			want, have, rules := planned(t, dir)
			plan := pmr.Diff(want, have, rules)
			got := printed(plan)
			if again := pmr.Diff(want, have, rules); printed(again) != got || again.Digest() != plan.Digest() || again.HeldDigest() != plan.HeldDigest() {
				t.Errorf("planned again, it differs:\n%s", gocmp.Diff(got, printed(again)))
			}
			golden := filepath.Join(dir, "plan.txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			expected, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v: go test ./internal/pmr -update writes it", err)
			}
			if d := gocmp.Diff(string(expected), got); d != "" {
				t.Errorf("-want, +got; go test ./internal/pmr -update takes it over:\n%s", d)
			}
		})
	}
}
