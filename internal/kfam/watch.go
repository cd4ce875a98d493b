// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// watch keeps the index current from what the cache is told. It returns what says whether the first look is complete. The
// kinds that rights alone need are not waited for: without them, more has to be asked of the API server, and an older role
// of the API may not let it see them.
func (x *index) watch(ctx context.Context, from cache.Cache) (synced func() bool, err error) {
	var handlers []toolscache.ResourceEventHandlerRegistration
	for _, kind := range []struct {
		object  client.Object
		handler toolscache.ResourceEventHandler
		awaited bool
	}{
		{&kubeflowv1.Profile{}, handler(x.setProfile, func(p *kubeflowv1.Profile) { x.deleteProfile(p.Name) }), true},
		{&corev1.Namespace{}, handler(x.setNamespace, func(ns *corev1.Namespace) { x.deleteNamespace(ns.Name) }), true},
		{&rbacv1.RoleBinding{}, handler(x.setBinding, x.deleteBinding), true},
		{&rbacv1.Role{}, handler(x.setRole, x.deleteRole), false},
		{&rbacv1.ClusterRole{}, handler(x.setClusterRole, x.deleteClusterRole), false},
		{&rbacv1.ClusterRoleBinding{}, handler(x.setClusterBinding, x.deleteClusterBinding), false},
	} {
		informer, err := from.GetInformer(ctx, kind.object, cache.BlockUntilSynced(false))
		if err != nil {
			return nil, fmt.Errorf("watch %T: %w", kind.object, err)
		}
		registration, err := informer.AddEventHandler(kind.handler)
		if err != nil {
			return nil, fmt.Errorf("watch %T: %w", kind.object, err)
		}
		if kind.awaited {
			handlers = append(handlers, registration)
		}
	}
	return func() bool {
		for _, registration := range handlers {
			if !registration.HasSynced() {
				return false
			}
		}
		return true
	}, nil
}

// handler takes in objects of one kind. What is handed on is not to be changed.
func handler[T client.Object](set, gone func(T)) toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if typed, ok := obj.(T); ok {
				set(typed)
			}
		},
		UpdateFunc: func(_, obj any) {
			if typed, ok := obj.(T); ok {
				set(typed)
			}
		},
		DeleteFunc: func(obj any) {
			if lost, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
				obj = lost.Obj // it went while nobody was watching
			}
			if typed, ok := obj.(T); ok {
				gone(typed)
			}
		},
	}
}
