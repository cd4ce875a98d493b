// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"os"
	"path/filepath"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// The component gives the controller what roles with the label give, and the example is one.
func TestHooks_areGrantedByLabel(t *testing.T) {
	overlay := t.TempDir()
	component, err := filepath.Abs("kustomize/components/hooks")
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(overlay, component)
	if err != nil {
		t.Fatal(err)
	}
	text := "namespace: kubeflow\ncomponents:\n- " + relative + "\n"
	if err := os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	objects := buildDir(t, overlay)
	hooks := one[rbacv1.ClusterRole](t, objects, "ClusterRole", "berth-hooks")
	if len(hooks.Rules) != 0 || hooks.AggregationRule == nil || len(hooks.AggregationRule.ClusterRoleSelectors) != 1 {
		t.Fatalf("berth-hooks is %+v", hooks)
	}
	binding := one[rbacv1.ClusterRoleBinding](t, objects, "ClusterRoleBinding", "berth-hooks")
	if binding.RoleRef.Name != hooks.Name || len(binding.Subjects) != 1 || binding.Subjects[0].Name != serviceAccount {
		t.Errorf("%s is bound to %+v", binding.RoleRef.Name, binding.Subjects)
	}
	raw, err := os.ReadFile("../examples/hooks/kfp-role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var example rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(raw, &example); err != nil {
		t.Fatal(err)
	}
	if !selects(hooks.AggregationRule.ClusterRoleSelectors[0].MatchLabels, example.Labels) {
		t.Errorf("the example has the labels %v", example.Labels)
	}
}
