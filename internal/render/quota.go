// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// quotaName is the ResourceQuota that holds a profile's budget.
const quotaName = "kf-resource-quota"

// quota renders the budget: what the profile asks for, or the default of its class, within the limits of the class.
// Without limits there is none, whatever scopes are set.
func quota(p *kubeflowv1.Profile, in Input) Part {
	part := Part{Condition: kubeflowv1.ConditionQuotaReady}
	object := Object{
		Resource: &corev1.ResourceQuota{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ResourceQuota"},
			ObjectMeta: objectMeta(p, quotaName),
		},
		Purpose: "keeps the team within its budget",
		Exact:   []string{"spec"},
	}
	var class berthv1alpha1.QuotaSettings
	if in.Class.Spec.Quota != nil {
		class = *in.Class.Spec.Quota
	}
	written, whose := p.Spec.ResourceQuotaSpec, "spec.resourceQuotaSpec.hard"
	if len(written.Hard) == 0 && len(class.Default) > 0 {
		written.Hard, whose = class.Default, "spec.quota.default of the class"
	}
	spec, err := quotaSpec(written, whose)
	if err != nil {
		// The quota that is there stays: having none would lift every limit.
		part.Problem = &Problem{Reason: kubeflowv1.ReasonQuotaInvalid, Message: err.Error()}
		return part
	}
	if len(p.Spec.ResourceQuotaSpec.Hard) > 0 {
		part.Problem = incomplete(spec.Hard, class.Required)
	}
	above, err := limit(spec.Hard, class.Max, whose)
	if err != nil {
		part.Problem = &Problem{Reason: kubeflowv1.ReasonQuotaInvalid, Message: err.Error()}
		return part
	}
	if above != nil {
		part.Problem = above
	}
	if scoped := len(spec.Scopes) > 0 || spec.ScopeSelector != nil; scoped && len(class.Max) > 0 {
		// A quota with scopes counts some pods only, and a second one for the others must not be.
		spec.Scopes, spec.ScopeSelector = nil, nil
		part.Problem = &Problem{Reason: kubeflowv1.ReasonQuotaAboveClass, Message: "spec.resourceQuotaSpec has scopes, which leave pods out " +
			"that the limits of the class are for; the profile has its quota without them"}
	}
	if len(spec.Hard) == 0 {
		part.Absent = []Object{object}
		part.Reason, part.Message = kubeflowv1.ReasonNoQuota, "the profile asks for no quota"
		return part
	}
	if part.Problem == nil {
		part.Problem = ineffective(spec.Hard)
	}
	object.Resource.(*corev1.ResourceQuota).Spec = spec
	part.Objects = []Object{object}
	part.Reason, part.Message = kubeflowv1.ReasonReady, "the quota is in place"
	return part
}

// limit lowers hard to what the class allows at most, and adds what of that hard does not name. It says what was
// lowered.
func limit(hard corev1.ResourceList, most map[corev1.ResourceName]kubeflowv1.Quantity, whose string) (*Problem, error) {
	ceilings, err := quotaSpec(kubeflowv1.ResourceQuotaSpec{Hard: most}, "spec.quota.max of the class")
	if err != nil {
		return nil, err
	}
	var lowered []string
	for _, name := range sortedKeys(ceilings.Hard) {
		ceiling := ceilings.Hard[name]
		if have, asked := hard[name]; asked {
			if have.Cmp(ceiling) <= 0 {
				continue
			}
			lowered = append(lowered, fmt.Sprintf("%s of %s (at most %s)", have.String(), name, ceiling.String()))
		}
		hard[name] = ceiling
	}
	if len(lowered) == 0 {
		return nil, nil //nolint:nilnil // no problem is an answer
	}
	return &Problem{Reason: kubeflowv1.ReasonQuotaAboveClass, Message: fmt.Sprintf(
		"%s asks for more than the class allows: %s; the profile has what the class allows", whose,
		strings.Join(lowered, ", "))}, nil
}

// incomplete says which resources the class requires that hard, which a profile asks for, does not name.
func incomplete(hard corev1.ResourceList, required []berthv1alpha1.ResourceName) *Problem {
	var missing []string
	for _, name := range required {
		if !limited(hard, corev1.ResourceName(name)) {
			missing = append(missing, string(name))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return &Problem{Reason: kubeflowv1.ReasonQuotaIncomplete, Message: fmt.Sprintf(
		"spec.resourceQuotaSpec.hard does not name %s, which the class requires: add it", strings.Join(distinct(missing), ", "))}
}

// limited says whether hard limits the resource, for which Kubernetes has two names if it is CPU or memory that is requested.
func limited(hard corev1.ResourceList, name corev1.ResourceName) bool {
	_, named := hard[name]
	switch name {
	case corev1.ResourceCPU, corev1.ResourceMemory:
		name = "requests." + name
	case corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory:
		name = corev1.ResourceName(strings.TrimPrefix(string(name), "requests."))
	}
	_, otherwise := hard[name]
	return named || otherwise
}

// ineffective says which extended resources are written in a way that the API server takes and does not count.
func ineffective(hard corev1.ResourceList) *Problem {
	for _, name := range sortedKeys(hard) {
		if Counted(string(name)) {
			continue
		}
		return &Problem{Reason: kubeflowv1.ReasonQuotaIneffective, Message: fmt.Sprintf(
			"spec.resourceQuotaSpec.hard[%s] limits nothing: Kubernetes counts extended resources only under requests.; write requests.%s",
			name, strings.TrimPrefix(string(name), "limits."))}
	}
	return nil
}

// Counted says whether Kubernetes counts what a quota calls by that name. An extended resource is counted only by what
// is requested of it.
func Counted(name string) bool {
	return !strings.Contains(name, "/") || strings.HasPrefix(name, "requests.") || strings.HasPrefix(name, "count/") ||
		strings.Contains(name, ".storageclass.storage.k8s.io/") || strings.Contains(name, ".deviceclass.resource.k8s.io/")
}

func quotaSpec(written kubeflowv1.ResourceQuotaSpec, whose string) (corev1.ResourceQuotaSpec, error) {
	spec := corev1.ResourceQuotaSpec{
		Hard:          corev1.ResourceList{},
		Scopes:        written.Scopes,
		ScopeSelector: written.ScopeSelector,
	}
	for _, name := range sortedKeys(written.Hard) {
		quantity, err := ParseQuantity(string(written.Hard[name]))
		if err != nil {
			return spec, fmt.Errorf("%s[%s] is %q, which is no quantity: write a number such as 4, 500m or 16Gi",
				whose, name, written.Hard[name])
		}
		if quantity.Sign() < 0 {
			return spec, fmt.Errorf("%s[%s] is %q: it must not be negative", whose, name, written.Hard[name])
		}
		spec.Hard[name] = quantity
	}
	return spec, nil
}

// hugeExponent is one that no limit needs. The library calculates with it to the last digit, for minutes.
var hugeExponent = regexp.MustCompile(`[eE][+-]?[0-9]{3}`)

// ParseQuantity reads a quantity as an administrator or tenant wrote it.
func ParseQuantity(written string) (resource.Quantity, error) {
	if hugeExponent.MatchString(written) {
		return resource.Quantity{}, errors.New("the exponent is too large")
	}
	return resource.ParseQuantity(written)
}
