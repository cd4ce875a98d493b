// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/pmr"
)

// Preview plans what s would do now, and writes nothing. Its list is read from its source.
func (r *Reconciler) Preview(ctx context.Context, s *berthv1alpha1.ProfileSync) (pmr.Plan, error) {
	f := &feed{}
	defer f.close()
	in := input{feed: f}
	if err := r.refresh(ctx, s, f, true); err != nil {
		return pmr.Plan{}, err
	}
	for _, c := range f.told {
		if c.Status == metav1.ConditionFalse {
			return pmr.Plan{}, fmt.Errorf("%s: %s", c.Reason, c.Message)
		}
	}
	if in.list = f.good; in.list == nil {
		return pmr.Plan{}, errors.New("the source has no list")
	}
	if in.cluster, in.unreachable = r.cluster(ctx, s); in.unreachable != nil {
		return pmr.Plan{}, in.unreachable
	}
	if err := r.look(ctx, s, &in); err != nil {
		return pmr.Plan{}, err
	}
	if in.unreachable != nil {
		return pmr.Plan{}, in.unreachable
	}
	return decide(s, in), nil
}
