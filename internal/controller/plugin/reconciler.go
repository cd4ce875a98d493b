// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package plugin is the controller that binds profiles to cloud identities and takes the bindings back. It is apart
// from the profile controller, which it meets in the Profile's status only, because a provider may be slow or down.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/retry"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/cloud"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/render"
)

const (
	// workers is how many profiles are worked on at once: providers limit how often they are called.
	workers = 4
	// conflictPause lets the cache catch up before the next look.
	conflictPause = 50 * time.Millisecond
	// invalidPause is when something that only a person can mend is looked at again.
	invalidPause = 5 * time.Minute
	// retryFirst and retryLast bound the wait before a provider that failed is tried again.
	retryFirst = time.Second
	retryLast  = 5 * time.Minute
)

// Provider binds the service account default-editor of a namespace to an identity, and takes that back. Both can be
// called again at any time. An error is cloud.ErrInvalid where trying again can't help, and cloud.ErrUntouched where
// certainly nothing was changed.
type Provider interface {
	Apply(ctx context.Context, namespace, identity string) error
	Revoke(ctx context.Context, namespace, identity string) error
}

// Options are what a Reconciler needs.
type Options struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Recorder takes Events.
	Recorder events.EventRecorder
	// Config is what the administrator decided.
	Config render.Config
	// Providers are the providers by the kind of their plugin.
	Providers map[string]Provider
	// Verify is how often a binding that is in place is looked at again; zero for never.
	Verify time.Duration
	// Now is the time; conditions carry it.
	Now func() time.Time
}

// Reconciler makes the providers match the plugins of a Profile.
type Reconciler struct {
	Options

	mu  sync.Mutex
	due map[types.UID]time.Time // when a profile's bindings are to be verified
}

// New returns a Reconciler. Register makes it run.
func New(options Options) *Reconciler {
	return &Reconciler{Options: options, due: map[types.UID]time.Time{}}
}

// Register makes r run in mgr.
func (r *Reconciler) Register(mgr ctrl.Manager) error {
	byName := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, obj client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: obj.GetName()}}}
	})
	err := ctrl.NewControllerManagedBy(mgr).
		Named("plugin").
		// Not for changes of status: most are our own, and each would call a provider that fails once more.
		For(&kubeflowv1.Profile{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.Namespace{}, byName). // a namespace made anew has to be bound anew
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryFirst, retryLast),
		}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
	if err != nil {
		return fmt.Errorf("set up the plugin controller: %w", err)
	}
	return nil
}

// Reconcile makes the providers match p. What is about to be done is recorded before it is done, so that a restart in
// the middle forgets nothing.
func (r *Reconciler) Reconcile(ctx context.Context, p *kubeflowv1.Profile) (ctrl.Result, error) {
	result, err := r.reconcile(ctx, p)
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: conflictPause}, nil
	}
	return result, err
}

func (r *Reconciler) reconcile(ctx context.Context, p *kubeflowv1.Profile) (ctrl.Result, error) {
	ns, err := r.gather(ctx, p)
	if err != nil {
		return ctrl.Result{}, err
	}
	steps := decide(p, ns, r.Config, r.verifyDue(p))
	if len(steps.calls) > 0 {
		if err := status.Patch(ctx, r.Client, p, withRecords(p, steps.intended())); err != nil {
			return ctrl.Result{}, err
		}
	}
	results := r.call(ctx, p, steps)
	return r.report(ctx, p, steps, results)
}

// gather returns the namespace that p's plugins are for; nil where there is none that is p's and stays.
func (r *Reconciler) gather(ctx context.Context, p *kubeflowv1.Profile) (*corev1.Namespace, error) {
	ns := &corev1.Namespace{}
	err := r.Client.Get(ctx, client.ObjectKey{Name: p.Name}, ns)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // absence is an answer here, not an error
	}
	if err != nil {
		return nil, fmt.Errorf("read namespace %q: %w", p.Name, err)
	}
	if !ns.DeletionTimestamp.IsZero() || !render.Holds(p, ns) {
		return nil, nil //nolint:nilnil // not p's, or not for long
	}
	return ns, nil
}

// call calls the providers, in order; one that fails keeps none of the others back.
func (r *Reconciler) call(ctx context.Context, p *kubeflowv1.Profile, s steps) []error {
	results := make([]error, len(s.calls))
	for i, c := range s.calls {
		provider := r.Providers[c.record.Kind]
		switch {
		case provider == nil:
			results[i] = cloud.Untouched(fmt.Errorf("%w: no provider for plugins of kind %s", cloud.ErrInvalid, c.record.Kind))
		case c.revoke:
			results[i] = provider.Revoke(ctx, p.Name, c.record.Identity)
		default:
			results[i] = provider.Apply(ctx, p.Name, c.record.Identity)
		}
	}
	return results
}

// report records what came of s and says when to look again.
func (r *Reconciler) report(ctx context.Context, p *kubeflowv1.Profile, s steps, results []error) (ctrl.Result, error) {
	records := s.achieved(results)
	condition := s.condition(results, records)
	r.tell(p, s, results, condition)
	if err := r.write(ctx, p, records, condition); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}

	var failed []error
	pause := time.Duration(0)
	for _, err := range results {
		if err != nil && !errors.Is(err, cloud.ErrInvalid) {
			failed = append(failed, err)
		} else if err != nil {
			pause = invalidPause
		}
	}
	if len(failed) > 0 {
		return ctrl.Result{}, errors.Join(failed...)
	}
	if verify := r.verifyNext(p, len(records) > 0, len(s.calls) > 0); pause == 0 {
		pause = verify
	}
	return ctrl.Result{RequeueAfter: pause}, nil
}

// write records what was achieved. Where somebody else wrote first it tries again, as looking again would call the
// providers once more; but not where the records are no longer the ones that it began with.
func (r *Reconciler) write(ctx context.Context, p *kubeflowv1.Profile, records []kubeflowv1.PluginStatus, condition *status.Condition) error {
	began, generation, ours := p.Status.Plugins, p.Generation, true
	again := func(err error) bool { return ours && apierrors.IsConflict(err) }
	return retry.OnError(retry.DefaultBackoff, again, func() error {
		want := withRecords(p, records)
		if condition == nil {
			status.Merge(&want, generation, metav1.NewTime(r.Now()), nil, kubeflowv1.ConditionPluginsReady)
		} else {
			status.Merge(&want, generation, metav1.NewTime(r.Now()), []status.Condition{*condition})
		}
		err := status.Patch(ctx, r.Client, p, want)
		if !apierrors.IsConflict(err) {
			return err
		}
		fresh := &kubeflowv1.Profile{}
		if err := r.Client.Get(ctx, client.ObjectKeyFromObject(p), fresh); err != nil {
			return err
		}
		ours = fresh.UID == p.UID && equality.Semantic.DeepEqual(fresh.Status.Plugins, began)
		p = fresh
		return err
	})
}

// failures are the reasons that are worth a warning; others pass by themselves.
var failures = []string{kubeflowv1.ReasonPluginInvalid, kubeflowv1.ReasonPluginFailed, kubeflowv1.ReasonPluginRevokeFailed}

// tell records Events for what is news.
func (r *Reconciler) tell(p *kubeflowv1.Profile, s steps, results []error, condition *status.Condition) {
	for i, c := range s.calls {
		if results[i] != nil || c.verify {
			continue
		}
		reason, done := status.EventPluginApplied, "bound"
		if c.revoke {
			reason, done = status.EventPluginRevoked, "took back the binding of"
		}
		r.Recorder.Eventf(p, nil, corev1.EventTypeNormal, reason, "Reconcile", "%s %s to service account %s/%s",
			done, c.record.Identity, p.Name, render.EditorName)
	}
	was := meta.FindStatusCondition(p.Status.Conditions, kubeflowv1.ConditionPluginsReady)
	if condition != nil && slices.Contains(failures, condition.Reason) && (was == nil || was.Message != condition.Message) {
		r.Recorder.Eventf(p, nil, corev1.EventTypeWarning, status.EventPluginFailed, "Reconcile", "%s", status.Note(condition.Message))
	}
}

// verifyDue says whether the bindings of p are to be looked at again now.
func (r *Reconciler) verifyDue(p *kubeflowv1.Profile) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	due, known := r.due[p.UID]
	return known && !r.Now().Before(due)
}

// verifyNext says when the bindings of p are to be looked at again, if it has any. The first time after a start is spread
// over the whole period, so that a restart does not call the providers for all profiles at once.
func (r *Reconciler) verifyNext(p *kubeflowv1.Profile, bound, called bool) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !bound || r.Verify <= 0 {
		delete(r.due, p.UID)
		return 0
	}
	due, known := r.due[p.UID]
	switch {
	case called:
		due = r.Now().Add(r.Verify)
	case !known:
		due = r.Now().Add(rand.N(r.Verify)) //nolint:gosec // spreads load, hides nothing
	}
	r.due[p.UID] = due
	return due.Sub(r.Now())
}

// withRecords is p's status with other plugin records.
func withRecords(p *kubeflowv1.Profile, records []kubeflowv1.PluginStatus) kubeflowv1.ProfileStatus {
	want := *p.Status.DeepCopy()
	want.Plugins = records
	return want
}
