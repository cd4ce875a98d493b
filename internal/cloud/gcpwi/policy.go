// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package gcpwi

import (
	"slices"

	iamv1 "google.golang.org/api/iam/v1"
)

// workloadIdentityUser is the role that lets a Kubernetes ServiceAccount act as a Google one.
const workloadIdentityUser = "roles/iam.workloadIdentityUser"

// addMember returns the bindings with member in an unconditional one of the role; changed is false where it was
// already. A conditional binding is no place for it: it would hold only while the condition does.
func addMember(bindings []*iamv1.Binding, member string) (out []*iamv1.Binding, changed bool) {
	place := -1
	for i, b := range bindings {
		if b == nil || b.Role != workloadIdentityUser || b.Condition != nil {
			continue
		}
		if slices.Contains(b.Members, member) {
			return bindings, false
		}
		if place < 0 {
			place = i
		}
	}
	out = slices.Clone(bindings)
	if place < 0 {
		return append(out, &iamv1.Binding{Role: workloadIdentityUser, Members: []string{member}}), true
	}
	out[place] = withMembers(out[place], append(slices.Clone(out[place].Members), member))
	return out, true
}

// removeMember returns the bindings with member in none of the role, conditional ones included, and without those
// that it leaves empty.
func removeMember(bindings []*iamv1.Binding, member string) (out []*iamv1.Binding, changed bool) {
	for _, b := range bindings {
		if b == nil || b.Role != workloadIdentityUser || !slices.Contains(b.Members, member) {
			out = append(out, b)
			continue
		}
		changed = true
		keep := slices.DeleteFunc(slices.Clone(b.Members), func(m string) bool { return m == member })
		if len(keep) > 0 {
			out = append(out, withMembers(b, keep))
		}
	}
	return out, changed
}

func withMembers(b *iamv1.Binding, members []string) *iamv1.Binding {
	out := *b
	out.Members = members
	return &out
}
