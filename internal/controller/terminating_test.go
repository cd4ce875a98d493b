// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// terminating deletes the namespace, which a finalizer keeps there until release is called.
func terminating(t *testing.T, c client.Client, name string) (release func()) {
	t.Helper()
	change := func(finalizers ...string) {
		ns := &corev1.Namespace{}
		if err := c.Get(t.Context(), client.ObjectKey{Name: name}, ns); err != nil {
			t.Fatal(err)
		}
		before := ns.DeepCopy()
		ns.Finalizers = finalizers
		if err := c.Patch(t.Context(), ns, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	change("example.com/hold")
	if err := c.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
		t.Fatal(err)
	}
	return func() { change() }
}

func TestProfile_waitsForANamespaceInTermination(t *testing.T) {
	cfg := cluster.Use(t).Config()
	c := controllertest.Client(t, cfg)
	controllertest.Start(t, cfg)

	own, foreign, restarted := testkit.Name(t, "own"), testkit.Name(t, "foreign"), testkit.Name(t, "again")
	controllertest.Create(t, c, controllertest.Profile(own, controllertest.WithQuota("requests.cpu", "4")))
	controllertest.AwaitReady(t, c, own)
	for _, name := range []string{foreign, restarted} {
		if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	var releases []func()
	for _, name := range []string{own, foreign, restarted} {
		releases = append(releases, terminating(t, c, name))
	}
	controllertest.Create(t, c, controllertest.Profile(foreign, controllertest.WithQuota("requests.cpu", "4")))
	controllertest.Create(t, c, controllertest.Profile(restarted, controllertest.WithQuota("requests.cpu", "4")))
	// A change makes the controller look while the namespace is going.
	controllertest.Change(t, c, own, func(p *kubeflowv1.Profile) { p.Spec.Owner.Name = "bob@example.com" })

	for _, name := range []string{own, foreign, restarted} {
		message := controllertest.AwaitCondition(t, c, name, "Ready", metav1.ConditionFalse, kubeflowv1.ReasonNamespaceTerminating)
		if want := "namespace " + name + " is being deleted; it will be made anew once it is gone"; message != want {
			t.Errorf("message %q, want %q", message, want)
		}
	}
	// One profile is deleted again before its namespace is gone.
	controllertest.Delete(t, c, restarted)
	for _, release := range releases {
		release()
	}
	for name, owner := range map[string]string{own: "bob@example.com", foreign: controllertest.Owner} {
		controllertest.AwaitReady(t, c, name)
		wantTenant(t, c, name, owner)
	}
	awaitNothingLeft(t, c, restarted)
}
