// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// floor has the workers create the objects of n tenants, plainly and without a controller, and takes them away again.
// It returns how long the creating took, until the last object was seen, exactly as for the controller.
func (b *bench) floor(ctx context.Context, prefix string, n int) (time.Duration, error) {
	say("creating the objects of %d tenants, without a controller", n)
	tenants := make([][]client.Object, n)
	var all []client.Object
	for i, name := range names(prefix, n) {
		objects, err := b.orphans(name)
		if err != nil {
			return 0, err
		}
		tenants[i] = objects
		all = append(all, objects...)
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	t := newTally(keys(all))
	if err := b.followObjects(watching, t, all); err != nil {
		return 0, err
	}

	began := time.Now()
	err := inParallel(ctx, tenants, func(ctx context.Context, objects []client.Object) error {
		for _, obj := range objects {
			if err := b.client.Create(ctx, obj); err != nil {
				return fmt.Errorf("create what the floor is made of: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if err := t.wait(ctx); err != nil {
		return 0, err
	}
	took := t.last().Sub(began)
	say("took %s s", number(took.Seconds()))
	stop()
	return took, b.sweep(ctx, names(prefix, n))
}

// orphans are the objects of a tenant without a Profile of its own. They are as large as any tenant's: their owner is
// a Profile that exists, or the garbage collector would take them.
func (b *bench) orphans(name string) ([]client.Object, error) {
	p := profile(name)
	p.UID = b.first.UID
	objects, err := b.tenant(p)
	for _, obj := range objects {
		refs := obj.GetOwnerReferences()
		for i := range refs {
			refs[i].Name = b.first.Name
		}
		obj.SetOwnerReferences(refs)
	}
	return objects, err
}

// sweep takes namespaces away with all that the floor put there: the controller would keep it in memory. Waiting for
// the namespace controller, which looks for every kind there is, would take ten times as long as creating did.
func (b *bench) sweep(ctx context.Context, namespaces []string) error {
	say("sweeping")
	if _, err := b.rest(ctx); err != nil { // what others put there must be there to be swept
		return err
	}
	return inParallel(ctx, namespaces, func(ctx context.Context, name string) error {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := b.client.Delete(ctx, ns); err != nil { // from here on nothing can be put there
			return fmt.Errorf("delete namespace %q: %w", name, err)
		}
		for _, kind := range []client.Object{
			&rbacv1.RoleBinding{}, &corev1.ServiceAccount{}, &corev1.ResourceQuota{}, &corev1.ConfigMap{},
			&securityv1beta1.AuthorizationPolicy{},
		} {
			if err := b.client.DeleteAllOf(ctx, kind, client.InNamespace(name)); err != nil {
				return fmt.Errorf("empty namespace %q: %w", name, err)
			}
		}
		if err := b.client.SubResource("finalize").Update(ctx, ns); err != nil {
			return fmt.Errorf("finalize namespace %q: %w", name, err)
		}
		return nil
	})
}
