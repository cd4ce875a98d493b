// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

func TestSync_leavesOtherProfilesAloneWhenOneIsStale(t *testing.T) {
	c := start(t)
	stays, goes, elsewhere, others := testkit.Name(t, "stays"), testkit.Name(t, "goes"), testkit.Name(t, "elsewhere"), testkit.Name(t, "others")
	create(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: elsewhere}})
	create(t, c, made(elsewhere, "foreign", map[string]string{"user": "gus@example.com", "role": "edit"}))
	controllertest.Create(t, c, controllertest.Profile(others))
	controllertest.AwaitReady(t, c, others)
	create(t, c, bound(others, "by-hand", "gus@example.com", "edit"))
	s := newSync(t, c, listOf(entry(stays, people("ann:edit", "ed:view")), entry(goes, people("bob:edit"))), "{}")
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
	awaitAccess(t, c, goes, at("bob:edit")...)
	versions := func() (all string) {
		for _, namespace := range []string{stays, elsewhere, others} {
			var bindings rbacv1.RoleBindingList
			if err := c.List(t.Context(), &bindings, client.InNamespace(namespace)); err != nil {
				t.Fatal(err)
			}
			for _, b := range bindings.Items {
				all += b.Namespace + "/" + b.Name + "=" + b.ResourceVersion + "\n"
			}
			found := policies(t, c, namespace)
			for _, name := range sortedKeys(found) {
				all += "policy " + namespace + "/" + name + "=" + found[name].ResourceVersion + "\n"
			}
		}
		return all
	}
	testkit.Eventually(t, controllertest.Patience, func() error {
		if n, m := len(policies(t, c, stays)), len(policies(t, c, others)); n != 2 || m != 1 {
			return fmt.Errorf("%d and %d policies", n, m)
		}
		return nil
	})
	before := versions()

	declare(t, c, s.Name, listOf(entry(stays, people("ann:edit", "ed:view"))))
	awaitAccess(t, c, goes)
	inForce(t, c, s)
	if after := versions(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if profile(t, c, others).Annotations[berthv1alpha1.StaleAnnotation] != "" {
		t.Error("a profile that the sync never had was taken for stale")
	}
	// The owner keeps the profile.
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: goes, Name: render.OwnerBindingName}, &rbacv1.RoleBinding{}); err != nil {
		t.Error(err)
	}
}

func TestSync_refusesNamespacesThatAreNoProfiles(t *testing.T) {
	c := start(t)
	foreign, good := testkit.Name(t, "foreign"), testkit.Name(t, "good")
	create(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: foreign}})
	refused := []string{foreign, "kube-system", home, "kubeflow"}
	var entries []string
	for _, name := range refused {
		entries = append(entries, entry(name, people("mal:admin")))
	}
	s := newSync(t, c, listOf(append(entries, entry(good, people("ann:edit")))...), "validation: compat")
	awaitAccess(t, c, good, at("ann:edit")...)
	message := awaitSync(t, c, s, berthv1alpha1.ConditionApplied, berthv1alpha1.ReasonRefused)
	for _, name := range refused {
		if !strings.Contains(message, name) {
			t.Errorf("nothing is said of %s: %s", name, message)
		}
		if found := access(t, c, name); len(found) > 0 {
			t.Errorf("in %s there are %v", name, found)
		}
		if err := c.Get(t.Context(), client.ObjectKey{Name: name}, &kubeflowv1.Profile{}); !apierrors.IsNotFound(err) {
			t.Errorf("there is a profile %s (error %v)", name, err)
		}
	}
	if s.Status.Plan == nil || s.Status.Plan.Refused != int32(len(refused)) {
		t.Errorf("the plan is %+v", s.Status.Plan)
	}
	// The strict validation refuses such a list whole.
	editSync(t, c, s, func(s *berthv1alpha1.ProfileSync) { s.Spec.Validation = "strict" })
	awaitSync(t, c, s, berthv1alpha1.ConditionValid, berthv1alpha1.ReasonListInvalid)
}

func TestSync_oneFailingProfileHoldsUpNoOther(t *testing.T) {
	var w writes
	c := start(t, w.option())
	bad, good, late := testkit.Name(t, "bad"), testkit.Name(t, "good"), testkit.Name(t, "late")
	fail := func(write controllertest.Write) error {
		if write.Profile() == bad && write.Verb == "create" && write.Kind() == "RoleBinding" && strings.Contains(write.Object.GetName(), "zoe") {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "rolebindings"}, write.Object.GetName(), errors.New("refused by a policy"))
		}
		return nil
	}
	w.spoiled(fail)
	s := newSync(t, c, listOf(entry(bad, people("ann:edit", "zoe:view")), entry(good, people("bob:edit"))), "{interval: 10m}")
	awaitAccess(t, c, good, at("bob:edit")...)
	awaitAccess(t, c, bad, at("ann:edit")...)
	message := awaitSync(t, c, s, berthv1alpha1.ConditionApplied, berthv1alpha1.ReasonApplyFailed)
	if !strings.Contains(message, bad) || strings.Contains(message, good) {
		t.Errorf("the condition says %q", message)
	}
	failed := controllertest.AwaitCondition(t, c, bad, kubeflowv1.ConditionSynced, metav1.ConditionFalse, berthv1alpha1.ReasonApplyFailed)
	if !strings.Contains(failed, "refused by a policy") {
		t.Errorf("the profile says %q", failed)
	}
	controllertest.AwaitCondition(t, c, good, kubeflowv1.ConditionSynced, metav1.ConditionTrue, berthv1alpha1.ReasonSucceeded)

	// It fails often enough that the wait for another try is long, which is nothing to others.
	for range 8 {
		syncNow(t, c, s)
	}
	declare(t, c, s.Name, listOf(entry(bad, people("ann:edit", "zoe:view")), entry(good, people("bob:view")), entry(late, people("cat:edit"))))
	syncNow(t, c, s)
	awaitAccess(t, c, good, at("bob:view")...)
	awaitAccess(t, c, late, at("cat:edit")...)

	w.spoiled(nil)
	syncNow(t, c, s)
	awaitAccess(t, c, bad, at("ann:edit", "zoe:view")...)
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
	controllertest.AwaitCondition(t, c, bad, kubeflowv1.ConditionSynced, metav1.ConditionTrue, berthv1alpha1.ReasonSucceeded)
}

func TestSync_refusesAnEmptyList(t *testing.T) {
	c := start(t)
	team := testkit.Name(t, "team")
	s := newSync(t, c, listOf(entry(team, people("ann:edit", "bob:admin"))), "{}")
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
	awaitAccess(t, c, team, at("ann:edit", "bob:admin")...)
	declare(t, c, s.Name, listOf())
	message := awaitSync(t, c, s, berthv1alpha1.ConditionWithinLimits, berthv1alpha1.ReasonLimitExceeded)
	if !strings.Contains(message, "EmptyList") {
		t.Errorf("the condition says %q", message)
	}
	inForce(t, c, s)
	awaitAccess(t, c, team, at("ann:edit", "bob:admin")...)
	if profile(t, c, team).Annotations[berthv1alpha1.StaleAnnotation] != "" {
		t.Error("the profile is taken for stale")
	}

	editSync(t, c, s, func(s *berthv1alpha1.ProfileSync) { s.Spec.Limits.AllowEmpty = true })
	awaitAccess(t, c, team)
	awaitSync(t, c, s, berthv1alpha1.ConditionWithinLimits, berthv1alpha1.ReasonSucceeded)
	if s.Status.Stale != 1 || s.Status.Profiles != 0 {
		t.Errorf("the status is %+v", s.Status)
	}
}

func TestSync_holdsTooManyRemovals(t *testing.T) {
	c := start(t)
	team := testkit.Name(t, "team")
	all := []string{"a:edit", "b:edit", "c:edit", "d:edit", "e:edit", "f:edit", "g:edit", "h:edit"}
	s := newSync(t, c, listOf(entry(team, people(all...))), "limits: {maxRemovals: 2}")
	awaitAccess(t, c, team, at(all...)...)
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
	declare(t, c, s.Name, listOf(entry(team, people("a:edit", "new:view"))))
	awaitSync(t, c, s, berthv1alpha1.ConditionWithinLimits, berthv1alpha1.ReasonLimitExceeded)
	awaitAccess(t, c, team, at(append(all, "new:view")...)...) // who comes, comes
	approve(t, c, s, s.Status.Plan.Digest)
	awaitAccess(t, c, team, at("a:edit", "new:view")...)
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)

	// The approval was for that plan.
	declare(t, c, s.Name, listOf(entry(team, people(all...))))
	awaitAccess(t, c, team, at(all...)...)
	declare(t, c, s.Name, listOf(entry(team, people("a:edit", "new:view"))))
	awaitSync(t, c, s, berthv1alpha1.ConditionWithinLimits, berthv1alpha1.ReasonLimitExceeded)
	awaitAccess(t, c, team, at(append(all, "new:view")...)...)
}

func TestSync_saysWhichPartOfItsStateIsOld(t *testing.T) {
	c := start(t)
	team := testkit.Name(t, "team")
	s := newSync(t, c, listOf(entry(team)), "{}")
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
	editSync(t, c, s, func(s *berthv1alpha1.ProfileSync) { s.Spec.Suspend = true })
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSuspended)
	if valid := meta.FindStatusCondition(s.Status.Conditions, berthv1alpha1.ConditionValid); valid == nil || valid.ObservedGeneration == s.Generation {
		t.Errorf("a list that was not looked at is told of as %+v", valid)
	}
}
