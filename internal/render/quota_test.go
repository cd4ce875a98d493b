// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/testkit"
)

func TestQuota(t *testing.T) {
	cases := map[string]struct {
		written kubeflowv1.ResourceQuotaSpec
		want    corev1.ResourceList
		// wantProblem is in the message; empty where there is no problem.
		wantProblem string
	}{
		"nothing asked for": {},
		"scopes alone are no quota": {
			written: kubeflowv1.ResourceQuotaSpec{Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}},
		},
		"the same in other words": {
			written: limits("requests.cpu", "1000m"), want: corev1.ResourceList{"requests.cpu": resource.MustParse("1")},
		},
		"nothing of something": {
			written: limits("requests.nvidia.com/gpu", "0"), want: corev1.ResourceList{"requests.nvidia.com/gpu": resource.MustParse("0")},
		},
		"what others count": {
			written: limits("count/jobs.batch", "10"), want: corev1.ResourceList{"count/jobs.batch": resource.MustParse("10")},
		},
		"an exponent":             {written: limits("memory", "12e6"), want: corev1.ResourceList{"memory": resource.MustParse("12M")}},
		"exabytes":                {written: limits("memory", "1E"), want: corev1.ResourceList{"memory": resource.MustParse("1000P")}},
		"exbibytes":               {written: limits("memory", "1Ei"), want: corev1.ResourceList{"memory": resource.MustParse("1024Pi")}},
		"empty":                   {written: limits("cpu", ""), wantProblem: `hard[cpu] is ""`},
		"a word":                  {written: limits("cpu", "many"), wantProblem: `"many"`},
		"a blank":                 {written: limits("memory", "4 Gi"), wantProblem: `"4 Gi"`},
		"a comma":                 {written: limits("cpu", "0,5"), wantProblem: `"0,5"`},
		"negative":                {written: limits("cpu", "-1"), wantProblem: `"-1"`},
		"slightly negative":       {written: limits("cpu", "-1n"), wantProblem: `"-1n"`},
		"the first of two":        {written: limits("b", "x", "a", "y"), wantProblem: "hard[a]"},
		"beyond what can be kept": {written: limits("cpu", "1e999999999"), wantProblem: `"1e999999999"`},
		"far below anything":      {written: limits("cpu", "1e-999999999"), wantProblem: `"1e-999999999"`},
		"large by an E":           {written: limits("cpu", "1E+2000000000"), wantProblem: `"1E+2000000000"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p := testkit.Profile("a")
			p.Spec.ResourceQuotaSpec = tc.written
			part := quota(p, Input{})
			if tc.wantProblem != "" {
				if part.Problem == nil || part.Problem.Reason != kubeflowv1.ReasonQuotaInvalid || !strings.Contains(part.Problem.Message, tc.wantProblem) {
					t.Errorf("problem is %+v, want %s in it", part.Problem, tc.wantProblem)
				}
				if len(part.Objects)+len(part.Absent) > 0 {
					t.Error("the quota that is there is touched")
				}
				return
			}
			if part.Problem != nil {
				t.Fatalf("problem is %+v", *part.Problem)
			}
			if tc.want == nil {
				if len(part.Objects) != 0 || len(part.Absent) != 1 || part.Reason != kubeflowv1.ReasonNoQuota {
					t.Errorf("%d objects, %d absent, reason %s", len(part.Objects), len(part.Absent), part.Reason)
				}
				return
			}
			got := part.Objects[0].Resource.(*corev1.ResourceQuota).Spec
			if diff := cmp.Diff(tc.want, got.Hard); diff != "" {
				t.Errorf("-want, +got:\n%s", diff)
			}
		})
	}
}

func limits(namesAndQuantities ...string) kubeflowv1.ResourceQuotaSpec {
	p := &kubeflowv1.Profile{}
	for i := 0; i < len(namesAndQuantities); i += 2 {
		testkit.Quota(corev1.ResourceName(namesAndQuantities[i]), kubeflowv1.Quantity(namesAndQuantities[i+1]))(p)
	}
	return p.Spec.ResourceQuotaSpec
}

// A quota that counts some pods only would leave the others without the limits of the class.
func TestQuota_scopesDoNotEvadeTheClass(t *testing.T) {
	p := testkit.Profile("a", testkit.Quota("requests.cpu", "4"))
	p.Spec.ResourceQuotaSpec.Scopes = []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeTerminating}
	class := Class{Name: "c"}
	class.Spec.Quota = &berthv1alpha1.QuotaSettings{Max: map[corev1.ResourceName]kubeflowv1.Quantity{"requests.cpu": "8"}}
	part := quota(p, Input{Class: class})
	if spec := part.Objects[0].Resource.(*corev1.ResourceQuota).Spec; len(spec.Scopes) > 0 || part.Problem == nil || part.Problem.Reason != kubeflowv1.ReasonQuotaAboveClass {
		t.Errorf("the quota is %+v, the problem %+v", spec, part.Problem)
	}
	class.Spec.Quota.Max = nil
	part = quota(p, Input{Class: class})
	if spec := part.Objects[0].Resource.(*corev1.ResourceQuota).Spec; len(spec.Scopes) != 1 || part.Problem != nil {
		t.Errorf("without limits of the class, the quota is %+v, the problem %+v", spec, part.Problem)
	}
}
