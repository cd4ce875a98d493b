// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/pmr"
)

func TestLint(t *testing.T) {
	owned := func(name, owner string) string {
		return "profiles:\n- {name: " + name + ", owner: {kind: User, name: " + owner + "}}\n"
	}
	with := func(contributors string) string { return one("  contributors:\n" + contributors) }
	cases := map[string]struct {
		text string
		// want are findings in strict validation, wantCompat in compat where that differs.
		want, wantCompat string
		// says is in the first message.
		says string
	}{
		"a name with capitals":       {text: owned("Team", "a@x.org"), want: "invalid-name 2:3!", wantCompat: "invalid-name 2:3", says: `"Team"`},
		"a name that is too long":    {text: owned(strings.Repeat("x", 64), "a@x.org"), want: "invalid-name 2:3!", wantCompat: "invalid-name 2:3"},
		"a name of the platform":     {text: owned("kube-system", "a@x.org"), want: "reserved-name 2:3!", wantCompat: "reserved-name 2:3", says: `"kube-system"`},
		"a name that is reserved":    {text: owned("secret", "a@x.org"), want: "reserved-name 2:3!", wantCompat: "reserved-name 2:3"},
		"an owner with a star":       {text: owned("team", `"*"`), want: "invalid-owner 2:23!", wantCompat: "invalid-owner 2:23", says: "'*'"},
		"an owner that is a group":   {text: "profiles:\n- {name: team, owner: {kind: Group, name: leads}}\n", want: "charm-compat 2:23", wantCompat: "charm-compat 2:23!"},
		"an owner from elsewhere":    {text: owned("team", "a@evil.com"), want: "foreign-domain 2:23!", says: `"evil.com"`},
		"somebody twice":             {text: with("  - {name: b@x.org, role: edit}\n  - {name: b@x.org, role: edit}\n"), want: "duplicate-contributor 6:5!", wantCompat: "duplicate-contributor 6:5"},
		"somebody with two roles":    {text: with("  - {name: b@x.org, role: edit}\n  - {name: b@x.org, role: view}\n"), want: "several-roles 6:5"},
		"the owner":                  {text: with("  - {name: ann@example.com, role: edit}\n"), want: "contributor-is-owner 5:5"},
		"two spellings":              {text: with("  - {name: b@x.org, role: edit}\n  - {name: B@x.org, role: edit}\n"), want: "case-variant 6:5, name-collision 6:5", says: `"b@x.org"`},
		"names that collide":         {text: with("  - {name: b.c@x.org, role: edit}\n  - {name: b-c@x.org, role: edit}\n"), want: "name-collision 6:5"},
		"no address":                 {text: with("  - {name: bob, role: edit}\n"), want: "not-an-address 5:5"},
		"half an address":            {text: with("  - {name: bob@, role: edit}\n"), want: "not-an-address 5:5"},
		"a service account's name":   {text: with("  - {name: 'system:serviceaccount:ci:robot', role: edit}\n")},
		"a contributor with a star":  {text: with("  - {name: '*@x.org', role: edit}\n"), want: "invalid-subject 5:5!", wantCompat: "invalid-subject 5:5"},
		"an access that is over":     {text: with("  - {name: b@x.org, role: edit, expires: 2026-12-31}\n"), want: "expired 5:5", says: "2027-01-01T00:00:00Z"},
		"an access of today":         {text: with("  - {name: b@x.org, role: edit, expires: 2027-01-15}\n")},
		"a quantity that is none":    {text: one("  resources: {hard: {cpu: lots}}\n"), want: "invalid-quantity 4:14!", wantCompat: "invalid-quantity 4:14", says: `"lots"`},
		"a negative quantity":        {text: one("  resources: {hard: {cpu: -1}}\n"), want: "invalid-quantity 4:14!", wantCompat: "invalid-quantity 4:14"},
		"an unusual quantity":        {text: one("  resources: {hard: {cpu: 1000m}}\n"), want: "quantity-format 4:14", says: `"1"`},
		"an extended resource":       {text: one("  resources: {hard: {nvidia.com/gpu: 1}}\n"), want: "uncounted-resource 4:14!", wantCompat: "uncounted-resource 4:14", says: "requests.nvidia.com/gpu"},
		"In without values":          {text: one("  resources: {scopeSelector: {matchExpressions: [{operator: In, scopeName: PriorityClass}]}}\n"), want: "scope-values 4:50!", wantCompat: "scope-values 4:50"},
		"a quota of all that is bad": {text: "defaults: {resources: {hard: {cpu: lots}}}\n" + one(""), want: "invalid-quantity 1:23!", wantCompat: "invalid-quantity 1:23"},
		"a group from elsewhere":     {text: one("  groups: [{name: leads, role: edit}]\n"), want: "external-group 4:12"},
		"a group with a star":        {text: one("  groups: [{name: '*', role: edit}]\n"), want: "external-group 4:12, invalid-subject 4:12!"},
		"a group's role":             {text: "groups: [{name: leads, members: [b@x.org]}]\n" + one("  groups: [{name: leads, role: A b}]\n"), want: "unknown-value 5:12!"},
		"a member with a star":       {text: "groups: [{name: leads, members: ['*']}]\n" + one(""), want: "invalid-subject 1:10!", wantCompat: "invalid-subject 1:10"},
		"a default group":            {text: "defaults: {groups: [{name: leads, role: A b}]}\n" + one(""), want: "external-group 1:21, unknown-value 1:21!"},
		"a label of the sync":        {text: one("  labels: {berth.dev/sync: x}\n"), want: "reserved-key 2:3!"},
		"a default label":            {text: "defaults: {labels: {berth.dev/sync: x, a b: c}}\n" + one(""), want: "invalid-label 1:11!, reserved-key 1:11!"},
		"a label that can't be":      {text: one("  labels: {tier: 'a b'}\n"), want: "invalid-label 2:3!", says: `"a b"`},
		"an annotation that can't":   {text: one("  annotations: {'a b': x}\n"), want: "invalid-annotation 2:3!"},
		"a class that can't be":      {text: one("  class: A b\n"), want: "invalid-class 2:3!"},
		"a plugin nobody knows":      {text: one("  plugins: [{kind: Gcp}]\n"), want: "unknown-plugin 4:13", says: `"Gcp"`},
		"remove outside an overlay":  {text: one("  remove: true\n"), want: "overlay 2:3!"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			for validation, want := range map[pmr.Validation]string{pmr.Strict: tc.want, pmr.Compat: tc.wantCompat} {
				if want == "" {
					want = tc.want
				}
				doc, findings := pmr.Read(pmr.Input{Files: []pmr.File{file("pmr.yaml", tc.text)}, Validation: validation})
				if len(findings) > 0 {
					t.Fatal(findings)
				}
				findings = pmr.Lint(doc, pmr.LintRules{Validation: validation, Now: now, Reserved: []string{"secret"}, Domains: []string{"example.com", "x.org"}})
				got := summary(findings)
				if d := cmp.Diff(want, strings.Join(got, ", ")); d != "" {
					t.Errorf("%s, -want, +got:\n%s%v", validation, d, findings)
				} else if len(got) > 0 && !strings.Contains(findings[0].Message+findings[min(1, len(findings)-1)].Message, tc.says) {
					t.Errorf("the message does not say %s: %v", tc.says, findings)
				}
			}
		})
	}
}

func TestLint_noContributors(t *testing.T) {
	_, findings := check(one(""), pmr.Strict)
	if len(findings) != 1 || findings[0].Code != "no-contributors" || findings[0].Severity != pmr.Note {
		t.Errorf("found %v", findings)
	}
}

func TestFinding_String(t *testing.T) {
	_, findings := check(one("  owners: []\n"), pmr.Strict)
	const want = `pmr.yaml:4:3: error: the key "owners" in profiles[0] is unknown [unknown-key]`
	if len(findings) != 1 || findings[0].String() != want {
		t.Errorf("have %v, want %s", findings, want)
	}
}
