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
	"berth.dev/berth/internal/controller/classes"
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
	// Now is the time.
	Now func() time.Time
}

// Reconciler makes the policies of contributors match their RoleBindings.
type Reconciler struct {
	Options

	writer  *apply.Writer
	mesh    *mesh.Kinds
	classes classes.Classes
	indexed bool // the cache finds the policies of contributors
	// refusals are those that were told.
	refusals refusals
	held     held
}

// New returns a Reconciler. Register makes it run.
func New(options Options) *Reconciler {
	return &Reconciler{Options: options, writer: apply.NewWriter(options.Client, options.Direct)}
}

// conflictPause lets the cache catch up before the next look.
const conflictPause = 50 * time.Millisecond

// Reconcile makes the policies in p's namespace match the RoleBindings there.
func (r *Reconciler) Reconcile(ctx context.Context, p *kubeflowv1.Profile) (ctrl.Result, error) {
	wait, err := r.reconcile(ctx, p)
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: conflictPause}, nil
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return ctrl.Result{}, nil // there is nobody to be let in any more
	}
	return ctrl.Result{RequeueAfter: wait}, err
}

// reconcile says when to look again, if something is to wait.
func (r *Reconciler) reconcile(ctx context.Context, p *kubeflowv1.Profile) (wait time.Duration, err error) {
	if !p.DeletionTimestamp.IsZero() {
		r.refusals.changed(p.UID, nil)
		r.held.ripe(p.UID, r.Now(), todo{})
		return 0, nil
	}
	if !r.mesh.Served().AuthorizationPolicy {
		return 0, nil
	}
	// First what the cache has, which costs nothing and is nearly always enough. What it says has to be written is
	// decided again on what there is: RoleBinding and policy come by watches of their own, one after the other, and
	// the access-management API may be about to write the second.
	t, err := r.look(ctx, view{r.Client, client.MatchingFields{contributorIndex: indexed}}, p)
	if err != nil {
		return 0, err
	}
	if !t.isEmpty() {
		if going, err := r.going(ctx, p); err != nil || going {
			return 0, err
		}
		if t, err = r.look(ctx, view{Reader: r.Direct}, p); err != nil {
			return 0, err
		}
	}
	t, wait = r.held.ripe(p.UID, r.Now(), t)
	changes, err := r.do(ctx, t)
	r.tell(p, t, changes)
	return wait, err
}

// going says, past the cache, whether p is being deleted or gone: what is written for it then, nobody may clear away.
func (r *Reconciler) going(ctx context.Context, p *kubeflowv1.Profile) (bool, error) {
	now := &kubeflowv1.Profile{}
	if err := r.Direct.Get(ctx, client.ObjectKeyFromObject(p), now); err != nil {
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}
	return now.UID != p.UID || !now.DeletionTimestamp.IsZero(), nil
}

// view is a way to read a namespace.
type view struct {
	client.Reader

	only client.ListOption // what concerns contributors, where that can be asked for
}

func (v view) options(namespace string) []client.ListOption {
	if v.only == nil {
		return []client.ListOption{client.InNamespace(namespace)}
	}
	return []client.ListOption{client.InNamespace(namespace), v.only}
}

// look decides what has to be written for p.
func (r *Reconciler) look(ctx context.Context, from view, p *kubeflowv1.Profile) (todo, error) {
	in, err := r.gather(ctx, from, p)
	if err != nil {
		return todo{}, fmt.Errorf("gather the contributors of profile %q: %w", p.Name, err)
	}
	if !in.held {
		return todo{}, nil
	}
	class, err := r.classes.Of(ctx, p)
	if err != nil || class.Unknown {
		return todo{}, err // without its roles, nobody can say who gets in
	}
	admission := render.Contributors(p, r.Config.With(class), in.adopted, in.bindings, in.policies)
	t, err := r.plan(ctx, p, in, admission)
	if err != nil {
		return todo{}, fmt.Errorf("compare the contributors of profile %q with the cluster: %w", p.Name, err)
	}
	return t, nil
}

// input is what there is in the namespace of a profile.
type input struct {
	// held says that the namespace is the profile's, adopted that it outlives it.
	held, adopted bool
	bindings      []*rbacv1.RoleBinding
	// policies are those of contributors, and others in the places of such.
	policies []*securityv1beta1.AuthorizationPolicy
	invitees bool // the policy for all contributors exists
}

func (r *Reconciler) gather(ctx context.Context, from view, p *kubeflowv1.Profile) (in input, err error) {
	ns := &corev1.Namespace{}
	if err := from.Get(ctx, client.ObjectKey{Name: p.Name}, ns); err != nil {
		return in, client.IgnoreNotFound(err)
	}
	if in.held = render.Holds(p, ns) && ns.DeletionTimestamp.IsZero(); !in.held {
		return in, nil
	}
	in.adopted = render.Adopted(p, ns)
	var bindings rbacv1.RoleBindingList
	var policies securityv1beta1.AuthorizationPolicyList
	// Policies first: a binding is made before its policy, so that a policy without one is stale and not just made.
	if err := errors.Join(
		from.List(ctx, &policies, from.options(p.Name)...),
		from.List(ctx, &bindings, from.options(p.Name)...),
	); err != nil {
		return in, err
	}
	for _, policy := range policies.Items {
		in.invitees = in.invitees || policy.Name == render.InviteesPolicyName
		if render.IsContributorPolicy(policy) {
			in.policies = append(in.policies, policy)
		}
	}
	for i := range bindings.Items {
		binding := &bindings.Items[i]
		if !render.IsContributorBinding(binding) {
			continue
		}
		in.bindings = append(in.bindings, binding)
		other := &securityv1beta1.AuthorizationPolicy{}
		err := r.Client.Get(ctx, client.ObjectKey{Namespace: p.Name, Name: render.ContributorPolicyName(binding.Name)}, other)
		if client.IgnoreNotFound(err) != nil {
			return in, err
		}
		if err == nil && !render.IsContributorPolicy(other) {
			in.policies = append(in.policies, other)
		}
	}
	return in, nil
}

// todo is what has to be written for a profile.
type todo struct {
	// admit lets people in.
	admit []apply.Op
	// replaced takes away what admit has made needless: not before all of it is there.
	replaced []apply.Op
	// stale takes away what nobody has a claim to any more.
	stale []apply.Op
	// refused are the RoleBindings that let nobody in.
	refused []string
}

func (t todo) isEmpty() bool { return len(t.admit)+len(t.replaced)+len(t.stale) == 0 }

// plan compares admission with the cluster.
func (r *Reconciler) plan(ctx context.Context, p *kubeflowv1.Profile, in input, admission render.Admission) (t todo, err error) {
	t.refused = admission.Refused
	var emptied []render.Object
	admitting := admission.Objects
	if r.Config.ContributorPolicies != render.PolicyAggregated {
		// The last is the policy for all, which lets nobody in any more. The profile controller makes it.
		if last := len(admitting) - 1; in.invitees {
			emptied, admitting = admitting[last:], admitting[:last]
		} else {
			admitting = admitting[:last]
		}
	}
	if t.admit, err = r.writer.Plan(ctx, p.UID, admitting, nil); err != nil {
		return t, err
	}
	if t.replaced, err = r.writer.Plan(ctx, p.UID, emptied, nil); err != nil {
		return t, err
	}
	t.replaced = append(t.replaced, r.removals(admission.Replaced)...)
	t.stale = r.removals(admission.Stale)
	return t, nil
}

func (r *Reconciler) removals(policies []*securityv1beta1.AuthorizationPolicy) []apply.Op {
	var objects []client.Object
	for _, policy := range policies {
		if policy.DeletionTimestamp.IsZero() {
			objects = append(objects, policy)
		}
	}
	return r.writer.Remove(objects)
}

// do carries out t. One contributor whose policy is refused keeps none of the others out, nor in.
func (r *Reconciler) do(ctx context.Context, t todo) (changes []apply.Change, err error) {
	run := func(ops []apply.Op) error {
		var errs []error
		for _, op := range ops {
			change, err := r.writer.Do(ctx, op)
			if change != nil {
				changes = append(changes, *change)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	if err = run(t.admit); err == nil {
		err = run(t.replaced)
	}
	return changes, errors.Join(err, run(t.stale))
}

// tell records Events on p.
func (r *Reconciler) tell(p *kubeflowv1.Profile, t todo, changes []apply.Change) {
	if !r.refusals.changed(p.UID, t.refused) {
		t.refused = nil
	}
	for _, event := range told(t.refused, changes) {
		r.Recorder.Eventf(p, nil, event.Type, event.Reason, "Admit", "%s", event.Note)
	}
}
