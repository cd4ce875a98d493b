// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profileclass

import (
	"context"
	"fmt"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
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

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/render"
)

// retryFirst and retryLast bound the wait before something that failed is tried again.
const (
	retryFirst = 50 * time.Millisecond
	retryLast  = 30 * time.Second
)

// Register makes r run in mgr. The cluster has to serve ProfileClasses.
func (r *Reconciler) Register(mgr ctrl.Manager) error {
	// The manager's client would wait for its cache to see what was written, which of a trial it never will.
	plain, err := client.New(mgr.GetConfig(), client.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
	})
	if err != nil {
		return fmt.Errorf("set up trials of policies: %w", err)
	}
	r.trial = apply.NewWriter(client.NewDryRunClient(plain), r.Direct)
	written := predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{})
	owned := handler.EnqueueRequestsFromMapFunc(classOf)
	c := ctrl.NewControllerManagedBy(mgr).
		Named("profileclass").
		For(&berthv1alpha1.ProfileClass{}, builder.WithPredicates(written)).
		// Which class is the default is decided among all.
		Watches(&berthv1alpha1.ProfileClass{}, handler.EnqueueRequestsFromMapFunc(r.allClasses), builder.WithPredicates(predicate.Funcs{
			UpdateFunc: func(e event.UpdateEvent) bool { return isDefault(e.ObjectOld) != isDefault(e.ObjectNew) },
		})).
		Watches(&kubeflowv1.Profile{}, counted{r}).
		WithOptions(controller.Options{
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryFirst, retryLast),
		})
	for _, obj := range []client.Object{
		&admissionregistrationv1.ValidatingAdmissionPolicy{}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{},
		&admissionregistrationv1.ValidatingWebhookConfiguration{},
	} {
		// Not what the API server says about a policy's types.
		c = c.Watches(obj, owned, builder.WithPredicates(predicate.Or[client.Object](
			predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{})))
	}
	if err := c.Complete(reconcile.AsReconciler(mgr.GetClient(), r)); err != nil {
		return fmt.Errorf("set up the profile class controller: %w", err)
	}
	return nil
}

// classOf is the class that the object was made for.
func classOf(_ context.Context, obj client.Object) []reconcile.Request {
	return request(obj.GetLabels()[berthv1alpha1.ClassLabel])
}

func request(class string) []reconcile.Request {
	if class == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: class}}}
}

func isDefault(obj client.Object) bool {
	return obj.GetAnnotations()[berthv1alpha1.DefaultClassAnnotation] == "true"
}

func (r *Reconciler) classes(ctx context.Context) []berthv1alpha1.ProfileClass {
	var classes berthv1alpha1.ProfileClassList
	if err := r.Client.List(ctx, &classes); err != nil {
		log.FromContext(ctx).Error(err, "Could not list the profile classes")
	}
	return classes.Items
}

func (r *Reconciler) allClasses(ctx context.Context, _ client.Object) (all []reconcile.Request) {
	for _, class := range r.classes(ctx) {
		all = append(all, request(class.Name)...)
	}
	return all
}

// counted has a class count its profiles when one of them has changed, once for all that change meanwhile.
type counted struct{ *Reconciler }

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// Create takes a new profile.
func (c counted) Create(ctx context.Context, e event.CreateEvent, q queue) {
	c.add(ctx, q, e.Object)
}

// Update takes a changed profile, which may have changed its class.
func (c counted) Update(ctx context.Context, e event.UpdateEvent, q queue) {
	c.add(ctx, q, e.ObjectNew)
	if e.ObjectOld.GetLabels()[berthv1alpha1.ClassLabel] != e.ObjectNew.GetLabels()[berthv1alpha1.ClassLabel] {
		c.add(ctx, q, e.ObjectOld)
	}
}

// Delete takes a profile that is gone.
func (c counted) Delete(ctx context.Context, e event.DeleteEvent, q queue) {
	c.add(ctx, q, e.Object)
}

// Generic is not used.
func (counted) Generic(context.Context, event.GenericEvent, queue) {}

func (c counted) add(ctx context.Context, q queue, obj client.Object) {
	for _, request := range request(render.ClassName(obj.GetLabels(), c.classes(ctx))) {
		q.AddAfter(request, settle)
	}
}

// settle is how long profiles may change before they are counted again. A roll-out changes all of them.
const settle = 250 * time.Millisecond
