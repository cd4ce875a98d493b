// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync_test

import (
	"fmt"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

// owned says whether the profile and its owner's RoleBinding name that owner.
func owned(t *testing.T, c client.Client, name, kind, owner string) error {
	b := binding(name, render.OwnerBindingName)
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(b), b); err != nil {
		return err
	}
	p := profile(t, c, name)
	if p.Spec.Owner.Kind != kind || p.Spec.Owner.Name != owner || len(b.Subjects) != 1 || b.Subjects[0].Kind != kind || b.Subjects[0].Name != owner {
		return fmt.Errorf("%s has the owner %+v, and the binding %+v", name, p.Spec.Owner, b.Subjects)
	}
	return nil
}

func TestSync_changesTheOwner(t *testing.T) {
	c := start(t)
	user := func(name string) string { return "{kind: User, name: " + name + "@example.com}" }
	account := func(name string) string { return "{kind: ServiceAccount, name: " + name + "}" }
	for title, tc := range map[string]struct{ from, to, kind, name string }{
		"of a user to a user":      {user("olga"), user("otto"), rbacv1.UserKind, "otto@example.com"},
		"of a user to an account":  {user("olga"), account("robot"), rbacv1.ServiceAccountKind, "robot"},
		"of an account to a user":  {account("robot"), user("otto"), rbacv1.UserKind, "otto@example.com"},
		"of an account to another": {account("robot"), account("droid"), rbacv1.ServiceAccountKind, "droid"},
		"to somebody who is in it": {user("olga"), user("ann"), rbacv1.UserKind, "ann@example.com"},
	} {
		t.Run(title, func(t *testing.T) {
			team := testkit.Name(t, "team")
			quota := "resources: {hard: {pods: 5}}"
			s := newSync(t, c, listOf(ownedEntry(team, tc.from, quota, people("ann:edit", "bob:view"))), "{}")
			awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
			awaitAccess(t, c, team, at("ann:edit", "bob:view")...)
			controllertest.AwaitReady(t, c, team)

			declare(t, c, s.Name, listOf(ownedEntry(team, tc.to, quota, people("ann:edit", "bob:view"))))
			awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonLimitExceeded)
			if err := owned(t, c, team, tc.kind, tc.name); err == nil {
				t.Fatal("nobody approved of the new owner")
			}
			approve(t, c, s, s.Status.Plan.Digest)
			testkit.Eventually(t, controllertest.Patience, func() error { return owned(t, c, team, tc.kind, tc.name) })
			awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
			controllertest.AwaitReady(t, c, team)
			awaitAccess(t, c, team, at("ann:edit", "bob:view")...)
			awaitQuota(t, c, team, map[string]string{"pods": "5"}, "")
		})
	}
}

func TestSync_killedAfterAnyWriteOfAnOwnerChange(t *testing.T) {
	c := installed(t)
	names := mortals(t, 16)
	l := &life{each: true, sent: map[string][]string{}}
	list := func(owner string, contributors ...string) string {
		var entries []string
		for _, name := range names {
			entries = append(entries, ownedEntry(name, "{kind: User, name: "+owner+"@example.com}", "resources: {hard: {pods: 5}}", people(contributors...)))
		}
		return listOf(entries...)
	}
	s := newSync(t, c, list("olga", "ann:edit", "bob:view"), "limits: {allowNewAdmins: true, maxRemovals: 100}")
	controllers := launch(t, l.option())
	inLine(t, c, names, "ann:edit", "bob:view")
	changed := func(name string) error {
		if err := owned(t, c, name, rbacv1.UserKind, "otto@example.com"); err != nil {
			return err
		}
		return has(t, c, name, "ann:admin", "cat:view")
	}
	l.eachDies(t, controllers, names, func() { declare(t, c, s.Name, list("otto", "ann:admin", "cat:view")) }, changed)
	for _, name := range names {
		testkit.Eventually(t, controllertest.Patience, func() error { return changed(name) })
		controllertest.AwaitReady(t, c, name)
		awaitQuota(t, c, name, map[string]string{"pods": "5"}, "")
	}
	inLine(t, c, names, "ann:admin", "cat:view")
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
}
