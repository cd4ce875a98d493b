// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package deploy holds the manifests. There is no Go code here but this test of what they render to.
package deploy

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// overlays are those with the controller; kfamOverlay has the access-management API alone.
var overlays = []string{"standalone", "kubeflow", "kubeflow-pss"}

const kfamOverlay = "kfam"

const (
	role           = "profiles-controller-role"
	serviceAccount = "profiles-controller-service-account"
	image          = "ghcr.io/berth-dev/berth:latest"
)

// The names are those of Kubeflow's manifests (v2.0.0): an installation of those is replaced by applying ours.
func TestOverlays_renderTheNamesKubeflowUses(t *testing.T) {
	inEvery := []string{
		"ClusterRole profiles-controller-role",
		"ClusterRole profiles-profile-editor-role",
		"ClusterRole profiles-profile-viewer-role",
		"ClusterRoleBinding profiles-cluster-rolebinding",
		"ConfigMap NAMESPACE/profiles-config-HASH",
		"ClusterRole berth-auditor",
		"ClusterRole berth-credentials-token",
		"ClusterRole berth-hooks",
		"ClusterRole berth-team-admin",
		"ClusterRole berth-team-admin-serving",
		"ClusterRole berth-team-member",
		"ClusterRole berth-team-member-work",
		"ClusterRoleBinding berth-hooks",
		"ConfigMap NAMESPACE/profiles-namespace-labels-data-HASH",
		"CustomResourceDefinition profileclasses.berth.dev",
		"CustomResourceDefinition profiles.kubeflow.org",
		"CustomResourceDefinition profilesyncs.berth.dev",
		"Deployment NAMESPACE/profiles-deployment",
		"Role NAMESPACE/profiles-leader-election-role",
		"Role NAMESPACE/profiles-sync-sources-role",
		"RoleBinding NAMESPACE/profiles-leader-election-rolebinding",
		"RoleBinding NAMESPACE/profiles-sync-sources-rolebinding",
		"ServiceAccount NAMESPACE/profiles-controller-service-account",
		"ValidatingAdmissionPolicy berth-deletion-protection",
		"ValidatingAdmissionPolicyBinding berth-deletion-protection",
	}
	inKubeflow := []string{
		"AuthorizationPolicy NAMESPACE/profiles-kfam",
		"ClusterRole berth-supplement-edit",
		"ClusterRole berth-supplement-view",
		"ClusterRole kserve-admin",
		"ClusterRole kserve-edit",
		"ClusterRole kserve-view",
		"ClusterRole profiles-access-management-role",
		"ClusterRoleBinding profiles-access-management-rolebinding",
		"NetworkPolicy NAMESPACE/profiles-kfam",
		"Service NAMESPACE/profiles-kfam",
		"VirtualService NAMESPACE/profiles-kfam",
	}
	for _, rail := range guardrails {
		name := "berth-guardrails-" + rail
		inEvery = append(inEvery, "ValidatingAdmissionPolicy "+name, "ValidatingAdmissionPolicyBinding "+name)
	}
	cases := map[string]struct {
		namespace string
		extra     []string
	}{
		"standalone":   {"profiles-system", []string{"Namespace profiles-system"}},
		"kubeflow":     {"kubeflow", inKubeflow},
		"kubeflow-pss": {"kubeflow", inKubeflow},
	}
	for overlay, tc := range cases {
		t.Run(overlay, func(t *testing.T) {
			want := slices.Concat(inEvery, tc.extra)
			for i := range want {
				want[i] = strings.ReplaceAll(want[i], "NAMESPACE", tc.namespace)
			}
			wantObjects(t, build(t, overlay), want)
		})
	}
}

// wantObjects fails the test unless objects are those, as KIND NAMESPACE/NAME.
func wantObjects(t *testing.T, objects []unstructured.Unstructured, want []string) {
	t.Helper()
	hash := regexp.MustCompile(`-[a-z0-9]{10}$`)
	var got []string
	for _, o := range objects {
		name := o.GetName()
		if o.GetKind() == "ConfigMap" {
			name = hash.ReplaceAllString(name, "-HASH")
		}
		if o.GetNamespace() != "" {
			name = o.GetNamespace() + "/" + name
		}
		got = append(got, o.GetKind()+" "+name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

func TestDeployment_replacesKubeflows(t *testing.T) {
	cases := map[string]struct{ wantImages map[string]string }{
		"standalone":   {map[string]string{"manager": image}},
		"kubeflow":     {map[string]string{"manager": image, "access-management": image}},
		"kubeflow-pss": {map[string]string{"manager": image, "access-management": image}},
	}
	// Immutable in a cluster, so a difference would make the replacement fail.
	wantSelector := map[string]string{
		"app":                          "profile-controller",
		"app.kubernetes.io/component":  "controller-manager",
		"app.kubernetes.io/managed-by": "kustomize",
		"app.kubernetes.io/name":       "profile-controller",
		"app.kubernetes.io/part-of":    "kubeflow-dashboard",
	}
	for overlay, tc := range cases {
		t.Run(overlay, func(t *testing.T) {
			d := one[appsv1.Deployment](t, build(t, overlay), "Deployment", "profiles-deployment")
			if diff := cmp.Diff(wantSelector, d.Spec.Selector.MatchLabels); diff != "" {
				t.Errorf("selector (-want +got):\n%s", diff)
			}
			labels := d.Spec.Template.Labels
			if !selects(wantSelector, labels) || labels["kustomize.component"] != "profiles" {
				t.Errorf("labels of the pods: %v", labels)
			}
			if got := d.Spec.Template.Spec.ServiceAccountName; got != serviceAccount {
				t.Errorf("service account %q", got)
			}
			images := map[string]string{}
			for _, c := range d.Spec.Template.Spec.Containers {
				images[c.Name] = c.Image
			}
			wantRestricted(t, d)
			if diff := cmp.Diff(tc.wantImages, images); diff != "" {
				t.Errorf("images (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConfiguration_hasTheKeysOfKubeflow(t *testing.T) {
	want := []string{
		"ADMIN", "CONTRIBUTOR_POLICIES", "ISTIO_INGRESS_GATEWAY_PRINCIPAL", "KFP_UI_PRINCIPAL", "NOTEBOOK_CONTROLLER_PRINCIPAL",
		"USERID_HEADER", "USERID_PREFIX", "VIEW_METHODS", "WORKLOAD_IDENTITY", // two of them are ours
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(config(t, build(t, "kubeflow"))))); diff != "" {
		t.Errorf("keys of profiles-config (-want +got):\n%s", diff)
	}
}

func TestRoles_areLeast(t *testing.T) {
	for _, overlay := range append(slices.Clone(overlays), kfamOverlay) {
		account := serviceAccount
		if overlay == kfamOverlay {
			account = "profiles-kfam"
		}
		t.Run(overlay, func(t *testing.T) {
			for _, o := range build(t, overlay) {
				switch o.GetKind() {
				case "ClusterRole", "Role":
					for _, rule := range as[rbacv1.ClusterRole](t, o).Rules {
						if all := slices.Concat(rule.Verbs, rule.Resources, rule.APIGroups); slices.Contains(all, "*") {
							t.Errorf("%s %q has a wildcard: %v", o.GetKind(), o.GetName(), rule)
						}
						if slices.Contains(rule.Verbs, "escalate") || slices.Contains(rule.Verbs, "impersonate") ||
							slices.Contains(rule.Verbs, "bind") && len(rule.ResourceNames) == 0 {
							t.Errorf("%s %q can make itself more powerful: %v", o.GetKind(), o.GetName(), rule)
						}
					}
				case "ClusterRoleBinding", "RoleBinding":
					b := as[rbacv1.ClusterRoleBinding](t, o)
					if b.RoleRef.Name == "cluster-admin" {
						t.Errorf("%s %q binds cluster-admin", o.GetKind(), o.GetName())
					}
					if len(b.Subjects) != 1 || b.Subjects[0].Name != account || b.Subjects[0].Namespace == "" {
						t.Errorf("%s %q is for %v", o.GetKind(), o.GetName(), b.Subjects)
					}
				}
			}
		})
	}
}

// The tests of the controller read the role from its file, so what is installed must be that.
func TestRole_isTheOneTheControllerIsTestedUnder(t *testing.T) {
	raw, err := os.ReadFile("kustomize/base/rbac/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var want rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(raw, &want); err != nil {
		t.Fatal(err)
	}
	for _, overlay := range overlays {
		objects := build(t, overlay)
		if diff := cmp.Diff(want.Rules, one[rbacv1.ClusterRole](t, objects, "ClusterRole", role).Rules); diff != "" {
			t.Errorf("overlay %s: rules of %s (-file +rendered):\n%s", overlay, role, diff)
		}
		b := one[rbacv1.ClusterRoleBinding](t, objects, "ClusterRoleBinding", "profiles-cluster-rolebinding")
		if b.RoleRef.Name != role {
			t.Errorf("overlay %s: the controller is bound to %q", overlay, b.RoleRef.Name)
		}
	}
}

func TestCRDs_areAllInstalled(t *testing.T) {
	files, err := filepath.Glob("../api/crds/*_*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	installed := 0
	for _, o := range build(t, "standalone") {
		if o.GetKind() == "CustomResourceDefinition" {
			installed++
		}
	}
	if installed == 0 || installed != len(files) {
		t.Errorf("%d CRDs are installed, api/crds has %d: name each in api/crds/kustomization.yaml", installed, len(files))
	}
}

// build renders an overlay.
func build(t *testing.T, overlay string) []unstructured.Unstructured {
	t.Helper()
	return buildDir(t, filepath.Join("kustomize/overlays", overlay))
}

func buildDir(t *testing.T, dir string) []unstructured.Unstructured {
	t.Helper()
	const kustomize = "../bin/kustomize"
	if _, err := os.Stat(kustomize); err != nil {
		t.Fatalf("%v; to build it, run: make bin/kustomize", err)
	}
	cmd := exec.CommandContext(t.Context(), kustomize, "build", dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kustomize build %s: %v\n%s", dir, err, &stderr)
	}
	var objects []unstructured.Unstructured
	for doc := range bytes.SplitSeq(out, []byte("\n---\n")) {
		var o unstructured.Unstructured
		if err := yaml.Unmarshal(doc, &o.Object); err != nil {
			t.Fatalf("%s: %v in\n%s", dir, err, doc)
		}
		objects = append(objects, o)
	}
	return objects
}

// one finds an object among those of an overlay.
func one[T any](t *testing.T, objects []unstructured.Unstructured, kind, name string) T {
	t.Helper()
	i := slices.IndexFunc(objects, func(o unstructured.Unstructured) bool {
		return o.GetKind() == kind && o.GetName() == name
	})
	if i < 0 {
		t.Fatalf("no %s %q", kind, name)
	}
	return as[T](t, objects[i])
}

func as[T any](t *testing.T, o unstructured.Unstructured) (typed T) {
	t.Helper()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &typed); err != nil {
		t.Fatalf("%s %q: %v", o.GetKind(), o.GetName(), err)
	}
	return typed
}

func selects(selector, labels map[string]string) bool {
	for key, value := range selector {
		if labels[key] != value {
			return false
		}
	}
	return len(selector) > 0
}
