// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// apis are where the access-management API runs: in the controller's pod, and alone.
var apis = map[string]string{"kubeflow": "profiles-deployment", "kubeflow-pss": "profiles-deployment", kfamOverlay: "profiles-kfam"}

func TestKFAM_aloneBringsNothingElse(t *testing.T) {
	wantObjects(t, build(t, kfamOverlay), []string{
		"AuthorizationPolicy kubeflow/profiles-kfam",
		"ClusterRole profiles-access-management-role",
		"ClusterRoleBinding profiles-kfam-rolebinding",
		"ConfigMap kubeflow/profiles-config-HASH",
		"Deployment kubeflow/profiles-kfam",
		"NetworkPolicy kubeflow/profiles-kfam",
		"Service kubeflow/profiles-kfam",
		"ServiceAccount kubeflow/profiles-kfam",
		"VirtualService kubeflow/profiles-kfam",
	})
}

func TestKFAM_runsTheSameEverywhere(t *testing.T) {
	flags := []string{
		"-cluster-admin", "$(ADMIN)", "-userid-header", "$(USERID_HEADER)", "-userid-prefix", "$(USERID_PREFIX)",
		"-contributor-policies", "$(CONTRIBUTOR_POLICIES)", "-view-methods=$(VIEW_METHODS)",
	}
	// Kubeflow's trusts the header of everybody whom the mesh lets through; alone, there is no reason to.
	commands := map[string][]string{
		"profiles-deployment": append([]string{"/access-management"}, flags...),
		"profiles-kfam":       append([]string{"/berth", "kfam", "-trust-header=principal"}, flags...),
	}
	want := container(t, one[appsv1.Deployment](t, build(t, "kubeflow"), "Deployment", "profiles-deployment"), "access-management")
	for overlay, deployment := range apis {
		t.Run(overlay, func(t *testing.T) {
			d := one[appsv1.Deployment](t, build(t, overlay), "Deployment", deployment)
			wantRestricted(t, d)
			if d.Spec.Template.Labels["sidecar.istio.io/inject"] != "true" {
				t.Error("the pods ask for no sidecar")
			}
			got := container(t, d, "access-management")
			if diff := cmp.Diff(commands[deployment], got.Command); diff != "" {
				t.Errorf("command (-want +got):\n%s", diff)
			}
			got.Command = want.Command
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the container differs from that of the overlay kubeflow (-want +got):\n%s", diff)
			}
		})
	}
	port := want.Ports[0]
	if got := want.LivenessProbe.HTTPGet; got.Path != "/healthz" || got.Port.IntVal != port.ContainerPort {
		t.Errorf("liveness is asked for at %v", got)
	}
	if got := want.ReadinessProbe.HTTPGet; got.Path != "/readyz" || got.Port.IntVal != port.ContainerPort {
		t.Errorf("readiness is asked for at %v", got)
	}
}

// Both write policies of contributors: with different settings, each would undo what the other has written.
func TestKFAM_hasTheSettingsOfTheController(t *testing.T) {
	want := config(t, build(t, "standalone"))
	for overlay, deployment := range apis {
		t.Run(overlay, func(t *testing.T) {
			objects := build(t, overlay)
			if diff := cmp.Diff(want, config(t, objects)); diff != "" {
				t.Errorf("profiles-config (-standalone +%s):\n%s", overlay, diff)
			}
			for _, c := range one[appsv1.Deployment](t, objects, "Deployment", deployment).Spec.Template.Spec.Containers {
				for _, reference := range regexp.MustCompile(`\$\((\w+)\)`).FindAllStringSubmatch(strings.Join(c.Command, " "), -1) {
					if _, found := want[reference[1]]; !found {
						t.Errorf("container %q: profiles-config has no %s", c.Name, reference[1])
					}
				}
				for _, flag := range []string{"-contributor-policies $(CONTRIBUTOR_POLICIES)", "-view-methods=$(VIEW_METHODS)"} {
					if !strings.Contains(strings.Join(c.Command, " "), flag) {
						t.Errorf("container %q has no %s: %q", c.Name, flag, c.Command)
					}
				}
			}
		})
	}
	if want["CONTRIBUTOR_POLICIES"] != "per-contributor" || want["VIEW_METHODS"] != "false" {
		t.Errorf("what is installed by default is not what clients know: %v", want)
	}
}

func TestKFAM_isReachedByTheDashboardAlone(t *testing.T) {
	for overlay, deployment := range apis {
		t.Run(overlay, func(t *testing.T) {
			objects := build(t, overlay)
			d := one[appsv1.Deployment](t, objects, "Deployment", deployment)
			pods, port := d.Spec.Template.Labels, container(t, d, "access-management").Ports[0]
			if !selects(d.Spec.Selector.MatchLabels, pods) {
				t.Errorf("the Deployment selects %v, its pods have %v", d.Spec.Selector.MatchLabels, pods)
			}

			s := one[corev1.Service](t, objects, "Service", "profiles-kfam")
			if !selects(s.Spec.Selector, pods) || s.Namespace != "kubeflow" {
				t.Errorf("the Service in %q selects %v, the pods have %v", s.Namespace, s.Spec.Selector, pods)
			}
			if len(s.Spec.Ports) != 1 || s.Spec.Ports[0].Port != 8081 || s.Spec.Ports[0].TargetPort.IntVal != port.ContainerPort {
				t.Errorf("ports of the Service: %v", s.Spec.Ports)
			}

			np := one[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy", "profiles-kfam")
			want := []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
				Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpIn, Values: []string{"istio-system", "kubeflow"},
			}}}}}
			if !selects(np.Spec.PodSelector.MatchLabels, pods) || len(np.Spec.Ingress) != 1 {
				t.Fatalf("the NetworkPolicy is for %v and has %d rules", np.Spec.PodSelector, len(np.Spec.Ingress))
			}
			if diff := cmp.Diff(want, np.Spec.Ingress[0].From); diff != "" || np.Spec.Ingress[0].Ports[0].Port.StrVal != port.Name {
				t.Errorf("the NetworkPolicy lets in, to the ports %v (-want +got):\n%s", np.Spec.Ingress[0].Ports, diff)
			}

			ap := named(t, objects, "AuthorizationPolicy", "profiles-kfam")
			selector, _, err := unstructured.NestedStringMap(ap.Object, "spec", "selector", "matchLabels")
			if err != nil || !selects(selector, pods) {
				t.Errorf("the AuthorizationPolicy is for %v (error %v), the pods have %v", selector, err, pods)
			}
			rules, _, err := unstructured.NestedSlice(ap.Object, "spec", "rules")
			wantRules := []any{map[string]any{"from": []any{map[string]any{"source": map[string]any{"principals": []any{
				"cluster.local/ns/kubeflow/sa/dashboard", "cluster.local/ns/kubeflow/sa/centraldashboard",
			}}}}}}
			if diff := cmp.Diff(wantRules, rules); diff != "" || err != nil {
				t.Errorf("rules of the AuthorizationPolicy (error %v, -want +got):\n%s", err, diff)
			}
		})
	}
}

// The test of the API reads the role from its file, so what is installed must be that, and bound to the pod's account.
func TestRole_isTheOneKFAMIsTestedUnder(t *testing.T) {
	raw, err := os.ReadFile("kustomize/components/kfam/role/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var want rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(raw, &want); err != nil {
		t.Fatal(err)
	}
	bindings := map[string]string{
		"profiles-deployment": "profiles-access-management-rolebinding",
		"profiles-kfam":       "profiles-kfam-rolebinding",
	}
	for overlay, deployment := range apis {
		objects := build(t, overlay)
		if diff := cmp.Diff(want.Rules, one[rbacv1.ClusterRole](t, objects, "ClusterRole", want.Name).Rules); diff != "" {
			t.Errorf("overlay %s: rules of %s (-file +rendered):\n%s", overlay, want.Name, diff)
		}
		b := one[rbacv1.ClusterRoleBinding](t, objects, "ClusterRoleBinding", bindings[deployment])
		account := one[appsv1.Deployment](t, objects, "Deployment", deployment).Spec.Template.Spec.ServiceAccountName
		if b.RoleRef.Name != want.Name || b.Subjects[0].Name != account {
			t.Errorf("overlay %s: %s is bound to %v, the pods run as %q", overlay, b.RoleRef.Name, b.Subjects, account)
		}
	}
}

// wantRestricted fails the test unless the pods of d are as the Pod Security Standard "restricted" asks for, and write
// nowhere.
func wantRestricted(t *testing.T, d appsv1.Deployment) {
	t.Helper()
	pod := d.Spec.Template.Spec
	if pod.SecurityContext == nil || pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("security context of the pod: %v", pod.SecurityContext)
	}
	if pod.HostNetwork || pod.HostPID || pod.HostIPC {
		t.Error("the pod is on its host")
	}
	for _, c := range pod.Containers {
		s := c.SecurityContext
		if !*s.RunAsNonRoot || *s.AllowPrivilegeEscalation || !slices.Contains(s.Capabilities.Drop, "ALL") || len(s.Capabilities.Add) > 0 ||
			s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || !*s.ReadOnlyRootFilesystem {
			t.Errorf("container %q may do more than it needs: %v", c.Name, s)
		}
	}
}

// config are the settings of an overlay.
func config(t *testing.T, objects []unstructured.Unstructured) map[string]string {
	t.Helper()
	for _, o := range objects {
		if o.GetKind() == "ConfigMap" && strings.HasPrefix(o.GetName(), "profiles-config-") {
			return as[corev1.ConfigMap](t, o).Data
		}
	}
	t.Fatal("no ConfigMap profiles-config")
	return nil
}

// named finds an object of a kind that there is no type for here.
func named(t *testing.T, objects []unstructured.Unstructured, kind, name string) unstructured.Unstructured {
	t.Helper()
	i := slices.IndexFunc(objects, func(o unstructured.Unstructured) bool { return o.GetKind() == kind && o.GetName() == name })
	if i < 0 {
		t.Fatalf("no %s %q", kind, name)
	}
	return objects[i]
}
