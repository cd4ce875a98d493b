// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kube/enact"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/pmr"
)

// tell says on each profile of s how it stands, and what happened to it. It returns how many wait for their namespaces,
// and what failed and is worth another try.
func (r *Reconciler) tell(ctx context.Context, s *berthv1alpha1.ProfileSync, in input, left pmr.Plan, outcomes []enact.Outcome) (waiting int, err error) {
	var errs []error
	for _, o := range outcomes {
		if o.Waiting {
			waiting++
		}
		if h := in.have.Profiles[o.Profile]; h != nil && !in.cluster.remote {
			r.happened(s, h.Profile, o)
		}
		if o.Err != nil && !apierrors.IsConflict(o.Err) && !apierrors.IsAlreadyExists(o.Err) {
			errs = append(errs, o.Err)
		} else if o.Err != nil {
			waiting++ // somebody else was faster: look again, soon, without a word
		}
	}
	if s.Spec.Mode == berthv1alpha1.SyncReport {
		return waiting, errors.Join(errs...)
	}
	states := states(s, in, left, outcomes)
	var group errgroup.Group
	group.SetLimit(workers)
	var mu sync.Mutex
	for name, state := range states {
		p := in.have.Profiles[name].Profile
		if status.Says(p, state) {
			continue
		}
		want := *p.Status.DeepCopy()
		status.Merge(&want, p.Generation, metav1.NewTime(r.Now()), []status.Condition{state})
		group.Go(func() error {
			err := status.Patch(ctx, in.cluster.client, p.DeepCopy(), want)
			if err != nil && !apierrors.IsConflict(err) && client.IgnoreNotFound(err) != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
			return nil
		})
	}
	_ = group.Wait() // what failed is in errs
	return waiting, errors.Join(errs...)
}

// states are the conditions of the profiles under s, by their names.
func states(s *berthv1alpha1.ProfileSync, in input, left pmr.Plan, outcomes []enact.Outcome) map[string]status.Condition {
	troubled := troubles(left, outcomes)
	found := map[string]status.Condition{}
	good := succeeded(kubeflowv1.ConditionSynced, fmt.Sprintf("the profile and its contributors are as the list of ProfileSync %s asks", s.Name))
	for name, h := range in.have.Profiles {
		if h.Profile.Labels[berthv1alpha1.SyncLabel] != s.Name || !h.Profile.DeletionTimestamp.IsZero() {
			continue
		}
		state, trouble := troubled[name]
		if _, listed := in.list.want.Profiles[name]; !listed {
			state, trouble = failed(kubeflowv1.ConditionSynced, berthv1alpha1.ReasonStale, staleMessage(s, h.Profile)), true
		}
		if !trouble {
			state = good
		}
		found[name] = state
	}
	return found
}

// troubles are the conditions of profiles that are not as the list asks. Of several, the first counts.
func troubles(left pmr.Plan, outcomes []enact.Outcome) map[string]status.Condition {
	found := map[string]status.Condition{}
	add := func(profile, reason, message string) {
		if _, there := found[profile]; !there {
			found[profile] = failed(kubeflowv1.ConditionSynced, reason, message)
		}
	}
	for _, p := range left.Problems {
		add(p.Profile, p.Reason, p.Message)
	}
	for _, o := range outcomes {
		if o.Err != nil && !apierrors.IsConflict(o.Err) {
			add(o.Profile, berthv1alpha1.ReasonApplyFailed, o.Err.Error())
		}
	}
	held, drifted, open := map[string]int{}, map[string]int{}, map[string]int{}
	for _, a := range left.Actions {
		switch {
		case a.Drift:
			drifted[a.Profile]++
		case a.Held != "":
			held[a.Profile]++
		default:
			open[a.Profile]++
		}
	}
	for profile, n := range held {
		add(profile, berthv1alpha1.ReasonApprovalPending, fmt.Sprintf("%d changes wait for approval", n))
	}
	for profile := range open {
		add(profile, berthv1alpha1.ReasonApplying, "the list is being carried out")
	}
	for profile, n := range drifted {
		add(profile, berthv1alpha1.ReasonDriftReported, fmt.Sprintf("%d things were changed by hand, and are left so", n))
	}
	return found
}

func staleMessage(s *berthv1alpha1.ProfileSync, p *kubeflowv1.Profile) string {
	text := fmt.Sprintf("ProfileSync %s lists it no more", s.Name)
	stale := pmr.StaleOf(p)
	if stale == nil {
		return text
	}
	text += " since " + stale.Since.UTC().Format(time.RFC3339)
	if stale.Revoked != nil {
		text += "; the contributors' access was taken away"
	}
	if stale.Quarantined != nil {
		text += "; notebooks were stopped and no new pod is let in"
	}
	if stale.Deletable != nil {
		text += "; it may be deleted: berth stale report " + p.Name
	}
	return text
}

// happened records an Event about what was done to a profile. People's names stay out of it: Events end up in logs.
func (r *Reconciler) happened(s *berthv1alpha1.ProfileSync, p *kubeflowv1.Profile, o enact.Outcome) {
	counts := map[pmr.ActionType]int{}
	stale := false
	for _, a := range o.Done {
		counts[a.Type]++
		stale = stale || a.Type == pmr.MarkStale
	}
	if stale {
		r.Recorder.Eventf(p, nil, "Warning", "Stale", "Sync", "ProfileSync %s lists this profile no more", s.Name)
	}
	var parts []string
	for _, kind := range told {
		if n := counts[kind.action]; n > 0 {
			parts = append(parts, strings.Replace(kind.text, "%d", strconv.Itoa(n), 1))
		}
	}
	if len(parts) > 0 {
		r.event(s, p, "Synced", fmt.Sprintf("as ProfileSync %s asks: %s", s.Name, strings.Join(parts, ", ")))
	}
	if o.Err != nil && !apierrors.IsConflict(o.Err) {
		r.Recorder.Eventf(p, nil, "Warning", "SyncFailed", "Sync", "%s", status.Note("a part of what the list asks for could not be done; the condition Synced says which"))
	}
}

// told is how actions are told of. One without a number is done once to a profile.
var told = []struct {
	action pmr.ActionType
	text   string
}{
	{pmr.CreateProfile, "made the profile"},
	{pmr.AdoptProfile, "took the profile over"},
	{pmr.RestoreProfile, "restored the profile"},
	{pmr.ChangeOwner, "changed the owner"},
	{pmr.ChangeQuota, "changed the quota"},
	{pmr.ChangeMetadata, "changed labels or annotations"},
	{pmr.ChangePlugins, "changed plugins"},
	{pmr.AddContributor, "contributors added: %d"},
	{pmr.ChangeContributor, "contributors with another role or name: %d"},
	{pmr.RepairContributor, "RoleBindings put right: %d"},
	{pmr.RemoveContributor, "contributors removed: %d"},
	{pmr.RevokeAccess, "took all contributors' access away"},
	{pmr.Quarantine, "stopped the notebooks, and let no new pod in"},
}
