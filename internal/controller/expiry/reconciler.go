// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package expiry ends contributors' access at the time that their RoleBindings name, whether or not the list that said so
// can be read.
package expiry

import (
	"context"
	"fmt"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/render"
)

// Options are what a Reconciler needs.
type Options struct {
	// Client reads from the cache, and writes.
	Client client.Client
	// Recorder records Events.
	Recorder events.EventRecorder
	Now      func() time.Time
}

// Reconciler deletes RoleBindings of contributors whose time is over. The controller of contributors removes their
// policies then.
type Reconciler struct{ Options }

// New returns a Reconciler. Register makes it run.
func New(options Options) *Reconciler { return &Reconciler{options} }

// Register makes r run in mgr.
func (r *Reconciler) Register(mgr ctrl.Manager) error {
	ends := predicate.NewPredicateFuncs(func(obj client.Object) bool { return obj.GetAnnotations()[berthv1alpha1.ExpiresAnnotation] != "" })
	err := ctrl.NewControllerManagedBy(mgr).
		Named("expiry").
		For(&rbacv1.RoleBinding{}, builder.WithPredicates(ends)).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
	if err != nil {
		return fmt.Errorf("set up the expiry controller: %w", err)
	}
	return nil
}

// longest is how long a timer runs at most: a clock that was set in the meantime is noticed then.
const longest = time.Hour

// Reconcile deletes binding if its time is over.
func (r *Reconciler) Reconcile(ctx context.Context, binding *rbacv1.RoleBinding) (ctrl.Result, error) {
	if !render.IsContributorBinding(binding) || !binding.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	p := &kubeflowv1.Profile{}
	if err := r.Client.Get(ctx, client.ObjectKey{Name: binding.Namespace}, p); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err) // the annotation means nothing outside profiles
	}
	ends, readable := end(binding)
	if !readable {
		log.FromContext(ctx).Info("The time at which a contributor's access ends can't be read", "profile", p.Name)
		return ctrl.Result{}, nil
	}
	if wait := ends.Sub(r.Now()); wait > 0 {
		return ctrl.Result{RequeueAfter: min(wait, longest)}, nil
	}
	preconditions := client.Preconditions{UID: &binding.UID, ResourceVersion: &binding.ResourceVersion}
	if err := r.Client.Delete(ctx, binding, preconditions); apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return ctrl.Result{}, nil // it has changed, which is another reason to look
	} else if err != nil {
		return ctrl.Result{}, fmt.Errorf("delete a RoleBinding of profile %q whose time is over: %w", p.Name, err)
	}
	r.Recorder.Eventf(p, nil, "Normal", "AccessExpired", "Expire", "a contributor's access as %s ended at %s, as was said when it was given",
		render.RoleShown(binding), ends.UTC().Format(time.RFC3339))
	return ctrl.Result{}, nil
}

// end is when the access that binding gives ends.
func end(binding *rbacv1.RoleBinding) (time.Time, bool) {
	moment, err := time.Parse(time.RFC3339, binding.Annotations[berthv1alpha1.ExpiresAnnotation])
	return moment, err == nil
}
