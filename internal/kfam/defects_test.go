// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"berth.dev/berth/internal/kfam"
	"berth.dev/berth/internal/testkit"
)

// Each test is a weakness that was found in Kubeflow's API (docs/reference/kfam.md), shown to be gone. Those of single
// functions are beside the tests of these: TestDefect1, 5, 16 and the table of callers (2, 3, 4) and the metrics (27).

// Defect 2: the prefix is compared, and nobody is no owner and no cluster admin, however empty everything is.
func TestDefect2_nobodyOwnsNothing(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at, dropIn, func(o *kfam.Options) { o.Authentication.Prefix = "" })
	ns := tenant(t, at, a)
	for _, as := range []caller{nobody(), {userHeader + ": "}} {
		a.wants(http.StatusUnauthorized, "", http.MethodDelete, profilesPath+"/"+ns, "", as)
		a.wants(http.StatusForbidden, "", http.MethodPost, bindingsPath, invite(ns, ben, "edit"), as)
		a.wants(http.StatusOK, "false", http.MethodGet, adminPath, "", as)
		a.wants(http.StatusOK, "false", http.MethodGet, adminPath+"?user=", "", as)
	}
	a.must(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), caller{userHeader + ": " + ann})
}

// Defect 3: who comes past the mesh gets nothing: neither a profile nor a name.
func TestDefect3_profilesAndReadsNeedSomebody(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at, principalsOnly)
	ns := tenant(t, at, a)
	for _, as := range []caller{nobody(), {xfcc(stranger)}, {userHeader + ": " + userPrefix + root}} {
		for _, path := range []string{bindingsPath, bindingsPath + "?namespace=" + ns, adminPath + "?user=" + root} {
			a.wants(http.StatusUnauthorized, "nobody knows who you are", http.MethodGet, path, "", as)
		}
		a.wants(http.StatusUnauthorized, "", http.MethodPost, profilesPath, profileBody(profileName(t), eve), as)
	}
	for _, field := range []string{`"plugins":[{"kind":"AwsIamForServiceAccount","spec":{"awsIamRole":"arn:aws:iam::1:role/admin"}}]`, `"resourceQuotaSpec":{"hard":{"cpu":"9"}}`} {
		body := strings.Replace(profileBody(profileName(t), eve), `"spec":{`, `"spec":{`+field+`,`, 1)
		name, _, _ := strings.Cut(strings.Trim(field, `"`), `"`)
		for _, as := range []caller{user(eve), theDashboard()} {
			a.wants(http.StatusForbidden, "spec."+name, http.MethodPost, profilesPath, body, as)
		}
	}
	a.wants(http.StatusForbidden, "spec.owner.kind", http.MethodPost, profilesPath, strings.Replace(profileBody(profileName(t), eve), "User", "Group", 1), theDashboard())
}

// Defect 4: a user and a group of the same name are not the same.
func TestDefect4_theOwnersKindCounts(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	ns := tenantOf(t, at, rbacv1.Subject{Kind: "Group", Name: "ml-team"}, a)
	a.wants(http.StatusForbidden, "", http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user("ml-team"))
	a.wants(http.StatusUnauthorized, "", http.MethodDelete, profilesPath+"/"+ns, "", user("ml-team"))
	a.must(http.MethodPost, bindingsPath, invite(ns, "ml-team", "edit"), user(root)) // the user of that name may be invited
	a.wants(http.StatusBadRequest, "owns profile", http.MethodPost, bindingsPath, inviteKind(ns, "Group", "ml-team", "edit"), user(root))
}

// Defect 18: what is refused says how; errors are text and say so; nothing is redirected.
func TestDefect18_codesAndTypesSayWhatHappened(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	for _, tc := range []struct {
		method, path, body string
		as                 caller
		code               int
		contentType        string
	}{
		{http.MethodPost, bindingsPath + "/", invite(ns, ben, "edit"), user(ann), 200, "application/json; charset=UTF-8"},
		{http.MethodPost, bindingsPath, `{"user":{}}`, user(ann), 400, "text/plain; charset=utf-8"},
		{http.MethodPost, bindingsPath, "{bad}", user(ann), 403, "text/plain; charset=utf-8"},
		{http.MethodPost, bindingsPath, invite(ns, ben, "edit"), nobody(), 401, "text/plain; charset=utf-8"},
		{http.MethodPost, bindingsPath, strings.Repeat(" ", 1<<20+1), user(ann), 413, "text/plain; charset=utf-8"},
		{http.MethodPut, bindingsPath, "", user(ann), 405, ""},
		{http.MethodGet, "/kfam/v1/other", "", user(ann), 404, "text/plain; charset=utf-8"},
		{http.MethodDelete, profilesPath + "/a%2Fb", "", user(ann), 401, "application/json; charset=UTF-8"},
	} {
		got := a.send(tc.method, tc.path, tc.body, tc.as)
		if got.code != tc.code || got.header.Get("Content-Type") != tc.contentType {
			t.Errorf("%s %s: want %d %s, got %d %s %s", tc.method, tc.path, tc.code, tc.contentType, got.code, got.header.Get("Content-Type"), got.body)
		}
	}
}

// Defect 24: no read asks the API server anything.
func TestDefect24_readsAskTheAPIServerNothing(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	var asked atomic.Int64
	a := serve(t, at, through(t, at, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			asked.Add(1)
			return c.Get(ctx, key, obj, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			asked.Add(1)
			return c.List(ctx, list, opts...)
		},
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			asked.Add(1)
			return c.Create(ctx, obj, opts...)
		},
	}))
	ns := tenant(t, at, a)
	for _, as := range []caller{theDashboard(), user(root), user(ann), user(eve)} {
		for _, query := range []string{"", "?user=" + ann, "?namespace=" + ns, "?role=admin"} {
			a.listed(query, as)
		}
		a.must(http.MethodGet, adminPath+"?user="+ann, "", as)
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the reads asked the API server %d times", n)
	}
}

// The index follows what others do: bindings changed and deleted by hand, profiles and namespaces that go.
func TestReads_followWhatOthersDo(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	binding := handMade(ns, "by-hand", ben, "edit")
	create(t, at, binding)
	a.eventuallyListed("?namespace="+ns+"&user="+ben, "User "+ben+" edit")
	binding.Annotations["user"] = cleo
	binding.Subjects = []rbacv1.Subject{person(cleo)}
	if err := at.client.Update(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	a.eventuallyListed("?namespace="+ns+"&user="+ben, []string{}...)
	a.eventuallyListed("?namespace="+ns+"&user="+cleo, "User "+cleo+" edit")
	remove(t, at, binding)
	a.eventuallyListed("?namespace="+ns, "User "+ann+" admin")
	remove(t, at, testProfile(ns, person(ann)))
	testkit.Eventually(t, patience, func() error {
		if all := a.must(http.MethodGet, bindingsPath, "", user(root)); strings.Contains(all, ns) {
			return fmt.Errorf("the profile that is gone is still listed")
		}
		return nil
	})
}

// A cluster admin by group is one for themselves; of others only the name is known.
func TestClusterAdmin_groupsCountForOneself(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	provider := newIssuer(t)
	a := serve(t, at, provider.option())
	token := bearer(provider.token(claims{"email": eve, "groups": staff}))
	a.wants(http.StatusOK, "true", http.MethodGet, adminPath+"?user="+eve, "", token)
	a.wants(http.StatusOK, "false", http.MethodGet, adminPath+"?user="+eve, "", theDashboard())
	a.wants(http.StatusOK, "false", http.MethodGet, adminPath+"?user="+staff, "", token)
	a.wants(http.StatusForbidden, "invalid URL escape", http.MethodGet, adminPath+"?user=%zz", "", token)
}
