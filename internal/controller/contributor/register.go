// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package contributor

import (
	"context"
	"fmt"
	"slices"
	"time"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
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

const (
	// workers is how many profiles are worked on at once.
	workers = 4
	// settle is how long a namespace is left alone after a change in it. Whoever changes a RoleBinding is usually
	// about to change its policy, too; and whoever breaks policies in a loop is not followed at once.
	settle = 500 * time.Millisecond
	// retryFirst and retryLast bound the wait before something that failed is tried again.
	retryFirst = 50 * time.Millisecond
	retryLast  = 30 * time.Second

	// contributorIndex finds the objects of contributors in the cache, under the value indexed.
	contributorIndex = "contributor"
	indexed          = "yes"
)

// Register makes r run in mgr and watch the policies, once kinds has them.
func (r *Reconciler) Register(mgr ctrl.Manager, kinds *mesh.Kinds) error {
	ctx := context.Background() //nolint:forbidigo // nothing to cancel yet
	if err := mgr.GetFieldIndexer().IndexField(ctx, &rbacv1.RoleBinding{}, contributorIndex, index); err != nil {
		return fmt.Errorf("index the RoleBindings of contributors: %w", err)
	}
	all := every.New(mgr)
	c, err := ctrl.NewControllerManagedBy(mgr).
		Named("contributor").
		For(&kubeflowv1.Profile{}, builder.WithPredicates(concerns())).
		Watches(&rbacv1.RoleBinding{}, later{}).
		WatchesRawSource(all.Source()).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryFirst, retryLast),
		}).
		Build(reconcile.AsReconciler(mgr.GetClient(), r))
	if err != nil {
		return fmt.Errorf("set up the contributor controller: %w", err)
	}
	kinds.Add(mesh.Watcher{
		Controller: c,
		Source: func(ctx context.Context, obj client.Object) (source.Source, error) {
			if _, isClass := obj.(*berthv1alpha1.ProfileClass); isClass {
				return classes.Source(mgr.GetCache()), nil
			}
			policy, ok := obj.(*securityv1beta1.AuthorizationPolicy)
			if !ok {
				return nil, nil //nolint:nilnil // other kinds are not watched
			}
			if !r.indexed {
				if err := mgr.GetFieldIndexer().IndexField(ctx, policy, contributorIndex, index); err != nil {
					return nil, fmt.Errorf("index the policies of contributors: %w", err)
				}
				r.indexed = true
			}
			return source.Kind[client.Object](mgr.GetCache(), policy, later{}), nil
		},
		Changed: all.Enqueue,
	})
	r.mesh = kinds
	r.classes = classes.Classes{Reader: mgr.GetClient(), Served: kinds.Served}
	return nil
}

// index finds what concerns contributors.
func index(obj client.Object) []string {
	if concernsContributors(obj) {
		return []string{indexed}
	}
	return nil
}

func concernsContributors(obj client.Object) bool {
	switch obj := obj.(type) {
	case *rbacv1.RoleBinding:
		return render.IsContributorBinding(obj)
	case *securityv1beta1.AuthorizationPolicy:
		return obj.Name == render.InviteesPolicyName || render.IsContributorPolicy(obj)
	}
	return false
}

// concerns leaves out what of a Profile has no bearing on contributors: all but its spec and its hold on the namespace.
func concerns() predicate.Predicate {
	return predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return true }, DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok := e.ObjectOld.(*kubeflowv1.Profile)
			after, alsoOK := e.ObjectNew.(*kubeflowv1.Profile)
			return !ok || !alsoOK || hasNamespace(before) != hasNamespace(after)
		},
	})
}

func hasNamespace(p *kubeflowv1.Profile) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c metav1.Condition) bool {
		return c.Type == kubeflowv1.ConditionNamespaceReady && c.Status == metav1.ConditionTrue
	})
}

// later has the namespace of a changed object looked at when it has settled.
type later struct{}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// Create takes a new object.
func (later) Create(_ context.Context, e event.CreateEvent, q queue) { add(q, e.Object) }

// Update takes a changed object: one that was a contributor's and is no more counts as well.
func (later) Update(_ context.Context, e event.UpdateEvent, q queue) {
	add(q, e.ObjectOld, e.ObjectNew)
}

// Delete takes an object that is gone. A policy of somebody else's may have made room for a contributor's.
func (later) Delete(_ context.Context, e event.DeleteEvent, q queue) {
	if _, isPolicy := e.Object.(*securityv1beta1.AuthorizationPolicy); isPolicy || concernsContributors(e.Object) {
		settled(q, e.Object)
	}
}

// Generic is not used.
func (later) Generic(context.Context, event.GenericEvent, queue) {}

func add(q queue, objects ...client.Object) {
	if slices.ContainsFunc(objects, concernsContributors) {
		settled(q, objects[0])
	}
}

func settled(q queue, obj client.Object) {
	q.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: obj.GetNamespace()}}, settle)
}
