// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package rolecoverage is the controller that supplies the roles of tenants with what they lack on the kinds that the
// cluster serves, as soon as it serves them, and takes that back when it serves them no more.
package rolecoverage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"berth.dev/berth/internal/access/coverage"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/snapshot"
)

const (
	// PolicyName is the name of the ConfigMap that has the policy, in the controller's own namespace. Without it,
	// coverage.DefaultPolicy holds.
	PolicyName = "berth-role-policy"
	// PolicyKey is the key of the policy in it.
	PolicyKey = "policy.yaml"
)

// Options are what a Reconciler needs.
type Options struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Direct reads past the cache.
	Direct client.Reader
	// Recorder takes Events.
	Recorder events.EventRecorder
	// Namespace is that of the policy.
	Namespace string
}

// Reconciler makes the roles that it generated match what is served and the policy. Of others' roles it writes none.
type Reconciler struct {
	Options

	writer *apply.Writer
	// policy is the last one that could be read; nil until then.
	policy *coverage.Policy
	// refused is the version of the policy that was told to be unusable.
	refused string
	// told are the gaps that were told; nil before the first look.
	told map[string]bool
}

// New returns a Reconciler. Register makes it run.
func New(options Options) *Reconciler {
	return &Reconciler{Options: options, writer: apply.NewWriter(options.Client, options.Direct)}
}

// Reconcile looks at all roles and kinds at once: each may decide about all others.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	in, err := r.gather(ctx)
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("gather roles and kinds: %w", err)
	}
	r.readPolicy(ctx, in.policy)
	if r.policy == nil {
		return ctrl.Result{}, nil // nobody knows what is meant: what is there stays
	}
	want := decide(*r.policy, in)
	changes, err := r.apply(ctx, want)
	r.report(in, want, changes)
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: settle}, nil
	}
	return ctrl.Result{}, err
}

// input is what is looked at.
type input struct {
	roles []*rbacv1.ClusterRole
	kinds []*apiextensionsv1.CustomResourceDefinition
	// policy is nil where there is none.
	policy *corev1.ConfigMap
}

func (r *Reconciler) gather(ctx context.Context) (in input, err error) {
	var roles rbacv1.ClusterRoleList
	var kinds apiextensionsv1.CustomResourceDefinitionList
	if err := errors.Join(r.Client.List(ctx, &roles), r.Client.List(ctx, &kinds)); err != nil {
		return in, err
	}
	for i := range roles.Items {
		in.roles = append(in.roles, &roles.Items[i])
	}
	for i := range kinds.Items {
		if isServed(&kinds.Items[i]) {
			in.kinds = append(in.kinds, &kinds.Items[i])
		}
	}
	config := &corev1.ConfigMap{}
	err = r.Client.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: PolicyName}, config)
	if err == nil {
		in.policy = config
	}
	return in, client.IgnoreNotFound(err)
}

func isServed(kind *apiextensionsv1.CustomResourceDefinition) bool {
	established := slices.ContainsFunc(kind.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	})
	return established && slices.ContainsFunc(kind.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Served })
}

// decision is what is to be.
type decision struct {
	roles []*rbacv1.ClusterRole
	// stale are roles that were generated and are not wanted any more.
	stale []client.Object
	// closed are the gaps that roles close, open those that they don't, and what else is wrong.
	closed, open []coverage.Finding
}

func decide(policy coverage.Policy, in input) decision {
	s := &snapshot.Snapshot{ClusterRoles: coverage.WithoutGenerated(in.roles)}
	var d decision
	for _, kind := range in.kinds {
		_, _ = s.Put(kind) // no error comes of a typed one
	}
	d.roles = coverage.Generate(policy, s)
	for _, role := range in.roles {
		if coverage.Generated(role) && role.DeletionTimestamp == nil && !slices.ContainsFunc(d.roles, func(r *rbacv1.ClusterRole) bool { return r.Name == role.Name }) {
			d.stale = append(d.stale, role)
		}
	}
	before := coverage.Check(policy, s)
	s.ClusterRoles = append(s.ClusterRoles, d.roles...)
	left := map[string]bool{}
	for _, f := range coverage.Check(policy, s) {
		if f.Severity == coverage.Error {
			d.open = append(d.open, f)
			left[key(f)] = true
		}
	}
	for _, f := range before {
		if f.Severity == coverage.Error && f.Gap() && !left[key(f)] {
			d.closed = append(d.closed, f)
		}
	}
	return d
}

// outcome is what became of the roles.
type outcome struct {
	// changed are the names of those that were written, or deleted.
	changed map[string]bool
	// failed says why those could not be written that could not.
	failed map[string]error
}

// apply writes what differs. A role that can't be written keeps back none of the others.
func (r *Reconciler) apply(ctx context.Context, want decision) (outcome, error) {
	out := outcome{changed: map[string]bool{}, failed: map[string]error{}}
	objects := make([]render.Object, 0, len(want.roles))
	for _, role := range want.roles {
		objects = append(objects, render.Object{
			Resource: role, Exact: []string{"rules"}, AbsentLabels: otherLevels(role),
			Foreign: func(live metav1.Object) bool {
				other, is := live.(*rbacv1.ClusterRole)
				return !is || !coverage.Generated(other)
			},
		})
	}
	ops, err := r.writer.Plan(ctx, "", objects, nil)
	if err != nil {
		return out, err
	}
	var errs []error
	for _, op := range append(r.writer.Remove(want.stale), ops...) {
		done, err := r.writer.Do(ctx, op)
		if err != nil {
			out.failed[op.Name] = err
			errs = append(errs, err)
		}
		if done != nil {
			out.changed[op.Name] = true
		}
	}
	return out, errors.Join(errs...)
}

// otherLevels are the labels by which a role would become part of others than it is meant for.
func otherLevels(role *rbacv1.ClusterRole) (labels []string) {
	for _, level := range []coverage.Level{coverage.View, coverage.Edit, coverage.Admin} {
		if role.Labels[level.Label()] == "" {
			labels = append(labels, level.Label())
		}
	}
	return labels
}
