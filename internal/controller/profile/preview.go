// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/classes"
	"berth.dev/berth/internal/controller/mesh"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/render"
)

// Preview is what a change of a class would do to one profile.
type Preview struct {
	Profile string
	// Changes are the writes that would be made. The API server took each of them, as a dry run.
	Changes []apply.Change
	// Refused are those that it did not take, and what else can't be had.
	Refused []error
}

// previews is how many profiles are looked at side by side.
const previews = 8

// PreviewClass says what would change in the cluster if class were as given: for each profile that has it or would have
// it. Options.Client reads past any cache; all writes are dry runs.
func PreviewClass(ctx context.Context, o Options, class *berthv1alpha1.ProfileClass) ([]Preview, error) {
	r, err := newPreviewer(ctx, o)
	if err != nil {
		return nil, err
	}
	now, err := r.classes.List(ctx)
	if err != nil {
		return nil, err
	}
	then := slices.DeleteFunc(slices.Clone(now), func(c berthv1alpha1.ProfileClass) bool { return c.Name == class.Name })
	then = append(then, *class)

	var profiles kubeflowv1.ProfileList
	if err := o.Client.List(ctx, &profiles); err != nil {
		return nil, fmt.Errorf("list profiles: %w", err)
	}
	var concerned []*kubeflowv1.Profile
	for i := range profiles.Items {
		p := &profiles.Items[i]
		if p.DeletionTimestamp == nil && (render.ClassOf(p, now).Name == class.Name || render.ClassOf(p, then).Name == class.Name) {
			concerned = append(concerned, p)
		}
	}
	found := make([]Preview, len(concerned))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(previews)
	for i, p := range concerned {
		group.Go(func() error {
			seen, err := r.preview(ctx, p, render.ClassOf(p, now), render.ClassOf(p, then))
			found[i] = seen
			return err
		})
	}
	return found, group.Wait()
}

// newPreviewer is a Reconciler whose writes are dry runs.
func newPreviewer(ctx context.Context, o Options) (*Reconciler, error) {
	kinds := mesh.New(o.Client.RESTMapper())
	if err := kinds.Look(ctx); err != nil {
		return nil, err
	}
	o.Direct, o.Client = o.Client, client.NewDryRunClient(o.Client)
	r := New(o)
	r.mesh = kinds
	r.classes = classes.Classes{Reader: o.Direct, Served: kinds.Served}
	r.parts, r.services = client.HasLabels{berthv1alpha1.PartLabel}, &client.ListOptions{}
	return r, nil
}

// preview compares what p has with the class now with what it would have then. What differs from the cluster either way
// is not the class's doing, and left out.
func (r *Reconciler) preview(ctx context.Context, p *kubeflowv1.Profile, now, then render.Class) (Preview, error) {
	found := Preview{Profile: p.Name}
	in, err := r.gatherWith(ctx, p, now)
	if err != nil {
		return found, err
	}
	before := render.Profile(p, in)
	if in, err = r.gatherWith(ctx, p, then); err != nil {
		return found, err
	}
	after := render.Profile(p, in)
	for _, problem := range after.Problems() {
		if !slices.Contains(before.Problems(), problem) {
			found.Refused = append(found.Refused, fmt.Errorf("%s: %s", problem.Reason, problem.Message))
		}
	}
	if !after.Claim.Allowed() || after.Claim.Kind == render.ClaimNew {
		return found, nil // nothing to be changed yet
	}
	same, err := alike(before, after)
	if err != nil {
		return found, err
	}
	t, err := r.plan(ctx, p, in, after)
	if err != nil {
		return found, err
	}
	var ops []apply.Op
	if t.namespace != nil {
		ops = append(ops, *t.namespace)
	}
	for _, part := range t.parts {
		ops = append(ops, part.ops...)
	}
	for _, op := range ops {
		if same[op.Kind+" "+op.Name] {
			continue
		}
		change, err := r.writer.Do(ctx, op)
		if err != nil {
			found.Refused = append(found.Refused, err)
		} else if change != nil {
			found.Changes = append(found.Changes, *change)
		}
	}
	return found, nil
}

// alike are the objects that are the same in both.
func alike(before, after render.Tenant) (map[string]bool, error) {
	was, err := before.Documents()
	if err != nil {
		return nil, err
	}
	is, err := after.Documents()
	if err != nil {
		return nil, err
	}
	same := map[string]bool{}
	for name, document := range is {
		same[name] = bytes.Equal(was[name], document)
	}
	return same, nil
}
