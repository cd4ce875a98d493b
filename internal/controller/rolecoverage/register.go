// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package rolecoverage

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/fields"
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
)

const (
	// settle is how long roles and kinds may change before they are looked at: an installation changes many at once.
	settle = 200 * time.Millisecond
	// retryFirst and retryLast bound the wait before something that failed is tried again.
	retryFirst = 100 * time.Millisecond
	retryLast  = 5 * time.Minute
)

// Cache keeps of ConfigMaps the policy in memory, and no other. A manager that r runs in has this among its cache's options.
func Cache(namespace string) map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		&corev1.ConfigMap{}: {Namespaces: map[string]cache.Config{namespace: {
			FieldSelector: fields.OneTermEqualSelector("metadata.name", PolicyName),
		}}},
	}
}

// Register makes r run in mgr.
func (r *Reconciler) Register(mgr ctrl.Manager) error {
	err := ctrl.NewControllerManagedBy(mgr).
		Named("rolecoverage").
		Watches(&rbacv1.ClusterRole{}, all{}, builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})).
		Watches(&apiextensionsv1.CustomResourceDefinition{}, all{}, builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})).
		Watches(&corev1.ConfigMap{}, all{}).
		WithOptions(controller.Options{
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryFirst, retryLast),
		}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up the role coverage controller: %w", err)
	}
	return nil
}

// all has everything looked at, once for all that change meanwhile.
type all struct{}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

var _ handler.EventHandler = all{}

var everything = reconcile.Request{NamespacedName: types.NamespacedName{Name: "all"}}

// Create takes what is new.
func (all) Create(_ context.Context, _ event.CreateEvent, q queue) { q.AddAfter(everything, settle) }

// Update takes what has changed.
func (all) Update(_ context.Context, _ event.UpdateEvent, q queue) { q.AddAfter(everything, settle) }

// Delete takes what is gone.
func (all) Delete(_ context.Context, _ event.DeleteEvent, q queue) { q.AddAfter(everything, settle) }

// Generic is not used.
func (all) Generic(context.Context, event.GenericEvent, queue) {}
