// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/render"
)

// finalizePoll is how often hooks are asked whether they have let go. It does not grow, so that no deletion waits longer
// than it has to.
const finalizePoll = 2 * time.Second

// finalize asks the hooks to let go of p, until they have or their time is over. The profile controller waits for that
// before it deletes the namespace, so that hooks find it as it was.
func (r *Reconciler) finalize(ctx context.Context, p *kubeflowv1.Profile, hooks []berthv1alpha1.Hook) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(p, berthv1alpha1.HooksFinalizer) {
		return ctrl.Result{}, nil
	}
	if p.Annotations[berthv1alpha1.SkipHookFinalizeAnnotation] == "true" {
		return ctrl.Result{}, r.hold(ctx, p, nil)
	}
	ns, closed, err := r.gatherLast(ctx, p)
	if err != nil {
		return ctrl.Result{}, err
	}
	waiting, late, next, err := r.letGo(ctx, p, ns, closed, hooks)
	if err != nil {
		return ctrl.Result{}, err
	}
	if len(waiting) > 0 {
		return ctrl.Result{RequeueAfter: next}, client.IgnoreNotFound(r.write(ctx, p, finalizing(waiting)))
	}
	if err := r.hold(ctx, p, nil); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	for _, o := range late {
		note := fmt.Sprintf("hook %q did not let go in time; the deletion goes on without it", o.hook)
		if len(o.problems) > 0 {
			note += ": " + strings.Join(o.problems, ", ")
		}
		r.Recorder.Eventf(p, nil, corev1.EventTypeWarning, status.EventHookFinalizeTimedOut, "Finalize", "%s", status.Note(note))
	}
	return ctrl.Result{}, nil
}

// letGo asks the hooks. It returns those that are to be asked again, those whose time is over, and when to ask next.
func (r *Reconciler) letGo(
	ctx context.Context, p *kubeflowv1.Profile, ns *corev1.Namespace, closed bool, hooks []berthv1alpha1.Hook,
) (waiting, late []outcome, next time.Duration, err error) {
	next = finalizePoll
	for _, h := range hooks {
		if h.Finalize == nil {
			continue
		}
		o, err := r.ask(ctx, target{p: p, ns: ns, h: h, finalizing: true, closed: closed})
		if err != nil {
			return nil, nil, 0, err
		}
		left := p.DeletionTimestamp.Add(limit(h)).Sub(r.Now())
		switch {
		case o.finalized && len(o.problems) == 0:
		case left <= 0:
			late = append(late, o)
		default:
			waiting = append(waiting, o)
			next = sooner(next, max(left, time.Millisecond))
		}
	}
	return waiting, late, next, nil
}

// limit is how long a deletion waits for h at most.
func limit(h berthv1alpha1.Hook) time.Duration {
	const byDefault = 300
	if h.FinalizeTimeoutSeconds <= 0 {
		return byDefault * time.Second
	}
	return time.Duration(h.FinalizeTimeoutSeconds) * time.Second
}

// gatherLast returns p's namespace, past the cache, and whether nothing can be made there any more. Where it is gone or
// not p's, there is only its name to tell.
func (r *Reconciler) gatherLast(ctx context.Context, p *kubeflowv1.Profile) (ns *corev1.Namespace, closed bool, err error) {
	ns = &corev1.Namespace{}
	err = client.IgnoreNotFound(r.Direct.Get(ctx, client.ObjectKey{Name: p.Name}, ns))
	if err != nil {
		return nil, false, fmt.Errorf("read namespace %q: %w", p.Name, err)
	}
	if !render.Holds(p, ns) { // one that is not there isn't, either
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: p.Name}}, true, nil
	}
	return ns, !ns.DeletionTimestamp.IsZero(), nil
}

// finalizing says what the deletion waits for.
func finalizing(waiting []outcome) *status.Condition {
	if slices.ContainsFunc(waiting, func(o outcome) bool { return len(o.problems) > 0 }) {
		return condition(waiting)
	}
	var names []string
	for _, o := range waiting {
		names = append(names, fmt.Sprintf("%q", o.hook))
	}
	return &status.Condition{
		Type: kubeflowv1.ConditionHooksReady, Status: metav1.ConditionFalse, Reason: kubeflowv1.ReasonDeleting,
		Message: "waiting for hooks to let go: " + strings.Join(names, ", "),
	}
}
