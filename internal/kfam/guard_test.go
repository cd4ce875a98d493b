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
	"google.golang.org/protobuf/proto"
	istiosecurity "istio.io/api/security/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	"k8s.io/client-go/rest"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kfam"
	"berth.dev/berth/internal/testkit"
)

// Whoever may make a RoleBinding chooses its name: a policy of that name which is no contributor's is neither rewritten
// nor deleted by managing that contributor.
func TestPoliciesOfOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	deny := handMadePolicy(ns, "deny-all", "", "")
	deny.Annotations = nil
	deny.Spec.Action = istiosecurity.AuthorizationPolicy_DENY
	create(t, at, deny)
	create(t, at, handMade(ns, "deny-all", ben, "edit"))
	a.eventuallyListed("?namespace="+ns+"&role=edit", "User "+ben+" edit")

	a.must(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann))
	a.must(http.MethodDelete, bindingsPath, invite(ns, ben, "edit"), user(ann))
	left := get(t, at, ns, "deny-all", &securityv1beta1.AuthorizationPolicy{})
	if left.UID != deny.UID || !proto.Equal(&left.Spec, &deny.Spec) || len(left.OwnerReferences)+len(left.Labels) > 0 {
		t.Errorf("the policy of others became %v", left)
	}
}

// A policy that somebody else keeps stays theirs when its contributor is invited again.
func TestPoliciesKeptByOthersKeepTheirLabels(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	kept := handMadePolicy(ns, "theirs", ben, "edit")
	kept.Labels = map[string]string{kubeflowv1.ManagedByLabel: "flux"}
	create(t, at, kept)
	create(t, at, handMade(ns, "theirs", ben, "edit"))
	a.eventuallyListed("?namespace="+ns+"&role=edit", "User "+ben+" edit")
	a.must(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann))
	left := get(t, at, ns, "theirs", &securityv1beta1.AuthorizationPolicy{})
	if diff := cmp.Diff(kept.Labels, left.Labels); diff != "" || len(left.OwnerReferences) > 0 {
		t.Errorf("its owners are %v, its labels (-were +are):\n%s", left.OwnerReferences, diff)
	}
	a.must(http.MethodDelete, bindingsPath, invite(ns, ben, "edit"), user(ann))
	wantInvited(t, at, ns)
}

// Nobody who stands for everybody can be invited.
func TestCreateBinding_refusesWhoCarriesEverybody(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	for name, body := range map[string]string{
		"everybody with a token":      inviteKind(ns, "Group", "system:authenticated", "view"),
		"everybody without one":       inviteKind(ns, "Group", "system:unauthenticated", "view"),
		"every service account":       inviteKind(ns, "Group", "system:serviceaccounts", "view"),
		"the gateway, as a user":      invite(ns, "system:serviceaccount:istio-system:istio-ingressgateway-service-account", "edit"),
		"the KFP UI's own account":    invite(ns, "system:serviceaccount:kubeflow:ml-pipeline-ui", "edit"),
		"the gateway, as its account": inviteKind(ns, "ServiceAccount", "system:serviceaccount:istio-system:istio-ingressgateway-service-account", "edit"),
	} {
		t.Run(name, func(t *testing.T) {
			a.wants(http.StatusBadRequest, "everybody", http.MethodPost, bindingsPath, body, user(ann))
		})
	}
	wantInvited(t, at, ns)
}

// A page of another site can't use the cookies of whoever looks at it; the owner's own pages and programs can.
func TestWritesFromPagesOfOtherSitesAreRefused(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	a.wants(http.StatusForbidden, "another site", http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann).with("Sec-Fetch-Site: cross-site"))
	a.wants(http.StatusForbidden, "another site", http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann).with("Origin: https://evil.example.com"))
	wantInvited(t, at, ns)
	a.must(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann).with("Sec-Fetch-Site: same-origin"))
}

// An owner sees their profile also where the binding that says so is missing.
func TestReads_ownersSeeTheirProfile(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	a.must(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann))
	remove(t, at, handMade(ns, "namespaceAdmin", ann, "admin"))
	testkit.Eventually(t, patience, func() error {
		if have := a.listed("?namespace="+ns, user(ann)); !slices.Equal(have, []string{"User " + ben + " edit"}) {
			return fmt.Errorf("the owner sees %q", have)
		}
		return nil
	})
}

// Who had a profile created or deleted is told as well.
func TestEvents_tellOfProfiles(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	name := profileName(t)
	a.must(http.MethodPost, profilesPath, profileBody(name, ann), user(ann))
	eventuallyNotes(t, at, name, "created for User "+ann+" by "+ann)
	a.must(http.MethodDelete, profilesPath+"/"+name, "", user(ann))
	eventuallyNotes(t, at, name, "deleted for User "+ann+" by "+ann)
}

// A server that can't read the cluster ends, to be started again, rather than being up and never ready.
func TestServe_endsWhereTheClusterCantBeRead(t *testing.T) {
	t.Parallel()
	var options kfam.Options
	if err := kfam.Connect(&rest.Config{Host: "https://127.0.0.1:1"}, &options); err != nil {
		t.Fatal(err)
	}
	err := kfam.New(options).Serve(t.Context(), kfam.Listen{Address: "127.0.0.1:0"})
	if err == nil || !strings.Contains(err.Error(), "read the cluster") {
		t.Errorf("it ends with %v", err)
	}
}
