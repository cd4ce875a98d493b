// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/access"
	"berth.dev/berth/internal/identity"
	"berth.dev/berth/internal/testkit"
)

const root = "root@example.com"

var (
	ann      = caller("ann@example.com", "ml-team")
	bob      = caller("bob@example.com")
	admin    = caller(root)
	operator = caller("op@example.com", "operators")
	robot    = caller("system:serviceaccount:ci:robot")
	nobody   = access.Caller{User: identity.User{Groups: []string{"operators", "ml-team", ""}}}
	platform = access.Caller{Platform: true}

	annsTeam    = testkit.Profile("team", testkit.Owner("ann@example.com"))
	groupsTeam  = testkit.Profile("team", testkit.OwnerOf("Group", "ml-team", ""))
	robotsTeam  = testkit.Profile("team", testkit.OwnerOf("ServiceAccount", "robot", "ci"))
	nobodysTeam = testkit.Profile("team", testkit.Owner(""))
)

func caller(name string, groups ...string) access.Caller {
	return access.Caller{User: identity.User{Name: name, Groups: groups}}
}

func admins(t *testing.T) access.Admins {
	t.Helper()
	parsed, err := access.ParseAdmins(root + ", group:operators")
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestParseAdmins(t *testing.T) {
	cases := map[string]struct {
		list           string
		wantHas, lacks []access.Caller
		wantError      bool
	}{
		"nobody":                      {list: "", lacks: []access.Caller{admin, operator, nobody, caller("")}},
		"commas alone":                {list: " , ,", lacks: []access.Caller{admin, nobody, caller("")}},
		"a user":                      {list: root, wantHas: []access.Caller{admin}, lacks: []access.Caller{ann, operator, nobody, caller("ROOT@example.com")}},
		"users and a group":           {list: root + " ,ann@example.com,, group:operators ", wantHas: []access.Caller{admin, ann, operator}, lacks: []access.Caller{bob, nobody}},
		"a group is no user":          {list: "group:operators", wantHas: []access.Caller{operator}, lacks: []access.Caller{caller("operators"), caller("group:operators"), nobody}},
		"a user is no group":          {list: "operators", wantHas: []access.Caller{caller("operators")}, lacks: []access.Caller{operator}},
		"a service account":           {list: "system:serviceaccount:ci:robot", wantHas: []access.Caller{robot}},
		"a group with a colon":        {list: "group:oidc:ops", wantHas: []access.Caller{caller("x", "oidc:ops")}, lacks: []access.Caller{caller("x", "ops")}},
		"a group without a name":      {list: "group:", wantError: true},
		"everybody":                   {list: "*", wantError: true},
		"every group":                 {list: root + ",group:*", wantError: true},
		"a name with a space":         {list: "ann smith", wantError: true},
		"names parted by a semicolon": {list: root + "; ann@example.com", wantError: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			parsed, err := access.ParseAdmins(tc.list)
			if (err != nil) != tc.wantError {
				t.Fatalf("error %v, want one: %t", err, tc.wantError)
			}
			for _, c := range tc.wantHas {
				if !parsed.Has(c.User) {
					t.Errorf("%+v is not among them", c.User)
				}
			}
			for _, c := range tc.lacks {
				if parsed.Has(c.User) {
					t.Errorf("%+v is among them", c.User)
				}
			}
		})
	}
}

func TestCaller_Known(t *testing.T) {
	for _, tc := range []struct {
		caller access.Caller
		want   bool
	}{{ann, true}, {platform, true}, {nobody, false}, {access.Caller{}, false}} {
		if got := tc.caller.Known(); got != tc.want {
			t.Errorf("%+v: %t, want %t", tc.caller, got, tc.want)
		}
	}
}

func TestManage(t *testing.T) {
	cases := map[string]struct {
		caller  access.Caller
		profile *kubeflowv1.Profile
		want    access.Answer
	}{
		"the owner":                              {ann, annsTeam, access.Yes},
		"a cluster admin":                        {admin, annsTeam, access.Yes},
		"a cluster admin by group":               {operator, annsTeam, access.Yes},
		"a cluster admin, the profile gone":      {admin, nil, access.Yes},
		"anybody else, the profile gone":         {ann, nil, access.No},
		"anybody else":                           {bob, annsTeam, access.IfMayBind},
		"a member of the group that owns":        {ann, groupsTeam, access.Yes},
		"somebody called like the group":         {caller("ml-team"), groupsTeam, access.IfMayBind},
		"a group called like the owner":          {caller("bob@example.com", "ann@example.com"), annsTeam, access.IfMayBind},
		"the service account that owns":          {robot, robotsTeam, access.Yes},
		"somebody called like the account":       {caller("robot"), robotsTeam, access.IfMayBind},
		"nobody":                                 {nobody, annsTeam, access.No},
		"nobody, where nobody owns":              {nobody, nobodysTeam, access.No},
		"somebody, where nobody owns":            {bob, nobodysTeam, access.IfMayBind},
		"nobody, though groups own":              {nobody, groupsTeam, access.No},
		"the platform":                           {platform, annsTeam, access.No},
		"the platform, the profile gone":         {platform, nil, access.No},
		"the platform where nobody owns":         {platform, nobodysTeam, access.No},
		"the owner of another case is no owner":  {caller("ANN@example.com"), annsTeam, access.IfMayBind},
		"nobody, though a group of admins comes": {access.Caller{User: identity.User{Groups: []string{"operators"}}}, annsTeam, access.No},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := access.Manage(tc.caller, admins(t), tc.profile); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestRemove(t *testing.T) {
	cases := map[string]struct {
		caller      access.Caller
		profile     *kubeflowv1.Profile
		contributor rbacv1.Subject
		want        access.Answer
	}{
		"oneself":                         {bob, annsTeam, rbacv1.Subject{Kind: "User", Name: "bob@example.com"}, access.Yes},
		"oneself as a service account":    {robot, annsTeam, rbacv1.Subject{Kind: "ServiceAccount", Namespace: "ci", Name: "robot"}, access.Yes},
		"another":                         {bob, annsTeam, rbacv1.Subject{Kind: "User", Name: "eve@example.com"}, access.IfMayBind},
		"another, by the owner":           {ann, annsTeam, rbacv1.Subject{Kind: "User", Name: "eve@example.com"}, access.Yes},
		"another, by a cluster admin":     {admin, annsTeam, rbacv1.Subject{Kind: "User", Name: "eve@example.com"}, access.Yes},
		"a group that one is in":          {caller("bob@example.com", "ops"), annsTeam, rbacv1.Subject{Kind: "Group", Name: "ops"}, access.IfMayBind},
		"a group called like oneself":     {bob, annsTeam, rbacv1.Subject{Kind: "Group", Name: "bob@example.com"}, access.IfMayBind},
		"oneself, the profile gone":       {bob, nil, rbacv1.Subject{Kind: "User", Name: "bob@example.com"}, access.No},
		"a cluster admin, profile gone":   {admin, nil, rbacv1.Subject{Kind: "User", Name: "bob@example.com"}, access.Yes},
		"nobody":                          {nobody, annsTeam, rbacv1.Subject{Kind: "User", Name: "bob@example.com"}, access.No},
		"nobody is not the empty subject": {nobody, annsTeam, rbacv1.Subject{Kind: "User"}, access.No},
		"the platform":                    {platform, annsTeam, rbacv1.Subject{Kind: "User", Name: "bob@example.com"}, access.No},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := access.Remove(tc.caller, admins(t), tc.profile, tc.contributor); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestCreate_owner(t *testing.T) {
	cases := map[string]struct {
		caller  access.Caller
		profile *kubeflowv1.Profile
		want    bool
	}{
		"for oneself":                        {ann, annsTeam, true},
		"for another":                        {bob, annsTeam, false},
		"for another, by a cluster admin":    {admin, annsTeam, true},
		"for a group, by a cluster admin":    {operator, groupsTeam, true},
		"for a group that one is in":         {ann, groupsTeam, false},
		"for a group called like oneself":    {caller("ml-team"), groupsTeam, false},
		"a service account for itself":       {robot, robotsTeam, true},
		"for a service account":              {ann, robotsTeam, false},
		"for nobody":                         {ann, nobodysTeam, false},
		"nobody":                             {nobody, annsTeam, false},
		"nobody for nobody":                  {nobody, nobodysTeam, false},
		"the platform signs somebody up":     {platform, annsTeam, true},
		"the platform signs up no group":     {platform, groupsTeam, false},
		"the platform signs up no account":   {platform, robotsTeam, false},
		"the platform signs up no odd kinds": {platform, testkit.Profile("team", testkit.OwnerOf("", "ann", "")), false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if err := access.Create(tc.caller, admins(t), tc.profile); (err == nil) != tc.want {
				t.Errorf("error %v, want allowed %t", err, tc.want)
			}
		})
	}
}

// What costs money or gives rights comes from cluster admins only, and the refusal names the field.
func TestCreate_fields(t *testing.T) {
	quota := func(change func(*kubeflowv1.ResourceQuotaSpec)) func(*kubeflowv1.Profile) {
		return func(p *kubeflowv1.Profile) { change(&p.Spec.ResourceQuotaSpec) }
	}
	cases := map[string]struct {
		set  func(*kubeflowv1.Profile)
		want string
	}{
		"labels":      {func(p *kubeflowv1.Profile) { p.Labels = map[string]string{"a": "b"} }, "metadata.labels"},
		"annotations": {func(p *kubeflowv1.Profile) { p.Annotations = map[string]string{"a": "b"} }, "metadata.annotations"},
		"finalizers":  {func(p *kubeflowv1.Profile) { p.Finalizers = []string{"a/b"} }, "metadata.finalizers"},
		"owners":      {func(p *kubeflowv1.Profile) { p.OwnerReferences = []metav1.OwnerReference{{}} }, "metadata.ownerReferences"},
		"a name to be made up": {func(p *kubeflowv1.Profile) {
			p.GenerateName = "team-"
		}, "metadata.generateName"},
		"plugins": {func(p *kubeflowv1.Profile) {
			p.Spec.Plugins = []kubeflowv1.Plugin{{Kind: "AwsIamForServiceAccount", Spec: &runtime.RawExtension{}}}
		}, "spec.plugins"},
		"a limit": {testkit.Quota("cpu", "1"), "spec.resourceQuotaSpec"},
		"a scope": {quota(func(q *kubeflowv1.ResourceQuotaSpec) {
			q.Scopes = []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}
		}), "spec.resourceQuotaSpec"},
		"a scope selector": {quota(func(q *kubeflowv1.ResourceQuotaSpec) { q.ScopeSelector = &corev1.ScopeSelector{} }), "spec.resourceQuotaSpec"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p := testkit.Profile("team", testkit.Owner("ann@example.com"), tc.set)
			for _, c := range []access.Caller{ann, platform} {
				if err := access.Create(c, admins(t), p); err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%+v: error %v, want one that names %s", c, err, tc.want)
				}
			}
			for _, c := range []access.Caller{admin, operator} {
				if err := access.Create(c, admins(t), p); err != nil {
					t.Errorf("%+v: %v", c, err)
				}
			}
			if err := access.Create(nobody, admins(t), p); err == nil {
				t.Error("nobody may")
			}
		})
	}
}

func TestSeesAll(t *testing.T) {
	for name, tc := range map[string]struct {
		caller access.Caller
		want   bool
	}{
		"the platform": {platform, true}, "a cluster admin": {admin, true}, "one by group": {operator, true},
		"anybody else": {ann, false}, "nobody": {nobody, false},
	} {
		if got := access.SeesAll(tc.caller, admins(t)); got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}
