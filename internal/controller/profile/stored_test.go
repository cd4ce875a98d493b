// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

var crdKind = kind{"apiextensions.k8s.io/v1", "CustomResourceDefinition"}

// storedBefore creates profiles as a cluster has them whose CustomResourceDefinition had no rules yet.
func storedBefore(t *testing.T, c client.Client, profiles ...*unstructured.Unstructured) {
	t.Helper()
	crd := read(t, c, crdKind.object("", "profiles.kubeflow.org"))
	rules := crd.DeepCopy().Object["spec"]
	edit(t, c, crd, func(crd *unstructured.Unstructured) { dropRules(crd.Object) })
	for _, p := range profiles {
		testkit.Eventually(t, patience, func() error { // the server takes up a changed definition with a delay
			return c.Create(t.Context(), p.DeepCopy())
		})
	}
	edit(t, c, crd, func(crd *unstructured.Unstructured) { crd.Object["spec"] = rules })
	testkit.Eventually(t, patience, func() error {
		err := c.Create(t.Context(), profileKind.object("", "no.owner"), client.DryRunAll)
		if !apierrors.IsInvalid(err) {
			return fmt.Errorf("the rules are not in force again: %w", err)
		}
		return nil
	})
}

func dropRules(value any) {
	switch value := value.(type) {
	case map[string]any:
		delete(value, "x-kubernetes-validations")
		for _, inner := range value {
			dropRules(inner)
		}
	case []any:
		for _, inner := range value {
			dropRules(inner)
		}
	}
}

// Defect 15: profiles that were stored before anything was checked don't loop in errors. They stay editable, say what
// is wrong, and give nobody more than was meant.
func TestStoredBefore(t *testing.T) {
	cfg, c := onOwn(t)
	cases := map[string]struct {
		name        string
		spec        map[string]any
		wantReason  string
		wantMessage string
	}{
		"no owner":                  {"no-owner", map[string]any{}, "OwnerInvalid", "spec.owner.kind"},
		"owner of another kind":     {"robot", owned("Robot", "ann"), "OwnerInvalid", "use User, Group or ServiceAccount"},
		"owner without name":        {"nobody", owned("User", ""), "OwnerInvalid", "spec.owner.name is empty"},
		"owner who is everybody":    {"everybody", owned("User", "*"), "OwnerInvalid", "wildcard"},
		"owner who is a domain":     {"domain", owned("Group", "*@example.com"), "OwnerInvalid", "wildcard"},
		"account without namespace": {"account", owned("ServiceAccount", "robot"), "OwnerInvalid", "spec.owner.namespace is empty"},
		"name with a dot":           {"team.a", owned("User", "ann"), "NameInvalid", "team.a"},
		"long name":                 {strings.Repeat("n", 64), owned("User", "ann"), "NameInvalid", strings.Repeat("n", 64)},
		"reserved name":             {"kubeflow", owned("User", "ann"), "NamespaceReserved", "namespace of the platform"},
		"unparsable quantity":       {"quantity", withHard(owned("User", "ann"), "1e1.5"), "QuotaInvalid", "1e1.5"},
	}
	platform := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kubeflow", Annotations: map[string]string{
		kubeflowv1.OwnerAnnotation: "ann", kubeflowv1.AdoptAnnotation: "ann",
	}}}
	create(t, c, platform)
	var stored []*unstructured.Unstructured
	for _, tc := range cases {
		obj := profileKind.object("", tc.name)
		obj.Object["spec"] = tc.spec
		stored = append(stored, obj)
	}
	storedBefore(t, c, stored...)
	controllertest.Start(t, cfg)

	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if message := awaitRefusal(t, c, tc.name, tc.wantReason); !strings.Contains(message, tc.wantMessage) {
				t.Errorf("message %q does not say %q", message, tc.wantMessage)
			}
			assertNobodyElseGetsIn(t, c, tc.name)
			// Ratcheting: what is wrong may stay while the rest is edited.
			edit(t, c, profileKind.object("", tc.name), func(p *unstructured.Unstructured) {
				p.SetAnnotations(map[string]string{"note": "still here"})
				plugins := []any{map[string]any{"kind": "Unknown"}}
				if err := unstructured.SetNestedSlice(p.Object, plugins, "spec", "plugins"); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
	if have := read(t, c, namespaceKind.object("", "kubeflow")); len(have.GetOwnerReferences()) > 0 || have.GetLabels()[kubeflowv1.ManagedByLabel] != "" {
		t.Errorf("the platform's namespace was touched: %v", have.Object["metadata"])
	}
}

func TestStoredBefore_mendedOwnerBecomesReady(t *testing.T) {
	cfg, c := onOwn(t)
	obj := profileKind.object("", testkit.Name(t, "team"))
	obj.Object["spec"] = owned("User", "*")
	storedBefore(t, c, obj)
	controllertest.Start(t, cfg)
	awaitRefusal(t, c, obj.GetName(), kubeflowv1.ReasonOwnerInvalid)

	controllertest.Change(t, c, obj.GetName(), withOwner(user("ann@example.com")))
	controllertest.AwaitReady(t, c, obj.GetName())
	if have := read(t, c, bindingKind.object(obj.GetName(), "namespaceAdmin")); have.GetAnnotations()["user"] != "ann@example.com" {
		t.Errorf("namespaceAdmin is annotated %v", have.GetAnnotations())
	}
}

// assertNobodyElseGetsIn looks for wildcards and for an owner in whatever was made for the profile.
func assertNobodyElseGetsIn(t *testing.T, c client.Client, profile string) {
	t.Helper()
	var bindings rbacv1.RoleBindingList
	if err := c.List(t.Context(), &bindings, client.InNamespace(profile)); err != nil {
		t.Fatal(err)
	}
	for _, binding := range bindings.Items {
		if strings.Contains(fmt.Sprint(binding.Subjects), "*") {
			t.Errorf("role binding %s has the subjects %v", binding.Name, binding.Subjects)
		}
	}
	policies := &unstructured.UnstructuredList{}
	policies.SetAPIVersion(policyKind.apiVersion)
	policies.SetKind(policyKind.name + "List")
	if err := c.List(t.Context(), policies, client.InNamespace(profile)); err != nil {
		t.Fatal(err)
	}
	for _, policy := range policies.Items {
		spec, err := json.Marshal(policy.Object["spec"])
		if err != nil {
			t.Fatal(err)
		}
		if rest := strings.ReplaceAll(string(spec), `"*/api/kernels"`, ""); strings.Contains(rest, "*") {
			t.Errorf("policy %s has a wildcard: %s", policy.GetName(), spec)
		}
	}
}

func owned(kind, name string) map[string]any {
	return map[string]any{"owner": map[string]any{"kind": kind, "name": name}}
}

func withHard(spec map[string]any, quantity string) map[string]any {
	spec["resourceQuotaSpec"] = map[string]any{"hard": map[string]any{"requests.cpu": quantity}}
	return spec
}
