// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// limitRangeName is the LimitRange of a class.
const limitRangeName = "berth-limits"

// limitRange renders how much one container, pod or volume may ask for, and what it gets when it asks for nothing.
func limitRange(p *kubeflowv1.Profile, in Input) Part {
	if in.Class.Spec.LimitRange == nil {
		return Part{}
	}
	object := &corev1.LimitRange{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "LimitRange"},
		ObjectMeta: partMeta(p, partLimitRange, limitRangeName),
		Spec:       *in.Class.Spec.LimitRange.DeepCopy(),
	}
	// The API server fills in defaults, so the spec is shared with it. Without the hash, what the class takes out would
	// pass for one of those and stay.
	if text, err := json.Marshal(object.Spec); err == nil {
		object.Annotations = map[string]string{berthv1alpha1.RenderedAnnotation: shortHash(string(text))}
	}
	return Part{
		Reason:  kubeflowv1.ReasonReady,
		Message: "the limit range is in place",
		Objects: []Object{{Resource: object, Purpose: "limits single containers, pods and volumes"}},
	}
}
