// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"berth.dev/berth/internal/kfam"
	"berth.dev/berth/internal/testkit"
)

const (
	adminContributor = "contributor-admin@example.com"
	editContributor  = "contributor-edit@example.com"
	viewContributor  = "contributor-view@example.com"
	owners           = "owning-group"
	selfMade         = "self@example.com" // whom the platform creates a profile for

	// What a caller gets: create a profile for themselves, for others, with a quota, plugins, labels, annotations;
	// then add and remove a contributor, remove themselves, and delete the profile.
	platformMay    = "create 200 200 403 403 403 403 | add 403 remove 403 self 403 delete 401 | sees all"
	nothing        = "create 401 401 401 401 401 401 | add 401 remove 401 self 401 delete 401 | reads 401"
	badRequest     = "create 400 400 400 400 400 400 | add 400 remove 400 self 400 delete 400 | reads 400"
	managerMay     = "create 200 403 403 403 403 403 | add 200 remove 200 self 403 delete 200 | sees this"
	adminMemberMay = "create 200 403 403 403 403 403 | add 200 remove 200 self 200 delete 200 | sees this"
	memberMay      = "create 200 403 403 403 403 403 | add 403 remove 403 self 200 delete 401 | sees this"
	strangerMay    = "create 200 403 403 403 403 403 | add 403 remove 403 self 403 delete 401 | sees nothing"
	rootMay        = "create 200 200 200 200 200 200 | add 200 remove 200 self 403 delete 200 | sees all"
)

// who is one kind of caller.
type who struct {
	name string // empty for somebody whose name the server does not learn
	as   caller
	// dropIn sends the requests to a server that believes everybody's header.
	dropIn bool
	owner  rbacv1.Subject // of the profile; ann where empty
	want   string
}

func callers(provider *issuer, robot string) map[string]who {
	elsewhere := "By=spiffe://cluster.local/ns/evil/sa/proxy;URI=spiffe://" + stranger
	forged := strings.Replace(xfcc(gateway), ": ", ": By=spiffe://x;URI=spiffe://"+gateway+",", 1)
	groupToken := provider.token(claims{"email": eve, "groups": []string{owners}})
	return map[string]who{
		"anybody, where the network decides":          {dropIn: true, want: platformMay},
		"the owner, where the network decides":        {name: ann, as: caller{userHeader + ": " + userPrefix + ann}, dropIn: true, want: managerMay},
		"anybody, where principals decide":            {as: nobody(), want: nothing},
		"the dashboard":                               {as: theDashboard(), want: platformMay},
		"the dashboard for the owner":                 {name: ann, as: theDashboard().with(userHeader + ": " + userPrefix + ann), want: managerMay},
		"the gateway without a user":                  {as: caller{xfcc(gateway)}, want: nothing},
		"an unknown workload for the owner":           {as: caller{xfcc(stranger), userHeader + ": " + userPrefix + ann}, want: nothing},
		"a header alone":                              {as: caller{userHeader + ": " + userPrefix + ann}, want: nothing},
		"a trusted principal sent along in front":     {as: caller{forged + "," + elsewhere, userHeader + ": " + userPrefix + root}, want: nothing},
		"the same in a header line of its own":        {as: caller{xfcc(gateway), "x-forwarded-client-cert: " + elsewhere, userHeader + ": " + userPrefix + root}, want: nothing},
		"an unknown one in front of the proxy's own":  {name: ann, as: caller{"x-forwarded-client-cert: " + elsewhere, xfcc(gateway), userHeader + ": " + userPrefix + ann}, want: managerMay},
		"a user header meant for the hop before":      {as: user(root).with("Connection: " + userHeader), want: nothing},
		"a certificate header for the hop before":     {as: user(root).with("Connection: close, X-Forwarded-Client-Cert"), want: nothing},
		"two user headers":                            {as: user(ann).with(userHeader + ": " + userPrefix + root), want: badRequest},
		"a user header without the prefix":            {as: caller{xfcc(gateway), userHeader + ": " + ann}, want: badRequest},
		"a user header that is the prefix only":       {as: caller{xfcc(gateway), userHeader + ": " + userPrefix}, want: badRequest},
		"a user header with a wildcard":               {as: user("*"), want: badRequest},
		"the owner":                                   {name: ann, as: user(ann), want: managerMay},
		"the owner by token":                          {name: ann, as: bearer(provider.token(claims{"email": ann})), want: managerMay},
		"a user called as the group that owns":        {name: ann, as: user(ann), owner: rbacv1.Subject{Kind: "Group", Name: ann}, want: strangerMay},
		"a member of the group that owns":             {name: eve, as: bearer(groupToken), owner: rbacv1.Subject{Kind: "Group", Name: owners}, want: managerMay},
		"a member of a group called as the owner":     {name: eve, as: bearer(provider.token(claims{"email": eve, "groups": []string{ann}})), want: strangerMay},
		"a contributor with the role admin":           {name: adminContributor, as: user(adminContributor), want: adminMemberMay},
		"a contributor with the role edit":            {name: editContributor, as: user(editContributor), want: memberMay},
		"a contributor with the role view":            {name: viewContributor, as: user(viewContributor), want: memberMay},
		"a cluster admin":                             {name: root, as: user(root), want: rootMay},
		"a cluster admin by group":                    {name: eve, as: bearer(provider.token(claims{"email": eve, "groups": []string{"a", staff}})), want: rootMay},
		"a user called as the group of admins":        {name: staff, as: user(staff), want: strangerMay},
		"a stranger":                                  {name: eve, as: user(eve), want: strangerMay},
		"a stranger by token, with an admin's header": {name: eve, as: user(root).with("Authorization: Bearer " + provider.token(claims{"email": eve})), want: strangerMay},
		"a header with a token that is not good":      {name: ann, as: user(ann).with("Authorization: Bearer no.good.token"), want: managerMay},
		"the dashboard with a token that is not good": {as: theDashboard().with("Authorization: Bearer no.good.token"), want: nothing},
		"a service account by its token":              {name: "system:serviceaccount:default:robot", as: bearer(robot), want: memberMay},
		"a service account's token, not quite":        {as: bearer(robot + "x"), want: nothing},
	}
}

// TestCallers_mayDoWhatTheRulesSay is the table of who may do what, with every way of saying who one is. It shows the
// defects 2 (prefix not compared, nobody is somebody), 3 (anybody creates and reads) and 4 (the owner's kind ignored) gone.
func TestCallers_mayDoWhatTheRulesSay(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	provider := newIssuer(t)
	tokens := func(o *kfam.Options) {
		o.Authentication.Tokens = append(o.Authentication.Tokens, kfam.NewTokenReview(o.Client, nil))
	}
	behindMesh := serve(t, at, provider.option(), tokens)
	network := serve(t, at, dropIn, provider.option(), tokens)
	create(t, at, serviceAccount("default", "robot"))
	table := callers(provider, quiet.Use(t).ServiceAccountConfig(t, "default", "robot").BearerToken)
	namespaces := map[string]string{}
	for name, tc := range table {
		if tc.owner.Kind == "" {
			tc.owner = rbacv1.Subject{Kind: "User", Name: ann}
		}
		namespaces[name] = tenantOf(t, at, tc.owner, behindMesh, network)
		inviteTestMembers(t, at, namespaces[name])
	}
	for name, tc := range table {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := namespaces[name]
			awaitRBAC(t, at, ns)
			a := behindMesh
			if tc.dropIn {
				a = network
			}
			if diff := cmp.Diff(tc.want, a.everything(ns, tc)); diff != "" {
				t.Errorf("-want, +got:\n%s", diff)
			}
		})
	}
}

// everything has tc try all operations on the profile and says how that went.
func (a *api) everything(ns string, tc who) string {
	a.t.Helper()
	self := tc.name
	if self == "" {
		self = selfMade
	}
	var reads string
	got := a.send(http.MethodGet, bindingsPath, "", tc.as)
	switch {
	case got.code != http.StatusOK:
		reads = fmt.Sprintf("reads %d", got.code)
	case strings.Contains(got.body, "unrelated@example.com"):
		reads = "sees all"
	case strings.Contains(got.body, ns):
		reads = "sees this"
	default:
		reads = "sees nothing"
	}
	for _, query := range []string{"?namespace=" + ns, "?user=" + editContributor} {
		one := a.send(http.MethodGet, bindingsPath+query, "", tc.as)
		if sees := strings.Contains(one.body, ns); one.code != got.code || sees != (strings.HasSuffix(reads, "all") || strings.HasSuffix(reads, "this")) {
			reads += fmt.Sprintf(", but %s %d %v", query, one.code, sees)
		}
	}
	if admin := a.send(http.MethodGet, adminPath+"?user="+root, "", tc.as); admin.code != got.code || admin.code == http.StatusOK && admin.body != "true" {
		reads += fmt.Sprintf(", but clusteradmin %d %s", admin.code, admin.body)
	}
	creates := "create"
	for _, body := range []string{
		profileBody(profileName(a.t), self),
		profileBody(profileName(a.t), "somebody-else@example.com"),
		strings.Replace(profileBody(profileName(a.t), self), `"spec":{`, `"spec":{"resourceQuotaSpec":{"hard":{"cpu":"1"}},`, 1),
		strings.Replace(profileBody(profileName(a.t), self), `"spec":{`, `"spec":{"plugins":[{"kind":"WorkloadIdentity","spec":{"gcpServiceAccount":"a@b"}}],`, 1),
		strings.Replace(profileBody(profileName(a.t), self), `"metadata":{`, `"metadata":{"labels":{"a":"b"},`, 1),
		strings.Replace(profileBody(profileName(a.t), self), `"metadata":{`, `"metadata":{"annotations":{"a":"b"},`, 1),
	} {
		got := a.send(http.MethodPost, profilesPath, body, tc.as)
		if creates += fmt.Sprintf(" %d", got.code); got.code == http.StatusForbidden && !strings.Contains(got.body, "spec.") && !strings.Contains(got.body, "metadata.") {
			creates += " without naming the field: " + got.body
		}
	}
	add := a.send(http.MethodPost, bindingsPath, invite(ns, "new@example.com", "edit"), tc.as).code
	removed := a.send(http.MethodDelete, bindingsPath, invite(ns, "removable@example.com", "edit"), tc.as).code
	role := map[string]string{adminContributor: "admin", viewContributor: "view"}[self]
	if role == "" {
		role = "edit"
	}
	leave := a.send(http.MethodDelete, bindingsPath, invite(ns, self, role), tc.as).code
	if role == "admin" && leave == http.StatusOK { // back, to see what else they may do
		create(a.t, a.place, handMade(ns, "back", self, role))
		awaitRBAC(a.t, a.place, ns)
	}
	gone := a.send(http.MethodDelete, profilesPath+"/"+ns, "", tc.as).code
	return fmt.Sprintf("%s | add %d remove %d self %d delete %d | %s", creates, add, removed, leave, gone, reads)
}

func inviteTestMembers(t *testing.T, at place, ns string) {
	t.Helper()
	for role, name := range map[string]string{"admin": adminContributor, "edit": editContributor, "view": viewContributor} {
		create(t, at, handMade(ns, role, name, role))
	}
	create(t, at, handMade(ns, "removable", "removable@example.com", "edit"))
	create(t, at, handMade(ns, "robot", "robot", "edit", rbacv1.Subject{Kind: "ServiceAccount", Namespace: "default", Name: "robot"}))
	// A profile that none of them has anything to do with.
	unrelated := handMade(ns, "unrelated", "unrelated@example.com", "edit")
	if ns = tenantOf(t, at, rbacv1.Subject{Kind: "User", Name: "unrelated@example.com"}); ns != "" {
		unrelated.Namespace = ns
		create(t, at, unrelated)
	}
}

// awaitRBAC waits until the API server's authorizer knows the contributors.
func awaitRBAC(t testing.TB, at place, ns string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: adminContributor,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: ns, Verb: "create", Group: rbacv1.GroupName, Resource: "rolebindings",
			},
		}}
		if err := at.client.Create(t.Context(), review); err != nil || !review.Status.Allowed {
			return fmt.Errorf("the contributor may not bind yet: %+v (error %w)", review.Status, err)
		}
		return nil
	})
}

// Nobody's own rights in one namespace give any in another, and a caller who may bind everywhere manages no namespace that
// is not a profile's.
func TestCallers_rightsElsewhereGiveNone(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	ns, other := tenant(t, at, a), tenant(t, at, a)
	create(t, at, handMade(ns, "admin", adminContributor, "admin"))
	awaitRBAC(t, at, ns)
	a.wants(http.StatusForbidden, "", http.MethodPost, bindingsPath, invite(other, eve, "edit"), user(adminContributor))
	a.wants(http.StatusForbidden, "", http.MethodPost, bindingsPath, invite("default", eve, "edit"), user(adminContributor))
	if have := a.listed("?namespace="+other, user(adminContributor)); len(have) > 0 {
		t.Errorf("sees %q elsewhere", have)
	}
	everywhere := profileName(t) + "@example.com"
	create(t, at, &rbacv1.ClusterRoleBinding{
		ObjectMeta: objectMeta(profileName(t)), Subjects: []rbacv1.Subject{person(everywhere)},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
	})
	plain := plainNamespace(t, at)
	testkit.Eventually(t, patience, func() error {
		got := a.send(http.MethodPost, bindingsPath, invite(other, ben, "edit"), user(everywhere))
		if got.code != http.StatusOK {
			return fmt.Errorf("who may bind everywhere is answered %d %s", got.code, got.body)
		}
		return nil
	})
	for _, place := range []string{"default", "kube-system", plain, "no-such-namespace"} {
		a.wants(http.StatusForbidden, "", http.MethodPost, bindingsPath, invite(place, ben, "edit"), user(everywhere))
		a.wants(http.StatusForbidden, "", http.MethodDelete, bindingsPath, invite(place, ben, "edit"), user(everywhere))
	}
	if !slices.Contains(invited(t, at, other), "binding "+benEdit) {
		t.Error("nobody was invited")
	}
}
