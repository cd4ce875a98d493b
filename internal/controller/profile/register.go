// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/classes"
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
	if err := indexParts(context.Background(), mgr, partKinds()...); err != nil { //nolint:forbidigo // nothing to cancel yet
		return nil, err
	}
	all := every.New(mgr)
	c, err := ctrl.NewControllerManagedBy(mgr).
		Named("profile").
		For(&kubeflowv1.Profile{}).
		Watches(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(byName), builder.WithPredicates(notCreated())).
		Watches(&corev1.ServiceAccount{}, handler.EnqueueRequestsFromMapFunc(byNamespace), builder.WithPredicates(ours())).
		Watches(&rbacv1.RoleBinding{}, handler.EnqueueRequestsFromMapFunc(byNamespace), builder.WithPredicates(ours())).
		Watches(&corev1.ResourceQuota{}, handler.EnqueueRequestsFromMapFunc(byNamespace), builder.WithPredicates(ours(), quotaSpecChanged())).
		Watches(&networkingv1.NetworkPolicy{}, handler.EnqueueRequestsFromMapFunc(byNamespace), builder.WithPredicates(ours())).
		Watches(&corev1.LimitRange{}, handler.EnqueueRequestsFromMapFunc(byNamespace), builder.WithPredicates(ours())).
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
		Source: func(ctx context.Context, obj client.Object) (source.Source, error) {
			switch obj.(type) {
			case *berthv1alpha1.ProfileClass:
				return classes.Source(mgr.GetCache()), nil
			case *metav1.PartialObjectMetadata: // InferenceServices: that they are there is all that matters
				if err := indexIf(ctx, mgr, obj, func(client.Object) bool { return true }); err != nil {
					return nil, err
				}
				return source.Kind(mgr.GetCache(), obj, handler.EnqueueRequestsFromMapFunc(byNamespace), cameOrWent()), nil
			}
			if err := indexParts(ctx, mgr, obj); err != nil {
				return nil, err
			}
			return source.Kind(mgr.GetCache(), obj, handler.EnqueueRequestsFromMapFunc(byNamespace), ours()), nil
		},
		Changed: all.Enqueue,
	})
	r.mesh = kinds
	r.classes = classes.Classes{Reader: mgr.GetClient(), Served: kinds.Served}
	return all.Enqueue, nil
}

// partIndex finds the objects of a namespace that were made for parts of a class, and its InferenceServices, under the
// value indexed. The cache has no index of namespaces as such: see package slim.
const (
	partIndex = "part"
	indexed   = "yes"
)

// partKinds are the kinds of those objects that every cluster serves.
func partKinds() []client.Object {
	return []client.Object{&corev1.ServiceAccount{}, &rbacv1.RoleBinding{}, &corev1.LimitRange{}, &networkingv1.NetworkPolicy{}}
}

func indexParts(ctx context.Context, mgr ctrl.Manager, objects ...client.Object) error {
	for _, obj := range objects {
		if err := indexIf(ctx, mgr, obj, hasPart); err != nil {
			return err
		}
	}
	return nil
}

func indexIf(ctx context.Context, mgr ctrl.Manager, obj client.Object, condition func(client.Object) bool) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, obj, partIndex, func(obj client.Object) []string {
		if condition(obj) {
			return []string{indexed}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index %T: %w", obj, err)
	}
	return nil
}

func hasPart(obj client.Object) bool { return obj.GetLabels()[berthv1alpha1.PartLabel] != "" }

func cameOrWent() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }}
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
	made := func(obj client.Object) bool { return slices.Contains(render.Names, obj.GetName()) || hasPart(obj) }
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool { return made(e.ObjectOld) || made(e.ObjectNew) },
		DeleteFunc: func(e event.DeleteEvent) bool { return made(e.Object) },
	}
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
