// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package profilesync keeps profiles and their contributors equal to declared lists: it reads each list from its source,
// compares it with the cluster, carries out what the limits let through, and holds the rest until somebody approves.
package profilesync

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/kube/enact"
	"berth.dev/berth/internal/kube/gather"
	"berth.dev/berth/internal/pmr"
	"berth.dev/berth/internal/render"
)

// Options are what a Reconciler needs.
type Options struct {
	// Client reads from a cache that sees what was written before, and writes.
	Client client.Client
	// Direct reads past the cache.
	Direct client.Reader
	// Recorder records Events.
	Recorder events.EventRecorder
	// Config is the configuration for all profiles.
	Config render.Config
	// Have reads what the cluster has; from the cache of Client where it is nil.
	Have func(context.Context) (pmr.Have, error)
	// Classes returns all classes.
	Classes func(context.Context) ([]berthv1alpha1.ProfileClass, error)
	// Namespace has the Secrets and ConfigMaps that syncs name. No profile may have its name.
	Namespace string
	Now       func() time.Time
}

// Reconciler keeps profiles equal to the lists of ProfileSyncs.
type Reconciler struct {
	Options

	secrets  secrets
	feeds    feeds
	clusters clusters
	tokens   tokens
}

// New returns a Reconciler. Register makes it run.
func New(options Options) *Reconciler {
	if options.Have == nil {
		options.Have = func(ctx context.Context) (pmr.Have, error) { return gather.Cached(ctx, options.Client) }
	}
	return &Reconciler{Options: options, secrets: secrets{reader: options.Direct, namespace: options.Namespace}}
}

// pending is how soon is looked again while namespaces are being made.
const pending = time.Second

// input is what a pass decides on.
type input struct {
	// list is the last good one, nil where there never was one.
	list *list
	// told are the conditions of the source.
	told []condition
	// cluster is where the list is for, and have what is there.
	cluster cluster
	have    pmr.Have
	rules   pmr.Rules
	// feed is where the list is from.
	feed *feed
	// unreachable is why the cluster can't be read.
	unreachable error
}

// Reconcile makes the cluster equal to the list of s. The outline below is the whole controller.
func (r *Reconciler) Reconcile(ctx context.Context, s *berthv1alpha1.ProfileSync) (ctrl.Result, error) {
	if !s.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	began := r.Now()
	if s.Spec.Suspend {
		return ctrl.Result{}, r.report(ctx, s, suspended(s, metav1.NewTime(began)))
	}
	feed := r.feeds.of(s.Name)
	in, err := r.gather(ctx, s, feed) // all reads
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("gather inputs of ProfileSync %q: %w", s.Name, err)
	}
	if in.list == nil || in.unreachable != nil {
		return r.again(s, feed, pmr.Plan{}, 0), r.report(ctx, s, withoutPlan(s, metav1.NewTime(began), in))
	}
	looked := r.Now()
	plan := decide(s, in) // pure
	r.feeds.pace(feed, r.Now().Sub(looked))
	if err := r.approve(ctx, s, &plan, in); err != nil {
		return ctrl.Result{}, err
	}
	outcomes := r.enact(ctx, s, plan, in) // all writes
	left := plan
	if len(outcomes) > 0 {
		if left, err = r.left(ctx, s, &in); err != nil {
			return ctrl.Result{}, err
		}
	}
	waiting, failed := r.tell(ctx, s, in, left, outcomes)
	r.accept(feed, in)
	status := r.status(s, in, left, outcomes)
	observe(s.Name, r.Now().Sub(began), r.Now(), outcomes, left, failed == nil)
	if err := r.report(ctx, s, status); err != nil {
		return ctrl.Result{}, err
	}
	again := r.again(s, feed, left, waiting)
	if wait := r.feeds.retry(feed, failed != nil); failed != nil {
		// Not an error of the whole: that would have it wait for longer and longer, and with it who waits for a namespace, or
		// whose access ends.
		log.FromContext(ctx).Error(failed, "Could not carry out all that the list asks for; it is tried again")
		again.RequeueAfter = min(again.RequeueAfter, wait)
	}
	return again, nil
}

// gather reads the list and the cluster.
func (r *Reconciler) gather(ctx context.Context, s *berthv1alpha1.ProfileSync, f *feed) (input, error) {
	force := s.Annotations[berthv1alpha1.SyncNowAnnotation] != s.Status.LastHandledSyncNow || s.Generation != s.Status.ObservedGeneration
	if err := r.refresh(ctx, s, f, force); err != nil {
		return input{}, err
	}
	in := input{list: f.good, told: f.told, feed: f}
	if in.list == nil {
		return in, nil
	}
	if in.cluster, in.unreachable = r.cluster(ctx, s); in.unreachable == nil {
		return in, r.look(ctx, s, &in)
	}
	return in, nil
}

// look reads what the cluster has.
func (r *Reconciler) look(ctx context.Context, s *berthv1alpha1.ProfileSync, in *input) (err error) {
	in.have, err = in.cluster.have(ctx)
	if err == nil {
		var classes []berthv1alpha1.ProfileClass
		if classes, err = in.cluster.classes(ctx); err == nil {
			in.rules = rules(s, r.Config, classes, r.Namespace, r.Now())
			in.rules.Settled = in.feed.settledUnder(s, classes)
			return nil
		}
	}
	if in.cluster.remote {
		in.unreachable = err
		return nil
	}
	return err
}

// decide plans what makes the cluster equal to the list.
func decide(s *berthv1alpha1.ProfileSync, in input) pmr.Plan {
	plan := pmr.Diff(in.list.want, in.have, in.rules)
	switch s.Spec.Mode {
	case berthv1alpha1.SyncPlan:
		plan.HoldAll(pmr.HeldByMode)
	case berthv1alpha1.SyncReport:
		plan.HoldAll(pmr.HeldByReport)
	case berthv1alpha1.SyncApply:
	}
	return plan
}

// left plans what is left to be done after something was.
func (r *Reconciler) left(ctx context.Context, s *berthv1alpha1.ProfileSync, in *input) (pmr.Plan, error) {
	if err := r.look(ctx, s, in); err != nil {
		return pmr.Plan{}, fmt.Errorf("look at what ProfileSync %q has done: %w", s.Name, err)
	}
	if in.unreachable != nil {
		return pmr.Plan{}, in.unreachable
	}
	return decide(s, *in), nil
}

// enact carries out what of plan may be.
func (r *Reconciler) enact(ctx context.Context, s *berthv1alpha1.ProfileSync, plan pmr.Plan, in input) []enact.Outcome {
	return enact.Plan(ctx, plan, enact.Options{
		Client: in.cluster.client, Direct: in.cluster.direct, Sync: s.Name, ConfigOf: in.rules.ConfigOf,
		CharmNames: s.Spec.Naming == "charm", Workers: workers, Now: r.Now,
	})
}

// accept tells the source which commit is in force now: it hands out none that does not follow it.
func (r *Reconciler) accept(f *feed, in input) {
	if source, ok := f.source.(interface{ Accepted(commit string) }); ok {
		source.Accepted(in.list.provenance.Commit)
	}
}

// again is when s is looked at the next time.
func (r *Reconciler) again(s *berthv1alpha1.ProfileSync, f *feed, left pmr.Plan, waiting int) ctrl.Result {
	_, wait := r.feeds.due(f, r.Now())
	wait = max(wait, leastInterval)
	if !left.Next.IsZero() {
		wait = min(wait, max(left.Next.Sub(r.Now()), 0)+time.Millisecond)
	}
	if waiting > 0 {
		wait = min(wait, pending)
	}
	return ctrl.Result{RequeueAfter: min(wait, max(s.Spec.Interval.Duration, leastInterval)*2)}
}

// report writes the status of s, if it differs.
func (r *Reconciler) report(ctx context.Context, s *berthv1alpha1.ProfileSync, want berthv1alpha1.ProfileSyncStatus) error {
	if equality.Semantic.DeepEqual(s.Status, want) {
		return nil
	}
	before := s.DeepCopy()
	s.Status = want
	if err := r.Client.Status().Patch(ctx, s, client.MergeFrom(before), apply.FieldOwner); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write status of ProfileSync %q: %w", s.Name, err)
	}
	return nil
}

// local is the cluster that the controller runs in.
func (r *Reconciler) local() cluster {
	return cluster{client: r.Client, direct: r.Direct, classes: r.Classes, have: r.Have}
}
