// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package hook is the controller that asks the hooks of a profile's class what belongs into its namespace, and keeps
// that there. It is apart from the profile controller, which it meets in the Profile's status and finalizers only,
// because a hook may be slow, down or wrong.
package hook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/hook"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/render"
)

// Options are what a Reconciler needs.
type Options struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Direct reads past the cache.
	Direct client.Reader
	// Recorder takes Events.
	Recorder events.EventRecorder
	// Class returns what the class of a profile asks for; not known while nobody can say.
	Class func(context.Context, *kubeflowv1.Profile) (spec berthv1alpha1.ProfileClassSpec, known bool, err error)
	// Ask posts a request to a hook and returns its answer. Its errors become part of a condition: they say the same each
	// time, and nothing that was sent or answered.
	Ask func(ctx context.Context, endpoint berthv1alpha1.HookEndpoint, request any) ([]byte, error)
	// Now is the time; conditions carry it, and finalizing ends by it.
	Now func() time.Time
}

// Reconciler makes the namespace of a Profile match the answers of the hooks.
type Reconciler struct {
	Options

	kinds *kinds
}

// New returns a Reconciler. Register makes it run.
func New(options Options) *Reconciler { return &Reconciler{Options: options} }

// conflictPause lets the cache catch up before the next look.
const conflictPause = 50 * time.Millisecond

// Reconcile makes p's namespace match the answers of the hooks.
func (r *Reconciler) Reconcile(ctx context.Context, p *kubeflowv1.Profile) (ctrl.Result, error) {
	result, err := r.reconcile(ctx, p)
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: conflictPause}, nil
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || apierrors.IsNotFound(err) {
		return ctrl.Result{}, nil // what is next is told by a change of the namespace or the profile
	}
	return result, err
}

func (r *Reconciler) reconcile(ctx context.Context, p *kubeflowv1.Profile) (ctrl.Result, error) {
	spec, known, err := r.Class(ctx, p)
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("read the class of profile %q: %w", p.Name, err)
	}
	if !p.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, p, spec.Hooks)
	}
	if !known {
		return ctrl.Result{}, nil
	}
	ns, err := r.gather(ctx, p)
	if err != nil || ns == nil {
		return ctrl.Result{}, err
	}
	if err := r.hold(ctx, p, spec.Hooks); err != nil {
		return ctrl.Result{}, err
	}
	outcomes, err := r.sync(ctx, p, ns, spec)
	if err != nil {
		return ctrl.Result{}, err
	}
	return r.report(ctx, p, outcomes)
}

// gather returns p's namespace; nil while there is none that is p's, ready and stays.
func (r *Reconciler) gather(ctx context.Context, p *kubeflowv1.Profile) (*corev1.Namespace, error) {
	if !meta.IsStatusConditionTrue(p.Status.Conditions, kubeflowv1.ConditionNamespaceReady) {
		return nil, nil //nolint:nilnil // absence is an answer here, not an error
	}
	ns := &corev1.Namespace{}
	if err := r.Client.Get(ctx, client.ObjectKey{Name: p.Name}, ns); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	if !ns.DeletionTimestamp.IsZero() || !render.Holds(p, ns) {
		return nil, nil //nolint:nilnil // not p's, or not for long
	}
	return ns, nil
}

// hold makes sure that p does not go before its hooks have let go, where one of them wants to be asked.
func (r *Reconciler) hold(ctx context.Context, p *kubeflowv1.Profile, hooks []berthv1alpha1.Hook) error {
	finalized := slices.ContainsFunc(hooks, func(h berthv1alpha1.Hook) bool { return h.Finalize != nil })
	if finalized == controllerutil.ContainsFinalizer(p, berthv1alpha1.HooksFinalizer) {
		return nil
	}
	before := p.DeepCopy()
	if finalized {
		controllerutil.AddFinalizer(p, berthv1alpha1.HooksFinalizer)
	} else {
		controllerutil.RemoveFinalizer(p, berthv1alpha1.HooksFinalizer)
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, p, patch, apply.FieldOwner); err != nil {
		return fmt.Errorf("write the finalizers of profile %q: %w", p.Name, err)
	}
	return nil
}

// sync asks all hooks, in the order of the class, and takes back what hooks have that are not in the class any more. One
// that fails keeps none of the others back.
func (r *Reconciler) sync(
	ctx context.Context, p *kubeflowv1.Profile, ns *corev1.Namespace, spec berthv1alpha1.ProfileClassSpec,
) (outcomes []outcome, err error) {
	record := hook.RecordOf(ns)
	for _, h := range spec.Hooks {
		o, err := r.ask(ctx, target{p: p, ns: ns, h: h, reserved: reserved(spec)})
		if err != nil {
			return nil, err
		}
		outcomes = append(outcomes, o)
		delete(record, h.Name)
	}
	for _, name := range sortedKeys(record) {
		o, err := r.dismiss(ctx, target{p: p, ns: ns, h: berthv1alpha1.Hook{Name: name}})
		if err != nil {
			return nil, err
		}
		outcomes = append(outcomes, o)
	}
	return outcomes, nil
}

// reserved are the labels and annotations of the Namespace that the class itself sets.
func reserved(spec berthv1alpha1.ProfileClassSpec) (keys []string) {
	if spec.Namespace == nil {
		return nil
	}
	for _, setting := range slices.Concat(spec.Namespace.Labels, spec.Namespace.Annotations) {
		keys = append(keys, setting.Key)
	}
	return keys
}

// outcome is what came of asking one hook.
type outcome struct {
	hook string
	// gone means that the hook is not in the class any more.
	gone bool
	// problems say what went wrong.
	problems []string
	// again is when to ask the hook again although nothing changed; zero for never.
	again time.Duration
	// finalized means that the hook has let go.
	finalized bool
}

// condition says how the hooks stand; nil where there are none.
func condition(outcomes []outcome) *status.Condition {
	var messages []string
	hooks := 0
	for _, o := range outcomes {
		if !o.gone || len(o.problems) > 0 {
			hooks++
		}
		if len(o.problems) > 0 {
			messages = append(messages, fmt.Sprintf("hook %q: %s", o.hook, strings.Join(o.problems, ", ")))
		}
	}
	switch {
	case hooks == 0:
		return nil
	case len(messages) > 0:
		return &status.Condition{
			Type: kubeflowv1.ConditionHooksReady, Status: metav1.ConditionFalse,
			Reason: kubeflowv1.ReasonHookFailed, Message: strings.Join(messages, "; "),
		}
	}
	return &status.Condition{
		Type: kubeflowv1.ConditionHooksReady, Status: metav1.ConditionTrue,
		Reason: kubeflowv1.ReasonReady, Message: "what the hooks ask for is in place",
	}
}

// report writes the condition and says when to look again.
func (r *Reconciler) report(ctx context.Context, p *kubeflowv1.Profile, outcomes []outcome) (ctrl.Result, error) {
	told := condition(outcomes)
	if err := r.write(ctx, p, told); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if told != nil && told.Status == metav1.ConditionFalse {
		return ctrl.Result{}, errors.New(told.Message) // has it tried again, later each time
	}
	again := time.Duration(0)
	for _, o := range outcomes {
		again = sooner(again, o.again)
	}
	return ctrl.Result{RequeueAfter: again}, nil
}

// sooner is the shorter of two waits; zero is for ever.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// write writes the condition, or takes it out where there is none. Where somebody else wrote first it tries again, as
// looking again would ask all hooks once more.
func (r *Reconciler) write(ctx context.Context, p *kubeflowv1.Profile, told *status.Condition) error {
	generation, uid, same := p.Generation, p.UID, true
	again := func(err error) bool { return same && apierrors.IsConflict(err) }
	return retry.OnError(retry.DefaultBackoff, again, func() error {
		want := *p.Status.DeepCopy()
		if told == nil {
			status.Merge(&want, generation, metav1.NewTime(r.Now()), nil, kubeflowv1.ConditionHooksReady)
		} else {
			status.Merge(&want, generation, metav1.NewTime(r.Now()), []status.Condition{*told})
		}
		err := status.Patch(ctx, r.Client, p, want)
		if !apierrors.IsConflict(err) {
			return err
		}
		fresh := &kubeflowv1.Profile{}
		if err := r.Client.Get(ctx, client.ObjectKeyFromObject(p), fresh); err != nil {
			return err
		}
		same = fresh.UID == uid
		p = fresh
		return err
	})
}
