// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package enact carries out plans that make a cluster equal to a declared list. It writes what a plan says and decides
// nothing; what it left undone, because it was interrupted or somebody was faster, the next plan has again.
package enact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/pmr"
	"berth.dev/berth/internal/render"
)

// Options are what carrying out a plan needs.
type Options struct {
	// Client writes, and reads Profiles and Namespaces. If it has a cache, that sees what was written before.
	Client client.Client
	// Direct reads what is seldom needed, past the cache.
	Direct client.Reader
	// Sync is the name of the sync.
	Sync string
	// ConfigOf is the configuration for profiles of a class, empty for the default one.
	ConfigOf func(class string) render.Config
	// CharmNames has new RoleBindings named as github-profiles-automator does.
	CharmNames bool
	// Workers is how many profiles are worked on at once.
	Workers int
	Now     func() time.Time
	// Done is called after each profile, one call at a time; it may be nil.
	Done func(Outcome)
}

// Outcome is what became of the actions of one profile.
type Outcome struct {
	Profile string
	// Done are the actions that were carried out.
	Done []pmr.Action
	// Waiting is set where the namespace is not there yet: the profile controller makes it.
	Waiting bool
	// Err is what failed. The actions of other profiles were carried out all the same.
	Err error
}

// Plan carries out what of plan is neither held nor drift that is only reported, the profiles at the same time and in
// isolation from each other.
func Plan(ctx context.Context, plan pmr.Plan, options Options) []Outcome {
	e := &enactor{Options: options, writer: apply.NewWriter(options.Client, options.Direct)}
	var group errgroup.Group
	group.SetLimit(max(options.Workers, 1))
	var mu sync.Mutex
	var outcomes []Outcome
	for _, actions := range byProfile(plan.Actions) {
		group.Go(func() error {
			outcome := Outcome{Profile: actions[0].Profile}
			if outcome.Err = ctx.Err(); outcome.Err == nil {
				outcome = e.profile(ctx, actions)
			}
			mu.Lock()
			defer mu.Unlock()
			outcomes = append(outcomes, outcome)
			if options.Done != nil {
				options.Done(outcome)
			}
			return nil
		})
	}
	_ = group.Wait() // what failed is in the outcomes
	slices.SortFunc(outcomes, func(a, b Outcome) int { return cmp.Compare(a.Profile, b.Profile) })
	return outcomes
}

// byProfile are the actions to be carried out, those of one profile together.
func byProfile(actions []pmr.Action) [][]pmr.Action {
	var groups [][]pmr.Action
	for _, a := range actions {
		if a.Held != "" || a.Drift {
			continue
		}
		if last := len(groups) - 1; last >= 0 && groups[last][0].Profile == a.Profile {
			groups[last] = append(groups[last], a)
			continue
		}
		groups = append(groups, []pmr.Action{a})
	}
	return groups
}

// enactor carries out the actions of one plan.
type enactor struct {
	Options

	writer *apply.Writer
}

// profile carries out the actions of one profile: first the Profile itself, then who comes, then who goes.
func (e *enactor) profile(ctx context.Context, actions []pmr.Action) Outcome {
	outcome := Outcome{Profile: actions[0].Profile}
	p, err := e.own(ctx, actions, &outcome)
	if err != nil {
		outcome.Err = err
		return outcome
	}
	if !slices.ContainsFunc(actions, inNamespace) {
		return outcome
	}
	var ns corev1.Namespace
	err = e.Client.Get(ctx, client.ObjectKey{Name: p.Name}, &ns)
	if apierrors.IsNotFound(err) || err == nil && (!render.Holds(p, &ns) || !ns.DeletionTimestamp.IsZero()) {
		// Nobody is let into a namespace that is not the profile's.
		outcome.Waiting = true
		return outcome
	}
	if err != nil {
		outcome.Err = fmt.Errorf("read namespace %q: %w", p.Name, err)
		return outcome
	}
	var errs []error
	for i := range actions {
		a := &actions[i]
		if !inNamespace(*a) {
			continue
		}
		if err := e.inside(ctx, p, a); err != nil {
			errs = append(errs, err)
			continue
		}
		if !changesProfile(a.Type) {
			outcome.Done = append(outcome.Done, *a)
		}
	}
	if outcome.Err = errors.Join(errs...); outcome.Err == nil && slices.ContainsFunc(actions, restores) {
		outcome.Err = e.restored(ctx, p)
	}
	return outcome
}

func restores(a pmr.Action) bool { return a.Type == pmr.RestoreProfile }

// restored drops the snapshot of p: all whom it names have access again.
func (e *enactor) restored(ctx context.Context, p *kubeflowv1.Profile) error {
	if _, kept := p.Annotations[berthv1alpha1.SnapshotAnnotation]; !kept {
		return nil
	}
	done := p.DeepCopy()
	delete(done.Annotations, berthv1alpha1.SnapshotAnnotation)
	if err := e.Client.Patch(ctx, done, client.MergeFrom(p), apply.FieldOwner); err != nil {
		return fmt.Errorf("drop the snapshot of profile %q: %w", p.Name, err)
	}
	return nil
}

// own carries out what is about the Profile itself, and returns it.
func (e *enactor) own(ctx context.Context, actions []pmr.Action, outcome *Outcome) (*kubeflowv1.Profile, error) {
	first := &actions[0]
	if first.Type == pmr.CreateProfile {
		p := first.Target.DeepCopy()
		if err := e.Client.Create(ctx, p, apply.FieldOwner); err != nil {
			return nil, fmt.Errorf("create profile %q: %w", p.Name, err)
		}
		outcome.Done = append(outcome.Done, *first)
		return p, nil
	}
	live := &kubeflowv1.Profile{}
	if err := e.Client.Get(ctx, client.ObjectKey{Name: first.Profile}, live); err != nil {
		return nil, fmt.Errorf("read profile %q: %w", first.Profile, err)
	}
	if err := e.notebooks(ctx, actions); err != nil {
		return nil, err
	}
	want := pmr.Carry(live, actions, e.Sync, e.Now())
	if slices.ContainsFunc(actions, restores) && slices.ContainsFunc(actions, inNamespace) {
		want = pmr.Unrestored(want, live)
	}
	if !equality.Semantic.DeepEqual(live, want) {
		patch := client.MergeFromWithOptions(live, client.MergeFromWithOptimisticLock{})
		if err := e.Client.Patch(ctx, want, patch, apply.FieldOwner); err != nil {
			return nil, fmt.Errorf("change profile %q: %w", live.Name, err)
		}
	}
	for _, a := range actions {
		if a.Type == pmr.DeleteProfile {
			uid := live.UID
			if err := e.Client.Delete(ctx, live, client.Preconditions{UID: &uid}); client.IgnoreNotFound(err) != nil {
				return nil, fmt.Errorf("delete profile %q: %w", live.Name, err)
			}
		}
		if changesProfile(a.Type) {
			outcome.Done = append(outcome.Done, a)
		}
	}
	return want, nil
}

// changesProfile says whether actions of a type are about the Profile itself.
func changesProfile(t pmr.ActionType) bool {
	switch t { //nolint:exhaustive // the others are not
	case pmr.AddContributor, pmr.ChangeContributor, pmr.RepairContributor, pmr.RemoveContributor:
		return false
	}
	return true
}

// inNamespace says whether an action writes anything in the namespace.
func inNamespace(a pmr.Action) bool {
	return !changesProfile(a.Type) || a.Type == pmr.RevokeAccess
}
