// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/pmr"
)

// resolved reads a list that has to be right, and resolves it.
func resolved(t *testing.T, text string) pmr.Want {
	t.Helper()
	doc, findings := pmr.Read(pmr.Input{Files: []pmr.File{file("pmr.yaml", text)}})
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	return pmr.Resolve(doc)
}

func TestResolve_grants(t *testing.T) {
	head := "users: [{name: b@x.org, id: b-1}, {name: m@x.org, id: m-1}]\n" +
		"groups: [{name: devs, members: [m@x.org, n@x.org]}, {name: leads, members: [m@x.org]}]\n"
	cases := map[string]struct{ profile, want string }{
		"somebody listed":                 {"contributors: [{name: b@x.org, role: edit, reason: why}]", "User b@x.org edit id=b-1"},
		"an identifier of its own":        {"contributors: [{name: b@x.org, role: edit, id: b-2}]", "User b@x.org edit id=b-2"},
		"a role of the class":             {"contributors: [{name: b@x.org, role: view, classRole: auditor}]", "User b@x.org auditor id=b-1"},
		"two roles":                       {"contributors: [{name: b@x.org, role: edit}, {name: b@x.org, role: view}]", "User b@x.org edit id=b-1; User b@x.org view id=b-1"},
		"the longer of two":               {"contributors: [{name: c@x.org, role: edit, expires: 2027-02-01}, {name: c@x.org, role: edit, expires: 2027-03-01}]", "User c@x.org edit until 2027-03-02T00:00:00Z"},
		"for ever is longer":              {"contributors: [{name: c@x.org, role: edit}, {name: c@x.org, role: edit, expires: 2027-03-01}]", "User c@x.org edit"},
		"a time with a zone":              {"contributors: [{name: c@x.org, role: edit, expires: 2027-03-01T10:00:00+02:00}]", "User c@x.org edit until 2027-03-01T08:00:00Z"},
		"a group":                         {"groups: [{name: devs, role: view}]", "User m@x.org view id=m-1 group=devs; User n@x.org view group=devs"},
		"the most powerful of two groups": {"groups: [{name: leads, role: admin}, {name: devs, role: edit}]", "User m@x.org admin id=m-1 group=leads; User n@x.org edit group=devs"},
		"the longer of two groups":        {"groups: [{name: leads, role: edit}, {name: devs, role: edit, expires: 2027-02-01}]", "User m@x.org edit id=m-1 group=leads; User n@x.org edit until 2027-02-02T00:00:00Z group=devs"},
		"a role that only a class has":    {"groups: [{name: leads, role: auditor}, {name: devs, role: view}]", "User m@x.org view id=m-1 group=devs; User n@x.org view group=devs"},
		"who is named has what is named":  {"contributors: [{name: m@x.org, role: view}]\n  groups: [{name: leads, role: admin}]", "User m@x.org view id=m-1"},
		"a group from elsewhere":          {"groups: [{name: elsewhere, role: edit}]", "Group elsewhere edit"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			want := resolved(t, head+one("  "+tc.profile+"\n"))
			var got []string
			for _, g := range want.Profiles["team"].Grants {
				text := fmt.Sprintf("%s %s %s", g.Subject.Kind, g.Subject.Name, g.Role)
				if !g.Expires.IsZero() {
					text += " until " + g.Expires.Format(time.RFC3339)
				}
				if g.ID != "" {
					text += " id=" + g.ID
				}
				if g.Group != "" {
					text += " group=" + g.Group
				}
				got = append(got, text)
			}
			if d := cmp.Diff(tc.want, strings.Join(got, "; ")); d != "" {
				t.Errorf("-want, +got:\n%s", d)
			}
		})
	}
}

func TestResolve_defaults(t *testing.T) {
	head := "defaults:\n  class: secure\n  labels: {a: '1', b: '1'}\n  resources: {hard: {pods: 5}}\n  contributorPolicy: Additive\n" +
		"  groups: [{name: auditors, role: view}]\n"
	own := resolved(t, head+one("  class: open\n  labels: {b: '2'}\n  resources: {}\n  contributorPolicy: Authoritative\n  plugins: []\n")).Profiles["team"]
	none := resolved(t, head+one("")).Profiles["team"]
	if d := cmp.Diff(map[string]string{"a": "1", "b": "2", "berth.dev/class": "open"}, own.Labels); d != "" {
		t.Errorf("own labels, -want, +got:\n%s", d)
	}
	if d := cmp.Diff(map[string]string{"a": "1", "b": "1", "berth.dev/class": "secure"}, none.Labels); d != "" {
		t.Errorf("default labels, -want, +got:\n%s", d)
	}
	if own.Quota == nil || len(own.Quota.Hard) > 0 || none.Quota == nil || none.Quota.Hard["pods"] != "5" {
		t.Errorf("quotas are %v and %v", own.Quota, none.Quota)
	}
	if own.Policy != pmr.Authoritative || none.Policy != pmr.Additive {
		t.Errorf("policies are %q and %q", own.Policy, none.Policy)
	}
	if own.Plugins == nil || none.Plugins != nil {
		t.Errorf("plugins are %#v and %#v", own.Plugins, none.Plugins)
	}
	if len(own.Grants) != 1 || len(none.Grants) != 1 {
		t.Errorf("the default group is not granted: %v and %v", own.Grants, none.Grants)
	}
	if plain := resolved(t, one("")).Profiles["team"]; plain.Quota != nil || plain.Labels != nil || plain.Policy != "" {
		t.Errorf("of nothing something came: %+v", plain)
	}
}

func TestResolve_owners(t *testing.T) {
	owner := func(text string) string {
		s := resolved(t, "profiles: [{name: team, owner: "+text+"}]").Profiles["team"].Owner
		return s.Kind + " " + s.Namespace + "/" + s.Name
	}
	for text, want := range map[string]string{
		"{kind: User, name: a@x.org}":                         "User /a@x.org",
		"{kind: Group, name: leads}":                          "Group /leads",
		"{kind: ServiceAccount, name: robot}":                 "ServiceAccount team/robot",
		"{kind: ServiceAccount, name: robot, namespace: ops}": "ServiceAccount ops/robot",
	} {
		if got := owner(text); got != want {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
}
