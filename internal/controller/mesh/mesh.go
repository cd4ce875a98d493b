// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package mesh knows which kinds the cluster serves, of those that it may lack, the service mesh's above all, and has
// controllers watch them as they appear.
package mesh

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/source"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/render"
)

// poll is how often a cluster without (all of) the kinds is asked again.
const poll = 5 * time.Second

// kind is one or several kinds that come together and that a cluster may lack.
type kind struct {
	group string
	// names are the kinds, versions those in which they may be served, the best first.
	names, versions []string
	in              func(render.MeshKinds) bool
	set             func(kinds *render.MeshKinds, version string)
	// typed makes the object that stands for the kind; nil for one without a type.
	typed func() client.Object
	// whole is set where more than the metadata is read.
	whole bool
	// ours is set where we make objects of the kind in profiles' namespaces.
	ours bool
}

var kinds = []kind{
	{
		group: render.AuthorizationPolicyKind.Group, names: []string{render.AuthorizationPolicyKind.Kind}, versions: []string{render.AuthorizationPolicyKind.Version},
		in:    func(k render.MeshKinds) bool { return k.AuthorizationPolicy },
		set:   func(k *render.MeshKinds, _ string) { k.AuthorizationPolicy = true },
		typed: func() client.Object { return &securityv1beta1.AuthorizationPolicy{} }, whole: true, ours: true,
	},
	{
		group: render.GatewayKind.Group, names: []string{render.GatewayKind.Kind}, versions: []string{render.GatewayKind.Version},
		in:    func(k render.MeshKinds) bool { return k.Gateway },
		set:   func(k *render.MeshKinds, _ string) { k.Gateway = true },
		whole: true, ours: true,
	},
	{
		group: render.PeerAuthenticationKind.Group, names: []string{render.PeerAuthenticationKind.Kind}, versions: []string{render.PeerAuthenticationKind.Version},
		in:    func(k render.MeshKinds) bool { return k.PeerAuthentication },
		set:   func(k *render.MeshKinds, _ string) { k.PeerAuthentication = true },
		typed: func() client.Object { return &securityv1beta1.PeerAuthentication{} }, whole: true, ours: true,
	},
	{
		group: render.RequestAuthenticationKind.Group, names: []string{render.RequestAuthenticationKind.Kind}, versions: []string{render.RequestAuthenticationKind.Version},
		in:    func(k render.MeshKinds) bool { return k.RequestAuthentication },
		set:   func(k *render.MeshKinds, _ string) { k.RequestAuthentication = true },
		typed: func() client.Object { return &securityv1beta1.RequestAuthentication{} }, whole: true, ours: true,
	},
	{
		group: berthv1alpha1.GroupVersion.Group, names: []string{"ProfileClass"}, versions: []string{berthv1alpha1.GroupVersion.Version},
		in:    func(k render.MeshKinds) bool { return k.ProfileClass },
		set:   func(k *render.MeshKinds, _ string) { k.ProfileClass = true },
		typed: func() client.Object { return &berthv1alpha1.ProfileClass{} }, whole: true,
	},
	{
		group: berthv1alpha1.GroupVersion.Group, names: []string{"ProfileSync"}, versions: []string{berthv1alpha1.GroupVersion.Version},
		in:    func(k render.MeshKinds) bool { return k.ProfileSync },
		set:   func(k *render.MeshKinds, _ string) { k.ProfileSync = true },
		typed: func() client.Object { return &berthv1alpha1.ProfileSync{} }, whole: true,
	},
	{
		group: render.InferenceServiceKind.Group, names: []string{render.InferenceServiceKind.Kind}, versions: []string{render.InferenceServiceKind.Version},
		in:  func(k render.MeshKinds) bool { return k.InferenceService },
		set: func(k *render.MeshKinds, _ string) { k.InferenceService = true },
	},
	{
		group: render.SecretsGroup, names: []string{"SecretStore", "ExternalSecret"}, versions: []string{"v1", "v1beta1"},
		in:    func(k render.MeshKinds) bool { return k.ExternalSecrets != "" },
		set:   func(k *render.MeshKinds, version string) { k.ExternalSecrets = version },
		whole: true, ours: true,
	},
}

// new is an object of each of k's kinds, to be watched.
func (k kind) new(version string) []client.Object {
	if k.typed != nil {
		return []client.Object{k.typed()}
	}
	var objects []client.Object
	for _, name := range k.names {
		gvk := schema.GroupVersionKind{Group: k.group, Version: version, Kind: name}
		if !k.whole {
			metadata := &metav1.PartialObjectMetadata{}
			metadata.SetGroupVersionKind(gvk)
			objects = append(objects, metadata)
			continue
		}
		generic := &unstructured.Unstructured{}
		generic.SetGroupVersionKind(gvk)
		objects = append(objects, generic)
	}
	return objects
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
	kinds    []kind
	watchers []*watcher
	value    atomic.Pointer[render.MeshKinds]
}

// New returns Kinds that ask mapper.
func New(mapper meta.RESTMapper) *Kinds { return &Kinds{mapper: mapper, kinds: kinds} }

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

// Lists are empty lists of the kinds that the cluster serves and that we make objects of.
func (k *Kinds) Lists() []client.ObjectList {
	served := k.Served()
	var lists []client.ObjectList
	for _, kind := range k.kinds {
		if !kind.in(served) || !kind.ours {
			continue
		}
		for _, obj := range kind.new(kind.version(served)) {
			lists = append(lists, ListOf(obj))
		}
	}
	return lists
}

// version is the one in which the kinds are served.
func (k kind) version(served render.MeshKinds) string {
	if len(k.versions) > 1 {
		return served.ExternalSecrets
	}
	return k.versions[0]
}

// ListOf is an empty list of objects like obj, which is of one of the kinds.
func ListOf(obj client.Object) client.ObjectList {
	switch obj := obj.(type) {
	case *securityv1beta1.AuthorizationPolicy:
		return &securityv1beta1.AuthorizationPolicyList{}
	case *securityv1beta1.PeerAuthentication:
		return &securityv1beta1.PeerAuthenticationList{}
	case *securityv1beta1.RequestAuthentication:
		return &securityv1beta1.RequestAuthenticationList{}
	default:
		list := &unstructured.UnstructuredList{}
		gvk := obj.GetObjectKind().GroupVersionKind()
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		return list
	}
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
	for _, kind := range k.kinds {
		if kind.in(served) {
			continue
		}
		version, failure := k.watch(ctx, kind)
		if err = errors.Join(err, failure); version == "" {
			missing = true
			continue
		}
		kind.set(&served, version)
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

// watch has everybody watch objects of the kinds, if the cluster serves them all, and returns the version.
func (k *Kinds) watch(ctx context.Context, kind kind) (version string, err error) {
	for _, name := range kind.names {
		group := schema.GroupKind{Group: kind.group, Kind: name}
		mapping, err := k.mapper.RESTMapping(group, kind.versions...)
		if meta.IsNoMatchError(err) {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("ask for %s: %w", group, err)
		}
		version = mapping.GroupVersionKind.Version
	}
	for _, obj := range kind.new(version) {
		for _, w := range k.watchers {
			watched := fmt.Sprintf("%T %s", obj, obj.GetObjectKind().GroupVersionKind())
			if w.watched[watched] {
				continue
			}
			from, err := w.Source(ctx, obj)
			if err == nil && from != nil {
				err = w.Controller.Watch(from)
			}
			if err != nil {
				return "", fmt.Errorf("watch %s of %s: %w", kind.names, kind.group, err)
			}
			w.watched[watched] = true
		}
	}
	return version, nil
}
