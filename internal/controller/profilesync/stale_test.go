// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/kube/enact"
	"berth.dev/berth/internal/pmr"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

// notebook is one of Kubeflow's, stopped by its user where stopped says so.
func notebook(namespace, name string, stopped bool) *unstructured.Unstructured {
	n := &unstructured.Unstructured{}
	n.SetGroupVersionKind(enact.NotebookKind)
	n.SetNamespace(namespace)
	n.SetName(name)
	if stopped {
		n.SetAnnotations(map[string]string{enact.StoppedAnnotation: "2026-01-02T03:04:05Z"})
	}
	return n
}

// stopped are the values of the annotations that stop the notebooks of a namespace, by their names.
func stopped(t *testing.T, c client.Client, namespace string) map[string]string {
	t.Helper()
	var list unstructured.UnstructuredList
	list.SetGroupVersionKind(enact.NotebookKind)
	if err := c.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for i := range list.Items {
		if when, is := list.Items[i].GetAnnotations()[enact.StoppedAnnotation]; is {
			found[list.Items[i].GetName()] = when
		}
	}
	return found
}

// awaitStage waits until what is noted of a stale profile satisfies reached.
func awaitStage(t *testing.T, c client.Client, name string, reached func(*pmr.Stale) bool) {
	t.Helper()
	testkit.Eventually(t, controllertest.Patience, func() error {
		if stale := pmr.StaleOf(profile(t, c, name)); stale == nil || !reached(stale) {
			return fmt.Errorf("profile %s is at %+v", name, stale)
		}
		return nil
	})
}

func quarantined(s *pmr.Stale) bool { return s.Quarantined != nil }

func TestSync_staleProfileIsDeletedAfterAllStagesAndAnApproval(t *testing.T) {
	c := start(t)
	team, stays := testkit.Name(t, "team"), testkit.Name(t, "stays")
	s := newSync(t, c, listOf(entry(team, "resources: {hard: {requests.cpu: 4}}", people("ann:edit")), entry(stays)),
		"stale: {revokeAfter: 2s, quarantineAfter: 4s, gracePeriod: 6s, deletionPolicy: Delete}")
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
	awaitAccess(t, c, team, at("ann:edit")...)
	create(t, c, bound(team, "by-hand", "guest@example.com", "view"))
	awaitAccess(t, c, team, at("ann:edit")...) // the list is authoritative
	create(t, c, notebook(team, "running", false))
	create(t, c, notebook(team, "idle", true))

	declare(t, c, s.Name, listOf(entry(stays)))
	awaitStage(t, c, team, func(*pmr.Stale) bool { return true })
	awaitAccess(t, c, team, at("ann:edit")...) // for two seconds
	controllertest.AwaitCondition(t, c, team, kubeflowv1.ConditionSynced, metav1.ConditionFalse, berthv1alpha1.ReasonStale)
	p := profile(t, c, team)
	testkit.Eventually(t, controllertest.Patience, func() error {
		var list eventsv1.EventList
		if err := c.List(t.Context(), &list, client.InNamespace(metav1.NamespaceDefault)); err != nil {
			return err
		}
		if !slices.ContainsFunc(list.Items, func(e eventsv1.Event) bool {
			return e.Regarding.UID == p.UID && e.Reason == "Stale" && e.Type == "Warning"
		}) {
			return fmt.Errorf("there is no Event Stale on %s", team)
		}
		return nil
	})

	awaitAccess(t, c, team)
	saved := pmr.SnapshotOf(profile(t, c, team))
	if saved == nil || len(saved.Contributors) != 1 || saved.Contributors[0].Name != "ann@example.com" || saved.Contributors[0].Role != "edit" {
		t.Errorf("the snapshot is %+v", saved)
	}
	awaitStage(t, c, team, quarantined)
	if found := stopped(t, c, team); found["running"] == "" || found["idle"] != "2026-01-02T03:04:05Z" {
		t.Errorf("the notebooks are stopped since %v", found)
	}
	awaitQuota(t, c, team, map[string]string{"requests.cpu": "4", "pods": "0"}, "")
	awaitStage(t, c, team, func(s *pmr.Stale) bool { return s.Deletable != nil })
	testkit.Eventually(t, controllertest.Patience, func() error {
		message := controllertest.AwaitCondition(t, c, team, kubeflowv1.ConditionSynced, metav1.ConditionFalse, berthv1alpha1.ReasonStale)
		if !strings.Contains(message, "may be deleted") {
			return fmt.Errorf("the profile says %q", message)
		}
		return nil
	})
	for range 3 {
		syncNow(t, c, s)
	}
	if p := profile(t, c, team); !p.DeletionTimestamp.IsZero() {
		t.Fatal("it was deleted without an approval")
	}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: team, Name: render.OwnerBindingName}, &rbacv1.RoleBinding{}); err != nil {
		t.Errorf("the owner lost the profile: %v", err)
	}
	// An approval is for one profile, not for the next of its name.
	controllertest.Change(t, c, team, func(p *kubeflowv1.Profile) { p.Annotations[berthv1alpha1.ApproveDeletionAnnotation] = "another-uid" })
	for range 2 {
		syncNow(t, c, s)
	}
	if p := profile(t, c, team); !p.DeletionTimestamp.IsZero() {
		t.Fatal("it was deleted with the approval of another profile")
	}
	controllertest.Change(t, c, team, func(p *kubeflowv1.Profile) { p.Annotations[berthv1alpha1.ApproveDeletionAnnotation] = string(p.UID) })
	controllertest.AwaitGone(t, c, &kubeflowv1.Profile{ObjectMeta: metav1.ObjectMeta{Name: team}})
	if p := profile(t, c, stays); !p.DeletionTimestamp.IsZero() || p.Annotations[berthv1alpha1.StaleAnnotation] != "" {
		t.Errorf("the other profile is %+v", p)
	}
}

func TestSync_retainsProfilesWhateverIsApproved(t *testing.T) {
	c := start(t)
	team, stays := testkit.Name(t, "team"), testkit.Name(t, "stays")
	s := newSync(t, c, listOf(entry(team), entry(stays)), "stale: {gracePeriod: 0s}")
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
	declare(t, c, s.Name, listOf(entry(stays)))
	awaitStage(t, c, team, func(s *pmr.Stale) bool { return s.Deletable != nil })
	controllertest.Change(t, c, team, func(p *kubeflowv1.Profile) { p.Annotations[berthv1alpha1.ApproveDeletionAnnotation] = string(p.UID) })
	for range 3 {
		syncNow(t, c, s)
	}
	if p := profile(t, c, team); !p.DeletionTimestamp.IsZero() {
		t.Error("it was deleted")
	}
}

// The stages in which a profile may come back to the list.
var stages = map[string]struct {
	stale   string
	reached func(*pmr.Stale) bool
}{
	"before access is taken away": {"{revokeAfter: 1h}", func(*pmr.Stale) bool { return true }},
	"after that":                  {"{revokeAfter: 0s, quarantineAfter: 1h}", func(s *pmr.Stale) bool { return s.Revoked != nil }},
	"in quarantine":               {"{quarantineAfter: 0s}", quarantined},
	"when it may be deleted":      {"{quarantineAfter: 0s, gracePeriod: 0s, deletionPolicy: Delete}", func(s *pmr.Stale) bool { return s.Deletable != nil }},
}

func TestSync_profileThatIsListedAgainHasWhatItHad(t *testing.T) {
	c := start(t)
	for title, stage := range stages {
		for _, drift := range []string{"Repair", "Report"} {
			t.Run(title+" with drift "+drift, func(t *testing.T) {
				team, stays := testkit.Name(t, "team"), testkit.Name(t, "stays")
				// The quota is not the list's, nor is one contributor.
				listed := entry(team, "contributorPolicy: Additive", people("ann:admin", "bob:view"))
				s := newSync(t, c, listOf(listed, entry(stays)), "{stale: "+stage.stale+", drift: "+drift+"}")
				awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
				awaitAccess(t, c, team, at("ann:admin", "bob:view")...)
				controllertest.Change(t, c, team, controllertest.WithQuota("requests.cpu", "4"))
				create(t, c, bound(team, "by-hand", "guest@example.com", "admin"))
				create(t, c, notebook(team, "running", false))
				create(t, c, notebook(team, "idle", true))
				awaitQuota(t, c, team, map[string]string{"requests.cpu": "4"}, "")
				inForce(t, c, s)
				awaitAccess(t, c, team, at("ann:admin", "bob:view", "guest:admin")...)

				declare(t, c, s.Name, listOf(entry(stays)))
				awaitStage(t, c, team, stage.reached)

				declare(t, c, s.Name, listOf(listed, entry(stays)))
				awaitAccess(t, c, team, at("ann:admin", "bob:view", "guest:admin")...)
				awaitQuota(t, c, team, map[string]string{"requests.cpu": "4"}, "")
				testkit.Eventually(t, controllertest.Patience, func() error {
					if found := stopped(t, c, team); len(found) != 1 || found["idle"] == "" {
						return fmt.Errorf("the notebooks are stopped since %v", found)
					}
					for key := range profile(t, c, team).Annotations {
						if key == berthv1alpha1.StaleAnnotation || key == berthv1alpha1.SnapshotAnnotation {
							return fmt.Errorf("the profile still has %s", key)
						}
					}
					return nil
				})
				awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
				controllertest.AwaitCondition(t, c, team, kubeflowv1.ConditionSynced, metav1.ConditionTrue, berthv1alpha1.ReasonSucceeded)
				// What others had given is theirs again, and stays.
				syncNow(t, c, s)
				if err := has(t, c, team, "ann:admin", "bob:view", "guest:admin"); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestSync_killedAfterAnyWriteOfBecomingStaleAndComingBack(t *testing.T) {
	c := installed(t)
	names, stays := mortals(t, 14), testkit.Name(t, "stays")
	l := &life{each: true, sent: map[string][]string{}}
	all := []string{entry(stays)}
	for _, name := range names {
		all = append(all, entry(name, "contributorPolicy: Additive", people("ann:edit")))
	}
	s := newSync(t, c, listOf(all...), "{stale: {quarantineAfter: 0s}, limits: {maxRemovals: 100}}")
	controllers := launch(t, l.option())
	inLine(t, c, names, "ann:edit")
	for _, name := range names {
		create(t, c, bound(name, "by-hand", "guest@example.com", "view"))
		create(t, c, notebook(name, "running", false))
	}
	inLine(t, c, names, "ann:edit", "guest:view")

	closed := func(name string) error {
		if stale := pmr.StaleOf(profile(t, c, name)); stale == nil || stale.Quarantined == nil {
			return fmt.Errorf("%s is at %+v", name, stale)
		}
		return has(t, c, name)
	}
	controllers = l.eachDies(t, controllers, names, func() { declare(t, c, s.Name, listOf(entry(stays))) }, closed)
	for _, name := range names {
		testkit.Eventually(t, controllertest.Patience, func() error { return closed(name) })
		awaitQuota(t, c, name, map[string]string{"pods": "0"}, "")
		if found := stopped(t, c, name); found["running"] == "" {
			t.Errorf("the notebook of %s runs", name)
		}
	}

	open := func(name string) error {
		if p := profile(t, c, name); p.Annotations[berthv1alpha1.SnapshotAnnotation] != "" || pmr.StaleOf(p) != nil {
			return fmt.Errorf("%s is stale: %v", name, p.Annotations)
		}
		return has(t, c, name, "ann:edit", "guest:view")
	}
	l.eachDies(t, controllers, names, func() { declare(t, c, s.Name, listOf(all...)) }, open)
	for _, name := range names {
		testkit.Eventually(t, controllertest.Patience, func() error { return open(name) })
		awaitQuota(t, c, name, nil, "")
		if found := stopped(t, c, name); len(found) > 0 {
			t.Errorf("the notebooks of %s are stopped: %v", name, found)
		}
	}
}
