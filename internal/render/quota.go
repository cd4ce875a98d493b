// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"errors"
	"fmt"
	"regexp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// quotaName is the ResourceQuota that holds a profile's budget.
const quotaName = "kf-resource-quota"

// quota renders the budget. Without limits there is none, whatever scopes are set.
func quota(p *kubeflowv1.Profile) Part {
	part := Part{Condition: kubeflowv1.ConditionQuotaReady}
	object := Object{
		Resource: &corev1.ResourceQuota{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ResourceQuota"},
			ObjectMeta: objectMeta(p, quotaName),
		},
		Purpose: "keeps the team within its budget",
		Exact:   []string{"spec"},
	}
	if len(p.Spec.ResourceQuotaSpec.Hard) == 0 {
		part.Absent = []Object{object}
		part.Reason, part.Message = kubeflowv1.ReasonNoQuota, "the profile asks for no quota"
		return part
	}
	spec, err := quotaSpec(p.Spec.ResourceQuotaSpec)
	if err != nil {
		// The quota that is there stays: having none would lift every limit.
		part.Problem = &Problem{Reason: kubeflowv1.ReasonQuotaInvalid, Message: err.Error()}
		return part
	}
	object.Resource.(*corev1.ResourceQuota).Spec = spec
	part.Objects = []Object{object}
	part.Reason, part.Message = kubeflowv1.ReasonReady, "the quota is in place"
	return part
}

func quotaSpec(written kubeflowv1.ResourceQuotaSpec) (corev1.ResourceQuotaSpec, error) {
	spec := corev1.ResourceQuotaSpec{
		Hard:          corev1.ResourceList{},
		Scopes:        written.Scopes,
		ScopeSelector: written.ScopeSelector,
	}
	for _, name := range sortedKeys(written.Hard) {
		quantity, err := parseQuantity(string(written.Hard[name]))
		if err != nil {
			return spec, fmt.Errorf("spec.resourceQuotaSpec.hard[%s] is %q, which is no quantity: write a number such as 4, 500m or 16Gi",
				name, written.Hard[name])
		}
		if quantity.Sign() < 0 {
			return spec, fmt.Errorf("spec.resourceQuotaSpec.hard[%s] is %q: it must not be negative", name, written.Hard[name])
		}
		spec.Hard[name] = quantity
	}
	return spec, nil
}

// hugeExponent is one that no limit needs. The library calculates with it to the last digit, for minutes.
var hugeExponent = regexp.MustCompile(`[eE][+-]?[0-9]{3}`)

func parseQuantity(written string) (resource.Quantity, error) {
	if hugeExponent.MatchString(written) {
		return resource.Quantity{}, errors.New("the exponent is too large")
	}
	return resource.ParseQuantity(written)
}
