// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// limitRangeName is the LimitRange of a class.
const limitRangeName = "berth-limits"

// limitRange renders how much one container, pod or volume may ask for, and what it gets when it asks for nothing.
func limitRange(p *kubeflowv1.Profile, in Input) Part {
	if in.Class.Spec.LimitRange == nil {
		return Part{}
	}
	return Part{
		Reason:  kubeflowv1.ReasonReady,
		Message: "the limit range is in place",
		Objects: []Object{{
			Resource: &corev1.LimitRange{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "LimitRange"},
				ObjectMeta: partMeta(p, partLimitRange, limitRangeName),
				Spec:       *in.Class.Spec.LimitRange.DeepCopy(),
			},
			Purpose: "limits single containers, pods and volumes",
		}},
	}
}
