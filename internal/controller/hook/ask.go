// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/hook"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/render"
)

// unfinishedPause is when to look again at objects that are on their way.
const unfinishedPause = time.Second

// target is a hook and what it is asked about.
type target struct {
	p *kubeflowv1.Profile
	// ns is the namespace; written to, it is as it was written.
	ns *corev1.Namespace
	h  berthv1alpha1.Hook
	// reserved are labels and annotations of the namespace that the hook may not set.
	reserved []string
	// finalizing has the hook asked to let go.
	finalizing bool
	// closed means that nothing can be made in the namespace any more.
	closed bool
}

func (t target) terms(kinds []hook.Kind) hook.Terms {
	return hook.Terms{
		Hook: t.h.Name, Namespace: t.p.Name, Owner: render.OwnerReference(t.p), Kinds: kinds, Reserved: t.reserved,
	}
}

// ask asks the hook and has its answer in place. An error means that everything has to be looked at again.
func (r *Reconciler) ask(ctx context.Context, t target) (o outcome, err error) {
	o = outcome{hook: t.h.Name, again: time.Duration(t.h.ResyncPeriodSeconds) * time.Second}
	kinds, children, err := r.children(ctx, t)
	if err != nil {
		return o.failed(err)
	}
	answer, err := r.answer(ctx, t, kinds, children)
	if err != nil {
		return o.failed(err)
	}
	o.finalized = answer.Finalized
	o.again = sooner(o.again, answer.Resync)
	if t.closed {
		return o, nil
	}
	others, err := r.others(ctx, t, answer.Attachments, children)
	if err != nil {
		return o.failed(err)
	}
	plan := hook.Decide(answer.Attachments, slices.Concat(children, others), t.terms(kinds))
	return r.put(ctx, t, o, answer, kinds, plan)
}

// put has an answer in place. What is about to be there is recorded first, so that a restart in the middle forgets
// nothing.
func (r *Reconciler) put(ctx context.Context, t target, o outcome, answer hook.Answer, kinds []hook.Kind, plan hook.Plan) (outcome, error) {
	keys, old := hook.Keys(kinds), r.undeclared(t, kinds)
	for _, gvk := range old {
		keys = append(keys, hook.Key(gvk))
	}
	refused, err := r.amend(ctx, t, answer.Labels, answer.Annotations, keys)
	if err != nil {
		return o.failed(err)
	}
	o.problems = slices.Concat(refused, plan.Refused)
	if plan.Unfinished {
		o.again = sooner(o.again, unfinishedPause)
	}
	if err := r.do(ctx, t, plan.Steps, &o); err != nil {
		return o, err
	}
	if len(old) == 0 {
		return o, nil
	}
	if done, err := r.prune(ctx, t, old, &o); err != nil || !done {
		return o, err
	}
	if _, err := r.amend(ctx, t, answer.Labels, answer.Annotations, hook.Keys(kinds)); err != nil {
		return o.failed(err)
	}
	return o, nil
}

// dismiss takes back all that a hook has which is not in the class any more.
func (r *Reconciler) dismiss(ctx context.Context, t target) (o outcome, err error) {
	o = outcome{hook: t.h.Name, gone: true}
	if done, err := r.prune(ctx, t, hook.RecordOf(t.ns).KindsOf(t.h.Name), &o); err != nil || !done {
		return o, err
	}
	if _, err := r.amend(ctx, t, nil, nil, nil); err != nil {
		return o.failed(err)
	}
	return o, nil
}

// failed is o with what went wrong, unless everything is to be looked at again.
func (o outcome) failed(err error) (outcome, error) {
	if apierrors.IsConflict(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return o, err
	}
	o.problems = append(o.problems, err.Error())
	return o, nil
}

// answer asks the hook.
func (r *Reconciler) answer(ctx context.Context, t target, kinds []hook.Kind, children []*unstructured.Unstructured) (hook.Answer, error) {
	endpoint := t.h.Sync
	if t.finalizing {
		endpoint = *t.h.Finalize
	}
	request, err := hook.Request(t.h, t.ns, kinds, children, t.finalizing)
	if err != nil {
		return hook.Answer{}, err
	}
	body, err := r.Ask(ctx, endpoint, request)
	if err != nil {
		return hook.Answer{}, err
	}
	return hook.Read(body, t.terms(kinds))
}

// children are the kinds that the hook declares, and what there is of them with its label.
func (r *Reconciler) children(ctx context.Context, t target) (kinds []hook.Kind, children []*unstructured.Unstructured, err error) {
	if kinds, err = r.kinds.resolve(t.h); err != nil {
		return nil, nil, err
	}
	for _, kind := range kinds {
		if err := r.kinds.watch(ctx, kind.GVK); err != nil {
			return nil, nil, err
		}
		if t.closed {
			continue
		}
		found, err := r.list(ctx, t, kind.GVK)
		if err != nil {
			return nil, nil, err
		}
		children = append(children, found...)
	}
	return kinds, children, nil
}

// list is what there is of a kind with the hook's label, past the cache.
func (r *Reconciler) list(ctx context.Context, t target, gvk schema.GroupVersionKind) (found []*unstructured.Unstructured, err error) {
	var list unstructured.UnstructuredList
	list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	if err := r.Direct.List(ctx, &list, client.InNamespace(t.p.Name), client.MatchingLabels{berthv1alpha1.HookLabel: t.h.Name}); err != nil {
		return nil, refusal("list", hook.Key(gvk), err)
	}
	for i := range list.Items {
		found = append(found, &list.Items[i])
	}
	return found, nil
}

// others are objects without the hook's label in the places that it asks for.
func (r *Reconciler) others(ctx context.Context, t target, want, have []*unstructured.Unstructured) (others []*unstructured.Unstructured, err error) {
	for _, o := range want {
		if slices.ContainsFunc(have, func(h *unstructured.Unstructured) bool {
			return h.GroupVersionKind() == o.GroupVersionKind() && h.GetName() == o.GetName()
		}) {
			continue
		}
		other := &unstructured.Unstructured{}
		other.SetGroupVersionKind(o.GroupVersionKind())
		err := r.Direct.Get(ctx, client.ObjectKey{Namespace: t.p.Name, Name: o.GetName()}, other)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, refusal("read", title(o), err)
		}
		others = append(others, other)
	}
	return others, nil
}

// undeclared are the kinds that the hook has objects of and does not declare any more.
func (r *Reconciler) undeclared(t target, kinds []hook.Kind) (old []schema.GroupVersionKind) {
	for _, gvk := range hook.RecordOf(t.ns).KindsOf(t.h.Name) {
		if !slices.ContainsFunc(kinds, func(k hook.Kind) bool { return k.GVK == gvk }) {
			old = append(old, gvk)
		}
	}
	return old
}

// prune deletes the hook's objects of the kinds, and says whether none is left to be deleted.
func (r *Reconciler) prune(ctx context.Context, t target, kinds []schema.GroupVersionKind, o *outcome) (done bool, err error) {
	before := len(o.problems)
	for _, gvk := range kinds {
		if !r.kinds.served(gvk) {
			continue // gone, and all its objects with it
		}
		children, err := r.list(ctx, t, gvk)
		if err != nil {
			o.problems = append(o.problems, err.Error())
			continue
		}
		if err := r.do(ctx, t, hook.Leftovers(children, nil, t.terms(nil)), o); err != nil {
			return false, err
		}
	}
	return len(o.problems) == before, nil
}

// amend writes to the namespace what the hook asks for there, and the record.
func (r *Reconciler) amend(ctx context.Context, t target, labels, annotations map[string]string, kinds []string) (refused []string, err error) {
	before := t.ns.DeepCopy()
	after := t.ns.DeepCopy()
	refused = hook.Amend(after, t.h.Name, labels, annotations, kinds)
	if equalWords(before.Labels, after.Labels) && equalWords(before.Annotations, after.Annotations) {
		return refused, nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, after, patch, apply.FieldOwner); err != nil {
		if apierrors.IsConflict(err) {
			return nil, err
		}
		return nil, refusal("write", fmt.Sprintf("Namespace %q", t.ns.Name), err)
	}
	after.DeepCopyInto(t.ns)
	return refused, nil
}

func equalWords(a, b map[string]string) bool {
	return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b)
}

func title(o metav1.Object) string {
	if u, ok := o.(*unstructured.Unstructured); ok {
		return fmt.Sprintf("%s %q", hook.Key(u.GroupVersionKind()), u.GetName())
	}
	return o.GetName()
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
