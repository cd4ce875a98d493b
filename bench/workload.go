// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"sync"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/labelsfile"
	"berth.dev/berth/internal/render"
)

// workers is how many clients create at once, on either side of the comparison.
const workers = 16

// inParallel calls do for every item, workers at a time. After a failure no more are begun.
func inParallel[T any](ctx context.Context, items []T, do func(context.Context, T) error) error {
	return inParallelBy(ctx, workers, items, do)
}

// inParallelBy calls do for every item, so many at a time.
func inParallelBy[T any](ctx context.Context, workers int, items []T, do func(context.Context, T) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
		next = make(chan T)
	)
	for range workers {
		wg.Go(func() {
			for item := range next {
				if err := do(ctx, item); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
					cancel()
				}
			}
		})
	}
feeding:
	for _, item := range items {
		select {
		case next <- item:
		case <-ctx.Done():
			break feeding
		}
	}
	close(next)
	wg.Wait()
	if len(errs) > 0 {
		return errs[0] // the others follow from it, or are the same
	}
	return context.Cause(ctx)
}

// names are n names of profiles.
func names(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%05d", prefix, i)
	}
	return all
}

// profile is a Profile as a team would have it: one owner and a budget.
func profile(name string) *kubeflowv1.Profile {
	return &kubeflowv1.Profile{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: kubeflowv1.ProfileSpec{
			Owner:             rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name + "@example.com"},
			ResourceQuotaSpec: budget(cpuBefore),
		},
	}
}

// The processors of the budget before and after the change that is rolled out.
const (
	cpuBefore = "50"
	cpuAfter  = "60"
)

func budget(cpu kubeflowv1.Quantity) kubeflowv1.ResourceQuotaSpec {
	return kubeflowv1.ResourceQuotaSpec{Hard: map[corev1.ResourceName]kubeflowv1.Quantity{
		corev1.ResourceRequestsCPU:    cpu,
		corev1.ResourceRequestsMemory: "200Gi",
		"requests.nvidia.com/gpu":     "8",
	}}
}

// tenant are the objects of a profile, as the controller renders them.
func (b *bench) tenant(p *kubeflowv1.Profile) ([]client.Object, error) {
	t := render.Profile(p, render.Input{Config: b.config, Mesh: render.MeshKinds{AuthorizationPolicy: true}})
	if !t.Claim.Allowed() {
		return nil, fmt.Errorf("profile %q: %s", p.Name, t.Claim.Problem.Message)
	}
	var objects []client.Object
	for _, object := range t.Objects() {
		objects = append(objects, object.Resource)
	}
	return objects, nil
}

// renderConfig is what the controller is started with.
func renderConfig(labelsPath string) (render.Config, error) {
	config := render.DefaultConfig()
	data, err := os.ReadFile(labelsPath)
	if err == nil {
		config.NamespaceLabels, err = labelsfile.Parse(data)
	}
	if err != nil {
		return config, fmt.Errorf("namespace labels file: %w", err)
	}
	return config, nil
}

// keys name the objects.
func keys(objects []client.Object) []string {
	all := make([]string, len(objects))
	for i, obj := range objects {
		all[i] = objectKey(obj.GetObjectKind().GroupVersionKind().Kind, obj)
	}
	return all
}

// followObjects has t see every object that appears of the kinds that objects are of. Only metadata is asked for, and
// only that of a tenant's objects, because what it takes to watch is taken from what is measured.
func (b *bench) followObjects(ctx context.Context, t *tally, objects []client.Object) error {
	return b.follow(ctx, t, objects, there)
}

// followGone has t see every object that goes, of the same kinds as objects.
func (b *bench) followGone(ctx context.Context, t *tally, objects []client.Object) error {
	return b.follow(ctx, t, objects, gone)
}

func (b *bench) follow(ctx context.Context, t *tally, objects []client.Object, event func(kind string) func(watch.Event) string) error {
	followed := map[schema.GroupVersionKind]bool{}
	for _, obj := range objects {
		kind := obj.GetObjectKind().GroupVersionKind()
		if followed[kind] {
			continue
		}
		followed[kind] = true
		if err := t.follow(ctx, b.client, metadataOf(kind), event(kind.Kind), ours); err != nil {
			return err
		}
	}
	return nil
}

// ours selects the objects of tenants.
var ours = client.MatchingLabels{kubeflowv1.ManagedByLabel: kubeflowv1.ManagedByValue}

// metadataOf asks for the metadata of objects of a kind.
func metadataOf(kind schema.GroupVersionKind) client.ObjectList {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	return list
}
