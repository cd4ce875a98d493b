// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"berth.dev/berth/internal/kfam"
)

const benEdit = "user-ben-example-com-clusterrole-edit"

func TestCreateBinding_againChangesNothing(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	var versions [2][2]string
	for i := range versions {
		a.must(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann))
		versions[i] = [2]string{
			get(t, at, ns, benEdit, &rbacv1.RoleBinding{}).ResourceVersion,
			get(t, at, ns, benEdit, &securityv1beta1.AuthorizationPolicy{}).ResourceVersion,
		}
	}
	if versions[0] != versions[1] {
		t.Errorf("the second request wrote: versions %v", versions)
	}
	wantInvited(t, at, ns, pair(benEdit)...)
}

// Ten servers, each with a view of its own that may be behind, are sent the same at once.
func TestCreateBinding_tenServersLeaveOnePair(t *testing.T) {
	t.Parallel()
	at := onShared(t)
	servers := make([]*api, 10)
	for i := range servers {
		servers[i] = serve(t, at)
	}
	ns := tenant(t, at, servers...)
	for _, who := range []string{"a.b@example.com", "a-b@example.com", "third@example.com"} {
		var wait sync.WaitGroup
		for _, a := range servers {
			wait.Go(func() { a.wants(http.StatusOK, "", http.MethodPost, bindingsPath, invite(ns, who, "edit"), user(ann)) })
		}
		wait.Wait()
	}
	if have := invited(t, at, ns); len(have) != 6 {
		t.Errorf("want three pairs, have %q", have)
	}
	for _, a := range servers {
		a.eventuallyListed("?namespace="+ns+"&role=edit", "User a-b@example.com edit", "User a.b@example.com edit", "User third@example.com edit")
	}
	var wait sync.WaitGroup
	codes := make([]int, len(servers))
	for i, a := range servers {
		wait.Go(func() {
			codes[i] = a.send(http.MethodDelete, bindingsPath, invite(ns, "third@example.com", "edit"), user(ann)).code
		})
	}
	wait.Wait()
	if !slices.Contains(codes, http.StatusOK) || slices.ContainsFunc(codes, func(code int) bool { return code >= 500 }) {
		t.Errorf("ten removals at once answered %v", codes)
	}
	if have := invited(t, at, ns); len(have) != 4 {
		t.Errorf("want two pairs, have %q", have)
	}
}

// Defect 5: a.b@x, a-b@x, a_b@x and A.B@x share the name of their objects in Kubeflow's API, so that adding the second
// was refused, and deleting it took the first one's access.
func TestDefect5_namesThatLookAlikeAreDifferentPeople(t *testing.T) {
	t.Parallel()
	at := onShared(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	people := []string{"a.b@example.com", "a-b@example.com", "a_b@example.com", "A.B@example.com"}
	for i, who := range people {
		a.must(http.MethodPost, bindingsPath, invite(ns, who, "edit"), user(ann))
		if have := invited(t, at, ns); len(have) != 2*(i+1) {
			t.Fatalf("want %d pairs, have %q", i+1, have)
		}
	}
	if !slices.Contains(invited(t, at, ns), "binding user-a-b-example-com-clusterrole-edit") {
		t.Error("the first does not have the name that clients know")
	}
	a.must(http.MethodDelete, bindingsPath, invite(ns, people[1], "edit"), user(ann))
	a.wants(http.StatusForbidden, "not found", http.MethodDelete, bindingsPath, invite(ns, people[1], "edit"), user(ann))
	a.eventuallyListed("?namespace="+ns+"&role=edit", "User A.B@example.com edit", "User a.b@example.com edit", "User a_b@example.com edit")
	wantPolicyUsers(t, at, ns, "A.B@example.com", "a.b@example.com", "a_b@example.com")
	// The first goes, and comes back under the name that is free now.
	a.must(http.MethodDelete, bindingsPath, invite(ns, people[0], "edit"), user(ann))
	wantPolicyUsers(t, at, ns, "A.B@example.com", "a_b@example.com")
	a.must(http.MethodPost, bindingsPath, invite(ns, people[0], "edit"), user(ann))
	wantPolicyUsers(t, at, ns, "A.B@example.com", "a.b@example.com", "a_b@example.com")
}

// wantPolicyUsers checks whom the policies of contributors let in by the identity header.
func wantPolicyUsers(t *testing.T, at place, ns string, want ...string) {
	t.Helper()
	have := policyUsers(t, at, ns)
	if !slices.Equal(have, want) {
		t.Errorf("want %q let in, have %q", want, have)
	}
}

// Names may be odd; the names of their objects have to be possible, and those of different people different.
func TestCreateBinding_takesOddNames(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	long := strings.Repeat("x", 240) + "@example.com"
	odd := []string{long, long[1:] + "y", strings.Repeat("ü", 126), "+++", "!!!", "мария", "李四@例子", "a", "-", "Ω@x", `"quoted"`, `back\slash`, "{name}", "%40"}
	for i, who := range odd {
		a.must(http.MethodPost, bindingsPath, invite(ns, who, "edit"), user(ann))
		have := invited(t, at, ns)
		if len(have) != 2*(i+1) {
			t.Fatalf("after %q: want %d pairs, have %q", who, i+1, have)
		}
		for _, name := range have {
			_, name, _ = strings.Cut(name, " ")
			if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
				t.Errorf("%q is no good name: %v", name, problems)
			}
		}
	}
	for i, who := range odd {
		a.must(http.MethodDelete, bindingsPath, invite(ns, who, "edit"), user(ann))
		if have := invited(t, at, ns); len(have) != 2*(len(odd)-i-1) {
			t.Fatalf("after removing %q: have %q", who, have)
		}
	}
}

// Defect 1: what the mesh would read as a wildcard, and names that nobody has, are refused before anything is written.
func TestDefect1_wildcardsAndImpossibleNamesAreRefused(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	for _, who := range []string{
		"*", "*@example.com", "bob*", "b*b@example.com", "", " ", "a b@example.com", "a\tb", "a\nb", "a\x00b", "a\u202eb", "a\u200bb", "a\u00a0b",
		strings.Repeat("x", 254), strings.Repeat("ü", 127), "system:serviceaccount:bad", "system:serviceaccount:a:b:c", "system:serviceaccount:*:a",
	} {
		for _, kind := range []string{"User", "Group", "ServiceAccount"} {
			if strings.HasPrefix(who, "system:") && kind == "Group" {
				continue // a group may be called so: it means no account
			}
			a.wants(http.StatusBadRequest, "user: ", http.MethodPost, bindingsPath, inviteKind(ns, kind, who, "edit"), user(ann))
		}
	}
	for name, body := range map[string]string{
		"not UTF-8":          `{"user":{"kind":"User","name":"a` + "\xff" + `b"},"referredNamespace":"` + ns + `","RoleRef":{"kind":"ClusterRole","name":"edit"}}`,
		"an unknown kind":    inviteKind(ns, "Robot", ben, "edit"),
		"no kind":            inviteKind(ns, "", ben, "edit"),
		"the owner":          invite(ns, ann, "edit"),
		"no such SA":         inviteKind(ns, "ServiceAccount", "bot", "edit"),
		"a namespace with /": invite(ns+"/../x", ben, "edit"),
	} {
		if got := a.send(http.MethodPost, bindingsPath, body, user(ann)); got.code != http.StatusBadRequest && got.code != http.StatusForbidden {
			t.Errorf("%s: want a refusal, got %d %s", name, got.code, got.body)
		}
	}
	wantInvited(t, at, ns)
}

// Defect 1, by those who may write RoleBindings: nobody is let in by a name with a wildcard, whoever wrote it.
func TestDefect1_handMadeBindingsWithWildcardsLetNobodyIn(t *testing.T) {
	t.Parallel()
	at := onShared(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	create(t, at, handMade(ns, "wild", "*", "edit", person("*"), person("ok@example.com")))
	a.eventuallyListed("?namespace="+ns+"&role=edit", "User * edit", "User ok@example.com edit")
	eventuallyPolicyUsers(t, at, ns, "ok@example.com")
}

// A change of the role is made before the old role is taken away.
func TestCreateBinding_changesTheRole(t *testing.T) {
	t.Parallel()
	at := onShared(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	a.must(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann))
	watching := watchAccess(t, at, ns, ben)
	roles := []string{"view", "admin", "edit", "view", "edit"}
	for range 4 {
		for _, role := range roles {
			a.must(http.MethodPost, bindingsPath, invite(ns, ben, role), user(ann))
			if have := a.listed("?user="+ben+"&namespace="+ns, user(ann)); !slices.Equal(have, []string{"User " + ben + " " + role}) {
				t.Fatalf("right after changing the role to %s: %q", role, have)
			}
		}
	}
	for _, gap := range watching.gaps() {
		t.Error(gap)
	}
	wantInvited(t, at, ns, pair(benEdit)...)
}

// Whoever writes finds it in their next read: added, removed, and a profile created.
func TestReads_seeTheWritersOwnWrites(t *testing.T) {
	t.Parallel()
	at := onShared(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	for i := range 100 {
		who := fmt.Sprintf("u%d@example.com", i)
		a.must(http.MethodPost, bindingsPath, invite(ns, who, "edit"), user(ann))
		if have := a.listed("?user="+who, user(ann)); !slices.Equal(have, []string{"User " + who + " edit"}) {
			t.Fatalf("%d: right after adding: %q", i, have)
		}
		a.must(http.MethodDelete, bindingsPath, invite(ns, who, "edit"), user(ann))
		if have := a.listed("?namespace="+ns+"&user="+who, user(ann)); len(have) > 0 {
			t.Fatalf("%d: right after removing: %q", i, have)
		}
	}
}

// A profile that was created can be deleted at once: the server knows it, and who owns it.
func TestCreateProfile_isKnownAtOnce(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	for range 100 {
		name := profileName(t)
		a.must(http.MethodPost, profilesPath, profileBody(name, ann), user(ann))
		a.wants(http.StatusForbidden, "no namespace (yet)", http.MethodPost, bindingsPath, invite(name, ben, "edit"), user(ann))
		a.must(http.MethodDelete, profilesPath+"/"+name, "", user(ann))
	}
}

// Groups and service accounts are bound, listed, found and removed as what they are, in both spellings.
func TestContributors_groupsAndServiceAccounts(t *testing.T) {
	t.Parallel()
	at := onShared(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	account := `{"user":{"kind":"ServiceAccount","name":"bot","namespace":"robots"},"referredNamespace":"` + ns + `","RoleRef":{"kind":"ClusterRole","name":"edit"}}`
	spelled := inviteKind(ns, "ServiceAccount", "system:serviceaccount:robots:bot", "edit")
	asUser := invite(ns, "system:serviceaccount:robots:bot", "edit")
	a.must(http.MethodPost, bindingsPath, inviteKind(ns, "Group", "ml-team", "edit"), user(ann))
	a.must(http.MethodPost, bindingsPath, invite(ns, "ml-team", "edit"), user(ann)) // somebody else
	for _, body := range []string{account, spelled, asUser} {
		a.must(http.MethodPost, bindingsPath, body, user(ann))
	}
	a.eventuallyListed("?namespace="+ns+"&role=edit", "Group ml-team edit", "ServiceAccount robots/bot edit", "User ml-team edit")
	subject := get(t, at, ns, "serviceaccount-bot-clusterrole-edit", &rbacv1.RoleBinding{}).Subjects
	if want := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "robots", Name: "bot"}}; !slices.Equal(subject, want) {
		t.Errorf("want the subject %v, got %v", want, subject)
	}
	a.must(http.MethodDelete, bindingsPath, invite(ns, "ml-team", "edit"), user(ann))
	a.must(http.MethodDelete, bindingsPath, asUser, user(ann))
	a.eventuallyListed("?namespace="+ns+"&role=edit", "Group ml-team edit")
	wantInvited(t, at, ns, pair("group-ml-team-clusterrole-edit")...)
	a.must(http.MethodDelete, bindingsPath, inviteKind(ns, "Group", "ml-team", "edit"), user(ann))
	wantInvited(t, at, ns)
	// The owner as a ServiceAccount is the owner in each spelling.
	robot := tenantOf(t, at, rbacv1.Subject{Kind: "ServiceAccount", Name: "bot", Namespace: "robots"}, a)
	for _, body := range []string{account, spelled, asUser} {
		body = strings.ReplaceAll(body, ns, robot)
		a.wants(http.StatusBadRequest, "owns profile", http.MethodPost, bindingsPath, body, user(root))
	}
}

// The list answers with what json can decode whatever the names are.
func TestReads_encodeAnyName(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at, func(*kfam.Options) {})
	ns := tenant(t, at, a)
	for i, who := range []string{`"`, `\`, "<script>", "\u2028", "a&b"} {
		create(t, at, handMade(ns, fmt.Sprintf("odd-%d", i), who, "edit"))
		a.eventuallyListed("?namespace="+ns+"&user="+strings.NewReplacer(`"`, "%22", `\`, "%5c", "<", "%3c", ">", "%3e", "\u2028", "%e2%80%a8", "&", "%26").Replace(who), "User "+who+" edit")
	}
	var decoded map[string]any
	if err := json.Unmarshal([]byte(a.must(http.MethodGet, bindingsPath, "", user(root))), &decoded); err != nil {
		t.Error(err)
	}
}
