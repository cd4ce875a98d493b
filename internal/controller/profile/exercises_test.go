// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// The first exercise of docs/guides/secure-a-tenant.md, with the files that it uses: a team with a budget of GPUs, and
// limits for each pod.
func TestExercise_limitsOfATeam(t *testing.T) {
	c := onShared(t)
	p := secureTeam(t, c)

	large := example[corev1.Pod](t, "pod-too-large.yaml")
	large.Namespace = p.Name
	err := c.Create(t.Context(), large)
	if !apierrors.IsForbidden(err) {
		t.Fatalf("a pod with 16 CPUs: %v, want it refused", err)
	}
	for _, words := range []string{"maximum cpu usage per Container is 8, but limit is 16", "maximum cpu usage per Pod is 8, but limit is 16"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("the refusal is %q, want %q in it", err, words)
		}
	}

	small := example[corev1.Pod](t, "pod-without-requests.yaml")
	small.Namespace = p.Name
	create(t, c, small)
	want := corev1.ResourceRequirements{
		Requests: quantities("cpu", "250m", "memory", "512Mi", "nvidia.com/gpu", "0"),
		Limits:   quantities("cpu", "1", "memory", "2Gi", "nvidia.com/gpu", "0"),
	}
	if d := cmp.Diff(want, small.Spec.Containers[0].Resources); d != "" {
		t.Errorf("the pod without requests (-want +got):\n%s", d)
	}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: p.Name, Name: "kf-resource-quota"}}
	used := quantities("requests.cpu", "250m", "requests.memory", "512Mi", "requests.nvidia.com/gpu", "0")
	if d := cmp.Diff(used, read(t, c, quota).Status.Used); d != "" {
		t.Errorf("what the quota counts (-want +got):\n%s", d)
	}
}

// Maxima of GPUs must not give a GPU to each container that asks for none, nor refuse it.
func TestExercise_aGPUForWhoAsks(t *testing.T) {
	c := onShared(t)
	p := secureTeam(t, c)
	for _, asked := range []string{"1", "2"} {
		pod := example[corev1.Pod](t, "pod-without-requests.yaml")
		pod.Namespace, pod.Name = p.Name, "gpus-"+asked
		pod.Spec.Containers[0].Resources.Limits = quantities("nvidia.com/gpu", asked)
		err := c.Create(t.Context(), pod)
		if refused := apierrors.IsForbidden(err); (err != nil) != refused || refused != (asked == "2") {
			t.Errorf("a pod with %s GPUs: %v", asked, err)
		}
		if asked == "2" && !strings.Contains(err.Error(), "maximum nvidia.com/gpu usage per Container is 1, but limit is 2") {
			t.Errorf("the refusal is %q", err)
		}
	}
}

// A limit that the class takes out goes, although the API server fills in limits by itself.
func TestExercise_aLimitTakenOut(t *testing.T) {
	c := onShared(t)
	p := secureTeam(t, c)
	class := &berthv1alpha1.ProfileClass{ObjectMeta: metav1.ObjectMeta{Name: p.Labels[berthv1alpha1.ClassLabel]}}
	edit(t, c, class, func(class *berthv1alpha1.ProfileClass) {
		delete(class.Spec.LimitRange.Limits[0].Max, "cpu")
	})
	limits := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: p.Name, Name: "berth-limits"}}
	testkit.Eventually(t, patience, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(limits), limits); err != nil {
			return err
		}
		if _, there := limits.Spec.Limits[0].Max["cpu"]; there {
			return fmt.Errorf("the limits are %+v", limits.Spec.Limits)
		}
		return nil
	})
}

// The reference's examples and the classes that Berth ships are ones that the API server takes.
func TestClasses_areTaken(t *testing.T) {
	c := onShared(t)
	page, err := os.ReadFile("../../../docs/reference/profileclass.md")
	if err != nil {
		t.Fatal(err)
	}
	var documents [][]byte
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1) {
		documents = append(documents, block[1])
	}
	for _, file := range []string{deployed + "/classes/secure.yaml", deployed + "/classes/kubeflow.yaml", "../../../examples/naming-policy/class.yaml"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, data)
	}
	for _, document := range documents {
		class := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(document, &class.Object); err != nil {
			t.Fatal(err)
		}
		if err := c.Create(t.Context(), class, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
			t.Errorf("%v in:\n%s", err, document)
		}
	}
}

// secureTeam makes the example's profile and class under names of their own, and waits until all of it is there and the
// API server counts.
func secureTeam(t *testing.T, c client.Client) *kubeflowv1.Profile {
	t.Helper()
	class := example[berthv1alpha1.ProfileClass](t, "class.yaml")
	class.Name = testkit.Name(t, "fraud")
	create(t, c, class)
	p := example[kubeflowv1.Profile](t, "profile.yaml")
	p.Name = testkit.Name(t, "fraud")
	p.Labels[berthv1alpha1.ClassLabel] = class.Name
	create(t, c, p)
	controllertest.AwaitReady(t, c, p.Name)
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: p.Name, Name: "kf-resource-quota"}}
	testkit.Eventually(t, patience, func() error {
		if read(t, c, quota); len(quota.Status.Used) == 0 {
			return fmt.Errorf("the API server has not counted yet")
		}
		return nil
	})
	// Admission has caches of its own: of the limits, of the quota and of the ServiceAccounts. A dry run shows what it
	// knows.
	testkit.Eventually(t, patience, func() error {
		pod := example[corev1.Pod](t, "pod-without-requests.yaml")
		pod.Namespace = p.Name
		if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil {
			return err
		}
		if len(pod.Spec.Containers[0].Resources.Limits) == 0 {
			return fmt.Errorf("the API server does not know the limits yet")
		}
		return nil
	})
	return p
}

// example is a file of examples/secure-team.
func example[T any](t *testing.T, file string) *T {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../../examples/secure-team", file))
	if err != nil {
		t.Fatal(err)
	}
	obj := new(T)
	if err := yaml.UnmarshalStrict(data, obj); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if o, ok := any(obj).(runtime.Object); ok {
		o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	return obj
}

func quantities(namesAndQuantities ...string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for i := 0; i < len(namesAndQuantities); i += 2 {
		list[corev1.ResourceName(namesAndQuantities[i])] = resource.MustParse(namesAndQuantities[i+1])
	}
	return list
}
