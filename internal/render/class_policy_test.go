// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/render"
)

// Each case is a pair. NAME.in.yaml holds a ProfileClass, NAME.out.yaml the objects that enforce its rules.
func TestClassPolicies_golden(t *testing.T) {
	found, err := filepath.Glob("testdata/policies/*.in.yaml")
	if err != nil || len(found) == 0 {
		t.Fatalf("found %d cases: %v", len(found), err)
	}
	for _, in := range found {
		t.Run(strings.TrimSuffix(filepath.Base(in), ".in.yaml"), func(t *testing.T) {
			data, err := os.ReadFile(in)
			if err != nil {
				t.Fatal(err)
			}
			class := &berthv1alpha1.ProfileClass{}
			decodeStrict(t, string(data), class)
			before := class.DeepCopy()
			objects := render.ClassPolicies(class, class.Annotations[berthv1alpha1.DefaultClassAnnotation] == "true")
			if diff := cmp.Diff(before, class); diff != "" {
				t.Errorf("rendering changed what it was given:\n%s", diff)
			}
			printed, err := render.Tenant{Namespace: objects[0], Parts: []render.Part{{Objects: objects[1:]}}}.YAML()
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(in, ".in.yaml") + ".out.yaml"
			if *update {
				if err := os.WriteFile(golden, printed, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v: go test ./internal/render -update writes it", err)
			}
			if diff := cmp.Diff(string(want), string(printed)); diff != "" {
				t.Errorf("-want, +got; go test ./internal/render -update takes it over:\n%s", diff)
			}
		})
	}
}

// Two classes never ask for one object.
func TestClassPolicies_haveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]string{}
	for class, policies := range map[string][]string{"a": {"b-c", "quota"}, "a-b": {"c"}, "a-quota": {"b"}, "a-b-c": nil} {
		c := &berthv1alpha1.ProfileClass{ObjectMeta: metav1.ObjectMeta{Name: class}}
		c.Spec.Quota, c.Spec.PolicyWebhook = &berthv1alpha1.QuotaSettings{}, &berthv1alpha1.PolicyWebhook{}
		for _, policy := range policies {
			c.Spec.Policies = append(c.Spec.Policies, berthv1alpha1.Policy{Name: policy})
		}
		for _, object := range render.ClassPolicies(c, false) {
			name := object.GetObjectKind().GroupVersionKind().Kind + " " + object.GetName()
			if other, twice := seen[name]; twice {
				t.Errorf("classes %q and %q both have %s", other, class, name)
			}
			seen[name] = class
		}
	}
}

func TestClassName(t *testing.T) {
	class := func(name, isDefault string, age time.Duration) berthv1alpha1.ProfileClass {
		return berthv1alpha1.ProfileClass{ObjectMeta: metav1.ObjectMeta{
			Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1e9, 0).Add(-age)),
			Annotations: map[string]string{berthv1alpha1.DefaultClassAnnotation: isDefault},
		}}
	}
	cases := map[string]struct {
		labels  map[string]string
		classes []berthv1alpha1.ProfileClass
		want    string
	}{
		"nothing":                          {want: "berth"},
		"no default":                       {classes: []berthv1alpha1.ProfileClass{class("a", "false", 0)}, want: "berth"},
		"the default":                      {classes: []berthv1alpha1.ProfileClass{class("a", "true", 0), class("b", "", 0)}, want: "a"},
		"the newest default":               {classes: []berthv1alpha1.ProfileClass{class("a", "true", time.Hour), class("b", "true", 0), class("c", "true", time.Minute)}, want: "b"},
		"named, though not there":          {labels: map[string]string{"berth.dev/class": "x"}, classes: []berthv1alpha1.ProfileClass{class("a", "true", 0)}, want: "x"},
		"an empty label names no class":    {labels: map[string]string{"berth.dev/class": ""}, classes: []berthv1alpha1.ProfileClass{class("a", "true", 0)}, want: "a"},
		"of two as new, the first by name": {classes: []berthv1alpha1.ProfileClass{class("b", "true", 0), class("a", "true", 0)}, want: "a"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := render.ClassName(tc.labels, tc.classes); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestWithoutDefaults(t *testing.T) {
	quota := func(keys ...corev1.ResourceName) *berthv1alpha1.QuotaSettings {
		q := &berthv1alpha1.QuotaSettings{Max: map[corev1.ResourceName]kubeflowv1.Quantity{}}
		for _, key := range keys {
			q.Max[key] = "1"
		}
		return q
	}
	one := corev1.ResourceList{"cpu": resource.MustParse("1")}
	limits := func(item corev1.LimitRangeItem) *corev1.LimitRangeSpec {
		return &corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{item}}
	}
	cases := map[string]struct {
		spec berthv1alpha1.ProfileClassSpec
		want []string
	}{
		"no quota":               {},
		"resources without need": {spec: berthv1alpha1.ProfileClassSpec{Quota: quota("pods", "requests.nvidia.com/gpu")}},
		"no limits":              {spec: berthv1alpha1.ProfileClassSpec{Quota: quota("requests.cpu", "limits.memory", "cpu")}, want: []string{"cpu", "limits.memory", "requests.cpu"}},
		"a default request":      {spec: berthv1alpha1.ProfileClassSpec{Quota: quota("requests.cpu"), LimitRange: limits(corev1.LimitRangeItem{Type: "Container", DefaultRequest: one})}},
		"a default request is no limit": {
			spec: berthv1alpha1.ProfileClassSpec{Quota: quota("limits.cpu"), LimitRange: limits(corev1.LimitRangeItem{Type: "Container", DefaultRequest: one})},
			want: []string{"limits.cpu"},
		},
		"a default limit is a request":  {spec: berthv1alpha1.ProfileClassSpec{Quota: quota("limits.cpu", "requests.cpu"), LimitRange: limits(corev1.LimitRangeItem{Type: "Container", Default: one})}},
		"the most is the default limit": {spec: berthv1alpha1.ProfileClassSpec{Quota: quota("limits.cpu", "requests.cpu"), LimitRange: limits(corev1.LimitRangeItem{Type: "Container", Max: one})}},
		"of pods": {
			spec: berthv1alpha1.ProfileClassSpec{Quota: quota("limits.cpu"), LimitRange: limits(corev1.LimitRangeItem{Type: "Pod", Max: one})},
			want: []string{"limits.cpu"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, render.WithoutDefaults(tc.spec)); diff != "" {
				t.Errorf("-want, +got:\n%s", diff)
			}
		})
	}
}
