// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"

	"berth.dev/berth/internal/identity"
)

func user(name string) rbacv1.Subject  { return rbacv1.Subject{Kind: "User", Name: name} }
func group(name string) rbacv1.Subject { return rbacv1.Subject{Kind: "Group", Name: name} }
func account(namespace, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: "ServiceAccount", Namespace: namespace, Name: name}
}

func TestUser_Is(t *testing.T) {
	ann := identity.User{Name: "ann@example.com", Groups: []string{"ml-team", "ops"}}
	robot := identity.User{Name: "system:serviceaccount:ci:robot"}
	nobody := identity.User{Groups: []string{"ml-team", ""}}
	cases := map[string]struct {
		user    identity.User
		subject rbacv1.Subject
		want    bool
	}{
		"the same name":                               {ann, user("ann@example.com"), true},
		"the same name with an API group":             {ann, rbacv1.Subject{Kind: "User", Name: "ann@example.com", APIGroup: rbacv1.GroupName}, true},
		"another name":                                {ann, user("bob@example.com"), false},
		"names are told apart by case":                {ann, user("Ann@example.com"), false},
		"names are not patterns":                      {ann, user("*"), false},
		"a group of that name is another":             {ann, group("ann@example.com"), false},
		"a service account of that name is another":   {ann, account("ci", "ann@example.com"), false},
		"a group of the user's":                       {ann, group("ops"), true},
		"another group":                               {ann, group("admins"), false},
		"a user called like the group is another":     {ann, user("ops"), false},
		"a kind that nobody knows":                    {ann, rbacv1.Subject{Kind: "Robot", Name: "ann@example.com"}, false},
		"no kind":                                     {ann, rbacv1.Subject{Name: "ann@example.com"}, false},
		"no name":                                     {ann, user(""), false},
		"a service account by kind":                   {robot, account("ci", "robot"), true},
		"a service account by its name as a user":     {robot, user("system:serviceaccount:ci:robot"), true},
		"a service account by kind and that name":     {robot, account("", "system:serviceaccount:ci:robot"), true},
		"a service account of another namespace":      {robot, account("cd", "robot"), false},
		"a service account without a namespace":       {robot, account("", "robot"), false},
		"nobody is no empty name":                     {nobody, user(""), false},
		"nobody is in no group, whatever is listed":   {nobody, group("ml-team"), false},
		"nobody is no service account without a name": {identity.User{}, account("", ""), false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := tc.user.Is(tc.subject); got != tc.want {
				t.Errorf("got %t, want %t", got, tc.want)
			}
			// Whoever is found by key is meant, and the other way round.
			found := tc.subject.Name != "" && slices.Contains(tc.user.Keys(), identity.Key(tc.subject))
			if found != tc.want {
				t.Errorf("the keys %q have %q: %t, want %t", tc.user.Keys(), identity.Key(tc.subject), found, tc.want)
			}
		})
	}
	if !nobody.IsNobody() || ann.IsNobody() || nobody.Keys() != nil {
		t.Errorf("nobody has the keys %q", nobody.Keys())
	}
}

func TestServiceAccount(t *testing.T) {
	cases := map[string]struct {
		subject             rbacv1.Subject
		wantSpace, wantName string
		wantOK              bool
	}{
		"by kind":                        {account("ci", "robot"), "ci", "robot", true},
		"with dots":                      {account("ci", "robot.v2"), "ci", "robot.v2", true},
		"as a user":                      {user("system:serviceaccount:ci:robot"), "ci", "robot", true},
		"as a user, by kind":             {account("", "system:serviceaccount:ci:robot"), "ci", "robot", true},
		"the name wins over the field":   {account("other", "system:serviceaccount:ci:robot"), "ci", "robot", true},
		"a person":                       {user("ann@example.com"), "", "", false},
		"a group that is called so":      {group("system:serviceaccount:ci:robot"), "", "", false},
		"a kind that nobody knows":       {rbacv1.Subject{Kind: "Robot", Name: "system:serviceaccount:ci:robot"}, "", "", false},
		"no kind":                        {rbacv1.Subject{Name: "system:serviceaccount:ci:robot"}, "", "", false},
		"no namespace":                   {account("", "robot"), "", "", false},
		"no name":                        {account("ci", ""), "", "", false},
		"a user without a name":          {user("system:serviceaccount:ci:"), "", "", false},
		"a user without a namespace":     {user("system:serviceaccount::robot"), "", "", false},
		"a user without either":          {user("system:serviceaccount:"), "", "", false},
		"a user with a part too few":     {user("system:serviceaccount:ci"), "", "", false},
		"a user with a part too many":    {user("system:serviceaccount:ci:robot:x"), "", "", false},
		"a star for a name":              {user("system:serviceaccount:ci:*"), "", "", false},
		"a star for a namespace":         {account("*", "robot"), "", "", false},
		"upper case":                     {account("ci", "Robot"), "", "", false},
		"a slash, which principals have": {account("ci", "robot/sa/x"), "", "", false},
		"a namespace with a dot":         {account("c.i", "robot"), "", "", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			namespace, account, ok := identity.ServiceAccount(tc.subject)
			if namespace != tc.wantSpace || account != tc.wantName || ok != tc.wantOK {
				t.Errorf("got %q, %q, %t; want %q, %q, %t", namespace, account, ok, tc.wantSpace, tc.wantName, tc.wantOK)
			}
		})
	}
}

// Each group means one subject, and no other group means it.
func TestKey(t *testing.T) {
	groups := [][]rbacv1.Subject{
		{user("a.b@x"), {Kind: "User", Name: "a.b@x", APIGroup: rbacv1.GroupName}, {Kind: "User", Name: "a.b@x", Namespace: "ignored"}},
		{user("a-b@x")},
		{user("A.B@x")},
		{group("a.b@x"), {Kind: "Group", Name: "a.b@x", APIGroup: rbacv1.GroupName}},
		{account("a", "b"), user("system:serviceaccount:a:b"), account("", "system:serviceaccount:a:b")},
		{account("a", "c")},
		{account("c", "b")},
		{account("", "b")},
		{user("b")},
		{group("system:serviceaccount:a:b")},
		{{Kind: "Robot", Name: "system:serviceaccount:a:b"}},
		{user("")},
		{group("")},
		{account("", "")},
	}
	owner := map[string]int{}
	for i, same := range groups {
		for _, subject := range same {
			key := identity.Key(subject)
			if other, found := owner[key]; found && other != i {
				t.Errorf("%+v and %+v share the key %q", subject, groups[other][0], key)
			}
			if key != identity.Key(same[0]) {
				t.Errorf("%+v and %+v have different keys", subject, same[0])
			}
			owner[key] = i
		}
	}
}

func TestUser_Keys(t *testing.T) {
	u := identity.User{Name: "system:serviceaccount:ci:robot", Groups: []string{"ops"}}
	want := []string{identity.Key(account("ci", "robot")), identity.Key(group("ops"))}
	if diff := cmp.Diff(want, u.Keys()); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

var longest = strings.Repeat("a", 253)

func TestCheckName(t *testing.T) {
	for name, allowed := range map[string]bool{
		"ann@example.com": true, "Zed_X+1@Example.com": true, "björn@пример.рф": true, "cn=ann,ou=ml": true, "a\"b'c\\d": true,
		"-": true, longest: true, "oidc:group/sub": true, "日本": true,
		"": false, longest + "a": false, "*": false, "*@example.com": false, "ann*": false, "a*b": false,
		"a b": false, " ann": false, "ann ": false, "a\tb": false, "a\nb": false, "a\x00b": false, "a\x7fb": false,
		"a\u00a0b": false, "a\u200bb": false, "a\u202eb": false, "a\u2028b": false, "\ufeffa": false, "a\xff": false,
		strings.Repeat("é", 127): false,
	} {
		if err := identity.CheckName(name); (err == nil) != allowed {
			t.Errorf("%q: error %v, want allowed %t", name, err, allowed)
		}
	}
}

func TestCheckSubject(t *testing.T) {
	cases := map[string]struct {
		subject rbacv1.Subject
		want    bool
	}{
		"a user":                              {user("ann@example.com"), true},
		"a group":                             {group("ml-team"), true},
		"a service account":                   {account("ci", "robot"), true},
		"a service account as a user":         {user("system:serviceaccount:ci:robot"), true},
		"a service account by both":           {account("", "system:serviceaccount:ci:robot"), true},
		"a group of service accounts":         {group("system:serviceaccounts:ci"), true},
		"no kind":                             {rbacv1.Subject{Name: "ann"}, false},
		"another kind":                        {rbacv1.Subject{Kind: "Robot", Name: "ann"}, false},
		"another kind, called as an account":  {rbacv1.Subject{Kind: "Robot", Name: "system:serviceaccount:ci:robot"}, false},
		"the kind in lower case":              {rbacv1.Subject{Kind: "user", Name: "ann"}, false},
		"a user without a name":               {user(""), false},
		"a group without a name":              {group(""), false},
		"a user with a star":                  {user("*"), false},
		"a group with a star":                 {group("ml-*"), false},
		"a service account with a star":       {account("ci", "*"), false},
		"a service account without namespace": {account("", "robot"), false},
		"half a service account":              {user("system:serviceaccount:ci"), false},
		"a service account's name too many":   {user("system:serviceaccount:ci:robot:x"), false},
		"an over-long user":                   {user(longest + "a"), false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if err := identity.CheckSubject(tc.subject); (err == nil) != tc.want {
				t.Errorf("error %v, want allowed %t", err, tc.want)
			}
		})
	}
}
