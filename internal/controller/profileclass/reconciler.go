// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package profileclass is the controller of ProfileClasses: it has the API server enforce their rules, keeps classes that
// profiles have, and counts how far those are.
package profileclass

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/render"
)

// Options are what a Reconciler needs.
type Options struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Direct reads past the cache.
	Direct client.Reader
	// Now is the time.
	Now func() time.Time
}

// Reconciler makes the policies of classes match them, and their status the profiles.
type Reconciler struct {
	Options

	writer *apply.Writer
	// trial writes without effect.
	trial    *apply.Writer
	refusals refusals
	pace     pace
}

// New returns a Reconciler. Register makes it run.
func New(options Options) *Reconciler {
	return &Reconciler{Options: options, writer: apply.NewWriter(options.Client, options.Direct)}
}

// conflictPause lets the cache catch up before the next look.
const conflictPause = 50 * time.Millisecond

// Reconcile makes what belongs to the class match it.
func (r *Reconciler) Reconcile(ctx context.Context, class *berthv1alpha1.ProfileClass) (ctrl.Result, error) {
	result, err := r.reconcile(ctx, class)
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: conflictPause}, nil
	}
	return result, err
}

func (r *Reconciler) reconcile(ctx context.Context, class *berthv1alpha1.ProfileClass) (ctrl.Result, error) {
	in, err := r.gather(ctx, class)
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("gather what belongs to profile class %q: %w", class.Name, err)
	}
	if !class.DeletionTimestamp.IsZero() && in.counts.Total == 0 {
		return ctrl.Result{}, r.finalize(ctx, class, in)
	}
	if class.DeletionTimestamp.IsZero() && !slices.Contains(class.Finalizers, berthv1alpha1.InUseFinalizer) {
		if err := r.setFinalizers(ctx, class, append(slices.Clone(class.Finalizers), berthv1alpha1.InUseFinalizer)); err != nil {
			return ctrl.Result{}, err
		}
	}
	want := render.ClassPolicies(class, in.isDefault)
	problems, err := r.enforce(ctx, want, in.live)
	if apierrors.IsConflict(err) {
		return ctrl.Result{}, err // no news: it is looked at again at once
	}
	wait, statusErr := r.report(ctx, class, newStatus(class, in.counts, problems, err))
	return ctrl.Result{RequeueAfter: wait}, errors.Join(err, statusErr)
}

// input is what a class is looked at with.
type input struct {
	isDefault bool
	counts    berthv1alpha1.ProfileCounts
	// live are the objects that enforce its rules.
	live []client.Object
}

func (r *Reconciler) gather(ctx context.Context, class *berthv1alpha1.ProfileClass) (in input, err error) {
	var classes berthv1alpha1.ProfileClassList
	var profiles kubeflowv1.ProfileList
	// Profiles are only counted, and there may be thousands.
	if err := errors.Join(r.Client.List(ctx, &classes), r.Client.List(ctx, &profiles, client.UnsafeDisableDeepCopy)); err != nil {
		return in, err
	}
	in.isDefault = render.DefaultClass(classes.Items) == class.Name
	in.counts = count(class, classes.Items, profiles.Items)
	in.live, err = r.enforced(ctx, class.Name)
	return in, err
}

// enforce has the API server enforce what is wanted and nothing else. One rule that it does not take keeps back none of the
// others; what it enforced before of that one stays.
func (r *Reconciler) enforce(ctx context.Context, want []render.Object, live []client.Object) (problems []string, err error) {
	var errs []error
	for _, rule := range rules(want) {
		problem, err := r.enforceRule(ctx, rule)
		if problem != "" {
			problems = append(problems, problem)
		}
		errs = append(errs, err)
	}
	errs = append(errs, r.prune(ctx, want, live))
	return problems, errors.Join(errs...)
}

// rule is the objects that stand for one rule, in the order in which they are rendered.
type rule []render.Object

// rules puts each policy together with its binding.
func rules(objects []render.Object) (all []rule) {
	for _, object := range objects {
		if last := len(all) - 1; last >= 0 && all[last][0].GetName() == object.GetName() && isBinding(object) {
			all[last] = append(all[last], object)
			continue
		}
		all = append(all, rule{object})
	}
	return all
}

// enforceRule writes a rule, if the API server takes it as a whole; else it says what is wrong with it.
func (r *Reconciler) enforceRule(ctx context.Context, rule rule) (problem string, err error) {
	ops, err := r.writer.Plan(ctx, "", rule, nil)
	if err != nil || len(ops) == 0 {
		r.refusals.forget(rule[0].GetName())
		return "", err
	}
	asked, err := json.Marshal(rule[0].Resource)
	if err != nil {
		return "", fmt.Errorf("encode %q: %w", rule[0].GetName(), err)
	}
	if problem, known := r.refusals.known(rule[0].GetName(), string(asked), r.Now()); known {
		return problem, nil
	}
	// A plan of its own, as what is tried is read into what was planned.
	trials, err := r.writer.Plan(ctx, "", rule, nil)
	if err != nil {
		return "", err
	}
	for _, op := range trials {
		if _, err := r.trial.Do(ctx, op); apierrors.IsInvalid(err) {
			r.refusals.remember(rule[0].GetName(), string(asked), err.Error(), r.Now())
			return err.Error(), nil
		} else if err != nil {
			return "", err
		}
	}
	r.refusals.forget(rule[0].GetName())
	if lenient(rule) {
		slices.Reverse(ops) // a rule that is to warn only must not deny, not even for a moment, by its new words
		slices.SortStableFunc(ops, func(a, b apply.Op) int { return order(a) - order(b) })
	}
	for _, op := range ops {
		if _, err := r.writer.Do(ctx, op); err != nil {
			return "", err
		}
	}
	return "", nil
}

// prune removes what is enforced and not wanted, bindings first: without them nothing is enforced.
func (r *Reconciler) prune(ctx context.Context, want []render.Object, live []client.Object) error {
	wanted := map[string]bool{}
	for _, object := range want {
		wanted[kindOf(object)+"/"+object.GetName()] = true
	}
	var stale []client.Object
	for _, object := range live {
		if object.GetDeletionTimestamp() == nil && !wanted[kindOf(object)+"/"+object.GetName()] {
			stale = append(stale, object)
		}
	}
	var errs []error
	for _, op := range r.writer.Remove(stale) {
		r.refusals.forget(op.Name)
		_, err := r.writer.Do(ctx, op)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// finalize lets a class go that no profile has.
func (r *Reconciler) finalize(ctx context.Context, class *berthv1alpha1.ProfileClass, in input) error {
	r.pace.forget(class.UID)
	if !slices.Contains(class.Finalizers, berthv1alpha1.InUseFinalizer) {
		return nil
	}
	if err := r.prune(ctx, nil, in.live); err != nil {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(class.Finalizers), func(f string) bool { return f == berthv1alpha1.InUseFinalizer })
	return client.IgnoreNotFound(r.setFinalizers(ctx, class, rest))
}

func (r *Reconciler) setFinalizers(ctx context.Context, class *berthv1alpha1.ProfileClass, finalizers []string) error {
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": class.ResourceVersion, "uid": class.UID, "finalizers": finalizers,
	}})
	if err != nil {
		return fmt.Errorf("encode the finalizers of profile class %q: %w", class.Name, err)
	}
	if err := r.Client.Patch(ctx, class, client.RawPatch(types.MergePatchType, data), apply.FieldOwner); err != nil {
		return fmt.Errorf("write the finalizers of profile class %q: %w", class.Name, err)
	}
	return nil
}
