// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"berth.dev/berth/internal/hook"
)

// do carries out the steps. One object that is refused keeps none of the others back; it is noted in o. An error means
// that everything has to be looked at again.
func (r *Reconciler) do(ctx context.Context, t target, steps []hook.Step, o *outcome) error {
	for _, step := range steps {
		err := r.step(ctx, t, step)
		if apierrors.IsConflict(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return err
		}
		if err != nil {
			obj := step.Want
			if obj == nil {
				obj = step.Live
			}
			o.problems = append(o.problems, refusal(string(step.Verb), title(obj), err).Error())
		}
	}
	return nil
}

func (r *Reconciler) step(ctx context.Context, t target, step hook.Step) error {
	switch step.Verb {
	case hook.Delete, hook.Recreate:
		uid := step.Live.GetUID()
		err := r.Client.Delete(ctx, step.Live.DeepCopy(), client.Preconditions{UID: &uid},
			client.PropagationPolicy(metav1.DeletePropagationBackground), client.DisableReadYourWritesConsistency)
		return client.IgnoreNotFound(err)
	case hook.Create, hook.Update:
		return r.apply(ctx, t, step)
	}
	return nil
}

// apply writes an object by server-side apply. One that is there already is written only as long as it is that one; one
// that is not there is not forced upon whatever somebody else makes in its place in the meantime.
func (r *Reconciler) apply(ctx context.Context, t target, step hook.Step) error {
	owner := client.FieldOwner("berth-hook-" + t.h.Name)
	send := func(obj *unstructured.Unstructured, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
		obj = obj.DeepCopy()
		options := []client.PatchOption{owner, client.DisableReadYourWritesConsistency}
		if live != nil {
			obj.SetUID(live.GetUID())
			options = append(options, client.ForceOwnership)
		}
		data, err := obj.MarshalJSON()
		if err != nil {
			return nil, errors.New("it can't be written as JSON")
		}
		return obj, r.Client.Patch(ctx, obj, client.RawPatch(types.ApplyPatchType, data), options...)
	}
	stored, err := send(step.Want, step.Live)
	if err != nil {
		return err
	}
	if noted := hook.Stored(step.Want, stored); noted != nil {
		_, err = send(noted, stored)
	}
	return err
}

// refusal says that something could not be done, in words that are the same each time and that repeat nothing of what is
// in an object: the API server's own message may.
func refusal(verb, what string, err error) error {
	var refused apierrors.APIStatus
	if !errors.As(err, &refused) {
		return fmt.Errorf("%s %s: the API server could not be asked", verb, what)
	}
	why := string(refused.Status().Reason)
	switch {
	case why == "":
		why = "refused"
	case apierrors.IsForbidden(err):
		why = "Forbidden: the role berth-hooks lacks the right, or a rule of the cluster forbids it"
	}
	if details := refused.Status().Details; details != nil {
		var fields []string
		for _, cause := range details.Causes {
			if cause.Field != "" {
				fields = append(fields, cause.Field+" ("+string(cause.Type)+")")
			}
		}
		slices.Sort(fields)
		if fields = slices.Compact(fields); len(fields) > 0 {
			why += ": " + strings.Join(fields, ", ")
		}
	}
	return fmt.Errorf("%s %s: %s", verb, what, why)
}
