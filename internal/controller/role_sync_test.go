// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// useSyncs has a profile made from a list, approved, and deleted when it is listed no more, and another list asked for
// with a Secret.
func useSyncs(t *testing.T, c client.Client) {
	t.Helper()
	name := testkit.Name(t, "listed")
	list := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: controllerHome, Name: name}, Data: map[string]string{
		"pmr.yaml": fmt.Sprintf("profiles:\n- name: %s\n  owner: {kind: User, name: olga@example.com}\n  contributors: [{name: ed@example.com, role: edit}]\n", name),
	}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: controllerHome, Name: name}, StringData: map[string]string{"bearerToken": "t"}}
	asked := &berthv1alpha1.ProfileSync{ObjectMeta: metav1.ObjectMeta{Name: name + "-http"}, Spec: berthv1alpha1.ProfileSyncSpec{
		Source: berthv1alpha1.SyncSource{HTTP: &berthv1alpha1.HTTPSource{URL: "https://127.0.0.1:1/pmr.yaml", SecretRef: &berthv1alpha1.SecretName{Name: name}}},
	}}
	s := &berthv1alpha1.ProfileSync{ObjectMeta: metav1.ObjectMeta{Name: name}}
	spec := "{interval: 1s, mode: Plan, source: {configMap: {name: " + name + "}}, stale: {quarantineAfter: 0s, gracePeriod: 0s, deletionPolicy: Delete}, limits: {allowEmpty: true}}"
	if err := yaml.UnmarshalStrict([]byte(spec), &s.Spec); err != nil {
		t.Fatal(err)
	}
	for _, obj := range []client.Object{list, secret, asked, s} {
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	awaitSync(t, c, asked, berthv1alpha1.ConditionSourceReady, "Unreachable")
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonApprovalPending)
	annotate(t, c, s, berthv1alpha1.SyncApproveAnnotation, s.Status.Plan.Digest)
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
	controllertest.AwaitReady(t, c, name)

	notebook := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "kubeflow.org/v1", "kind": "Notebook"}}
	notebook.SetNamespace(name)
	notebook.SetName("runs")
	if err := c.Create(t.Context(), notebook); err != nil {
		t.Fatal(err)
	}
	s.Spec.Mode = berthv1alpha1.SyncApply
	if err := c.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	list.Data["pmr.yaml"] = "profiles: []"
	if err := c.Update(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	p := &kubeflowv1.Profile{}
	testkit.Eventually(t, patience, func() error {
		if err := c.Get(t.Context(), client.ObjectKey{Name: name}, p); err != nil {
			return err
		}
		if p.Annotations[berthv1alpha1.StaleAnnotation] == "" {
			return fmt.Errorf("profile %q is not stale: %v", name, p.Annotations)
		}
		return nil
	})
	annotate(t, c, p, berthv1alpha1.ApproveDeletionAnnotation, string(p.UID))
	awaitNothingLeft(t, c, name)
}

// annotate is how berth sync approve and berth stale approve tell the controller.
func annotate(t *testing.T, c client.Client, obj client.Object, key, value string) {
	t.Helper()
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, key, value))
	if err := c.Patch(t.Context(), obj, patch); err != nil {
		t.Fatal(err)
	}
}

func awaitSync(t *testing.T, c client.Client, s *berthv1alpha1.ProfileSync, conditionType, reason string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
			return err
		}
		if have := meta.FindStatusCondition(s.Status.Conditions, conditionType); have == nil || have.Reason != reason {
			return fmt.Errorf("want %s for reason %s, have %+v", conditionType, reason, s.Status)
		}
		return nil
	})
}
