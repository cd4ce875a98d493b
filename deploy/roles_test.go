// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"berth.dev/berth/internal/access/coverage"
	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/kube/gather"
	"berth.dev/berth/internal/snapshot"
	"berth.dev/berth/internal/testkit"
)

// snapshots reads directories of files together.
func snapshots(t *testing.T, dirs ...string) *snapshot.Snapshot {
	t.Helper()
	all := &snapshot.Snapshot{}
	for _, dir := range dirs {
		s, err := gather.SnapshotFiles(os.DirFS(dir))
		if err != nil {
			t.Fatal(err)
		}
		all = all.With(s)
	}
	return all
}

const (
	distributionRoles = "../devcluster/manifests"
	distributionKinds = "../internal/access/coverage/testdata/distribution"
	otherKinds        = "../internal/access/coverage/testdata/known"
)

// With the shipped roles, a distribution of Kubeflow has no gap that a role can close; and each of their rules closes one.
func TestMLRoles_closeTheGapsOfTheDistribution(t *testing.T) {
	var shipped []*rbacv1.ClusterRole
	for _, o := range build(t, "kubeflow") {
		if o.GetKind() == "ClusterRole" && (strings.HasPrefix(o.GetName(), "berth-supplement-") || strings.HasPrefix(o.GetName(), "kserve-")) {
			role := as[rbacv1.ClusterRole](t, o)
			shipped = append(shipped, &role)
		}
	}
	distribution := snapshots(t, distributionRoles, distributionKinds)
	for _, f := range coverage.Check(coverage.DefaultPolicy(), distribution.With(&snapshot.Snapshot{ClusterRoles: shipped})) {
		if f.Gap() {
			t.Errorf("still there: %s", f.Message)
		}
		if f.Severity == coverage.Error && f.Code != coverage.CodeViewWrites {
			t.Errorf("%s: %s", f.Code, f.Message)
		}
		if f.Role == "berth-supplement-view" || f.Role == "berth-supplement-edit" {
			t.Errorf("of ours: %s", f.Message)
		}
	}
	// KServe's roles stand on their own: without those of others, nothing is missing either.
	bare := &snapshot.Snapshot{ClusterRoles: slices.DeleteFunc(slices.Clone(distribution.ClusterRoles), func(r *rbacv1.ClusterRole) bool {
		return r.AggregationRule == nil
	})}
	for _, r := range distribution.Resources {
		if r.Group == "serving.kserve.io" {
			bare.Resources = append(bare.Resources, r)
		}
	}
	for _, f := range coverage.Check(coverage.DefaultPolicy(), bare.With(&snapshot.Snapshot{ClusterRoles: shipped})) {
		if f.Gap() || f.Code == coverage.CodeMisspelt {
			t.Errorf("with the shipped roles alone: %s", f.Message)
		}
	}
}

// What the controller may hand out is just what the default policy gives on all kinds that are known.
func TestRoleCoverage_handsOutTheDefaultPolicyAndNoMore(t *testing.T) {
	raw, err := os.ReadFile("kustomize/components/role-coverage/kinds.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var kinds rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(raw, &kinds); err != nil {
		t.Fatal(err)
	}
	all := snapshots(t, distributionRoles, distributionKinds, otherKinds)
	all.ClusterRoles = slices.DeleteFunc(all.ClusterRoles, func(r *rbacv1.ClusterRole) bool { // but for the three, there are no roles
		return r.Name != coverage.View.Role() && r.Name != coverage.Edit.Role() && r.Name != coverage.Admin.Role()
	})
	var wanted []rbacv1.PolicyRule
	for _, role := range coverage.Generate(coverage.DefaultPolicy(), all) {
		wanted = append(wanted, role.Rules...)
	}
	for what, pair := range map[string][2][]rbacv1.PolicyRule{"too few": {kinds.Rules, wanted}, "too many": {wanted, kinds.Rules}} {
		missing, err := rbac.Covers(pair[0], pair[1])
		if err != nil || len(missing) > 0 {
			t.Errorf("%s: %v (error %v)", what, missing, err)
		}
	}
}

func TestRoleCoverage_isSwitchedOnByTheComponent(t *testing.T) {
	objects := withComponents(t, "kubeflow", "prometheus-authz", "role-coverage")
	d := one[appsv1.Deployment](t, objects, "Deployment", "profiles-deployment")
	for _, c := range d.Spec.Template.Spec.Containers {
		if on := slices.Contains(c.Env, corev1.EnvVar{Name: "ROLE_COVERAGE", Value: "true"}); on != (c.Name == "manager") {
			t.Errorf("container %s has the variables %v", c.Name, c.Env)
		}
	}
	for _, o := range objects {
		if o.GetKind() != "ClusterRole" && o.GetKind() != "Role" {
			continue
		}
		for _, rule := range as[rbacv1.ClusterRole](t, o).Rules {
			if all := slices.Concat(rule.Verbs, rule.Resources, rule.APIGroups); slices.Contains(all, "*") || slices.Contains(all, "escalate") ||
				slices.Contains(all, "secrets") && o.GetKind() == "ClusterRole" {
				t.Errorf("%s %q has %v", o.GetKind(), o.GetName(), rule)
			}
		}
	}
	hands := one[rbacv1.ClusterRole](t, objects, "ClusterRole", "berth-role-coverage-hands-out")
	kinds := one[rbacv1.ClusterRole](t, objects, "ClusterRole", "berth-role-coverage-kinds")
	if hands.AggregationRule == nil || !selects(hands.AggregationRule.ClusterRoleSelectors[0].MatchLabels, kinds.Labels) {
		t.Errorf("%s does not get the rules of %s", hands.Name, kinds.Name)
	}
	for _, name := range []string{"berth-role-coverage", "berth-role-coverage-hands-out"} {
		b := one[rbacv1.ClusterRoleBinding](t, objects, "ClusterRoleBinding", name)
		if b.RoleRef.Name != name || len(b.Subjects) != 1 || b.Subjects[0].Name != serviceAccount || b.Subjects[0].Namespace != "kubeflow" {
			t.Errorf("%s: %+v", name, b)
		}
	}
	if b := one[rbacv1.RoleBinding](t, objects, "RoleBinding", "berth-role-policy"); b.Namespace != "kubeflow" || b.Subjects[0].Name != serviceAccount {
		t.Errorf("the policy may be read by %+v", b)
	}
	for _, overlay := range overlays { // off where nobody asks for it
		for _, o := range build(t, overlay) {
			if strings.HasPrefix(o.GetName(), "berth-role-coverage") {
				t.Errorf("%s has %s", overlay, o.GetName())
			}
		}
	}
}

// withComponents renders an overlay with more components.
func withComponents(t *testing.T, overlay string, components ...string) []unstructured.Unstructured {
	t.Helper()
	dir := t.TempDir()
	relative := func(path string) string {
		absolute, err := filepath.Abs(filepath.Join("kustomize", path))
		if err != nil {
			t.Fatal(err)
		}
		relative, err := filepath.Rel(dir, absolute)
		if err != nil {
			t.Fatal(err)
		}
		return relative
	}
	text := "namespace: kubeflow\nresources:\n- " + relative("overlays/"+overlay) + "\ntransformers:\n- " + relative("transformers/cluster-scoped") + "\ncomponents:\n"
	for _, component := range components {
		text += "- " + relative("components/"+component) + "\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return buildDir(t, dir)
}

// The case that began it, with the shipped roles: from a notebook, a TrainedModel can be made; by those who look, it can't.
func TestMLRoles_letDefaultEditorMakeTrainedModels(t *testing.T) {
	server := testkit.StartCluster(t, testkit.WithCRDs("../internal/controller/rolecoverage/testdata/crds"))
	c := controllertest.Client(t, server.Config())
	// KServe's roles as they were before TrainedModels.
	for _, name := range []string{"kubeflow-kserve-edit", "kubeflow-kserve-view"} {
		role := &rbacv1.ClusterRole{}
		if err := c.Get(t.Context(), client.ObjectKey{Name: name}, role); err != nil {
			t.Fatal(err)
		}
		role.Rules[0].Resources = []string{"inferenceservices"}
		if err := c.Update(t.Context(), role); err != nil {
			t.Fatal(err)
		}
	}
	controllertest.Start(t, server.Config())
	team := testkit.Name(t, "team")
	controllertest.Create(t, c, controllertest.Profile(team))
	controllertest.AwaitReady(t, c, team)
	editor := controllertest.Client(t, server.ServiceAccountConfig(t, team, "default-editor"))
	viewer := controllertest.Client(t, server.ServiceAccountConfig(t, team, "default-viewer"))
	forbidden := func(err error) error {
		if !apierrors.IsForbidden(err) {
			return fmt.Errorf("want it forbidden, have %w", err)
		}
		return nil
	}
	testkit.Eventually(t, patience, func() error { // the roles were put together from others before
		return forbidden(editor.Create(t.Context(), trainedModel(team), client.DryRunAll))
	})

	for _, o := range build(t, "kubeflow") {
		if o.GetKind() == "ClusterRole" {
			install(t, c, []unstructured.Unstructured{o})
		}
	}

	testkit.Eventually(t, patience, func() error { return editor.Create(t.Context(), trainedModel(team)) })
	one := trainedModel(team)
	list := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "serving.kserve.io/v1alpha1", "kind": "TrainedModelList"}}
	testkit.Eventually(t, patience, func() error { return viewer.Get(t.Context(), client.ObjectKeyFromObject(one), one) })
	if err := viewer.List(t.Context(), list, client.InNamespace(team)); err != nil || len(list.Items) != 1 {
		t.Errorf("list as default-viewer: %d (error %v)", len(list.Items), err)
	}
	for verb, try := range map[string]func() error{
		"create": func() error { return viewer.Create(t.Context(), trainedModel(team), client.DryRunAll) },
		"update": func() error { return viewer.Update(t.Context(), one.DeepCopy()) },
		"patch": func() error {
			return viewer.Patch(t.Context(), one.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"a":"b"}}}`)))
		},
		"delete":       func() error { return viewer.Delete(t.Context(), one.DeepCopy()) },
		"write status": func() error { return viewer.Status().Update(t.Context(), one.DeepCopy()) },
	} {
		if err := forbidden(try()); err != nil {
			t.Errorf("%s as default-viewer: %v", verb, err)
		}
	}
	if err := editor.Delete(t.Context(), one); err != nil {
		t.Errorf("delete as default-editor: %v", err)
	}
}

func trainedModel(namespace string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "serving.kserve.io/v1alpha1", "kind": "TrainedModel",
		"metadata": map[string]any{"namespace": namespace, "name": "one"},
		"spec": map[string]any{
			"inferenceService": "server", "model": map[string]any{"framework": "sklearn", "memory": "256Mi", "storageUri": "s3://models/one"},
		},
	}}
}
