// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync

import (
	"context"
	"fmt"
	"maps"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/render"
)

// workers is how many profiles of one sync are worked on at once. They mostly wait for the API server.
const workers = 16

// settle and settleMost bound how long changes of profiles and RoleBindings are waited for.
const (
	settle     = 2 * time.Second
	settleMost = time.Minute
)

// retryFirst and retryLast bound the wait before something that failed is tried again.
const (
	retryFirst = 500 * time.Millisecond
	retryLast  = 2 * time.Minute
)

// Register makes r run in mgr. The cluster has to serve ProfileSyncs. hurry has the source of a sync asked at once.
func (r *Reconciler) Register(mgr ctrl.Manager) (hurry func(ctx context.Context, sync string), err error) {
	asked := make(chan event.GenericEvent, 64) // as many webhooks as anybody has
	drifted := handler.TypedFuncs[client.Object, reconcile.Request]{
		CreateFunc: func(ctx context.Context, _ event.CreateEvent, q queue) { r.soon(ctx, q) },
		UpdateFunc: func(ctx context.Context, _ event.UpdateEvent, q queue) { r.soon(ctx, q) },
		DeleteFunc: func(ctx context.Context, _ event.DeleteEvent, q queue) { r.soon(ctx, q) },
	}
	err = ctrl.NewControllerManagedBy(mgr).
		Named("profilesync").
		For(&berthv1alpha1.ProfileSync{}, builder.WithPredicates(predicate.Or[client.Object](
			predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		Watches(&kubeflowv1.Profile{}, drifted, builder.WithPredicates(profileChanged())).
		Watches(&rbacv1.RoleBinding{}, drifted, builder.WithPredicates(contributorChanged())).
		WatchesRawSource(source.Channel(asked, &handler.EnqueueRequestForObject{})).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: 4, //nolint:mnd // syncs, each of which works on many profiles at once
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryFirst, retryLast),
		}).
		Complete(reconcile.Func(func(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
			s := &berthv1alpha1.ProfileSync{}
			err := mgr.GetClient().Get(ctx, request.NamespacedName, s)
			if apierrors.IsNotFound(err) {
				r.forget(request.Name)
				return ctrl.Result{}, nil
			}
			if err != nil {
				return ctrl.Result{}, fmt.Errorf("read ProfileSync %q: %w", request.Name, err)
			}
			return r.Reconcile(ctx, s)
		}))
	if err != nil {
		return nil, fmt.Errorf("set up the profile sync controller: %w", err)
	}
	return func(ctx context.Context, sync string) {
		r.feeds.hurry(sync)
		s := &berthv1alpha1.ProfileSync{}
		s.Name = sync
		select {
		case asked <- event.GenericEvent{Object: s}:
		default: // whoever is elected asks when the time comes
		}
	}, nil
}

// forget drops what is remembered of a sync that is gone. The profiles stay, and everybody in them.
func (r *Reconciler) forget(sync string) {
	r.feeds.forget(sync)
	r.clusters.forget(sync)
	forgetMetrics(sync)
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// soon has all syncs look at the cluster, a moment later.
func (r *Reconciler) soon(ctx context.Context, q queue) {
	var syncs berthv1alpha1.ProfileSyncList
	if err := r.Client.List(ctx, &syncs); err != nil {
		log.FromContext(ctx).Error(err, "Could not have the profile syncs look at the cluster")
		return
	}
	for i := range syncs.Items {
		name := syncs.Items[i].Name
		q.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}, r.feeds.settled(name))
	}
}

// profileChanged lets changes through that a list may speak of, and not those of a status.
func profileChanged() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
				!maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels()) ||
				!maps.Equal(e.ObjectOld.GetAnnotations(), e.ObjectNew.GetAnnotations())
		},
	}
}

// contributorChanged lets changes of contributors' RoleBindings through.
func contributorChanged() predicate.Predicate {
	concerns := func(obj client.Object) bool {
		binding, ok := obj.(*rbacv1.RoleBinding)
		return ok && render.IsContributorBinding(binding)
	}
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return concerns(e.Object) },
		DeleteFunc: func(e event.DeleteEvent) bool { return concerns(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, _ := e.ObjectOld.(*rbacv1.RoleBinding)
			after, _ := e.ObjectNew.(*rbacv1.RoleBinding)
			same := equality.Semantic.DeepEqual(before.Subjects, after.Subjects) &&
				maps.Equal(before.Labels, after.Labels) && maps.Equal(before.Annotations, after.Annotations)
			return !same && (concerns(before) || concerns(after))
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}
