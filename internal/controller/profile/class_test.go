// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/testkit"
)

var (
	networkKind    = kind{"networking.k8s.io/v1", "NetworkPolicy"}
	limitRangeKind = kind{"v1", "LimitRange"}
	peerKind       = kind{"security.istio.io/v1beta1", "PeerAuthentication"}
	requestKind    = kind{"security.istio.io/v1beta1", "RequestAuthentication"}
)

// newClass creates a class with that spec, in YAML, under a name of its own.
func newClass(t testing.TB, c client.Client, spec string) *berthv1alpha1.ProfileClass {
	t.Helper()
	class := &berthv1alpha1.ProfileClass{ObjectMeta: metav1.ObjectMeta{Name: testkit.Name(t, "class")}}
	if err := yaml.UnmarshalStrict([]byte(spec), &class.Spec); err != nil {
		t.Fatal(err)
	}
	return create(t, c, class)
}

func ofClass(name string) func(*kubeflowv1.Profile) {
	return func(p *kubeflowv1.Profile) { metav1.SetMetaDataLabel(&p.ObjectMeta, berthv1alpha1.ClassLabel, name) }
}

const isolated = `
namespace:
  labels:
  - {key: example.com/tier, value: gold}
  - {key: example.com/mode, value: ours, policy: IfAbsent}
  annotations:
  - {key: example.com/contact, value: platform team}
  podSecurity: {enforce: baseline}
quota:
  default: {requests.cpu: "4", requests.memory: 16Gi}
  max: {requests.cpu: "10", requests.nvidia.com/mig-1g.5gb: "2"}
limitRange:
  limits:
  - {type: Container, default: {cpu: "1"}, defaultRequest: {cpu: 100m}}
isolation:
  network: {}
  mtls: Strict
  mtlsExceptions:
  - {name: metrics, matchLabels: {app: legacy}, ports: [9000]}
  userToken: Strip
  tokenIssuers:
  - {issuer: "https://issuer.example.com"}
  probes: Knative
`

// absent says that none of the objects is there.
func absent(t testing.TB, c client.Client, objects ...*unstructured.Unstructured) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		var there []error
		for _, obj := range objects {
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); !apierrors.IsNotFound(err) {
				there = append(there, fmt.Errorf("%s %s: %w", obj.GetKind(), obj.GetName(), errors.Join(err, errors.New("is there"))))
			}
		}
		return errors.Join(there...)
	})
}

func isolation(namespace string) []*unstructured.Unstructured {
	return []*unstructured.Unstructured{
		networkKind.object(namespace, "berth-default-deny"), networkKind.object(namespace, "berth-allow-ingress"),
		limitRangeKind.object(namespace, "berth-limits"), peerKind.object(namespace, "berth-mtls"),
		peerKind.object(namespace, "berth-mtls-metrics"), requestKind.object(namespace, "berth-user-token"),
	}
}

// A profile gets what its class says, and loses what it says no more: when the class changes, and when the profile gets
// another.
func TestClass_comesAndGoes(t *testing.T) {
	c := onShared(t)
	class := newClass(t, c, isolated)
	p := readyProfile(t, c, ofClass(class.Name))
	for _, obj := range isolation(p.Name) {
		read(t, c, obj)
	}
	want := &kubeflowv1.ClassStatus{Name: class.Name, Generation: class.Generation}
	if p.Status.Class == nil || *p.Status.Class != *want {
		t.Errorf("status.class is %+v, want %+v", p.Status.Class, want)
	}
	for condition, status := range conditions(t, c, p.Name) {
		if status != "True Ready" {
			t.Errorf("%s is %s", condition, status)
		}
	}
	ns := read(t, c, namespaceKind.object("", p.Name))
	if got := ns.GetLabels(); got["example.com/tier"] != "gold" || got["example.com/mode"] != "ours" || got["pod-security.kubernetes.io/enforce"] != "baseline" {
		t.Errorf("labels are %v", got)
	}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: p.Name, Name: "kf-resource-quota"}}
	hard := read(t, c, quota).Spec.Hard
	if cpu, mig := hard["requests.cpu"], hard["requests.nvidia.com/mig-1g.5gb"]; cpu.String() != "4" || mig.String() != "2" {
		t.Errorf("the quota is %v", hard)
	}

	edit(t, c, class, func(class *berthv1alpha1.ProfileClass) {
		class.Spec.Isolation = nil
		class.Spec.Namespace.Labels = class.Spec.Namespace.Labels[1:]
		class.Spec.Namespace.Annotations = nil
	})
	absent(t, c, slices.DeleteFunc(isolation(p.Name), func(obj *unstructured.Unstructured) bool { return obj.GetKind() == limitRangeKind.name })...)
	testkit.Eventually(t, patience, func() error {
		ns := read(t, c, namespaceKind.object("", p.Name))
		if ns.GetLabels()["example.com/tier"] != "" || ns.GetAnnotations()["example.com/contact"] != "" {
			return fmt.Errorf("the namespace still has %v, %v", ns.GetLabels(), ns.GetAnnotations())
		}
		return controllertest.Ready(t.Context(), c, p.Name)
	})
	awaitEvent(t, c, p, status.EventClassApplied)

	controllertest.Change(t, c, p.Name, func(p *kubeflowv1.Profile) { delete(p.Labels, berthv1alpha1.ClassLabel) })
	absent(t, c, isolation(p.Name)...)
	absent(t, c, quotaKind.object(p.Name, "kf-resource-quota"))
	testkit.Eventually(t, patience, func() error {
		if there := conditions(t, c, p.Name); len(there) != 5 {
			return fmt.Errorf("conditions are %v", there)
		}
		return nil
	})
}

// Whatever of a class is deleted or changed is put right at once.
func TestClass_repairsDrift(t *testing.T) {
	c := onShared(t)
	class := newClass(t, c, isolated)
	for name, spoil := range map[string]func(t *testing.T, namespace string){
		"the policy that denies deleted": func(t *testing.T, namespace string) {
			remove(t, c, networkKind.object(namespace, "berth-default-deny"))
		},
		"the policy that denies without our labels": func(t *testing.T, namespace string) {
			edit(t, c, networkKind.object(namespace, "berth-default-deny"), func(obj *unstructured.Unstructured) { obj.SetLabels(nil) })
		},
		"openings widened": func(t *testing.T, namespace string) {
			edit(t, c, networkKind.object(namespace, "berth-allow-ingress"), func(obj *unstructured.Unstructured) {
				_ = unstructured.SetNestedSlice(obj.Object, []any{map[string]any{}}, "spec", "ingress")
			})
		},
		"limits lifted": func(t *testing.T, namespace string) {
			edit(t, c, limitRangeKind.object(namespace, "berth-limits"), func(obj *unstructured.Unstructured) {
				_ = unstructured.SetNestedSlice(obj.Object, nil, "spec", "limits")
			})
		},
		"plain text let in": func(t *testing.T, namespace string) {
			edit(t, c, peerKind.object(namespace, "berth-mtls"), func(obj *unstructured.Unstructured) {
				_ = unstructured.SetNestedField(obj.Object, "PERMISSIVE", "spec", "mtls", "mode")
			})
		},
		"tokens kept": func(t *testing.T, namespace string) {
			remove(t, c, requestKind.object(namespace, "berth-user-token"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := readyProfile(t, c, ofClass(class.Name))
			want := map[string]map[string]any{}
			for _, obj := range isolation(p.Name) {
				want[obj.GetKind()+" "+obj.GetName()] = written(read(t, c, obj))
			}
			spoil(t, p.Name)
			testkit.Eventually(t, patience, func() error {
				for _, obj := range isolation(p.Name) {
					err := c.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)
					if before := want[obj.GetKind()+" "+obj.GetName()]; err != nil || fmt.Sprint(written(obj)) != fmt.Sprint(before) {
						return fmt.Errorf("%s %s is %v, want %v: %w", obj.GetKind(), obj.GetName(), written(obj), before, err)
					}
				}
				return nil
			})
			awaitEvent(t, c, p, status.EventRepaired)
		})
	}
}

// A profile that names a class which is not there keeps what it had, and a new one gets no namespace without limits.
func TestClass_missing(t *testing.T) {
	c := onShared(t)
	class := newClass(t, c, isolated)
	p := readyProfile(t, c, ofClass(class.Name))
	controllertest.Change(t, c, p.Name, ofClass("no-such-class"))
	awaitRefusal(t, c, p.Name, kubeflowv1.ReasonClassNotFound)
	remove(t, c, networkKind.object(p.Name, "berth-default-deny"))
	testkit.Eventually(t, patience, func() error {
		obj := networkKind.object(p.Name, "berth-default-deny")
		return c.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)
	})
	controllertest.Change(t, c, p.Name, ofClass(class.Name))
	controllertest.AwaitReady(t, c, p.Name)

	fresh := newProfile(t, c, ofClass("no-such-class"))
	awaitRefusal(t, c, fresh.Name, kubeflowv1.ReasonClassNotFound)
	absent(t, c, namespaceKind.object("", fresh.Name))
	// The class comes later than its profiles.
	create(t, c, &berthv1alpha1.ProfileClass{ObjectMeta: metav1.ObjectMeta{Name: "no-such-class"}})
	controllertest.AwaitReady(t, c, fresh.Name)
	remove(t, c, &berthv1alpha1.ProfileClass{ObjectMeta: metav1.ObjectMeta{Name: "no-such-class"}})
}

// While an administrator has the guard rails off, what they guard is left to the tenant; access is not.
func TestClass_breakGlass(t *testing.T) {
	c := onShared(t)
	class := newClass(t, c, isolated)
	p := readyProfile(t, c, ofClass(class.Name))
	controllertest.Change(t, c, p.Name, func(p *kubeflowv1.Profile) {
		metav1.SetMetaDataAnnotation(&p.ObjectMeta, berthv1alpha1.BreakGlassAnnotation, "incident 42")
	})
	awaitRefusal(t, c, p.Name, kubeflowv1.ReasonBreakGlass)
	awaitEvent(t, c, p, status.EventBreakGlass)
	if got := read(t, c, namespaceKind.object("", p.Name)).GetAnnotations()[berthv1alpha1.BreakGlassAnnotation]; got != "incident 42" {
		t.Errorf("the namespace has %q", got)
	}
	remove(t, c, networkKind.object(p.Name, "berth-default-deny"))
	remove(t, c, bindingKind.object(p.Name, "namespaceAdmin"))
	testkit.Eventually(t, patience, func() error {
		obj := bindingKind.object(p.Name, "namespaceAdmin")
		return c.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)
	})
	absent(t, c, networkKind.object(p.Name, "berth-default-deny"))

	controllertest.Change(t, c, p.Name, func(p *kubeflowv1.Profile) { delete(p.Annotations, berthv1alpha1.BreakGlassAnnotation) })
	controllertest.AwaitReady(t, c, p.Name)
	read(t, c, networkKind.object(p.Name, "berth-default-deny"))
	awaitEvent(t, c, p, status.EventGuardRailsOn)
}
