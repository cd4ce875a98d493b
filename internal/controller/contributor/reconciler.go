// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package contributor is the controller that lets contributors in through the mesh: it keeps the AuthorizationPolicies
// of everybody who has an annotated RoleBinding in a profile's namespace, whoever made that, and takes them back when
// the RoleBinding is gone.
package contributor

import (
	"context"
	"errors"
	"fmt"
	"time"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/mesh"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/render"
)

// Options are what a Reconciler needs.
type Options struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Direct reads past the cache.
	Direct client.Reader
	// Recorder takes Events.
	Recorder events.EventRecorder
	// Config is what the administrator decided.
	Config render.Config
}

// Reconciler makes the policies of contributors match their RoleBindings.
type Reconciler struct {
	Options

	writer  *apply.Writer
	mesh    *mesh.Kinds
	indexed bool // the cache finds the policies of contributors
}

// New returns a Reconciler. Register makes it run.
func New(options Options) *Reconciler {
	return &Reconciler{Options: options, writer: apply.NewWriter(options.Client, options.Direct)}
}

// conflictPause lets the cache catch up before the next look.
const conflictPause = 50 * time.Millisecond

// Reconcile makes the policies in p's namespace match the RoleBindings there.
func (r *Reconciler) Reconcile(ctx context.Context, p *kubeflowv1.Profile) (ctrl.Result, error) {
	err := r.reconcile(ctx, p)
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: conflictPause}, nil
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return ctrl.Result{}, nil // there is nobody to be let in any more
	}
	return ctrl.Result{}, err
}

func (r *Reconciler) reconcile(ctx context.Context, p *kubeflowv1.Profile) error {
	if !p.DeletionTimestamp.IsZero() || !r.mesh.Served().AuthorizationPolicy {
		return nil
	}
	// First what the cache has, which costs nothing and is nearly always enough. What it says has to be written is
	// decided again on what there is: RoleBinding and policy come by watches of their own, one after the other, and
	// the access-management API may be about to write the second.
	for _, from := range []client.Reader{r.Client, r.Direct} {
		in, err := r.gather(ctx, from, p)
		if err != nil {
			return fmt.Errorf("gather the contributors of profile %q: %w", p.Name, err)
		}
		if !in.held {
			return nil
		}
		admission := render.Contributors(p, r.Config, in.adopted, in.bindings, in.policies)
		ops, err := r.plan(ctx, p, in, admission)
		if err != nil {
			return fmt.Errorf("compare the contributors of profile %q with the cluster: %w", p.Name, err)
		}
		if from == r.Client {
			if len(ops) == 0 {
				return nil
			}
			continue
		}
		return r.do(ctx, p, admission, ops)
	}
	return nil
}

// input is what there is in the namespace of a profile.
type input struct {
	// held says that the namespace is the profile's, adopted that it outlives it.
	held, adopted bool
	bindings      []*rbacv1.RoleBinding
	policies      []*securityv1beta1.AuthorizationPolicy
	invitees      bool // the policy for all contributors exists
}

// gather reads past the cache if from does.
func (r *Reconciler) gather(ctx context.Context, from client.Reader, p *kubeflowv1.Profile) (in input, err error) {
	ns := &corev1.Namespace{}
	if err := r.Client.Get(ctx, client.ObjectKey{Name: p.Name}, ns); err != nil {
		return in, client.IgnoreNotFound(err)
	}
	if in.held = render.Holds(p, ns) && ns.DeletionTimestamp.IsZero(); !in.held {
		return in, nil
	}
	in.adopted = render.Adopted(p, ns)
	options := []client.ListOption{client.InNamespace(p.Name)}
	if from == r.Client {
		options = append(options, client.MatchingFields{contributorIndex: indexed})
	}
	var bindings rbacv1.RoleBindingList
	var policies securityv1beta1.AuthorizationPolicyList
	if err := errors.Join(from.List(ctx, &bindings, options...), from.List(ctx, &policies, options...)); err != nil {
		return in, err
	}
	for i := range bindings.Items {
		if binding := &bindings.Items[i]; render.IsContributorBinding(binding) {
			in.bindings = append(in.bindings, binding)
		}
	}
	for _, policy := range policies.Items {
		in.invitees = in.invitees || policy.Name == render.InviteesPolicyName
		if render.IsContributorPolicy(policy) {
			in.policies = append(in.policies, policy)
		}
	}
	return in, nil
}

// plan compares admission with the cluster.
func (r *Reconciler) plan(ctx context.Context, p *kubeflowv1.Profile, in input, admission render.Admission) ([]apply.Op, error) {
	objects := admission.Objects
	if !in.invitees && r.Config.ContributorPolicies != render.PolicyAggregated {
		objects = objects[:len(objects)-1] // the profile controller makes it; it would be empty
	}
	ops, err := r.writer.Plan(ctx, p.UID, objects, nil)
	if err != nil {
		return nil, err
	}
	var stale []client.Object
	for _, policy := range admission.Stale {
		stale = append(stale, policy)
	}
	return append(ops, r.writer.Remove(stale)...), nil
}

// do carries out ops. One that fails keeps those behind it back: nothing is removed before what replaces it is there.
func (r *Reconciler) do(ctx context.Context, p *kubeflowv1.Profile, admission render.Admission, ops []apply.Op) error {
	var changes []apply.Change
	var err error
	for _, op := range ops {
		var change *apply.Change
		if change, err = r.writer.Do(ctx, op); err != nil {
			break
		}
		if change != nil {
			changes = append(changes, *change)
		}
	}
	for _, event := range told(admission, changes) {
		r.Recorder.Eventf(p, event.Related, event.Type, event.Reason, "Admit", "%s", event.Note)
	}
	return err
}
