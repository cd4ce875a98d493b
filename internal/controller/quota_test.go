// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// relaxQuantities takes the rules about quantities out of the CRD, as in the time before there were any. restore puts
// them back.
func relaxQuantities(t *testing.T, c client.Client) (restore func()) {
	t.Helper()
	crd := &unstructured.Unstructured{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	crd.SetName("profiles.kubeflow.org")
	edit := func(change func(versions []any)) {
		t.Helper()
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(crd), crd); err != nil {
			t.Fatal(err)
		}
		change(crd.Object["spec"].(map[string]any)["versions"].([]any))
		if err := c.Update(t.Context(), crd); err != nil {
			t.Fatal(err)
		}
	}
	var strict []any
	edit(func(versions []any) {
		strict = runtime.DeepCopyJSONValue(versions).([]any)
		for _, version := range versions {
			path := strings.Fields("schema openAPIV3Schema properties spec properties resourceQuotaSpec properties hard additionalProperties")
			quantity, found, err := unstructured.NestedFieldNoCopy(version.(map[string]any), path...)
			if err != nil || !found {
				t.Fatalf("no schema of a quantity at %v (error %v)", path, err)
			}
			delete(quantity.(map[string]any), "pattern")
			delete(quantity.(map[string]any), "x-kubernetes-validations")
		}
	})
	return func() { edit(func(versions []any) { copy(versions, strict) }) }
}

func TestProfile_withAQuantityNobodyCanParse(t *testing.T) {
	t.Parallel() // on a cluster of its own, whose CRD it changes
	server := testkit.StartCluster(t)
	c := controllertest.Client(t, server.Config())
	controllertest.Start(t, server.Config())
	broken, fresh, sound := testkit.Name(t, "broken"), testkit.Name(t, "fresh"), testkit.Name(t, "sound")
	controllertest.Create(t, c, controllertest.Profile(broken, controllertest.WithQuota("requests.cpu", "4")))
	controllertest.AwaitReady(t, c, broken)

	restore := relaxQuantities(t, c)
	nonsense := controllertest.WithQuota("requests.cpu", "a lot")
	testkit.Eventually(t, patience, func() error { // a CRD takes a moment to count
		return c.Create(t.Context(), controllertest.Profile(fresh, nonsense))
	})
	controllertest.Change(t, c, broken, nonsense)
	restore()
	controllertest.Create(t, c, controllertest.Profile(sound, controllertest.WithQuota("requests.cpu", "4")))

	controllertest.AwaitReady(t, c, sound)
	wantTenant(t, c, sound, controllertest.Owner)
	for _, name := range []string{broken, fresh} {
		message := controllertest.AwaitCondition(t, c, name, "QuotaReady", metav1.ConditionFalse, kubeflowv1.ReasonQuotaInvalid)
		if !strings.Contains(message, `spec.resourceQuotaSpec.hard[requests.cpu] is "a lot"`) {
			t.Errorf("the message does not say what is wrong: %s", message)
		}
		controllertest.AwaitCondition(t, c, name, "Ready", metav1.ConditionFalse, kubeflowv1.ReasonQuotaInvalid)
		p := &kubeflowv1.Profile{}
		if err := c.Get(t.Context(), client.ObjectKey{Name: name}, p); err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{"NamespaceReady", "AccessReady", "MeshReady"} {
			if !meta.IsStatusConditionTrue(p.Status.Conditions, part) {
				t.Errorf("profile %q: %s is not true: %+v", name, part, p.Status.Conditions)
			}
		}
	}
	quota := &corev1.ResourceQuota{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: broken, Name: "kf-resource-quota"}, quota); err != nil {
		t.Fatalf("the quota of earlier did not stay: %v", err)
	}
	if got := quota.Spec.Hard["requests.cpu"]; got.String() != "4" {
		t.Errorf("the quota of earlier is now %v", quota.Spec.Hard)
	}
	// Whoever mends it is served, and whoever deletes it gets rid of it.
	controllertest.Change(t, c, fresh, controllertest.WithQuota("requests.cpu", "8"))
	controllertest.AwaitReady(t, c, fresh)
	controllertest.Delete(t, c, broken)
	awaitNothingLeft(t, c, broken)
}
