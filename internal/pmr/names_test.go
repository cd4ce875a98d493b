// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr_test

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"berth.dev/berth/internal/render"
)

// The first name is the one that github-profiles-automator and the access-management API of Kubeflow give, where an
// object can be called that.
func TestNames(t *testing.T) {
	long := "very.long-first-name.with-many-parts.and-last-name@subdomain.example-corp.com"
	cases := []struct{ user, role, charm, kfam string }{
		{"kimonas@canonical.com", "admin", "kimonas-canonical-com-admin", "user-kimonas-canonical-com-clusterrole-admin"},
		{"A.B+x@Ex.com", "edit", "a-b-x-ex-com-edit", "user-a-b-x-ex-com-clusterrole-edit"},
		{"a-b-x@ex.com", "edit", "a-b-x-ex-com-edit", "user-a-b-x-ex-com-clusterrole-edit"},
		{`DOMAIN\jdoe`, "edit", "domain-jdoe-edit", "user-domain-jdoe-clusterrole-edit"},
		{"$%%@#", "edit", "edit", "user-clusterrole-edit"},
		{"", "edit", "edit", "user-clusterrole-edit"},
		{"élodie@x.com", "edit", "lodie-x-com-edit", "user-lodie-x-com-clusterrole-edit"},
		{"İpek@x.com", "edit", "i-pek-x-com-edit", "user-pek-x-com-clusterrole-edit"},
		// What the charm would cut off is named as Kubeflow does, so that the role stays.
		{long, "admin", "user-very-long-first-name-with-many-parts-and-last-name-subdomain-example-corp-com-clusterrole-admin", "user-very-long-first-name-with-many-parts-and-last-name-subdomain-example-corp-com-clusterrole-admin"},
		{long, "view", "user-very-long-first-name-with-many-parts-and-last-name-subdomain-example-corp-com-clusterrole-view", "user-very-long-first-name-with-many-parts-and-last-name-subdomain-example-corp-com-clusterrole-view"},
		{strings.Repeat("x", 62) + ".y", "edit", "user-" + strings.Repeat("x", 62) + "-y-clusterrole-edit", "user-" + strings.Repeat("x", 62) + "-y-clusterrole-edit"},
	}
	second := map[string]string{}
	for _, tc := range cases {
		c := render.Contributor{Subject: rbacv1.Subject{Kind: rbacv1.UserKind, Name: tc.user}, Role: tc.role}
		for what, names := range map[string][]string{tc.charm: render.CharmNames(c), tc.kfam: render.BindingNames(c)} {
			if names[0] != what {
				t.Errorf("%q %s is called %q, want %q", tc.user, tc.role, names[0], what)
			}
			for _, name := range names {
				if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
					t.Errorf("%q %s is called %q: %v", tc.user, tc.role, name, problems)
				}
			}
			last := names[len(names)-1]
			if other, taken := second[last]; taken && other != tc.user+" "+tc.role {
				t.Errorf("%q and %q share %q", tc.user, other, last)
			}
			second[last] = tc.user + " " + tc.role
		}
	}
}
