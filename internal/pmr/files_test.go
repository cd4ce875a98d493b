// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/pmr"
)

func file(path, text string) pmr.File { return pmr.File{Path: path, Data: []byte(text)} }

func TestRead_severalFilesAreOneList(t *testing.T) {
	doc, findings := pmr.Read(pmr.Input{Files: []pmr.File{
		file("a.yaml", "defaults: {class: secure}\ngroups: [{name: leads, members: [b@example.com]}]\n"+one("")),
		file("b.yaml", "profiles: [{name: other, owner: {kind: User, name: b@example.com}, groups: [{name: leads, role: edit}]}]\n"),
	}})
	if len(findings) > 0 || len(doc.Profiles) != 2 || doc.Profile("other") == nil || doc.Profile("none") != nil {
		t.Fatalf("%v in %+v", findings, doc)
	}
	if at := doc.Profile("other").Source.String(); at != "b.yaml:1:12" {
		t.Errorf("the second profile is at %s", at)
	}

	_, findings = pmr.Read(pmr.Input{Files: []pmr.File{
		file("a.yaml", "defaults: {class: secure}\n"+one("")), file("b.yaml", "defaults: {class: open}\n"+one("")),
	}})
	want := []string{"duplicate-defaults 1:11!"}
	if d := cmp.Diff(want, summary(findings)); d != "" || !strings.Contains(findings[0].Message, "a.yaml:1:11") {
		t.Errorf("-want, +got:\n%s%v", d, findings)
	}
	_, findings = pmr.Read(pmr.Input{Files: []pmr.File{file("a.yaml", one("")), file("b.yaml", one(""))}})
	if len(findings) != 1 || findings[0].Code != "duplicate-profile" || findings[0].Position.File != "b.yaml" || !strings.Contains(findings[0].Message, "a.yaml:2:3") {
		t.Errorf("a profile in both files: %v", findings)
	}
	if _, findings = pmr.Read(pmr.Input{}); !pmr.HasErrors(findings) {
		t.Error("no file at all is taken for a list without profiles")
	}
}

// Where names are there twice, the last counts, as with github-profiles-automator.
func TestRead_lastCounts(t *testing.T) {
	doc, _ := pmr.Read(pmr.Input{Validation: pmr.Compat, Files: []pmr.File{file("", one("  class: a\n  class: b\n")+
		"- name: team\n  owner: {kind: User, name: second@example.com}\n  contributors: []\n  contributors: [{name: c@example.com, role: view}]\n")}})
	if len(doc.Profiles) != 1 || doc.Profiles[0].Owner.Name != "second@example.com" || len(doc.Profiles[0].Contributors) != 1 {
		t.Errorf("%+v", doc.Profiles)
	}
}

func TestRead_mergeKeys(t *testing.T) {
	doc, findings := pmr.Read(pmr.Input{Files: []pmr.File{file("", `
profiles:
- &base
  name: first
  owner: {kind: User, name: a@example.com}
  labels: {a: base, b: base}
- <<: *base
  name: second
- <<: [{name: third}, *base]
  labels: {c: own}
`)}})
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	var got []string
	for _, p := range doc.Profiles {
		got = append(got, fmt.Sprint(p.Name, " ", p.Owner.Name, " ", p.Labels))
	}
	want := []string{"first a@example.com map[a:base b:base]", "second a@example.com map[a:base b:base]", "third a@example.com map[c:own]"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want, +got:\n%s", d)
	}
}

func TestRead_overlays(t *testing.T) {
	base := "defaults: {class: open, labels: {a: '1'}}\nusers: [{name: b@example.com, id: b-1}]\n" +
		one("  resources: {hard: {cpu: 8}}\n  labels: {team: ml, tier: prod}\n  contributors: [{name: b@example.com, role: admin}]\n") +
		"- name: other\n  owner: {kind: User, name: o@example.com}\n"
	cases := map[string]struct {
		overlay string
		want    string
		finding string
	}{
		"nothing":          {overlay: "profiles: []\n", want: "team open cpu=8 [b@example.com] map[team:ml tier:prod]; other open"},
		"defaults alone":   {overlay: "defaults: {class: secure}\n", want: "team secure cpu=8 [b@example.com] map[team:ml tier:prod]; other secure"},
		"a quota":          {overlay: "profiles: [{name: team, resources: {hard: {cpu: 2}}}]\n", want: "team open cpu=2 [b@example.com] map[team:ml tier:prod]; other open"},
		"no contributors":  {overlay: "profiles: [{name: team, contributors: []}]\n", want: "team open cpu=8 map[team:ml tier:prod]; other open"},
		"null says naught": {overlay: "profiles: [{name: team, contributors: null}]\n", want: "team open cpu=8 [b@example.com] map[team:ml tier:prod]; other open"},
		"a label":          {overlay: "profiles: [{name: team, labels: {tier: dev}}]\n", want: "team open cpu=8 [b@example.com] map[team:ml tier:dev]; other open"},
		"a new profile":    {overlay: "profiles: [{name: new, owner: {kind: User, name: n@example.com}}]\n", want: "team open cpu=8 [b@example.com] map[team:ml tier:prod]; other open; new open"},
		"one less":         {overlay: "profiles: [{name: other, remove: true}]\n", want: "team open cpu=8 [b@example.com] map[team:ml tier:prod]"},
		"a name mistyped":  {overlay: "profiles: [{name: taem, class: x}]\n", finding: "overlay 1:12!"},
		"removed twice":    {overlay: "profiles: [{name: other, remove: true}, {name: other}]\n", finding: "overlay 1:41!"},
		"not there to go":  {overlay: "profiles: [{name: taem, remove: true}]\n", finding: "overlay 1:12!"},
		"an unknown key":   {overlay: "profile: []\n", finding: "unknown-key 1:1!"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			doc, findings := pmr.Read(pmr.Input{Files: []pmr.File{file("pmr.yaml", base)}, Overlays: []pmr.File{file("overlay.yaml", tc.overlay)}})
			if got := strings.Join(summary(findings), ", "); got != tc.finding {
				t.Fatalf("found %v", findings)
			}
			if tc.finding != "" {
				return
			}
			var got []string
			for _, p := range doc.Profiles {
				text := p.Name + " " + doc.Defaults.Class
				if p.Resources != nil {
					text += " cpu=" + string(p.Resources.Hard["cpu"])
				}
				for _, c := range p.Contributors {
					text += " [" + c.Name + "]"
				}
				if p.Labels != nil {
					text += fmt.Sprint(" ", p.Labels)
				}
				got = append(got, text)
			}
			if d := cmp.Diff(tc.want, strings.Join(got, "; ")); d != "" {
				t.Errorf("-want, +got:\n%s", d)
			}
		})
	}
}

// Few bytes of aliases can mean more than fits into memory, and more than can be read before the tests' time is up.
func TestRead_bombs(t *testing.T) {
	laughs := "users:\n- &a0 [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
	for i := range 9 {
		laughs += fmt.Sprintf("- &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i+1, i, i, i, i, i, i, i, i, i, i)
	}
	spec := func(yaml string) string {
		return "profiles:\n- name: team\n  owner: {kind: User, name: a@example.com}\n  plugins: [{kind: WorkloadIdentity, spec: {a: " + yaml + "}}]\n"
	}
	bomb := "&b0 [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"
	for i := range 8 {
		bomb = fmt.Sprintf("&b%d [%s, *b%d, *b%d, *b%d, *b%d, *b%d, *b%d, *b%d, *b%d]", i+1, bomb, i, i, i, i, i, i, i, i)
	}
	cases := map[string]string{
		"lists of lists of users":         laughs + "profiles: []\n",
		"settings of a plugin":            spec(bomb),
		"settings that contain their own": spec("&s [*s, *s]"),
		"a merge key of its own":          "&m\n<<: *m\nprofiles: []\n",
		"a thousand brackets":             spec(strings.Repeat("[", 1000) + strings.Repeat("]", 1000)),
		"wrong everywhere":                "profiles: [" + strings.Repeat("1,", 200_000) + "]\n",
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			_, findings := pmr.Read(pmr.Input{Files: []pmr.File{file("", text)}})
			if !pmr.HasErrors(findings) || len(findings) > 1001 {
				t.Errorf("%d findings: %v", len(findings), findings[:min(len(findings), 3)])
			}
		})
	}
}

// What is left out of a long list of findings is counted, and is no less an error.
func TestRead_manyFindings(t *testing.T) {
	text := "profiles: []\n"
	for i := range 2000 {
		text += fmt.Sprintf("key%d: 1\n", i)
	}
	_, findings := pmr.Read(pmr.Input{Validation: pmr.Compat, Files: []pmr.File{file("", text)}})
	if len(findings) != 1000 || pmr.HasErrors(findings) {
		t.Errorf("%d findings", len(findings))
	}
	at := slices.IndexFunc(findings, func(f pmr.Finding) bool { return f.Code == "too-many" })
	if at < 0 || !strings.Contains(findings[at].Message, "1001 ") {
		t.Errorf("the rest is not counted: %v", findings[len(findings)-1])
	}
	if _, findings = pmr.Read(pmr.Input{Validation: pmr.Compat, Files: []pmr.File{file("", text+"users: 1\n")}}); !pmr.HasErrors(findings) {
		t.Error("the error after many warnings is lost")
	}
}
