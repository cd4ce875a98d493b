// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kube/slim"
)

const (
	// workers is how many profiles are worked on at once: hooks are small programs, and each profile costs a call.
	workers = 4
	// settle is how long a namespace is left alone after a change of a hook's object in it: our own writes come in bursts,
	// and whoever breaks objects in a loop is not followed at once.
	settle = 500 * time.Millisecond
	// retryFirst and retryLast bound the wait before a hook that failed is asked again.
	retryFirst = time.Second
	retryLast  = 5 * time.Minute
)

// Register makes r run in mgr. It returns the controller, to have it watch classes.
func (r *Reconciler) Register(mgr ctrl.Manager) (controller.Controller, error) {
	ofHooks, err := labels.NewRequirement(berthv1alpha1.HookLabel, selection.Exists, nil)
	if err != nil {
		return nil, fmt.Errorf("select the objects of hooks: %w", err)
	}
	// A cache of its own, so that of the kinds that hooks have, such as Secrets, nobody else's are in memory.
	children, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		DefaultLabelSelector: labels.NewSelector().Add(*ofHooks), DefaultTransform: slim.Transform, NewInformer: slim.NewInformer,
	})
	if err != nil {
		return nil, fmt.Errorf("set up the cache of the objects of hooks: %w", err)
	}
	if err := mgr.Add(children); err != nil {
		return nil, fmt.Errorf("add the cache of the objects of hooks: %w", err)
	}
	byName := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, obj client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: obj.GetName()}}}
	})
	c, err := ctrl.NewControllerManagedBy(mgr).
		Named("hook").
		For(&kubeflowv1.Profile{}, builder.WithPredicates(profileChanged())).
		Watches(&corev1.Namespace{}, byName, builder.WithPredicates(namespaceChanged())).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryFirst, retryLast),
		}).
		Build(reconcile.AsReconciler(mgr.GetClient(), r))
	if err != nil {
		return nil, fmt.Errorf("set up the hook controller: %w", err)
	}
	r.kinds = &kinds{
		mapper: mgr.GetRESTMapper(), direct: r.Direct, cache: children, controller: c, watched: map[schema.GroupVersionKind]bool{},
	}
	return c, nil
}

// profileChanged leaves out what of a Profile is the controllers' own doing, besides that its namespace became ready.
func profileChanged() predicate.Predicate {
	return predicate.Funcs{
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok := e.ObjectOld.(*kubeflowv1.Profile)
			after, alsoOK := e.ObjectNew.(*kubeflowv1.Profile)
			return !ok || !alsoOK || before.UID != after.UID || before.Generation != after.Generation ||
				!maps.Equal(before.Labels, after.Labels) || !maps.Equal(before.Annotations, after.Annotations) ||
				hasNamespace(before) != hasNamespace(after)
		},
	}
}

func hasNamespace(p *kubeflowv1.Profile) bool {
	return meta.IsStatusConditionTrue(p.Status.Conditions, kubeflowv1.ConditionNamespaceReady)
}

// namespaceChanged leaves out what hooks are not asked about.
func namespaceChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld, e.ObjectNew
		return before.GetUID() != after.GetUID() || !maps.Equal(before.GetLabels(), after.GetLabels()) ||
			!maps.Equal(before.GetAnnotations(), after.GetAnnotations()) ||
			before.GetDeletionTimestamp().IsZero() != after.GetDeletionTimestamp().IsZero()
	}}
}

// later has the namespace of a changed object looked at when it has settled.
type later struct{}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// Create is not used: it is our own doing, nearly always, and all there is when the controller starts.
func (later) Create(context.Context, event.CreateEvent, queue) {}

// Update takes a changed object.
func (later) Update(_ context.Context, e event.UpdateEvent, q queue) {
	if e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion() {
		settled(q, e.ObjectNew)
	}
}

// Delete takes an object that is gone, or lost its label.
func (later) Delete(_ context.Context, e event.DeleteEvent, q queue) { settled(q, e.Object) }

// Generic is not used.
func (later) Generic(context.Context, event.GenericEvent, queue) {}

func settled(q queue, obj client.Object) {
	q.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: obj.GetNamespace()}}, settle)
}
