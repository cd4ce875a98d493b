// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/render"
)

// todo is what has to be written for a profile.
type todo struct {
	// blocked means that nothing may be written now.
	blocked *render.Problem
	// namespace is the write of the namespace, if any.
	namespace *apply.Op
	// within is the namespace that was looked at; empty where there was none.
	within types.UID
	parts  []partTodo
}

type partTodo struct {
	render.Part
	ops []apply.Op
}

// writes counts the planned writes.
func (t todo) writes() int {
	n := 0
	if t.namespace != nil {
		n++
	}
	for _, part := range t.parts {
		n += len(part.ops)
	}
	return n
}

// reclaims says whether an owner reference is to be put back.
func (t todo) reclaims() bool {
	ops := []apply.Op{}
	if t.namespace != nil {
		ops = append(ops, *t.namespace)
	}
	for _, part := range t.parts {
		ops = append(ops, part.ops...)
	}
	return slices.ContainsFunc(ops, func(op apply.Op) bool { return slices.Contains(op.Fields, "metadata.ownerReferences") })
}

// creates says whether anything is made inside the namespace.
func (t todo) creates() bool {
	return slices.ContainsFunc(t.parts, func(part partTodo) bool {
		return slices.ContainsFunc(part.ops, func(op apply.Op) bool { return op.Action == apply.Create || op.Action == apply.Recreate })
	})
}

// plan compares tenant with the cluster.
func (r *Reconciler) plan(ctx context.Context, p *kubeflowv1.Profile, in render.Input, tenant render.Tenant) (todo, error) {
	// Whose namespace it was does not matter once it is going.
	going := in.Namespace != nil && !in.Namespace.DeletionTimestamp.IsZero()
	if going && (tenant.Claim.Allowed() || tenant.Claim.Problem.Reason == kubeflowv1.ReasonNamespaceNotOwned) {
		return todo{blocked: terminating(p.Name)}, nil
	}
	if !tenant.Claim.Allowed() {
		return todo{blocked: tenant.Claim.Problem}, nil
	}
	var t todo
	var live client.Object // of the namespace that the claim is about: not to be read once more
	if in.Namespace != nil {
		live, t.within = in.Namespace, in.Namespace.UID
	}
	var err error
	if t.namespace, err = r.writer.PlanFrom(tenant.Namespace, live); err != nil {
		return t, err
	}
	for _, part := range tenant.Parts {
		ops, err := r.writer.Plan(ctx, p.UID, part.Objects, part.Absent)
		if err != nil {
			return t, err
		}
		t.parts = append(t.parts, partTodo{Part: part, ops: ops})
	}
	return t, nil
}

func terminating(namespace string) *render.Problem {
	return &render.Problem{
		Reason:  kubeflowv1.ReasonNamespaceTerminating,
		Message: "namespace " + namespace + " is being deleted; it will be made anew once it is gone",
	}
}

// outcome is what became of a todo.
type outcome struct {
	blocked   *render.Problem
	namespace error
	parts     []partOutcome
	changes   []apply.Change
}

type partOutcome struct {
	render.Part
	err error
}

// err joins everything that failed, except what time alone will mend.
func (o outcome) err() error {
	errs := []error{o.namespace}
	for _, part := range o.parts {
		errs = append(errs, part.err)
	}
	return errors.Join(errs...)
}

// complete says whether everything is in place that can be.
func (o outcome) complete() bool { return o.blocked == nil && o.err() == nil }

// conflicted says whether anything failed because somebody else wrote first, whatever else failed besides.
func (o outcome) conflicted() bool {
	return apierrors.IsConflict(o.namespace) ||
		slices.ContainsFunc(o.parts, func(part partOutcome) bool { return apierrors.IsConflict(part.err) })
}

// count adds what failed to the metrics.
func (o outcome) count() {
	kind := failureNamespaceUpdate
	if len(o.parts) == 0 {
		kind = failureNamespaceCreate
	}
	count(kind, o.namespace)
	kinds := map[string]string{
		kubeflowv1.ConditionMeshReady:   failureMesh,
		kubeflowv1.ConditionQuotaReady:  failureQuota,
		kubeflowv1.ConditionAccessReady: failureAccess,
	}
	for _, part := range o.parts {
		count(kinds[part.Condition], part.err)
	}
}

// do carries out t. The namespace is made before what goes into it, but changed after: its annotation names the owner
// until everything has been moved to the new one.
func (r *Reconciler) do(ctx context.Context, p *kubeflowv1.Profile, t todo) outcome {
	if t.blocked != nil {
		return outcome{blocked: t.blocked}
	}
	var o outcome
	if o.namespace = r.addFinalizer(ctx, p); o.namespace != nil {
		return o
	}
	first := t.namespace != nil && t.namespace.Action == apply.Create
	if first {
		if o.write(ctx, r.writer, *t.namespace, &o.namespace); o.namespace != nil {
			return o
		}
	} else if o.namespace = r.stillWithin(ctx, p.Name, t); o.namespace != nil {
		return o
	}
	for _, part := range t.parts {
		done := partOutcome{Part: part.Part}
		for _, op := range part.ops {
			if o.write(ctx, r.writer, op, &done.err); done.err != nil {
				break // within a part the order matters, between parts it does not
			}
		}
		if isTerminating(done.err) {
			return outcome{blocked: terminating(p.Name), changes: o.changes}
		}
		o.parts = append(o.parts, done)
	}
	if t.namespace != nil && !first && o.err() == nil {
		o.write(ctx, r.writer, *t.namespace, &o.namespace)
	}
	return o
}

// stillWithin fails where something would be made in another namespace than the one that was looked at: the cache may
// not know yet that it went, and that somebody has made one of the same name. What is patched and deleted says which
// object is meant; what is created can't.
func (r *Reconciler) stillWithin(ctx context.Context, namespace string, t todo) error {
	if !t.creates() {
		return nil
	}
	now, err := get(ctx, r.Direct, &corev1.Namespace{}, "", namespace)
	if err == nil && (now == nil || now.UID != t.within) {
		err = apierrors.NewConflict(corev1.Resource("namespaces"), namespace, errors.New("it went meanwhile"))
	}
	return err
}

func (o *outcome) write(ctx context.Context, writer *apply.Writer, op apply.Op, err *error) {
	change, failure := writer.Do(ctx, op)
	if change != nil {
		o.changes = append(o.changes, *change)
	}
	*err = failure
}

// isTerminating recognises the refusal to create anything in a namespace that is being deleted.
func isTerminating(err error) bool {
	return err != nil && apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}
