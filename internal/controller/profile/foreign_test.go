// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/testkit"
)

// annotateAndLabel adds what other tools add.
func annotateAndLabel(obj *unstructured.Unstructured) {
	labels, annotations := obj.GetLabels(), obj.GetAnnotations()
	if labels == nil {
		labels = map[string]string{}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	labels["argocd.argoproj.io/instance"] = "platform"
	annotations["example.com/note"] = "kept"
	obj.SetLabels(labels)
	obj.SetAnnotations(annotations)
}

// Every object gets something foreign and loses something of ours: what was lost comes back, what is foreign stays.
func TestForeign_labelsAndAnnotationsStay(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c, controllertest.WithQuota("requests.cpu", "4"))
	for _, want := range golden(t, "tenant", p) {
		obj := kind{want.GetAPIVersion(), want.GetKind()}.object(want.GetNamespace(), want.GetName())
		edit(t, c, obj, func(obj *unstructured.Unstructured) {
			annotateAndLabel(obj)
			unset("metadata", "labels", managedBy)(obj)
		})
		testkit.Eventually(t, patience, func() error {
			read(t, c, obj)
			if obj.GetLabels()[managedBy] != "berth" {
				return fmt.Errorf("%s %s was not repaired: %v", obj.GetKind(), obj.GetName(), obj.GetLabels())
			}
			return nil
		})
		if obj.GetLabels()["argocd.argoproj.io/instance"] != "platform" || obj.GetAnnotations()["example.com/note"] != "kept" {
			t.Errorf("%s %s lost something foreign: %v %v", obj.GetKind(), obj.GetName(), obj.GetLabels(), obj.GetAnnotations())
		}
	}
}

// MUST keep: only the existence of service accounts is reconciled; what others add there stays.
func TestForeign_imagePullSecretsStay(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c)
	account := accountKind.object(p.Name, "default-editor")
	secrets := []any{map[string]any{"name": "registry"}}
	edit(t, c, account, func(account *unstructured.Unstructured) {
		set(secrets, "imagePullSecrets")(account)
		set([]any{map[string]any{"name": "s3"}}, "secrets")(account)
		unset("metadata", "ownerReferences")(account)
	})
	testkit.Eventually(t, patience, func() error {
		if len(read(t, c, account).GetOwnerReferences()) == 0 {
			return fmt.Errorf("the account was not repaired")
		}
		return nil
	})
	if d := cmp.Diff(any(secrets), account.Object["imagePullSecrets"]); d != "" {
		t.Errorf("imagePullSecrets (-want +got):\n%s", d)
	}
	if account.Object["secrets"] == nil {
		t.Error("secrets are gone")
	}
}

func TestForeign_ownerReferencesStay(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c)
	other := create(t, c, configMapKind.object(p.Name, "other"))
	binding := bindingKind.object(p.Name, "namespaceAdmin")
	edit(t, c, binding, func(binding *unstructured.Unstructured) {
		set([]any{map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": string(other.GetUID()), "controller": true,
		}}, "metadata", "ownerReferences")(binding)
	})
	testkit.Eventually(t, patience, func() error {
		have := map[string]bool{}
		for _, ref := range read(t, c, binding).GetOwnerReferences() {
			have[ref.Kind] = ref.Controller != nil && *ref.Controller
		}
		if d := cmp.Diff(map[string]bool{"ConfigMap": false, "Profile": true}, have); d != "" {
			return fmt.Errorf("who controls the binding (-want +got):\n%s", d)
		}
		return nil
	})
}

// Contributors' bindings and policies, and whatever else a team makes.
func TestForeign_objectsStay(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c, controllertest.WithQuota("requests.cpu", "4"))
	contributor := bindingKind.object(p.Name, "user-bob-clusterrole-edit")
	contributor.SetAnnotations(map[string]string{"user": "bob", "role": "edit"})
	contributor.Object["roleRef"] = map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kubeflow-edit"}
	contributor.Object["subjects"] = []any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}}
	policy := policyKind.object(p.Name, "user-bob-clusterrole-edit")
	policy.Object["spec"] = map[string]any{}
	quota := quotaKind.object(p.Name, "another")
	quota.Object["spec"] = map[string]any{"hard": map[string]any{"pods": "7"}}
	others := []*unstructured.Unstructured{
		contributor, policy, quota, accountKind.object(p.Name, "robot"), configMapKind.object(p.Name, "settings"),
	}
	want := map[string]map[string]any{}
	for _, other := range others {
		want[other.GetKind()] = written(create(t, c, other))
	}

	// A change and a repair later, all of it is as it was.
	controllertest.Change(t, c, p.Name, controllertest.WithQuota("requests.cpu", "5"))
	controllertest.AwaitReady(t, c, p.Name)
	remove(t, c, bindingKind.object(p.Name, "namespaceAdmin"))
	awaitEvent(t, c, p, status.EventRepaired)
	controllertest.AwaitReady(t, c, p.Name)
	have := map[string]map[string]any{}
	for _, other := range others {
		have[other.GetKind()] = written(read(t, c, other))
	}
	if d := cmp.Diff(want, have); d != "" {
		t.Errorf("foreign objects (-want +got):\n%s", d)
	}
}

// Defect 19: a quota of that name which is not ours is not deleted when the profile asks for none.
func TestForeign_quotaOfTheSameNameStaysWhereTheProfileHasNone(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c)
	quota := quotaKind.object(p.Name, "kf-resource-quota")
	quota.Object["spec"] = map[string]any{"hard": map[string]any{"pods": "7"}}
	want := written(create(t, c, quota))

	edit(t, c, quota, annotateAndLabel) // the controller looks again
	remove(t, c, bindingKind.object(p.Name, "namespaceAdmin"))
	awaitEvent(t, c, p, status.EventRepaired)
	have := written(read(t, c, quota))
	if d := cmp.Diff(want["spec"], have["spec"]); d != "" || len(quota.GetOwnerReferences()) > 0 {
		t.Errorf("owners %v, spec (-want +got):\n%s", quota.GetOwnerReferences(), d)
	}
}

func TestQuota_goesWhenTheProfileAsksForNoneAnyMore(t *testing.T) {
	cases := map[string]map[string]any{
		"empty":         {},
		"scopes only":   {"scopes": []any{"NotTerminating"}},
		"an empty hard": {"hard": map[string]any{}},
	}
	c := onShared(t)
	for name, spec := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := readyProfile(t, c, controllertest.WithQuota("requests.cpu", "4"))
			quota := read(t, c, quotaKind.object(p.Name, "kf-resource-quota"))
			edit(t, c, profileKind.object("", p.Name), set(maps.Clone(spec), "spec", "resourceQuotaSpec"))
			controllertest.AwaitGone(t, c, quota)
			controllertest.AwaitReady(t, c, p.Name)
		})
	}
}

func TestQuota_followsTheProfile(t *testing.T) {
	cases := map[string]func(*kubeflowv1.Profile){
		"from none":      func(*kubeflowv1.Profile) {},
		"from no scopes": controllertest.WithQuota("requests.cpu", "4"),
		"from other scopes": func(p *kubeflowv1.Profile) { // which the API server refuses to change in place
			controllertest.WithQuota("pods", "4")(p)
			p.Spec.ResourceQuotaSpec.Scopes = []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeNotTerminating}
		},
	}
	c := onShared(t)
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assertQuotaFollows(t, c, readyProfile(t, c, change))
		})
	}
}

func assertQuotaFollows(t *testing.T, c client.Client, p *kubeflowv1.Profile) {
	t.Helper()
	want := map[string]any{"hard": map[string]any{"pods": "3", "requests.cpu": "1500m"}, "scopes": []any{"Terminating"}}
	edit(t, c, profileKind.object("", p.Name), set(map[string]any{
		"hard": map[string]any{"pods": int64(3), "requests.cpu": "1.5"}, "scopes": []any{"Terminating"},
	}, "spec", "resourceQuotaSpec"))
	testkit.Eventually(t, patience, func() error {
		quota := quotaKind.object(p.Name, "kf-resource-quota")
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(quota), quota); err != nil {
			return err
		}
		if d := cmp.Diff(any(want), quota.Object["spec"]); d != "" {
			return fmt.Errorf("spec (-want +got):\n%s", d)
		}
		return nil
	})
	controllertest.AwaitReady(t, c, p.Name)
}
