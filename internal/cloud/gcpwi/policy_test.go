// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package gcpwi

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	iamv1 "google.golang.org/api/iam/v1"
)

const (
	ours   = "serviceAccount:cluster.svc.id.goog[team-a/default-editor]"
	theirs = "serviceAccount:cluster.svc.id.goog[team-b/default-editor]"
)

func binding(role string, members ...string) *iamv1.Binding {
	return &iamv1.Binding{Role: role, Members: members}
}

func until2030(b *iamv1.Binding) *iamv1.Binding {
	b.Condition = &iamv1.Expr{Title: "until 2030", Expression: `request.time < timestamp("2030-01-01T00:00:00Z")`}
	return b
}

func TestAddMember(t *testing.T) {
	admin := binding("roles/iam.serviceAccountAdmin", "user:ann@example.com", ours)
	cases := map[string]struct {
		in, want []*iamv1.Binding // want: nil if nothing should change
	}{
		"no bindings":                       {in: nil, want: []*iamv1.Binding{binding(workloadIdentityUser, ours)}},
		"another role only":                 {in: []*iamv1.Binding{admin}, want: []*iamv1.Binding{admin, binding(workloadIdentityUser, ours)}},
		"the role is bound":                 {in: []*iamv1.Binding{binding(workloadIdentityUser, theirs), admin}, want: []*iamv1.Binding{binding(workloadIdentityUser, theirs, ours), admin}},
		"a member":                          {in: []*iamv1.Binding{binding(workloadIdentityUser, theirs, ours)}},
		"a member of the role's 2nd":        {in: []*iamv1.Binding{binding(workloadIdentityUser, theirs), binding(workloadIdentityUser, ours)}},
		"a member under a condition":        {in: []*iamv1.Binding{until2030(binding(workloadIdentityUser, ours))}, want: []*iamv1.Binding{until2030(binding(workloadIdentityUser, ours)), binding(workloadIdentityUser, ours)}},
		"a nil binding, as JSON null gives": {in: []*iamv1.Binding{nil}, want: []*iamv1.Binding{nil, binding(workloadIdentityUser, ours)}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) { checkChange(t, addMember, tc.in, tc.want) })
	}
}

func TestRemoveMember(t *testing.T) {
	admin := binding("roles/iam.serviceAccountAdmin", "user:ann@example.com", ours)
	cases := map[string]struct {
		in, want []*iamv1.Binding // want: nil if nothing should change
	}{
		"no bindings":         {},
		"not a member":        {in: []*iamv1.Binding{admin, binding(workloadIdentityUser, theirs)}},
		"one of two":          {in: []*iamv1.Binding{binding(workloadIdentityUser, ours, theirs), admin}, want: []*iamv1.Binding{binding(workloadIdentityUser, theirs), admin}},
		"the last one":        {in: []*iamv1.Binding{admin, binding(workloadIdentityUser, ours)}, want: []*iamv1.Binding{admin}},
		"in several bindings": {in: []*iamv1.Binding{binding(workloadIdentityUser, ours), until2030(binding(workloadIdentityUser, theirs, ours)), binding(workloadIdentityUser, ours, ours), admin}, want: []*iamv1.Binding{until2030(binding(workloadIdentityUser, theirs)), admin}},
		"a nil binding":       {in: []*iamv1.Binding{nil}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) { checkChange(t, removeMember, tc.in, tc.want) })
	}
}

func checkChange(t *testing.T, do change, in, want []*iamv1.Binding) {
	t.Helper()
	before := text(t, in)
	got, changed := do(in, ours)
	if changed != (want != nil) {
		t.Errorf("changed: %t", changed)
	}
	if want == nil {
		want = in
	}
	if diff := cmp.Diff(text(t, want), text(t, got)); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
	if diff := cmp.Diff(before, text(t, in)); diff != "" {
		t.Errorf("the input changed:\n%s", diff)
	}
	if _, again := do(got, ours); again {
		t.Error("the change is not final")
	}
}

// text is the wire form, which leaves out the client's own fields.
func text(t *testing.T, bindings []*iamv1.Binding) string {
	t.Helper()
	out, err := json.MarshalIndent(bindings, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func FuzzBindings(f *testing.F) {
	f.Add([]byte(`[{"role":"roles/iam.workloadIdentityUser","members":["a"]},null,{"condition":{"expression":"x"}}]`), "a")
	f.Fuzz(func(t *testing.T, raw []byte, member string) {
		var in []*iamv1.Binding
		if json.Unmarshal(raw, &in) != nil {
			return
		}
		added, _ := addMember(in, member)
		if _, again := addMember(added, member); again {
			t.Error("adding is not final")
		}
		removed, changed := removeMember(added, member)
		if !changed {
			t.Error("what was added was not removed")
		}
		for _, b := range removed {
			if b != nil && b.Role == workloadIdentityUser && slices.Contains(b.Members, member) {
				t.Errorf("%q is still a member: %s", member, text(t, removed))
			}
		}
	})
}
