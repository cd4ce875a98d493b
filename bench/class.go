// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/render"
)

// floorLabel marks what was made to measure the floor.
const floorLabel = "bench.berth.dev/floor"

// class is one that gives every profile five objects more.
func class() *berthv1alpha1.ProfileClass {
	return &berthv1alpha1.ProfileClass{
		ObjectMeta: metav1.ObjectMeta{Name: "bench", Annotations: map[string]string{berthv1alpha1.DefaultClassAnnotation: "true"}},
		Spec: berthv1alpha1.ProfileClassSpec{
			LimitRange: &corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
				Type: corev1.LimitTypePod, Max: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8")},
			}}},
			Isolation: &berthv1alpha1.Isolation{
				Network:      &berthv1alpha1.NetworkIsolation{Namespaces: berthv1alpha1.PlatformNamespaces{Istio: "istio-system", Knative: "knative-serving", Kubeflow: "kubeflow", Monitoring: "monitoring"}},
				MTLS:         berthv1alpha1.MTLSStrict,
				UserToken:    berthv1alpha1.UserTokenStrip,
				TokenIssuers: []berthv1alpha1.TokenIssuer{{Issuer: "https://issuer.example.com", JWKSURI: "https://issuer.example.com/keys"}},
			},
		},
	}
}

// classObjects are what class adds to each profile.
func (b *bench) classObjects(profiles []string) [][]client.Object {
	all := make([][]client.Object, len(profiles))
	for i, name := range profiles {
		p := profile(name)
		p.UID = b.first.UID
		t := render.Profile(p, render.Input{
			Config: b.config, Class: render.Class{Name: "bench", Spec: class().Spec},
			Mesh: render.MeshKinds{AuthorizationPolicy: true, PeerAuthentication: true, RequestAuthentication: true},
		})
		for _, object := range t.Objects() {
			if object.GetLabels()[berthv1alpha1.PartLabel] != "" {
				all[i] = append(all[i], object.Resource)
			}
		}
	}
	return all
}

// changeClass gives all profiles a class with more objects, next to as many workers who plainly create the same objects
// in the same namespaces. Then the class goes again, and with it what it brought.
func (b *bench) changeClass(ctx context.Context, profiles []string) error {
	floor, n, err := b.classFloor(ctx, profiles)
	if err != nil {
		return err
	}
	say("giving %d profiles a class", len(profiles))
	var all []client.Object
	for _, objects := range b.classObjects(profiles) {
		all = append(all, objects...)
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	came, went := newTally(keys(all)), newTally(keys(all))
	if err := b.followObjects(watching, came, all); err != nil {
		return err
	}
	began := time.Now()
	given := class()
	if err := b.client.Create(ctx, given); err != nil {
		return fmt.Errorf("create the class: %w", err)
	}
	if err := came.wait(ctx); err != nil {
		return fmt.Errorf("await what the class brings: %w", err)
	}
	took := came.last().Sub(began)
	memory, err := b.memory(ctx)
	if err != nil {
		return err
	}
	if err := b.touch(ctx, profiles, "unchanged profiles with a class"); err != nil {
		return err
	}
	say("taking the class away again")
	if err := b.followGone(watching, went, all); err != nil {
		return err
	}
	began = time.Now()
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"`+berthv1alpha1.DefaultClassAnnotation+`":null}}}`))
	if err := b.client.Patch(ctx, given, patch); err != nil {
		return fmt.Errorf("take the class away: %w", err)
	}
	if err := went.wait(ctx); err != nil {
		return fmt.Errorf("await that what the class brought goes: %w", err)
	}
	raw := perSecond("the same objects, plainly created", n, floor)
	raw.Unit = "objects/s"
	ours := perSecond("by a change of the class", n, took)
	ours.Unit = "objects/s"
	taken := perSecond("taken away again", n, went.last().Sub(began))
	taken.Unit = "objects/s"
	b.report.add(fmt.Sprintf("class of %d profiles changed", len(profiles)), raw, ours.ratio(raw.Value, 0), taken, memory)
	_, err = b.rest(ctx)
	return err
}

// classFloor creates what a class adds under other names, for no controller to see, and removes it.
func (b *bench) classFloor(ctx context.Context, profiles []string) (took time.Duration, n int, err error) {
	say("creating the objects of a class in %d namespaces, without it", len(profiles))
	all := b.classObjects(profiles)
	for _, objects := range all {
		for _, obj := range objects {
			obj.SetName("floor-" + obj.GetName())
			obj.SetLabels(map[string]string{floorLabel: "yes"})
			obj.SetOwnerReferences(nil)
			n++
		}
	}
	began := time.Now()
	err = inParallel(ctx, all, func(ctx context.Context, objects []client.Object) error {
		for _, obj := range objects {
			if err := b.client.Create(ctx, obj); err != nil {
				return fmt.Errorf("create what the floor is made of: %w", err)
			}
		}
		return nil
	})
	took = time.Since(began)
	if err != nil {
		return took, n, err
	}
	err = inParallel(ctx, all, func(ctx context.Context, objects []client.Object) error {
		for _, obj := range objects {
			if err := b.client.Delete(ctx, obj); err != nil {
				return fmt.Errorf("delete what the floor was made of: %w", err)
			}
		}
		return nil
	})
	if err == nil {
		_, err = b.rest(ctx)
	}
	return took, n, err
}
