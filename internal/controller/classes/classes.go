// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package classes finds the ProfileClass of a profile, and the profiles that a change of a class concerns.
package classes

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/render"
)

// Classes knows the classes of the cluster, if it serves any.
type Classes struct {
	// Reader reads them from the cache.
	Reader client.Reader
	// Served says which kinds the cluster serves.
	Served func() render.MeshKinds
}

// List returns all classes.
func (c Classes) List(ctx context.Context) ([]berthv1alpha1.ProfileClass, error) {
	if !c.Served().ProfileClass {
		return nil, nil
	}
	var list berthv1alpha1.ProfileClassList
	if err := c.Reader.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("list profile classes: %w", err)
	}
	return list.Items, nil
}

// Of returns the class of p.
func (c Classes) Of(ctx context.Context, p *kubeflowv1.Profile) (render.Class, error) {
	all, err := c.List(ctx)
	if err != nil {
		return render.Class{}, err
	}
	return render.ClassOf(p, all), nil
}

// rollout is the priority of profiles that are looked at because their class changed: whoever waits for a profile of
// their own comes first.
const rollout = -10

// Source has a controller look at the profiles that a change of a class concerns.
func Source(from cache.Cache) source.Source {
	return source.Kind[client.Object](from, &berthv1alpha1.ProfileClass{}, watcher{reader: from})
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

type watcher struct{ reader client.Reader }

// Create takes a new class: profiles may have been waiting for it, and a default is that of any.
func (w watcher) Create(ctx context.Context, e event.CreateEvent, q queue) { w.add(ctx, q, e.Object) }

// Update takes a changed class.
func (w watcher) Update(ctx context.Context, e event.UpdateEvent, q queue) {
	if e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() || isDefault(e.ObjectOld) != isDefault(e.ObjectNew) {
		w.add(ctx, q, e.ObjectOld, e.ObjectNew)
	}
}

// Delete takes a class that is gone.
func (w watcher) Delete(ctx context.Context, e event.DeleteEvent, q queue) { w.add(ctx, q, e.Object) }

// Generic is not used.
func (watcher) Generic(context.Context, event.GenericEvent, queue) {}

func isDefault(class client.Object) bool {
	return class.GetAnnotations()[berthv1alpha1.DefaultClassAnnotation] == "true"
}

// add has the profiles looked at that name one of the versions of a class, have it, or name none where it is the default.
func (w watcher) add(ctx context.Context, q queue, versions ...client.Object) {
	var profiles kubeflowv1.ProfileList
	if err := w.reader.List(ctx, &profiles, client.UnsafeDisableDeepCopy); err != nil {
		log.FromContext(ctx).Error(err, "Could not have the profiles of a class looked at again")
		return
	}
	for i := range profiles.Items {
		p := &profiles.Items[i]
		label := p.Labels[berthv1alpha1.ClassLabel]
		for _, class := range versions {
			had := p.Status.Class != nil && p.Status.Class.Name == class.GetName()
			if label == class.GetName() || had || label == "" && isDefault(class) {
				enqueue(q, p.Name)
				break
			}
		}
	}
}

func enqueue(q queue, name string) {
	request := reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}
	if byPriority, ok := q.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		byPriority.AddWithOpts(priorityqueue.AddOpts{Priority: new(rollout)}, request)
		return
	}
	q.Add(request)
}
