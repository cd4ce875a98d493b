// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
)

// theClient is Kubeflow's dashboard as a client: it forwards the user's header when contributors or the profile of the
// user change, and nothing else ever; it reads keys case-sensitively, and takes everything but 2xx for an error.
type theClient struct {
	*api

	itself caller // what the mesh says of the dashboard
}

// binding has the keys that the dashboard's generated client maps, in their case.
type binding struct {
	namespace, user, role string
}

func (d theClient) bindings(query string) []binding {
	d.t.Helper()
	var list map[string][]map[string]json.RawMessage
	body := d.must(http.MethodGet, bindingsPath+query, "", d.itself)
	if err := json.Unmarshal([]byte(body), &list); err != nil || list["bindings"] == nil {
		d.t.Fatalf("the dashboard would throw on %s (error %v)", body, err)
	}
	all := []binding{}
	for _, entry := range list["bindings"] {
		var b binding
		var user, role map[string]string
		for key, into := range map[string]any{"user": &user, "referredNamespace": &b.namespace, "RoleRef": &role} {
			if err := json.Unmarshal(entry[key], into); err != nil {
				d.t.Fatalf("%s of %s: %v", key, body, err)
			}
		}
		b.user, b.role = user["name"], map[string]string{"admin": "owner", "edit": "contributor", "view": "viewer"}[role["name"]]
		all = append(all, b)
	}
	return all
}

func (d theClient) isAdmin(name string) bool {
	d.t.Helper()
	var answer any
	if err := json.Unmarshal([]byte(d.must(http.MethodGet, adminPath+"?user="+name, "", d.itself)), &answer); err != nil {
		d.t.Fatal(err)
	}
	is, bare := answer.(bool)
	if !bare {
		d.t.Errorf("clusteradmin is answered with %v, no bare boolean", answer)
	}
	return is
}

// contributors are what get-contributors returns.
func (d theClient) contributors(ns string) []string {
	d.t.Helper()
	names := []string{}
	for _, b := range d.bindings("?namespace=" + ns) {
		if b.role == "contributor" {
			names = append(names, b.user)
		}
	}
	return names
}

// TestKeep_everythingThatTheDashboardDoes: "KFAM routes, JSON keys (RoleRef), bare booleans, 2xx on success with empty
// body, text error bodies, unauthenticated reads and createProfile from the dashboard", in the order of a person who signs
// up, invites somebody and leaves; as the drop-in, and where principals decide.
func TestKeep_everythingThatTheDashboardDoes(t *testing.T) {
	t.Parallel()
	at := onShared(t)
	for name, d := range map[string]theClient{
		"drop-in":    {serve(t, at, dropIn), nobody()},
		"principals": {serve(t, at, principalsOnly), theDashboard()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			username := profileName(t)
			me, guest := username+"@example.com", "guest-of-"+username+"@example.com"
			asMe := d.itself.with(userHeader+": "+userPrefix+me, "cookie: authservice_session=x")

			// exists
			if d.isAdmin(me) || len(d.bindings("?user="+me)) > 0 {
				t.Error("a new person has a profile already")
			}
			// create: no identity at all
			if body := d.must(http.MethodPost, profilesPath, profileBody(username, me), d.itself.with("Content-Type: application/json")); body != "" {
				t.Errorf("want an empty body, got %q", body)
			}
			controllertest.AwaitReady(t, at.client, username)
			d.eventuallyListed("?user="+me, "User "+me+" admin")
			d.knows(username)
			// env-info
			if have := d.bindings("?user=" + me); !slices.Equal(have, []binding{{username, me, "owner"}}) {
				t.Errorf("env-info says %v", have)
			}
			// add-contributor, twice, as people click twice
			if have := d.contributors(username); len(have) > 0 {
				t.Errorf("there are contributors already: %q", have)
			}
			for range 2 {
				if body := d.must(http.MethodPost, bindingsPath, invite(username, guest, "edit"), asMe); body != "" {
					t.Errorf("want an empty body, got %q", body)
				}
				if have := d.contributors(username); !slices.Equal(have, []string{guest}) {
					t.Errorf("add-contributor answers %q", have)
				}
			}
			// get-all-namespaces
			if !slices.Contains(d.bindings(""), binding{username, guest, "contributor"}) {
				t.Error("get-all-namespaces lacks the contributor")
			}
			// remove-contributor, and an error that the browser shows verbatim
			d.must(http.MethodDelete, bindingsPath, invite(username, guest, "edit"), asMe)
			if have := d.contributors(username); len(have) > 0 {
				t.Errorf("remove-contributor answers %q", have)
			}
			d.wants(http.StatusForbidden, "not found", http.MethodDelete, bindingsPath, invite(username, guest, "edit"), asMe)
			// nuke-self
			d.must(http.MethodDelete, profilesPath+"/"+username, "", d.itself.with(userHeader+": "+userPrefix+me))
			controllertest.AwaitGone(t, at.client, testProfile(username, kubeflowv1.ProfileSpec{}.Owner))
			if have := d.bindings("?user=" + me); len(have) > 0 {
				t.Error(fmt.Sprint("after nuke-self there is ", have))
			}
		})
	}
}
