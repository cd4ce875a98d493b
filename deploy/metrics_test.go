// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// metricsComponents are added to an overlay, one of them, as docs/guides/metrics.md says.
var metricsComponents = map[string]struct {
	port      int32
	portName  string
	extraArgs []string
	extra     []string // objects besides those of both
}{
	"prometheus-noauth": {8080, "metrics", []string{"--metrics-bind-address=:8080"}, nil},
	"prometheus-authz": {8443, "https", []string{"--metrics-bind-address=:8443", "--metrics-secure"}, []string{
		"ClusterRole profiles-metrics-auth-role",
		"ClusterRole profiles-metrics-reader",
		"ClusterRoleBinding profiles-metrics-auth-rolebinding",
	}},
}

const (
	metricsService = "profiles-controller-manager-metrics-service"
	metricsMonitor = "profiles-controller-manager-metrics-monitor"
)

func TestMetricsComponents_addWhatAPrometheusNeeds(t *testing.T) {
	for component, want := range metricsComponents {
		for _, overlay := range []string{"standalone", "kubeflow"} {
			t.Run(component+" on "+overlay, func(t *testing.T) {
				plain, objects := build(t, overlay), buildWith(t, overlay, component)
				wantNames := slices.Concat(want.extra, []string{
					"NetworkPolicy profiles-metrics", "Service " + metricsService, "ServiceMonitor " + metricsMonitor,
				})
				slices.Sort(wantNames)
				if diff := cmp.Diff(wantNames, added(plain, objects)); diff != "" {
					t.Errorf("objects (-want +got):\n%s", diff)
				}

				d := one[appsv1.Deployment](t, objects, "Deployment", "profiles-deployment")
				manager := container(t, d, "manager")
				wantArgs := container(t, one[appsv1.Deployment](t, plain, "Deployment", "profiles-deployment"), "manager").Args
				wantArgs = slices.DeleteFunc(wantArgs, func(arg string) bool { return strings.HasPrefix(arg, "--metrics-bind-address") })
				if diff := cmp.Diff(append(wantArgs, want.extraArgs...), manager.Args); diff != "" {
					t.Errorf("arguments of the controller (-want +got):\n%s", diff)
				}
				port := corev1.ContainerPort{Name: want.portName, ContainerPort: want.port, Protocol: corev1.ProtocolTCP}
				if !slices.Contains(manager.Ports, port) || len(manager.Ports) != 2 {
					t.Errorf("ports of the controller: %v", manager.Ports)
				}

				s := one[corev1.Service](t, objects, "Service", metricsService)
				if !selects(s.Spec.Selector, d.Spec.Template.Labels) {
					t.Errorf("the Service selects %v, the pods have %v", s.Spec.Selector, d.Spec.Template.Labels)
				}
				if len(s.Spec.Ports) != 1 || s.Spec.Ports[0].Port != want.port || s.Spec.Ports[0].TargetPort.StrVal != want.portName {
					t.Errorf("ports of the Service: %v", s.Spec.Ports)
				}
				checkMonitor(t, objects, s)

				p := one[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy", "profiles-metrics")
				if !selects(p.Spec.PodSelector.MatchLabels, d.Spec.Template.Labels) {
					t.Errorf("the NetworkPolicy selects %v, the pods have %v", p.Spec.PodSelector, d.Spec.Template.Labels)
				}
				if got := p.Spec.Ingress[0].Ports[0].Port.StrVal; got != want.portName {
					t.Errorf("the NetworkPolicy lets in at port %q", got)
				}
			})
		}
	}
}

// What the controller may ask about others' tokens, and nothing else, comes with the component that asks.
func TestMetricsComponents_bindTheControllerAlone(t *testing.T) {
	objects := buildWith(t, "kubeflow", "prometheus-authz")
	b := one[rbacv1.ClusterRoleBinding](t, objects, "ClusterRoleBinding", "profiles-metrics-auth-rolebinding")
	want := []rbacv1.Subject{{Kind: "ServiceAccount", Name: serviceAccount, Namespace: "kubeflow"}}
	if diff := cmp.Diff(want, b.Subjects); diff != "" {
		t.Errorf("subjects (-want +got):\n%s", diff)
	}
	reader := one[rbacv1.ClusterRole](t, objects, "ClusterRole", "profiles-metrics-reader")
	wantRules := []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}}
	if diff := cmp.Diff(wantRules, reader.Rules); diff != "" {
		t.Errorf("rules of the reader (-want +got):\n%s", diff)
	}
}

func TestMetricsComponents_areAcceptedByTheServer(t *testing.T) {
	c := newClient(t)
	for component := range metricsComponents {
		t.Run(component, func(t *testing.T) {
			objects := slices.DeleteFunc(buildWith(t, "standalone", component), func(o unstructured.Unstructured) bool {
				return o.GetKind() == "ServiceMonitor" // a kind of the Prometheus operator's
			})
			install(t, c, objects)
		})
	}
}

// checkMonitor wants the ServiceMonitor to find the Service, and the Service alone, in the same namespace.
func checkMonitor(t *testing.T, objects []unstructured.Unstructured, s corev1.Service) {
	t.Helper()
	i := slices.IndexFunc(objects, func(o unstructured.Unstructured) bool { return o.GetKind() == "ServiceMonitor" })
	monitor := objects[i]
	selector, _, err := unstructured.NestedStringMap(monitor.Object, "spec", "selector", "matchLabels")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if o.GetKind() == "Service" && selects(selector, o.GetLabels()) != (o.GetName() == s.Name) {
			t.Errorf("the ServiceMonitor selects %v, the Service %q has %v", selector, o.GetName(), o.GetLabels())
		}
	}
	endpoints, _, err := unstructured.NestedSlice(monitor.Object, "spec", "endpoints")
	if err != nil || len(endpoints) != 1 || endpoints[0].(map[string]any)["port"] != s.Spec.Ports[0].Name {
		t.Errorf("endpoints of the ServiceMonitor: %v (error %v)", endpoints, err)
	}
	if monitor.GetNamespace() != s.Namespace {
		t.Errorf("the ServiceMonitor is in namespace %q, the Service in %q", monitor.GetNamespace(), s.Namespace)
	}
}

// buildWith renders an overlay with one more component, in front of the last.
func buildWith(t *testing.T, overlay, component string) []unstructured.Unstructured {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"deploy/kustomize", "api/crds"} {
		if err := os.CopyFS(filepath.Join(root, dir), os.DirFS(filepath.Join("..", dir))); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(root, "deploy/kustomize/overlays", overlay)
	file := filepath.Join(dir, "kustomization.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const last = "- ../../components/common\n"
	changed := strings.Replace(string(text), last, "- ../../components/"+component+"\n"+last, 1)
	if changed == string(text) {
		t.Fatalf("overlay %s has no component common", overlay)
	}
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	return buildDir(t, dir)
}

// added are the kinds and names of the objects that are in objects alone.
func added(plain, objects []unstructured.Unstructured) (names []string) {
	before := map[string]bool{}
	for _, o := range plain {
		before[o.GetKind()+" "+o.GetName()] = true
	}
	for _, o := range objects {
		if name := o.GetKind() + " " + o.GetName(); !before[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func container(t *testing.T, d appsv1.Deployment, name string) corev1.Container {
	t.Helper()
	for _, c := range d.Spec.Template.Spec.Containers {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no container %q", name)
	return corev1.Container{}
}
