// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/testkit"
)

// drift is what somebody does to the objects of a profile that is ready.
type drift func(t *testing.T, c client.Client, profile string)

// assertRepaired makes a profile, has each case spoil it, and waits until all is as it was.
func assertRepaired(t *testing.T, cases map[string]drift) {
	c := onShared(t)
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := readyProfile(t, c, controllertest.WithQuota("requests.cpu", "4"))
			want := readTenant(t, c, p)
			spoil(t, c, p.Name)
			awaitTenant(t, c, p, want)
			awaitEvent(t, c, p, status.EventRepaired)
			controllertest.AwaitReady(t, c, p.Name)
		})
	}
}

func deleted(kind kind, name string) drift {
	return func(t *testing.T, c client.Client, profile string) { remove(t, c, kind.object(profile, name)) }
}

func edited(kind kind, name string, change func(*unstructured.Unstructured)) drift {
	return func(t *testing.T, c client.Client, profile string) {
		namespace := profile
		if kind == namespaceKind {
			namespace, name = "", profile
		}
		edit(t, c, kind.object(namespace, name), change)
	}
}

// replaced deletes the object and makes it anew with changes: how a roleRef is changed.
func replaced(kind kind, name string, change func(*unstructured.Unstructured)) drift {
	return func(t *testing.T, c client.Client, profile string) {
		obj := read(t, c, kind.object(profile, name))
		remove(t, c, obj)
		obj.SetResourceVersion("")
		obj.SetUID("")
		change(obj)
		if err := c.Create(t.Context(), obj); err != nil {
			t.Logf("the controller was faster: %v", err)
		}
	}
}

func set(value any, path ...string) func(*unstructured.Unstructured) {
	return func(obj *unstructured.Unstructured) {
		if err := unstructured.SetNestedField(obj.Object, value, path...); err != nil {
			panic(err) // a mistake in the test itself
		}
	}
}

func unset(path ...string) func(*unstructured.Unstructured) {
	return func(obj *unstructured.Unstructured) { unstructured.RemoveNestedField(obj.Object, path...) }
}

func notControlled(obj *unstructured.Unstructured) {
	owners := obj.GetOwnerReferences()
	owners[0].Controller, owners[0].BlockOwnerDeletion = nil, nil
	obj.SetOwnerReferences(owners)
}

const managedBy = "app.kubernetes.io/managed-by"

func TestDrift_serviceAccountIsRepaired(t *testing.T) {
	assertRepaired(t, map[string]drift{
		"default-editor deleted":   deleted(accountKind, "default-editor"),
		"default-viewer deleted":   deleted(accountKind, "default-viewer"),
		"owner references removed": edited(accountKind, "default-editor", unset("metadata", "ownerReferences")),
		"label removed":            edited(accountKind, "default-viewer", unset("metadata", "labels", managedBy)),
	})
}

// Defect 14: drift of roleRef, annotations and owner references is repaired.
func TestDrift_roleBindingIsRepaired(t *testing.T) {
	mallory := []any{map[string]any{"kind": "User", "name": "mallory", "apiGroup": "rbac.authorization.k8s.io"}}
	role := set("admin", "roleRef", "name")
	assertRepaired(t, map[string]drift{
		"default-editor deleted":           deleted(bindingKind, "default-editor"),
		"default-viewer deleted":           deleted(bindingKind, "default-viewer"),
		"namespaceAdmin deleted":           deleted(bindingKind, "namespaceAdmin"),
		"subjects of an account replaced":  edited(bindingKind, "default-editor", set(mallory, "subjects")),
		"subjects of the owner replaced":   edited(bindingKind, "namespaceAdmin", set(mallory, "subjects")),
		"subjects of the owner removed":    edited(bindingKind, "namespaceAdmin", unset("subjects")),
		"subject added":                    edited(bindingKind, "namespaceAdmin", addSubject),
		"role of the owner replaced":       replaced(bindingKind, "namespaceAdmin", role),
		"role of an account replaced":      replaced(bindingKind, "default-viewer", role),
		"annotation user removed":          edited(bindingKind, "namespaceAdmin", unset("metadata", "annotations", "user")),
		"annotation user changed":          edited(bindingKind, "namespaceAdmin", set("mallory", "metadata", "annotations", "user")),
		"annotation role removed":          edited(bindingKind, "namespaceAdmin", unset("metadata", "annotations", "role")),
		"owner references removed":         edited(bindingKind, "namespaceAdmin", unset("metadata", "ownerReferences")),
		"owner reference not a controller": edited(bindingKind, "default-editor", notControlled),
		"label changed":                    edited(bindingKind, "namespaceAdmin", set("mallory", "metadata", "labels", managedBy)),
	})
}

func addSubject(binding *unstructured.Unstructured) {
	subjects, _, _ := unstructured.NestedSlice(binding.Object, "subjects")
	subjects = append(subjects, map[string]any{"kind": "User", "name": "mallory", "apiGroup": "rbac.authorization.k8s.io"})
	set(subjects, "subjects")(binding)
}

// Defect 14: annotations and owner references as well as the spec.
func TestDrift_policyIsRepaired(t *testing.T) {
	owners, invitees := "ns-owner-access-istio", "ns-access-istio"
	selector := map[string]any{"app": "notebook"}
	assertRepaired(t, map[string]drift{
		"owner's deleted":              deleted(policyKind, owners),
		"invitees' deleted":            deleted(policyKind, invitees),
		"rules replaced":               edited(policyKind, owners, set([]any{map[string]any{}}, "spec", "rules")),
		"rules removed":                edited(policyKind, owners, unset("spec", "rules")),
		"selector added":               edited(policyKind, owners, set(selector, "spec", "selector", "matchLabels")),
		"action DENY added":            edited(policyKind, owners, set("DENY", "spec", "action")),
		"invitees' references removed": edited(policyKind, invitees, unset("metadata", "ownerReferences")),
		"annotation user changed":      edited(policyKind, owners, set("mallory", "metadata", "annotations", "user")),
		"annotations removed":          edited(policyKind, owners, unset("metadata", "annotations")),
		"owner references removed":     edited(policyKind, owners, unset("metadata", "ownerReferences")),
		"invitees' label removed":      edited(policyKind, invitees, unset("metadata", "labels")),
		"edited through version v1":    edited(kind{"security.istio.io/v1", "AuthorizationPolicy"}, owners, unset("spec", "rules")),
	})
}

// Defect 14: the quota is watched.
func TestDrift_quotaIsRepaired(t *testing.T) {
	assertRepaired(t, map[string]drift{
		"deleted":                  deleted(quotaKind, "kf-resource-quota"),
		"limit raised":             edited(quotaKind, "kf-resource-quota", set("400", "spec", "hard", "requests.cpu")),
		"limit removed":            edited(quotaKind, "kf-resource-quota", unset("spec", "hard")),
		"limit added":              edited(quotaKind, "kf-resource-quota", set("1", "spec", "hard", "pods")),
		"owner references removed": edited(quotaKind, "kf-resource-quota", unset("metadata", "ownerReferences")),
		"label removed":            edited(quotaKind, "kf-resource-quota", unset("metadata", "labels")),
	})
}

func TestDrift_namespaceIsRepaired(t *testing.T) {
	assertRepaired(t, map[string]drift{
		"owner annotation removed":           edited(namespaceKind, "", unset("metadata", "annotations", "owner")),
		"owner annotation changed":           edited(namespaceKind, "", set("mallory", "metadata", "annotations", "owner")),
		"made-for annotation removed":        edited(namespaceKind, "", unset("metadata", "annotations", "berth.dev/made-for")),
		"label of the file removed":          edited(namespaceKind, "", unset("metadata", "labels", "pipelines.kubeflow.org/enabled")),
		"label istio-injection removed":      edited(namespaceKind, "", unset("metadata", "labels", "istio-injection")),
		"label managed-by removed":           edited(namespaceKind, "", unset("metadata", "labels", managedBy)),
		"owner references removed":           edited(namespaceKind, "", unset("metadata", "ownerReferences")),
		"owner reference without controller": edited(namespaceKind, "", notControlled),
	})
}

// Defect 14: what was changed while no controller ran, a roleRef above all, does not end in an endless error.
func TestDrift_whileTheControllerWasDown(t *testing.T) {
	cfg, c := onOwn(t)
	first := controllertest.Start(t, cfg)
	p := readyProfile(t, c, controllertest.WithQuota("requests.cpu", "4"))
	want := readTenant(t, c, p)
	first.Stop(t)
	for _, spoil := range []drift{
		replaced(bindingKind, "namespaceAdmin", set("view", "roleRef", "name")),
		replaced(bindingKind, "default-editor", set("kubeflow-admin", "roleRef", "name")),
		deleted(accountKind, "default-viewer"),
		deleted(policyKind, "ns-access-istio"),
		edited(policyKind, "ns-owner-access-istio", set("DENY", "spec", "action")),
		edited(quotaKind, "kf-resource-quota", set("400", "spec", "hard", "requests.cpu")),
		edited(namespaceKind, "", unset("metadata", "annotations", "owner")),
		edited(namespaceKind, "", unset("metadata", "ownerReferences")),
		edited(namespaceKind, "", unset("metadata", "labels", "istio-injection")),
	} {
		spoil(t, c, p.Name)
	}
	controllertest.Start(t, cfg)
	awaitTenant(t, c, p, want)
	controllertest.AwaitReady(t, c, p.Name)
}

func TestDrift_finalizerIsRepaired(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c)
	edit(t, c, p, func(p *kubeflowv1.Profile) { p.Finalizers = nil })
	testkit.Eventually(t, patience, func() error {
		if len(read(t, c, p).Finalizers) == 0 {
			return errors.New("no finalizer")
		}
		return nil
	})
}

// Conditions are computed from what is there, never from earlier conditions.
func TestDrift_statusIsRepaired(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c)
	p.Status.Conditions = []metav1.Condition{{
		Type: "Ready", Status: metav1.ConditionFalse, Reason: "Mallory", Message: "broken", LastTransitionTime: metav1.Now(),
	}}
	if err := c.Status().Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	controllertest.AwaitReady(t, c, p.Name)
	if have := conditions(t, c, p.Name); len(have) != 5 {
		t.Errorf("conditions %v", have)
	}
}
