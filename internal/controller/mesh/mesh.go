// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package mesh knows which kinds of the service mesh the cluster serves, and has controllers watch them as they appear.
package mesh

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

// poll is how often a cluster without (all of) the mesh's kinds is asked again.
const poll = 5 * time.Second

// kind is a kind of the mesh, which a cluster may lack.
type kind struct {
	schema.GroupVersionKind

	in   func(render.MeshKinds) bool
	set  func(*render.MeshKinds)
	new  func() client.Object
	list func() client.ObjectList
}

var kinds = []kind{
	{
		GroupVersionKind: render.AuthorizationPolicyKind,
		in:               func(k render.MeshKinds) bool { return k.AuthorizationPolicy },
		set:              func(k *render.MeshKinds) { k.AuthorizationPolicy = true },
		new:              func() client.Object { return &securityv1beta1.AuthorizationPolicy{} },
		list:             func() client.ObjectList { return &securityv1beta1.AuthorizationPolicyList{} },
	},
	{
		GroupVersionKind: render.GatewayKind,
		in:               func(k render.MeshKinds) bool { return k.Gateway },
		set:              func(k *render.MeshKinds) { k.Gateway = true },
		new:              func() client.Object { return NewGateway() },
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

// Kinds knows which kinds of the mesh the cluster serves. It runs until it has found them all.
type Kinds struct {
	mapper   meta.RESTMapper
	watchers []*watcher
	value    atomic.Pointer[render.MeshKinds]
}

// New returns Kinds that ask mapper.
func New(mapper meta.RESTMapper) *Kinds { return &Kinds{mapper: mapper} }

// watcher is a controller that watches kinds of the mesh.
type watcher struct {
	Watcher

	watched map[string]bool
}

// Watcher is what a controller has to say about the kinds of the mesh.
type Watcher struct {
	Controller controller.Controller
	// Source is how the controller watches objects like the given one; nil where it does not.
	Source func(context.Context, client.Object) (source.Source, error)
	// Changed is called when a kind has appeared.
	Changed func(context.Context)
}

// Add has w watch the kinds that there are and those that come. All are added before the first Look.
func (k *Kinds) Add(w Watcher) {
	k.watchers = append(k.watchers, &watcher{Watcher: w, watched: map[string]bool{}})
}

// Served are the kinds that the cluster serves and that all watch who want to.
func (k *Kinds) Served() render.MeshKinds {
	if kinds := k.value.Load(); kinds != nil {
		return *kinds
	}
	return render.MeshKinds{}
}

// Lists are empty lists of the kinds that the cluster serves.
func (k *Kinds) Lists() []client.ObjectList {
	var lists []client.ObjectList
	for served, i := k.Served(), 0; i < len(kinds); i++ {
		if kinds[i].in(served) {
			lists = append(lists, kinds[i].list())
		}
	}
	return lists
}

// NeedLeaderElection is false, so that a new leader knows at once.
func (k *Kinds) NeedLeaderElection() bool { return false }

// Start looks until all kinds are there.
func (k *Kinds) Start(ctx context.Context) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		missing, err := k.look(ctx, true)
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

// Look asks the cluster once, before the start, so that the first look at a profile knows already.
func (k *Kinds) Look(ctx context.Context) error {
	if _, err := k.look(ctx, false); err != nil {
		return fmt.Errorf("look for the kinds of the mesh: %w", err)
	}
	return nil
}

// look asks the cluster once and, where that is news, tells. It returns whether kinds are missing.
func (k *Kinds) look(ctx context.Context, tell bool) (missing bool, err error) {
	served := k.Served()
	before := served
	for _, kind := range kinds {
		if kind.in(served) {
			continue
		}
		found, failure := k.watch(ctx, kind)
		if err = errors.Join(err, failure); !found {
			missing = true
			continue
		}
		kind.set(&served)
	}
	if served == before {
		return missing, err
	}
	k.value.Store(&served)
	for _, w := range k.watchers {
		if tell {
			w.Changed(ctx)
		}
	}
	return missing, err
}

// watch has everybody watch objects of the kind, if the cluster serves it.
func (k *Kinds) watch(ctx context.Context, kind kind) (found bool, err error) {
	_, err = k.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask for %s: %w", kind.GroupKind(), err)
	}
	for _, w := range k.watchers {
		if w.watched[kind.Kind] {
			continue
		}
		from, err := w.Source(ctx, kind.new())
		if err == nil && from != nil {
			err = w.Controller.Watch(from)
		}
		if err != nil {
			return false, fmt.Errorf("watch %s: %w", kind.GroupKind(), err)
		}
		w.watched[kind.Kind] = true
	}
	return true, nil
}
