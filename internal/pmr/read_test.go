// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/pmr"
)

// A written is a list, and what is found in it: CODE, or CODE LINE:COLUMN, and a ! after errors.
type written struct {
	text           string
	strict, compat []string
}

// one is a list of one profile, with more lines in it, which begin in line 4.
func one(lines string) string {
	return "profiles:\n- name: team\n  owner: {kind: User, name: ann@example.com}\n" + lines
}

// shapes are the rows of the format of github-profiles-automator, and what it does at the edges.
var shapes = map[string]written{
	"a profile":                       {text: one("")},
	"all of it":                       {text: one("  resources: {hard: {cpu: \"1\"}, scopes: [BestEffort], scopeSelector: {matchExpressions: [{operator: In, scopeName: PriorityClass, values: [high]}]}}\n  contributors: [{name: b@example.com, role: admin}]\n")},
	"another key at the top":          {text: "clouds: 1\n" + one(""), strict: []string{"unknown-key 1:1!"}, compat: []string{"unknown-key 1:1"}},
	"no name":                         {text: "profiles:\n- owner: {kind: User, name: a@example.com}\n", strict: []string{"missing 2:3!"}, compat: []string{"missing 2:3!"}},
	"a number as name":                {text: "profiles:\n- name: 42\n  owner: {kind: User, name: a@example.com}\n", strict: []string{"wrong-type 2:9!"}, compat: []string{"wrong-type 2:9!"}},
	"no owner":                        {text: "profiles:\n- name: team\n", strict: []string{"missing 2:3!"}, compat: []string{"missing 2:3!"}},
	"an owner of null":                {text: "profiles:\n- name: team\n  owner:\n", strict: []string{"missing 3:9!"}, compat: []string{"missing 3:9!"}},
	"an owner that is a text":         {text: "profiles:\n- name: team\n  owner: ann\n", strict: []string{"wrong-type 3:10!"}, compat: []string{"wrong-type 3:10!"}},
	"an owner without kind":           {text: "profiles:\n- name: team\n  owner: {name: ann@example.com}\n", strict: []string{"missing 3:10!"}, compat: []string{"missing 3:10!"}},
	"an owner without name":           {text: "profiles:\n- name: team\n  owner: {kind: User}\n", strict: []string{"missing 3:10!"}, compat: []string{"missing 3:10!"}},
	"an owner in lower case":          {text: "profiles:\n- name: team\n  owner: {kind: user, name: ann@example.com}\n", strict: []string{"unknown-value 3:17!"}, compat: []string{"unknown-value 3:17!"}},
	"an owner with apiGroup":          {text: "profiles:\n- name: team\n  owner: {kind: User, name: a@example.com, apiGroup: x}\n", strict: []string{"unknown-key 3:44!"}, compat: []string{"unknown-key 3:44"}},
	"an owner that is a robot":        {text: "profiles:\n- name: team\n  owner: {kind: ServiceAccount, name: robot}\n"},
	"an owner's name that is empty":   {text: "profiles:\n- name: team\n  owner: {kind: User, name: \"\"}\n", strict: []string{"invalid-owner 3:10!"}, compat: []string{"invalid-owner 3:10"}},
	"resources of null":               {text: one("  resources: null\n")},
	"resources of nothing":            {text: one("  resources: {}\n")},
	"resources that are a text":       {text: one("  resources: lots\n"), strict: []string{"wrong-type 4:14!"}, compat: []string{"wrong-type 4:14!"}},
	"another key in resources":        {text: one("  resources: {soft: {}}\n"), strict: []string{"unknown-key 4:15!"}, compat: []string{"unknown-key 4:15!"}},
	"resources in snake case":         {text: one("  resources: {scope_selector: {matchExpressions: []}}\n"), strict: []string{"unknown-key 4:15!"}, compat: []string{"unknown-key 4:15!"}},
	"a limit that is a number":        {text: one("  resources: {hard: {cpu: 1}}\n")},
	"a limit that is a fraction":      {text: one("  resources: {hard: {cpu: 0.5}}\n"), strict: []string{"quantity-format 4:14"}, compat: []string{"quantity-format 4:14"}},
	"a limit that is octal":           {text: one("  resources: {hard: {pods: 010}}\n"), strict: []string{"number-format 4:28"}, compat: []string{"number-format 4:28"}},
	"a limit that is a list":          {text: one("  resources: {hard: {cpu: [1]}}\n"), strict: []string{"wrong-type 4:27!"}, compat: []string{"wrong-type 4:27", "invalid-quantity 4:14"}},
	"a limit of null":                 {text: one("  resources: {hard: {cpu: }}\n"), strict: []string{"wrong-type 4:27!"}, compat: []string{"wrong-type 4:27", "invalid-quantity 4:14"}},
	"hard as a text":                  {text: one("  resources: {hard: cpu = 1}\n"), strict: []string{"wrong-type 4:21!"}, compat: []string{"wrong-type 4:21!"}},
	"a limit whose name is a number":  {text: one("  resources: {hard: {1: 1}}\n"), strict: []string{"wrong-type 4:22!"}, compat: []string{"wrong-type 4:22!"}},
	"scopes that are a text":          {text: one("  resources: {scopes: BestEffort}\n"), strict: []string{"wrong-type 4:23!"}, compat: []string{"wrong-type 4:23!"}},
	"a scope that is a number":        {text: one("  resources: {scopes: [1]}\n"), strict: []string{"wrong-type 4:24!"}, compat: []string{"wrong-type 4:24!"}},
	"a selector of nothing":           {text: one("  resources: {scopeSelector: {}}\n"), strict: []string{"missing 4:30!"}, compat: []string{"missing 4:30!"}},
	"another key in a selector":       {text: one("  resources: {scopeSelector: {matchExpressions: [], x: 1}}\n"), strict: []string{"unknown-key 4:53!"}, compat: []string{"unknown-key 4:53!"}},
	"an operator that is none":        {text: one("  resources: {scopeSelector: {matchExpressions: [{operator: in, scopeName: P}]}}\n"), strict: []string{"unknown-value 4:61!"}, compat: []string{"unknown-value 4:61!"}},
	"an expression without scope":     {text: one("  resources: {scopeSelector: {matchExpressions: [{operator: Exists}]}}\n"), strict: []string{"missing 4:50!"}, compat: []string{"missing 4:50!"}},
	"an expression with null":         {text: one("  resources: {scopeSelector: {matchExpressions: [{operator: Exists, scopeName: PriorityClass, values: }]}}\n")},
	"In without values":               {text: one("  resources: {scopeSelector: {matchExpressions: [{operator: In, scopeName: PriorityClass}]}}\n"), strict: []string{"scope-values 4:50!"}, compat: []string{"scope-values 4:50"}},
	"contributors of null":            {text: one("  contributors:\n")},
	"contributors of nothing":         {text: one("  contributors: []\n")},
	"contributors as a mapping":       {text: one("  contributors: {}\n"), strict: []string{"wrong-type 4:17!"}, compat: []string{"wrong-type 4:17!"}},
	"a contributor of null":           {text: one("  contributors: [null]\n"), strict: []string{"wrong-type 4:18!"}, compat: []string{"wrong-type 4:18!"}},
	"a contributor without role":      {text: one("  contributors:\n  - name: b@example.com\n"), strict: []string{"missing 5:5!"}, compat: []string{"missing 5:5!"}},
	"a role in upper case":            {text: one("  contributors:\n  - {name: b@example.com, role: Admin}\n"), strict: []string{"unknown-value 5:33!"}, compat: []string{"unknown-value 5:33!"}},
	"a contributor with kind":         {text: one("  contributors:\n  - {name: b@example.com, role: edit, kind: Group}\n"), strict: []string{"unknown-key 5:39!"}, compat: []string{"unknown-key 5:39"}},
	"a contributor with two roles":    {text: one("  contributors:\n  - {name: b@example.com, role: edit}\n  - {name: b@example.com, role: view}\n"), strict: []string{"several-roles 6:5"}, compat: []string{"several-roles 6:5"}},
	"a name that is yes":              {text: one("  contributors:\n  - {name: yes, role: edit}\n"), strict: []string{"wrong-type 5:12!"}, compat: []string{"wrong-type 5:12!"}},
	"a name that is off":              {text: one("  contributors:\n  - {name: off, role: edit}\n"), strict: []string{"wrong-type 5:12!"}, compat: []string{"wrong-type 5:12!"}},
	"a name that is a date":           {text: one("  contributors:\n  - {name: 2027-01-01, role: edit}\n"), strict: []string{"wrong-type 5:12!"}, compat: []string{"wrong-type 5:12!"}},
	"a name that is a fraction":       {text: one("  contributors:\n  - {name: 1.5, role: edit}\n"), strict: []string{"wrong-type 5:12!"}, compat: []string{"wrong-type 5:12!"}},
	"a name of base sixty":            {text: one("  contributors:\n  - {name: 1:30, role: edit}\n"), strict: []string{"wrong-type 5:12!"}, compat: []string{"wrong-type 5:12!"}},
	"a name of null":                  {text: one("  contributors:\n  - {name: ~, role: edit}\n"), strict: []string{"missing 5:12!"}, compat: []string{"missing 5:12!"}},
	"a quoted name that is yes":       {text: one("  contributors:\n  - {name: 'yes', role: edit}\n"), strict: []string{"not-an-address 5:5"}, compat: []string{"not-an-address 5:5"}},
	"a name that is y":                {text: one("  contributors:\n  - {name: y, role: edit}\n"), strict: []string{"not-an-address 5:5"}, compat: []string{"not-an-address 5:5"}},
	"a number tagged as text":         {text: one("  contributors:\n  - {name: !!str 42, role: edit}\n"), strict: []string{"not-an-address 5:5"}, compat: []string{"not-an-address 5:5"}},
	"a text tagged as number":         {text: one("  contributors:\n  - {name: !!int \"42\", role: edit}\n"), strict: []string{"wrong-type 5:12!"}, compat: []string{"wrong-type 5:12!"}},
	"a tag that nobody knows":         {text: one("  contributors:\n  - {name: !mine b@example.com, role: edit}\n"), strict: []string{"wrong-type 5:12!"}, compat: []string{"wrong-type 5:12!"}},
	"a list with a tag":               {text: one("  contributors: !mine\n  - {name: b@example.com, role: edit}\n"), strict: []string{"wrong-type 4:17!"}, compat: []string{"wrong-type 4:17!"}},
	"an empty boolean":                {text: one("  remove: !!bool ''\n")},
	"a name that is there twice":      {text: one("") + "- name: team\n  owner: {kind: User, name: ann@example.com}\n", strict: []string{"duplicate-profile 4:3!"}, compat: []string{"duplicate-profile 4:3"}},
	"a key that is there twice":       {text: one("  contributors: []\n  contributors: [{name: b@example.com, role: edit}]\n"), strict: []string{"duplicate-key 5:3!"}, compat: []string{"duplicate-key 5:3"}},
	"an alias":                        {text: one("  contributors: &all [{name: b@example.com, role: edit}]\n") + "- name: second\n  owner: {kind: User, name: ann@example.com}\n  contributors: *all\n"},
	"a merge key":                     {text: "profiles:\n- &base\n  name: team\n  owner: {kind: User, name: ann@example.com}\n- <<: *base\n  name: second\n"},
	"a list of merge keys":            {text: "profiles:\n- &a {name: team, owner: &o {kind: User, name: a@example.com}}\n- <<: [{name: second}, *a]\n"},
	"a merge key of a text":           {text: "profiles:\n- <<: team\n  name: second\n  owner: {kind: User, name: a@example.com}\n", strict: []string{"wrong-type 2:7!"}, compat: []string{"wrong-type 2:7!"}},
	"an alias that contains itself":   {text: one("  contributors: &a [*a]\n"), strict: []string{"wrong-type 4:17!"}, compat: []string{"wrong-type 4:17!"}},
	"a file that is empty":            {text: "", strict: []string{"empty 1:1!"}, compat: []string{"empty 1:1!"}},
	"a comment alone":                 {text: "# nothing\n", strict: []string{"empty 1:1!"}, compat: []string{"empty 1:1!"}},
	"a text":                          {text: "hello", strict: []string{"wrong-type 1:1!"}, compat: []string{"wrong-type 1:1!"}},
	"a list at the top":               {text: "- name: team\n", strict: []string{"wrong-type 1:1!"}, compat: []string{"wrong-type 1:1!"}},
	"profiles of null":                {text: "profiles:\n", strict: []string{"missing 1:10!"}, compat: []string{"missing 1:10!"}},
	"profiles of nothing":             {text: "profiles: []\n"},
	"profiles as an empty mapping":    {text: "profiles: {}\n", strict: []string{"wrong-type 1:11!"}, compat: []string{"wrong-type 1:11"}},
	"profiles as an empty text":       {text: "profiles: \"\"\n", strict: []string{"wrong-type 1:11!"}, compat: []string{"wrong-type 1:11"}},
	"profiles as a mapping":           {text: "profiles: {team: {}}\n", strict: []string{"wrong-type 1:11!"}, compat: []string{"wrong-type 1:11!"}},
	"an empty mapping":                {text: "{}\n", strict: []string{"missing 1:1!"}, compat: []string{"missing 1:1!"}},
	"a typing error":                  {text: "profile: []\n", strict: []string{"missing 1:1!", "unknown-key 1:1!"}, compat: []string{"missing 1:1!", "unknown-key 1:1"}},
	"no YAML":                         {text: "profiles: [\n", strict: []string{"syntax 2:1!"}, compat: []string{"syntax 2:1!"}},
	"no text":                         {text: "profiles: \xff\n", strict: []string{"syntax 1:1!"}, compat: []string{"syntax 1:1!"}},
	"two documents":                   {text: "profiles: []\n---\nprofiles: []\n", strict: []string{"several-documents 2:1!"}, compat: []string{"several-documents 2:1!"}},
	"an end of the document":          {text: "profiles: []\n...\n"},
	"the kind of something else":      {text: "apiVersion: v1\nkind: ConfigMap\nprofiles: []\n", strict: []string{"unknown-kind 1:1!"}, compat: []string{"unknown-kind 1:1!"}},
	"its own kind":                    {text: "apiVersion: berth.dev/v1alpha1\nkind: PMR\nprofiles: []\n"},
	"a date of expiry":                {text: one("  contributors: [{name: b@example.com, role: edit, expires: 2027-03-31}]\n")},
	"an expiry that is none":          {text: one("  contributors: [{name: b@example.com, role: edit, expires: soon}]\n"), strict: []string{"wrong-type 4:61!"}, compat: []string{"wrong-type 4:61!"}},
	"a boolean where a plugin has it": {text: one("  plugins: [{kind: WorkloadIdentity, spec: {a: {b: [on, 1, x]}}}]\n")},
}

// quiet are findings that say nothing of the form.
var quiet = map[string]bool{"no-contributors": true}

func summary(findings []pmr.Finding) []string {
	var lines []string
	for _, f := range findings {
		if quiet[f.Code] {
			continue
		}
		line := fmt.Sprintf("%s %d:%d", f.Code, f.Position.Line, f.Position.Column)
		if f.Severity == pmr.Error {
			line += "!"
		}
		lines = append(lines, line)
	}
	return lines
}

// check reads and lints a list.
func check(text string, validation pmr.Validation) (pmr.Document, []pmr.Finding) {
	doc, findings := pmr.Read(pmr.Input{Files: []pmr.File{{Path: "pmr.yaml", Data: []byte(text)}}, Validation: validation})
	if !pmr.HasErrors(findings) {
		findings = append(findings, pmr.Lint(doc, pmr.LintRules{Validation: validation, Now: now})...)
	}
	return doc, findings
}

func TestRead_shapes(t *testing.T) {
	for name, tc := range shapes {
		t.Run(name, func(t *testing.T) {
			for validation, want := range map[pmr.Validation][]string{pmr.Strict: tc.strict, pmr.Compat: tc.compat} {
				_, findings := check(tc.text, validation)
				if d := cmp.Diff(want, summary(findings)); d != "" {
					t.Errorf("%s, -want, +got:\n%s\n%v", validation, d, findings)
				}
			}
		})
	}
}

func TestRead_samples(t *testing.T) {
	for name, want := range map[string]string{
		"single": "ml-engineers User admin@canonical.com limits.cpu=1: kimonas@canonical.com admin, michal@canonical.com edit, andreea@canonical.com view\n",
		"full": "ml-engineers User admin@canonical.com limits.cpu=1: kimonas@canonical.com admin, michal@canonical.com edit, andreea@canonical.com view\n" +
			"data-engineers User admin@canonical.com: daniela@canonical.com edit, noha@canonical.com edit, manos@canonical.com view, orfeas@canonical.com view\n",
	} {
		data, err := os.ReadFile(filepath.Join("testdata", "pmr-sample-"+name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, validation := range []pmr.Validation{pmr.Strict, pmr.Compat} {
			doc, findings := check(string(data), validation)
			if len(findings) > 0 {
				t.Errorf("%s: %v", name, findings)
			}
			var got strings.Builder
			for _, p := range doc.Profiles {
				fmt.Fprintf(&got, "%s %s %s", p.Name, p.Owner.Kind, p.Owner.Name)
				if p.Resources != nil {
					fmt.Fprintf(&got, " limits.cpu=%s", p.Resources.Hard["limits.cpu"])
				}
				for i, c := range p.Contributors {
					fmt.Fprintf(&got, "%s %s %s", map[bool]string{true: ":", false: ","}[i == 0], c.Name, c.Role)
				}
				got.WriteString("\n")
			}
			if d := cmp.Diff(want, got.String()); d != "" {
				t.Errorf("-want, +got:\n%s", d)
			}
		}
	}
}
