// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/pmr"
	"berth.dev/berth/internal/render"
)

// defaultGrace is that of the custom resource definition, for syncs that were never stored.
const defaultGrace = 30 * 24 * time.Hour

// approvalAge is how long an approval is carried out: what can't be done for longer is asked about anew, as others may
// have changed the cluster since.
const approvalAge = time.Hour

// rules are how a list is compared with a cluster, as the spec of s says.
func rules(s *berthv1alpha1.ProfileSync, config render.Config, classes []berthv1alpha1.ProfileClass, own string, now time.Time) pmr.Rules {
	configs := map[string]render.Config{}
	limits := pmr.DefaultLimits()
	if l := s.Spec.Limits.MaxRemovals; l != nil {
		limits.MaxRemovals = int(*l)
	}
	if l := s.Spec.Limits.MaxRemovalPercent; l != nil {
		limits.MaxRemovalPercent = int(*l)
	}
	limits.AllowEmpty = s.Spec.Limits.AllowEmpty
	limits.AllowNewAdmins, limits.AllowLastAdmin = s.Spec.Limits.AllowNewAdmins, s.Spec.Limits.AllowLastAdmin
	stale := pmr.StaleRules{
		RevokeAfter: s.Spec.Stale.RevokeAfter.Duration, GracePeriod: defaultGrace, Delete: s.Spec.Stale.DeletionPolicy == "Delete",
	}
	if grace := s.Spec.Stale.GracePeriod; grace != nil {
		stale.GracePeriod = grace.Duration
	}
	if after := s.Spec.Stale.QuarantineAfter; after != nil {
		stale.QuarantineAfter = &after.Duration
	}
	return pmr.Rules{
		Sync: s.Name, Now: now, Reserved: []string{own}, Contributors: pmr.ContributorPolicy(s.Spec.ContributorPolicy),
		AdoptAnnotated: s.Spec.Adopt == "Annotated", AllStale: s.Spec.Stale.Scope == "All", ReportDrift: s.Spec.Drift == "Report",
		Stale: stale, Limits: limits,
		ConfigOf: func(class string) render.Config {
			if known, found := configs[class]; found {
				return known
			}
			p := &kubeflowv1.Profile{}
			if class != "" {
				p.Labels = map[string]string{berthv1alpha1.ClassLabel: class}
			}
			configs[class] = config.With(render.ClassOf(p, classes))
			return configs[class]
		},
	}
}

// approve lets the held actions of plan through that were approved. An approval is for one plan and is used up: it is
// noted before anything is done, so that being interrupted does not lose it, and is over when nothing of it is left. What
// is left is known by the list, which is the same, and by being no more than was approved.
func (r *Reconciler) approve(ctx context.Context, s *berthv1alpha1.ProfileSync, plan *pmr.Plan, in input) error {
	held := plan.Held()
	running := s.Status.Approval
	if r.inForce(running, in) && len(held) <= int(running.Held) {
		if len(held) > 0 && s.Spec.Mode != berthv1alpha1.SyncReport {
			plan.Release()
		}
		return r.dropApproval(ctx, s, running.Digest)
	}
	given := s.Annotations[berthv1alpha1.SyncApproveAnnotation]
	if given == "" || len(held) == 0 || s.Spec.Mode == berthv1alpha1.SyncReport || !plan.Approves(given) {
		return nil
	}
	noted := *s.Status.DeepCopy()
	now := metav1.NewTime(r.Now())
	noted.Approval = &berthv1alpha1.SyncApproval{Digest: given, Want: in.list.hash, Held: count(len(held)), Time: &now}
	if err := r.report(ctx, s, noted); err != nil {
		return err
	}
	r.event(s, nil, "Approved", fmt.Sprintf("the plan %s is carried out: %d actions had been held", given, len(held)))
	plan.Release()
	return r.dropApproval(ctx, s, given)
}

// inForce says whether an approval that was noted is still being carried out.
func (r *Reconciler) inForce(a *berthv1alpha1.SyncApproval, in input) bool {
	return a != nil && !a.Done && a.Want == in.list.hash && a.Time != nil && r.Now().Sub(a.Time.Time) < approvalAge
}

// dropApproval takes an approval off s that was noted.
func (r *Reconciler) dropApproval(ctx context.Context, s *berthv1alpha1.ProfileSync, digest string) error {
	if s.Annotations[berthv1alpha1.SyncApproveAnnotation] != digest {
		return nil
	}
	before := s.DeepCopy()
	delete(s.Annotations, berthv1alpha1.SyncApproveAnnotation)
	status := s.Status // the answer has the one that is stored
	if err := r.Client.Patch(ctx, s, client.MergeFrom(before), apply.FieldOwner); err != nil {
		return fmt.Errorf("take the approval off ProfileSync %q: %w", s.Name, err)
	}
	s.Status = status
	return nil
}
