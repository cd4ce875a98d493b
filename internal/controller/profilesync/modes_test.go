// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

func TestSync_planWaitsForApproval(t *testing.T) {
	c := start(t)
	team := testkit.Name(t, "team")
	s := newSync(t, c, listOf(entry(team, people("ann:edit"))), "mode: Plan")
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonApprovalPending)
	if err := c.Get(t.Context(), client.ObjectKey{Name: team}, &kubeflowv1.Profile{}); !apierrors.IsNotFound(err) {
		t.Fatalf("the profile is there (error %v)", err)
	}
	approve(t, c, s, "sha256:of another plan")
	syncNow(t, c, s)
	if err := c.Get(t.Context(), client.ObjectKey{Name: team}, &kubeflowv1.Profile{}); !apierrors.IsNotFound(err) {
		t.Fatalf("the profile is there without an approval (error %v)", err)
	}
	approve(t, c, s, s.Status.Plan.Digest)
	awaitAccess(t, c, team, at("ann:edit")...)
}

func TestSync_reportWritesNothing(t *testing.T) {
	var w writes
	c := start(t, w.option())
	team, other := testkit.Name(t, "team"), testkit.Name(t, "other")
	controllertest.Create(t, c, controllertest.Profile(team))
	controllertest.AwaitReady(t, c, team)
	create(t, c, bound(team, "by-hand", "gus@example.com", "edit"))
	testkit.Eventually(t, controllertest.Patience, func() error {
		if n := len(policies(t, c, team)); n != 1 {
			return fmt.Errorf("%d policies", n)
		}
		return nil
	})
	before := len(w.of(team))
	s := newSync(t, c, listOf(entry(team, people("ann:edit")), entry(other)), "mode: Report")
	awaitSync(t, c, s, berthv1alpha1.ConditionApproved, berthv1alpha1.ReasonReportOnly)
	approve(t, c, s, s.Status.Plan.Digest)
	for range 2 {
		syncNow(t, c, s)
	}
	if made := append(w.of(team)[before:], w.of(other)...); len(made) > 0 {
		t.Errorf("the writes are %q", made)
	}
}

func TestSync_suspended(t *testing.T) {
	c := start(t)
	team := testkit.Name(t, "team")
	soon := time.Now().Add(8 * time.Second).UTC().Format(time.RFC3339)
	leaves := "{name: tmp@example.com, role: view, expires: '" + soon + "'}"
	s := newSync(t, c, listOf(entry(team, "contributors: [{name: ann@example.com, role: edit}, "+leaves+"]")), "{}")
	awaitAccess(t, c, team, at("ann:edit", "tmp:view")...)
	editSync(t, c, s, func(s *berthv1alpha1.ProfileSync) { s.Spec.Suspend = true })
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSuspended)
	declare(t, c, s.Name, listOf(entry(team, people("bob:edit"))))
	awaitAccess(t, c, team, at("ann:edit")...) // the time of one is over all the same
	editSync(t, c, s, func(s *berthv1alpha1.ProfileSync) { s.Spec.Suspend = false })
	awaitAccess(t, c, team, at("bob:edit")...)
}

func TestSync_accessEndsAtItsTime(t *testing.T) {
	c := start(t)
	team := testkit.Name(t, "team")
	end := time.Now().Add(6 * time.Second)
	s := newSync(t, c, listOf(entry(team, "contributors: [{name: ann@example.com, role: edit, expires: '"+end.UTC().Format(time.RFC3339)+"'}, {name: bob@example.com, role: view}]")),
		"interval: 1h")
	awaitAccess(t, c, team, at("ann:edit", "bob:view")...)
	awaitAccess(t, c, team, at("bob:view")...)
	if time.Now().Before(end.Truncate(time.Second)) {
		t.Error("it ended too soon")
	}
	syncNow(t, c, s)
	if err := has(t, c, team, "bob:view"); err != nil {
		t.Error(err)
	}
}

func TestSync_reportsDriftAndLeavesIt(t *testing.T) {
	c := start(t)
	team := testkit.Name(t, "team")
	list := func(who ...string) string { return listOf(entry(team, people(who...))) }
	s := newSync(t, c, list("ann:edit", "bob:edit"), "drift: Report")
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
	awaitAccess(t, c, team, at("ann:edit", "bob:edit")...)
	inForce(t, c, s)
	create(t, c, bound(team, "by-hand", "gus@example.com", "view"))
	if err := c.Delete(t.Context(), binding(team, "user-bob-example-com-clusterrole-edit")); err != nil {
		t.Fatal(err)
	}
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonDriftReported)
	controllertest.AwaitCondition(t, c, team, kubeflowv1.ConditionSynced, metav1.ConditionFalse, berthv1alpha1.ReasonDriftReported)
	syncNow(t, c, s)
	if err := has(t, c, team, "ann:edit", "gus:view"); err != nil {
		t.Error(err)
	}
	// What the list changes is carried out, and then all of it is in line.
	declare(t, c, s.Name, list("ann:edit", "bob:edit", "cat:view"))
	awaitAccess(t, c, team, at("ann:edit", "bob:edit", "cat:view")...)
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
}

func TestSync_additiveLeavesThoseOfOthers(t *testing.T) {
	c := start(t)
	team := testkit.Name(t, "team")
	s := newSync(t, c, listOf(entry(team, people("ann:edit", "bob:edit"))), "contributorPolicy: Additive")
	awaitAccess(t, c, team, at("ann:edit", "bob:edit")...)
	create(t, c, bound(team, "by-hand", "gus@example.com", "view"))
	declare(t, c, s.Name, listOf(entry(team, people("ann:edit"))))
	awaitAccess(t, c, team, at("ann:edit", "gus:view")...)
	declare(t, c, s.Name, listOf(entry(team, "contributorPolicy: Authoritative", people("ann:edit"))))
	awaitAccess(t, c, team, at("ann:edit")...)
}

func TestSync_adoptsOnlyWhatIsAnnotated(t *testing.T) {
	c := start(t)
	team := testkit.Name(t, "team")
	controllertest.Create(t, c, controllertest.Profile(team, func(p *profileType) { p.Spec.Owner.Name = "olga@example.com" }))
	controllertest.AwaitReady(t, c, team)
	create(t, c, bound(team, "by-hand", "gus@example.com", "view"))
	s := newSync(t, c, listOf(entry(team, people("ann:edit"))), "adopt: Annotated")
	message := awaitSync(t, c, s, berthv1alpha1.ConditionApplied, berthv1alpha1.ReasonRefused)
	if !strings.Contains(message, "kubectl annotate") {
		t.Errorf("the condition says %q", message)
	}
	if err := has(t, c, team, "gus:view"); err != nil {
		t.Error(err)
	}
	controllertest.Change(t, c, team, func(p *profileType) {
		metav1.SetMetaDataAnnotation(&p.ObjectMeta, berthv1alpha1.AdoptBySyncAnnotation, s.Name)
	})
	awaitAccess(t, c, team, at("ann:edit")...)
}

func TestSync_profileBelongsToOneSync(t *testing.T) {
	c := start(t)
	team := testkit.Name(t, "team")
	first := newSync(t, c, listOf(entry(team, people("ann:edit"))), "{}")
	awaitAccess(t, c, team, at("ann:edit")...)
	second := newSync(t, c, listOf(entry(team, people("bob:edit"))), "{}")
	message := awaitSync(t, c, second, berthv1alpha1.ConditionApplied, berthv1alpha1.ReasonRefused)
	if !strings.Contains(message, first.Name) {
		t.Errorf("the condition says %q", message)
	}
	syncNow(t, c, second)
	syncNow(t, c, first)
	if err := has(t, c, team, "ann:edit"); err != nil {
		t.Error(err)
	}
	awaitSync(t, c, first, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
}

func TestSync_lastGoodListStaysInForce(t *testing.T) {
	c := start(t)
	team := testkit.Name(t, "team")
	good := listOf(entry(team, people("ann:edit")))
	s := newSync(t, c, good, "{}")
	awaitAccess(t, c, team, at("ann:edit")...)
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
	revision := s.Status.Source.Revision
	drift := func() {
		t.Helper()
		if err := c.Delete(t.Context(), binding(team, "user-ann-example-com-clusterrole-edit")); err != nil {
			t.Fatal(err)
		}
		awaitAccess(t, c, team, at("ann:edit")...)
	}
	for title, broken := range map[string]string{
		"an unknown key": listOf(entry(team, "members: []")), "no YAML": "profiles: [", "no list": "teams: []",
		"a name that is there twice": listOf(entry(team), entry(team)),
	} {
		declare(t, c, s.Name, broken)
		message := awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonListInvalid)
		if !strings.Contains(message, "pmr.yaml:") {
			t.Errorf("%s: the condition says %q", title, message)
		}
		drift()
		if s.Status.Source.Revision != revision {
			t.Errorf("%s: the revision in force is said to be %s", title, s.Status.Source.Revision)
		}
		declare(t, c, s.Name, good)
		awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
	}

	gone := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: s.Name}}
	if err := c.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	awaitSync(t, c, s, berthv1alpha1.ConditionSourceReady, "NotFound")
	drift()
	declare(t, c, s.Name, listOf(entry(team, people("ann:edit", "bob:view"))))
	awaitAccess(t, c, team, at("ann:edit", "bob:view")...)
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
}

func TestSync_withoutAListTouchesNothing(t *testing.T) {
	c := installed(t)
	controllers := launch(t)
	team := testkit.Name(t, "team")
	s := newSync(t, c, listOf(entry(team, people("ann:edit"))), "{}")
	awaitAccess(t, c, team, at("ann:edit")...)
	controllers.Stop(t)
	declare(t, c, s.Name, "profiles: [")
	launch(t)
	syncNow(t, c, s)
	awaitSync(t, c, s, berthv1alpha1.ConditionApplied, berthv1alpha1.ReasonNoList)
	if err := has(t, c, team, "ann:edit"); err != nil {
		t.Error(err)
	}
}

func TestSync_deletedLeavesEverybodyIn(t *testing.T) {
	c := start(t)
	team := testkit.Name(t, "team")
	s := newSync(t, c, listOf(entry(team, people("ann:edit"))), "{}")
	awaitAccess(t, c, team, at("ann:edit")...)
	if err := c.Delete(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	controllertest.AwaitGone(t, c, s)
	other := newSync(t, c, listOf(entry(testkit.Name(t, "other"))), "{}")
	awaitSync(t, c, other, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
	if err := has(t, c, team, "ann:edit"); err != nil {
		t.Error(err)
	}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: team, Name: "namespaceAdmin"}, &rbacv1.RoleBinding{}); err != nil {
		t.Error(err)
	}
}
