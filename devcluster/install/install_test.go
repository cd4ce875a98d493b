// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"os"
	"path/filepath"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth.dev/berth/devcluster/manifests"
)

const anchorCRD = `kind: CustomResourceDefinition
metadata: {name: anchors.example.com}
spec:
  group: example.com
  names: {plural: anchors}
  versions: [{name: v1, served: true}, {name: v1beta1, served: false}]
`

func TestCRDs(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{
		"a.yaml":             "# a comment\n---\n" + anchorCRD + "---\n" + anchorCRD,
		"kustomization.yaml": "kind: Kustomization\nresources: [a.yaml]\n",
		"README.md":          "not YAML: {",
		".a.yaml.swp.yaml":   "half: [",
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	crds, err := CRDs([]string{dir, dir})
	if err != nil {
		t.Fatal(err)
	}
	if len(crds) != 1 || crds[0].GetName() != "anchors.example.com" {
		t.Errorf("want one CRD, got %v", crds)
	}
}

func TestMissing(t *testing.T) {
	crds, err := parse([]byte(anchorCRD))
	if err != nil {
		t.Fatal(err)
	}
	served := []*metav1.APIResourceList{{GroupVersion: "example.com/v1", APIResources: []metav1.APIResource{{Name: "anchors"}}}}
	if err := missing(crds, served); err != nil {
		t.Errorf("all served versions are listed, and yet: %v", err)
	}
	if err := missing(crds, nil); err == nil {
		t.Error("nothing is listed, and yet nothing is missing")
	}
}

func TestUnaggregated(t *testing.T) {
	rule := func(resource string) []rbacv1.PolicyRule {
		return []rbacv1.PolicyRule{{APIGroups: []string{"example.com"}, Resources: []string{resource}, Verbs: []string{"get"}}}
	}
	part := rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "part", Labels: map[string]string{"aggregate": "true"}},
		Rules:      rule("anchors"),
	}
	whole := rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "whole"},
		AggregationRule: &rbacv1.AggregationRule{
			ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: part.Labels}},
		},
	}
	if err := unaggregated([]rbacv1.ClusterRole{part, whole}); err == nil {
		t.Error("the rule was not copied, and yet nothing is missing")
	}
	whole.Rules = part.Rules
	if err := unaggregated([]rbacv1.ClusterRole{part, whole}); err != nil {
		t.Errorf("the rule was copied, and yet: %v", err)
	}
}

// TestKubeflowRoles keeps every role of the manifest connected: one without a label would silently reach nobody.
func TestKubeflowRoles(t *testing.T) {
	roles, err := parse(manifests.KubeflowRoles)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, role := range roles {
		if seen[role.GetName()] {
			t.Errorf("ClusterRole %q is there twice", role.GetName())
		}
		seen[role.GetName()] = true
		if len(role.GetLabels()) == 0 && role.GetName() != "kubeflow-admin" {
			t.Errorf("ClusterRole %q is aggregated to nothing", role.GetName())
		}
	}
}
