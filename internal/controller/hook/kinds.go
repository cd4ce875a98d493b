// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/hook"
)

// watchTimeout is how long a watch may take to begin.
const watchTimeout = 10 * time.Second

// kinds are the kinds that hooks have objects of.
type kinds struct {
	mapper meta.RESTMapper
	direct client.Reader
	// cache has the metadata of objects of hooks, and no others.
	cache      cache.Cache
	controller controller.TypedController[reconcile.Request]

	mu      sync.Mutex
	watched map[schema.GroupVersionKind]bool
}

// resolve finds the kinds that h declares. One that can't be had has none of the hook's work done.
func (k *kinds) resolve(h berthv1alpha1.Hook) (found []hook.Kind, err error) {
	var missing []string
	for _, a := range h.Attachments {
		gv, err := schema.ParseGroupVersion(a.APIVersion)
		if err != nil {
			missing = append(missing, fmt.Sprintf("%q is not a version of an API", a.APIVersion))
			continue
		}
		gvk, err := k.mapper.KindFor(gv.WithResource(a.Resource))
		if err != nil || gvk.GroupVersion() != gv {
			missing = append(missing, fmt.Sprintf("the cluster does not serve %s of %s", a.Resource, a.APIVersion))
			continue
		}
		mapping, err := k.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if err != nil {
			missing = append(missing, fmt.Sprintf("the cluster does not serve %s of %s", a.Resource, a.APIVersion))
			continue
		}
		if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
			missing = append(missing, fmt.Sprintf("%s of %s are in no namespace", a.Resource, a.APIVersion))
			continue
		}
		found = append(found, hook.KindOf(a, gvk))
	}
	if len(missing) > 0 {
		return nil, errors.New(strings.Join(missing, ", "))
	}
	return found, nil
}

// served says whether the cluster has the kind.
func (k *kinds) served(gvk schema.GroupVersionKind) bool {
	_, err := k.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	return !meta.IsNoMatchError(err)
}

// watch has objects of the kind watched from now on.
func (k *kinds) watch(ctx context.Context, gvk schema.GroupVersionKind) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.watched[gvk] {
		return nil
	}
	// A watch that is not allowed fails in the background, over and over: ask first.
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	if err := k.direct.List(ctx, &list, client.HasLabels{berthv1alpha1.HookLabel}, client.Limit(1)); err != nil {
		return refusal("watch", hook.Key(gvk), err)
	}
	var obj metav1.PartialObjectMetadata
	obj.SetGroupVersionKind(gvk)
	kind := source.Kind[client.Object](k.cache, &obj, later{})
	if err := k.controller.Watch(kind); err != nil {
		return fmt.Errorf("watch %s: %w", hook.Key(gvk), err)
	}
	// What changes before the watch is under way would not be seen: look at nothing before.
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	if err := kind.WaitForSync(ctx); err != nil || ctx.Err() != nil {
		return errors.Join(fmt.Errorf("watch %s: nothing came within %s", hook.Key(gvk), watchTimeout), k.cache.RemoveInformer(ctx, &obj))
	}
	k.watched[gvk] = true
	return nil
}
