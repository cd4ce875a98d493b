// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package rbac_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/snapshot"
)

func role(namespace, name string, rules ...rbacv1.PolicyRule) *rbacv1.Role {
	return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Rules: rules}
}

func clusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
}

func labelled(r *rbacv1.ClusterRole, label string) *rbacv1.ClusterRole {
	r.Labels = map[string]string{label: "true"}
	return r
}

// aggregating makes r have the rules of all that have one of the labels.
func aggregating(r *rbacv1.ClusterRole, labels ...string) *rbacv1.ClusterRole {
	r.AggregationRule = &rbacv1.AggregationRule{}
	for _, label := range labels {
		r.AggregationRule.ClusterRoleSelectors = append(r.AggregationRule.ClusterRoleSelectors,
			metav1.LabelSelector{MatchLabels: map[string]string{label: "true"}})
	}
	return r
}

func toRole(name string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}
}

func toClusterRole(name string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
}

func roleBinding(namespace, name string, to rbacv1.RoleRef, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, RoleRef: to, Subjects: subjects}
}

func clusterRoleBinding(name string, to rbacv1.RoleRef, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: to, Subjects: subjects}
}

func user(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
}

func group(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: name}
}

func account(namespace, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}
}

func to(verbs, groups, resources []string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: verbs, APIGroups: groups, Resources: resources, ResourceNames: names}
}

func list(words ...string) []string { return words }

var readPods = to(list("get", "list"), list(""), list("pods"))

// one is a snapshot in which alice has a role in the namespace team, with that rule only.
func one(rule rbacv1.PolicyRule) *snapshot.Snapshot {
	return &snapshot.Snapshot{
		Roles:        []*rbacv1.Role{role("team", "r", rule)},
		RoleBindings: []*rbacv1.RoleBinding{roleBinding("team", "b", toRole("r"), user("alice"))},
	}
}

func TestAuthorizer_Can_rules(t *testing.T) {
	cases := map[string]struct {
		rule rbacv1.PolicyRule
		q    rbac.Question
		want bool
	}{
		"verb, group and resource are named":   {readPods, rbac.Question{Verb: "get", Resource: "pods"}, true},
		"another verb":                         {readPods, rbac.Question{Verb: "delete", Resource: "pods"}, false},
		"another resource":                     {readPods, rbac.Question{Verb: "get", Resource: "secrets"}, false},
		"another group":                        {readPods, rbac.Question{Verb: "get", Group: "apps", Resource: "pods"}, false},
		"verbs are compared by case":           {readPods, rbac.Question{Verb: "GET", Resource: "pods"}, false},
		"any verb":                             {to(list("*"), list(""), list("pods")), rbac.Question{Verb: "impersonate", Resource: "pods"}, true},
		"any group":                            {to(list("get"), list("*"), list("pods")), rbac.Question{Verb: "get", Group: "x.io", Resource: "pods"}, true},
		"any resource":                         {to(list("get"), list(""), list("*")), rbac.Question{Verb: "get", Resource: "pods"}, true},
		"any resource is any subresource, too": {to(list("get"), list(""), list("*")), rbac.Question{Verb: "get", Resource: "pods", Subresource: "log"}, true},
		"asking for * is asking for what is called so": {readPods, rbac.Question{Verb: "*", Resource: "pods"}, false},
		"no group":                                {to(list("get"), nil, list("pods")), rbac.Question{Verb: "get", Resource: "pods"}, false},
		"no verb":                                 {to(nil, list(""), list("pods")), rbac.Question{Verb: "get", Resource: "pods"}, false},
		"a resource is not its subresource":       {readPods, rbac.Question{Verb: "get", Resource: "pods", Subresource: "log"}, false},
		"a subresource":                           {to(list("get"), list(""), list("pods/log")), rbac.Question{Verb: "get", Resource: "pods", Subresource: "log"}, true},
		"a subresource is not its resource":       {to(list("get"), list(""), list("pods/log")), rbac.Question{Verb: "get", Resource: "pods"}, false},
		"a subresource of any resource":           {to(list("get"), list(""), list("*/log")), rbac.Question{Verb: "get", Resource: "pods", Subresource: "log"}, true},
		"another subresource of any resource":     {to(list("get"), list(""), list("*/log")), rbac.Question{Verb: "get", Resource: "pods", Subresource: "exec"}, false},
		"a longer subresource of any resource":    {to(list("get"), list(""), list("*/log")), rbac.Question{Verb: "get", Resource: "pods", Subresource: "catalog"}, false},
		"any subresource of a resource is none":   {to(list("get"), list(""), list("pods/*")), rbac.Question{Verb: "get", Resource: "pods", Subresource: "log"}, false},
		"an empty subresource of any resource":    {to(list("get"), list(""), list("*/")), rbac.Question{Verb: "get", Resource: "pods"}, false},
		"part of a resource with a star":          {to(list("get"), list(""), list("po*")), rbac.Question{Verb: "get", Resource: "pods"}, false},
		"an object by name":                       {to(list("get"), list(""), list("pods"), "a", "b"), rbac.Question{Verb: "get", Resource: "pods", Name: "b"}, true},
		"an object of another name":               {to(list("get"), list(""), list("pods"), "a"), rbac.Question{Verb: "get", Resource: "pods", Name: "b"}, false},
		"all objects where one is named":          {to(list("list"), list(""), list("pods"), "a"), rbac.Question{Verb: "list", Resource: "pods"}, false},
		"a name with a star":                      {to(list("get"), list(""), list("pods"), "*"), rbac.Question{Verb: "get", Resource: "pods", Name: "b"}, false},
		"an object by name where all are allowed": {readPods, rbac.Question{Verb: "get", Resource: "pods", Name: "b"}, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			tc.q.Namespace = "team"
			a := rbac.New(one(tc.rule))
			alice := rbac.SignedIn("alice")
			d := a.Can(alice, tc.q)
			if d.Allowed != tc.want || len(d.Grants) > 0 != tc.want {
				t.Errorf("%v: %+v, want allowed %t", tc.q, d, tc.want)
			}
			if a.Allowed(alice, tc.q) != tc.want {
				t.Errorf("Allowed and Can differ about %v", tc.q)
			}
			tc.q.Namespace = ""
			if a.Allowed(alice, tc.q) {
				t.Errorf("a RoleBinding allows %v in all namespaces", tc.q)
			}
		})
	}
}

func TestAuthorizer_Can_paths(t *testing.T) {
	cases := map[string]struct {
		urls []string
		path string
		want bool
	}{
		"the path":                          {list("/metrics"), "/metrics", true},
		"another path":                      {list("/metrics"), "/healthz", false},
		"below the path":                    {list("/metrics"), "/metrics/x", false},
		"a star at the end":                 {list("/healthz/*"), "/healthz/etcd", true},
		"a star at the end, without slash":  {list("/healthz*"), "/healthz-secret", true},
		"the path before the star":          {list("/healthz/*"), "/healthz", false},
		"several stars at the end":          {list("/healthz/**"), "/healthz/etcd", true},
		"a star in the middle is no star":   {list("/a/*/b"), "/a/x/b", false},
		"all paths":                         {list("*"), "/anything", true},
		"paths are not cleaned":             {list("/metrics"), "/x/../metrics", false},
		"a path with a question mark":       {list("/metrics"), "/metrics?x", false},
		"a question's star is no star":      {list("/metrics"), "/*", false},
		"one of several":                    {list("/a", "/b*"), "/bc", true},
		"resources are no paths of a group": {list("/apis"), "/apis/apps", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			rule := rbacv1.PolicyRule{Verbs: list("get"), NonResourceURLs: tc.urls}
			a := rbac.New(&snapshot.Snapshot{
				ClusterRoles:        []*rbacv1.ClusterRole{clusterRole("r", rule)},
				ClusterRoleBindings: []*rbacv1.ClusterRoleBinding{clusterRoleBinding("b", toClusterRole("r"), user("alice"))},
				RoleBindings:        []*rbacv1.RoleBinding{roleBinding("team", "b", toClusterRole("r"), user("bob"))},
			})
			if got := a.Can(rbac.SignedIn("alice"), rbac.Question{Verb: "get", Path: tc.path}); got.Allowed != tc.want {
				t.Errorf("get %s: %+v, want allowed %t", tc.path, got, tc.want)
			}
			if a.Allowed(rbac.SignedIn("alice"), rbac.Question{Verb: "post", Path: tc.path}) {
				t.Errorf("another verb is allowed")
			}
			if a.Allowed(rbac.SignedIn("bob"), rbac.Question{Verb: "get", Path: tc.path, Namespace: "team"}) {
				t.Errorf("a RoleBinding allows a path")
			}
		})
	}
}

func TestAuthorizer_Can_subjects(t *testing.T) {
	teamAccount := rbac.SignedIn("system:serviceaccount:team:bot")
	cases := map[string]struct {
		subject         rbacv1.Subject
		user            rbac.User
		inRole, cluster bool // whether a RoleBinding in team, and a ClusterRoleBinding, give it
	}{
		"a user":                                     {user("alice"), rbac.SignedIn("alice"), true, true},
		"a user of another name":                     {user("alice"), rbac.SignedIn("bob"), false, false},
		"users are compared by case":                 {user("Alice"), rbac.SignedIn("alice"), false, false},
		"a user with a star":                         {user("*"), rbac.SignedIn("alice"), false, false},
		"a group":                                    {group("ml"), rbac.SignedIn("alice", "ml"), true, true},
		"a user named as a group":                    {group("ml"), rbac.SignedIn("ml"), false, false},
		"a group named as a user":                    {user("ml"), rbac.SignedIn("alice", "ml"), false, false},
		"everybody who signed in":                    {group("system:authenticated"), rbac.SignedIn("alice"), true, true},
		"nobody has not signed in":                   {group("system:authenticated"), rbac.SignedIn(""), false, false},
		"whoever has not signed in":                  {group("system:unauthenticated"), rbac.SignedIn("system:anonymous"), true, true},
		"a service account":                          {account("team", "bot"), teamAccount, true, true},
		"a service account of another namespace":     {account("other", "bot"), teamAccount, false, false},
		"a service account without namespace":        {account("", "bot"), teamAccount, true, false},
		"a service account as a user":                {user("system:serviceaccount:team:bot"), teamAccount, true, true},
		"all service accounts":                       {group("system:serviceaccounts"), teamAccount, true, true},
		"all service accounts of the namespace":      {group("system:serviceaccounts:team"), teamAccount, true, true},
		"all service accounts of another":            {group("system:serviceaccounts:other"), teamAccount, false, false},
		"service accounts have signed in":            {group("system:authenticated"), teamAccount, true, true},
		"a user is no service account":               {group("system:serviceaccounts"), rbac.SignedIn("alice"), false, false},
		"a name that is almost a service account's":  {group("system:serviceaccounts"), rbac.SignedIn("system:serviceaccount:team"), false, false},
		"another kind":                               {rbacv1.Subject{Kind: "Everybody", Name: "alice"}, rbac.SignedIn("alice"), false, false},
		"kinds are compared by case":                 {rbacv1.Subject{Kind: "user", Name: "alice"}, rbac.SignedIn("alice"), false, false},
		"another API group counts all the same":      {rbacv1.Subject{APIGroup: "x.io", Kind: "User", Name: "alice"}, rbac.SignedIn("alice"), true, true},
		"an empty user":                              {user(""), rbac.User{Groups: list("x")}, false, false},
		"an empty group":                             {group(""), rbac.User{Name: "alice", Groups: list("")}, false, false},
		"groups are those that are given, no others": {group("system:authenticated"), rbac.User{Name: "alice"}, false, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			roles := []*rbacv1.ClusterRole{clusterRole("r", readPods)}
			q := rbac.Question{Verb: "get", Resource: "pods", Namespace: "team"}
			inRole := rbac.New(&snapshot.Snapshot{
				ClusterRoles: roles, RoleBindings: []*rbacv1.RoleBinding{roleBinding("team", "b", toClusterRole("r"), tc.subject)},
			})
			cluster := rbac.New(&snapshot.Snapshot{
				ClusterRoles: roles, ClusterRoleBindings: []*rbacv1.ClusterRoleBinding{clusterRoleBinding("b", toClusterRole("r"), tc.subject)},
			})
			if got := inRole.Allowed(tc.user, q); got != tc.inRole {
				t.Errorf("by a RoleBinding: %t", got)
			}
			if got := cluster.Allowed(tc.user, q); got != tc.cluster {
				t.Errorf("by a ClusterRoleBinding: %t", got)
			}
			if q.Namespace = "other"; inRole.Allowed(tc.user, q) || cluster.Allowed(tc.user, q) != tc.cluster {
				t.Error("wrong in another namespace")
			}
		})
	}
}

func TestAuthorizer_Can_roleRefs(t *testing.T) {
	q := rbac.Question{Verb: "get", Resource: "pods", Namespace: "team"}
	alice := rbac.SignedIn("alice")
	a := rbac.New(&snapshot.Snapshot{
		Roles: []*rbacv1.Role{role("other", "r", readPods), role("", "r", readPods)},
		RoleBindings: []*rbacv1.RoleBinding{
			roleBinding("team", "of-another-namespace", toRole("r"), user("alice")),
			roleBinding("team", "missing", toClusterRole("r"), user("alice")),
			roleBinding("team", "of-no-kind", rbacv1.RoleRef{Kind: "Thing", Name: "r"}, user("alice")),
			roleBinding("", "in-no-namespace", toRole("r"), user("alice")),
		},
		ClusterRoleBindings: []*rbacv1.ClusterRoleBinding{clusterRoleBinding("to-a-role", toRole("r"), user("alice"))},
	})
	if got := a.Can(alice, q); got.Allowed {
		t.Errorf("roles that are not there give something: %+v", got)
	}
	var missing []string
	for _, b := range a.Bindings() {
		if b.Missing {
			missing = append(missing, b.Binding.Name)
		}
	}
	want := list("to-a-role", "missing", "of-another-namespace", "of-no-kind")
	if diff := cmp.Diff(want, missing); diff != "" {
		t.Errorf("bindings to missing roles (-want +got):\n%s", diff)
	}
}

func TestAuthorizer_Can_masters(t *testing.T) {
	a := rbac.New(&snapshot.Snapshot{})
	root := rbac.SignedIn("root", "system:masters")
	for _, q := range []rbac.Question{{Verb: "delete", Resource: "nodes"}, {Verb: "get", Path: "/x"}} {
		if d := a.Can(root, q); !d.Allowed || !d.Master || !a.Allowed(root, q) {
			t.Errorf("a master may not %v: %+v", q, d)
		}
	}
	table, err := a.Ask(rbac.Question{Verb: "get", Resource: "secrets"})
	if err != nil {
		t.Fatal(err)
	}
	if !table.Row(root).In("anywhere").Has(0) || table.Row(rbac.SignedIn("root")).In("anywhere").Has(0) {
		t.Error("the table forgets masters, or takes others for them")
	}
}
