// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
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

// deletionPoll is how often a deletion is looked at, besides when its namespace changes.
const deletionPoll = 5 * time.Second

// finalize undoes p: its plugins are revoked by their own controller, its namespace goes, and then p itself. Nothing
// is rendered any more. Each pass does what can be done now and says what is waited for.
func (r *Reconciler) finalize(ctx context.Context, p *kubeflowv1.Profile) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(p, kubeflowv1.ProfileFinalizer) {
		r.repairs.forget(p.UID)
		return ctrl.Result{}, nil
	}
	waiting, err := r.releaseAfterHooks(ctx, p)
	if err != nil {
		return ctrl.Result{}, err
	}
	if revoking := pendingPlugins(p, r.Config); revoking != nil {
		if !render.PluginsReported(p) {
			// An earlier controller may have bound them. The plugins' controller knows that by the absence of any
			// report, so the first word is its own.
			return ctrl.Result{RequeueAfter: deletionPoll}, nil
		}
		waiting = append(waiting, *revoking)
	}
	if len(waiting) == 0 {
		r.repairs.forget(p.UID)
		handled.WithLabelValues("profile deletion").Inc()
		return ctrl.Result{}, r.removeFinalizer(ctx, p)
	}
	return ctrl.Result{RequeueAfter: deletionPoll}, r.reportDeletion(ctx, p, waiting)
}

// releaseAfterHooks releases the namespace when the hooks of the class have let go, as they may need what is in it.
func (r *Reconciler) releaseAfterHooks(ctx context.Context, p *kubeflowv1.Profile) ([]render.Problem, error) {
	if controllerutil.ContainsFinalizer(p, berthv1alpha1.HooksFinalizer) {
		return []render.Problem{{Reason: kubeflowv1.ReasonDeleting, Message: "hooks are being finalized"}}, nil
	}
	return r.release(ctx, p)
}

// pendingPlugins says what keeps the plugins of p from being gone; nil if nothing does.
func pendingPlugins(p *kubeflowv1.Profile, config render.Config) *render.Problem {
	if p.Annotations[kubeflowv1.SkipPluginRevokeAnnotation] == "true" {
		return nil
	}
	if !render.PluginsToRevoke(p, config) {
		return nil
	}
	told := meta.FindStatusCondition(p.Status.Conditions, kubeflowv1.ConditionPluginsReady)
	if told != nil && told.Reason == kubeflowv1.ReasonPluginRevokeFailed {
		return &render.Problem{Reason: kubeflowv1.ReasonDeletionBlocked, Message: fmt.Sprintf(
			"%s; to delete the profile all the same and leave the binding behind, run: kubectl annotate profile %s %s=true",
			told.Message, p.Name, kubeflowv1.SkipPluginRevokeAnnotation)}
	}
	return &render.Problem{Reason: kubeflowv1.ReasonDeleting, Message: "plugins are being revoked"}
}

// release gives the namespace of p back: deletes the one made for p, clears the one that was adopted. It says what is
// still waited for.
func (r *Reconciler) release(ctx context.Context, p *kubeflowv1.Profile) ([]render.Problem, error) {
	if slices.Contains(p.Finalizers, metav1.FinalizerOrphanDependents) {
		return nil, nil // deleted with --cascade=orphan: what belongs to p is to stay
	}
	// Past the cache: a namespace that the cache does not know yet must not be left behind.
	ns := &corev1.Namespace{}
	if err := r.Direct.Get(ctx, client.ObjectKey{Name: p.Name}, ns); apierrors.IsNotFound(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("read namespace %q: %w", p.Name, err)
	}
	if !render.Holds(p, ns) {
		return nil, nil // never ours: not to be touched
	}
	if render.Adopted(p, ns) {
		return nil, r.clear(ctx, p, ns)
	}
	if !apply.OwnedBy(ns, p.UID) {
		// Its owner reference was taken off while nobody was there to restore it. Orphaning does that, too, and a
		// namespace that should have gone can still be deleted; one that should have stayed can't be had back.
		return nil, nil
	}
	if ns.DeletionTimestamp.IsZero() {
		if err := r.Client.Delete(ctx, ns, client.Preconditions{UID: &ns.UID}); client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("delete namespace %q: %w", p.Name, err)
		}
	}
	return []render.Problem{namespaceProgress(ns)}, nil
}

// namespaceProgress says how far the deletion of ns is, in the words of the namespace's own conditions.
func namespaceProgress(ns *corev1.Namespace) render.Problem {
	var remaining []string
	for _, c := range ns.Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			remaining = append(remaining, c.Message)
		}
	}
	for _, finalizer := range ns.Finalizers {
		remaining = append(remaining, fmt.Sprintf("the namespace has the finalizer %s", finalizer))
	}
	if len(remaining) == 0 {
		return render.Problem{Reason: kubeflowv1.ReasonDeleting, Message: fmt.Sprintf("namespace %s is being deleted", ns.Name)}
	}
	return render.Problem{Reason: kubeflowv1.ReasonDeletionBlocked, Message: fmt.Sprintf(
		"namespace %s can't be deleted yet: %s", ns.Name, strings.Join(remaining, "; "))}
}

// clear takes what is ours out of a namespace that was there before p. The annotations go last: until then, they say
// that the namespace is p's to clear.
func (r *Reconciler) clear(ctx context.Context, p *kubeflowv1.Profile, ns *corev1.Namespace) error {
	var errs []error
	for _, list := range r.ownKinds() {
		if err := r.Direct.List(ctx, list, client.InNamespace(ns.Name)); err != nil {
			errs = append(errs, fmt.Errorf("list what is ours in namespace %q: %w", ns.Name, err))
			continue
		}
		errs = append(errs, meta.EachListItem(list, func(item runtime.Object) error {
			obj, ok := item.(client.Object)
			if !ok || !apply.OwnedBy(obj, p.UID) {
				return nil
			}
			uid := obj.GetUID()
			return client.IgnoreNotFound(r.Client.Delete(ctx, obj, client.Preconditions{UID: &uid}))
		}))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	before := ns.DeepCopy()
	hook.Release(ns)
	render.Release(ns)
	if err := r.Client.Patch(ctx, ns, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), apply.FieldOwner); err != nil {
		return fmt.Errorf("clear namespace %q: %w", ns.Name, err)
	}
	r.tell(p, status.Event{
		Type: corev1.EventTypeNormal, Reason: status.EventReleased,
		Note: fmt.Sprintf("took what was ours out of namespace %s, which existed before, and left the rest", ns.Name),
	})
	return nil
}

// ownKinds are lists of the kinds that we put into a namespace.
func (r *Reconciler) ownKinds() []client.ObjectList {
	return append(r.mesh.Lists(), &rbacv1.RoleBindingList{}, &corev1.ServiceAccountList{}, &corev1.ResourceQuotaList{},
		&networkingv1.NetworkPolicyList{}, &corev1.LimitRangeList{})
}

// reportDeletion says what the deletion of p waits for. The Event comes once for each thing that blocks.
func (r *Reconciler) reportDeletion(ctx context.Context, p *kubeflowv1.Profile, waiting []render.Problem) error {
	reason := kubeflowv1.ReasonDeleting
	var messages []string
	for _, problem := range waiting {
		if problem.Reason == kubeflowv1.ReasonDeletionBlocked {
			reason = problem.Reason
		}
		messages = append(messages, problem.Message)
	}
	message := strings.Join(messages, "; ")
	was := meta.FindStatusCondition(p.Status.Conditions, kubeflowv1.ConditionReady)
	if reason == kubeflowv1.ReasonDeletionBlocked &&
		(was == nil || was.Reason != reason || withoutNumbers(was.Message) != withoutNumbers(message)) {
		r.tell(p, status.Event{Type: corev1.EventTypeWarning, Reason: status.EventDeletionBlocked, Note: status.Note(message)})
	}
	want := *p.Status.DeepCopy()
	status.Merge(&want, p.Generation, metav1.NewTime(r.Now()),
		[]status.Condition{notReady(kubeflowv1.ConditionReady, render.Problem{Reason: reason, Message: message})}, partConditions...)
	return client.IgnoreNotFound(status.Patch(ctx, r.Client, p, want))
}

// withoutNumbers is message without its digits: that fewer of the same things are left is not worth another Event.
func withoutNumbers(message string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, message)
}
