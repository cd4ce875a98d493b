// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/every"
	"berth.dev/berth/internal/controller/mesh"
	"berth.dev/berth/internal/render"
)

// workers is how many profiles are worked on at once. They mostly wait for the API server.
const workers = 16

// retryFirst and retryLast bound the wait before something that failed is tried again. The library's own upper bound,
// a quarter of an hour, would be that long a wait after the API server has come back.
const (
	retryFirst = 5 * time.Millisecond
	retryLast  = 30 * time.Second
)

// Register makes r run in mgr and watch what there is of kinds. It returns a function that has every profile looked at
// again.
func (r *Reconciler) Register(mgr ctrl.Manager, kinds *mesh.Kinds) (enqueueAll func(context.Context), err error) {
	all := every.New(mgr)
	c, err := ctrl.NewControllerManagedBy(mgr).
		Named("profile").
		For(&kubeflowv1.Profile{}).
		Watches(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(byName), builder.WithPredicates(notCreated())).
		Watches(&corev1.ServiceAccount{}, handler.EnqueueRequestsFromMapFunc(byNamespace), builder.WithPredicates(ours())).
		Watches(&rbacv1.RoleBinding{}, handler.EnqueueRequestsFromMapFunc(byNamespace), builder.WithPredicates(ours())).
		Watches(&corev1.ResourceQuota{}, handler.EnqueueRequestsFromMapFunc(byNamespace), builder.WithPredicates(ours(), quotaSpecChanged())).
		WatchesRawSource(all.Source()).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryFirst, retryLast),
		}).
		Build(reconcile.AsReconciler(mgr.GetClient(), r))
	if err != nil {
		return nil, fmt.Errorf("set up the profile controller: %w", err)
	}
	kinds.Add(mesh.Watcher{
		Controller: c,
		Source: func(_ context.Context, obj client.Object) (source.Source, error) {
			return source.Kind(mgr.GetCache(), obj, handler.EnqueueRequestsFromMapFunc(byNamespace), ours()), nil
		},
		Changed: all.Enqueue,
	})
	r.mesh = kinds
	return all.Enqueue, nil
}

// byName and byNamespace find the profile by name rather than by owner reference: that may be what was tampered with.
func byName(_ context.Context, obj client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: obj.GetName()}}}
}

func byNamespace(_ context.Context, obj client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: obj.GetNamespace()}}}
}

// ours lets only those objects through that render makes.
func ours() predicate.Predicate {
	return predicate.And(notCreated(), predicate.NewPredicateFuncs(func(obj client.Object) bool {
		return slices.Contains(render.Names, obj.GetName())
	}))
}

// notCreated leaves out what appears. It is our own doing, nearly always; and what somebody else puts in the place of
// an object that we want is found out when that object was deleted, or when we try to create it. Looking again for
// each of our own objects would cost as much as making them.
func notCreated() predicate.Predicate {
	return predicate.Funcs{CreateFunc: func(event.CreateEvent) bool { return false }}
}

// quotaSpecChanged leaves out the updates by which the server counts usage, which are many.
func quotaSpecChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*corev1.ResourceQuota)
		after, alsoOK := e.ObjectNew.(*corev1.ResourceQuota)
		return !ok || !alsoOK ||
			!equality.Semantic.DeepEqual(before.Spec, after.Spec) ||
			!equality.Semantic.DeepEqual(before.Labels, after.Labels) ||
			!equality.Semantic.DeepEqual(before.OwnerReferences, after.OwnerReferences)
	}}
}
