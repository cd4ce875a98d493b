// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"berth.dev/berth/internal/render"
)

// meshPoll is how often a cluster without (all of) the mesh's kinds is asked again.
const meshPoll = 5 * time.Second

// meshType is a kind of the mesh, which a cluster may lack.
type meshType struct {
	kind schema.GroupVersionKind
	in   func(render.MeshKinds) bool
	set  func(*render.MeshKinds)
	new  func() client.Object
	list func() client.ObjectList
}

var meshTypes = []meshType{
	{
		kind: render.AuthorizationPolicyKind,
		in:   func(k render.MeshKinds) bool { return k.AuthorizationPolicy },
		set:  func(k *render.MeshKinds) { k.AuthorizationPolicy = true },
		new:  func() client.Object { return &securityv1beta1.AuthorizationPolicy{} },
		list: func() client.ObjectList { return &securityv1beta1.AuthorizationPolicyList{} },
	},
	{
		kind: render.GatewayKind,
		in:   func(k render.MeshKinds) bool { return k.Gateway },
		set:  func(k *render.MeshKinds) { k.Gateway = true },
		new:  func() client.Object { return NewGateway() },
		list: func() client.ObjectList {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(render.GatewayKind.GroupVersion().WithKind(render.GatewayKind.Kind + "List"))
			return list
		},
	},
}

// NewGateway is an empty Gateway. The Gateway API's types are not worth a dependency for one kind.
func NewGateway() *unstructured.Unstructured {
	gateway := &unstructured.Unstructured{}
	gateway.SetGroupVersionKind(render.GatewayKind)
	return gateway
}

// meshKinds knows which kinds of the mesh the cluster serves.
type meshKinds struct {
	value atomic.Pointer[render.MeshKinds]
}

func (m *meshKinds) served() render.MeshKinds {
	if kinds := m.value.Load(); kinds != nil {
		return *kinds
	}
	return render.MeshKinds{}
}

// meshWatcher notices the kinds of the mesh as they appear: it has the controller watch them, and then every profile
// looked at again.
type meshWatcher struct {
	mapper     meta.RESTMapper
	kinds      *meshKinds
	controller controller.Controller
	source     func(client.Object) source.Source
	enqueueAll func(context.Context)
}

// NeedLeaderElection is false, so that a new leader knows at once.
func (w *meshWatcher) NeedLeaderElection() bool { return false }

// Start looks until all kinds are there.
func (w *meshWatcher) Start(ctx context.Context) error {
	ticker := time.NewTicker(meshPoll)
	defer ticker.Stop()
	for {
		missing, err := w.look(ctx, true)
		if err != nil {
			log.FromContext(ctx).Error(err, "Could not look for the kinds of the mesh; trying again")
		}
		if !missing {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// look asks the cluster once, and has every profile looked at again where that is news. It returns whether kinds are
// missing.
func (w *meshWatcher) look(ctx context.Context, tell bool) (missing bool, err error) {
	served := w.kinds.served()
	before := served
	for _, kind := range meshTypes {
		if kind.in(served) {
			continue
		}
		found, failure := w.watch(kind)
		if err = errors.Join(err, failure); !found {
			missing = true
			continue
		}
		kind.set(&served)
	}
	if served != before {
		w.kinds.value.Store(&served)
		if tell {
			w.enqueueAll(ctx)
		}
	}
	return missing, err
}

// watch has the controller watch objects of the kind, if the cluster serves it.
func (w *meshWatcher) watch(kind meshType) (found bool, err error) {
	_, err = w.mapper.RESTMapping(kind.kind.GroupKind(), kind.kind.Version)
	if meta.IsNoMatchError(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask for %s: %w", kind.kind.GroupKind(), err)
	}
	if err := w.controller.Watch(w.source(kind.new())); err != nil {
		return false, fmt.Errorf("watch %s: %w", kind.kind.GroupKind(), err)
	}
	return true, nil
}
