// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package hook decides about the hooks of a class: what a hook is asked, what of its answer is taken, and what has to
// be done for the namespace to have that.
package hook

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
)

// Kind is a kind that a hook may ask for, as the cluster serves it.
type Kind struct {
	GVK schema.GroupVersionKind
	// Method says what becomes of objects that are to be different.
	Method berthv1alpha1.UpdateMethod
}

// Key is the kind as hooks write it: Kind.version or Kind.group/version.
func (k Kind) Key() string { return Key(k.GVK) }

// Key is a kind as hooks write it: Kind.version or Kind.group/version.
func Key(gvk schema.GroupVersionKind) string { return gvk.Kind + "." + gvk.GroupVersion().String() }

// Request is what a hook is asked: the Namespace, and what is there of the hook's attachments. Every kind that the hook
// declares has a key, also where there is nothing of it.
func Request(
	h berthv1alpha1.Hook, ns *corev1.Namespace, kinds []Kind, children []*unstructured.Unstructured, finalizing bool,
) (map[string]any, error) {
	object, err := namespaceObject(ns)
	if err != nil {
		return nil, err
	}
	attachments := map[string]any{}
	for _, kind := range kinds {
		attachments[kind.Key()] = map[string]any{}
	}
	for _, child := range children {
		byName, declared := attachments[Key(child.GroupVersionKind())].(map[string]any)
		if !declared {
			continue
		}
		content := maps.Clone(child.Object)
		if metadata, ok := content["metadata"].(map[string]any); ok {
			metadata = maps.Clone(metadata)
			delete(metadata, "managedFields")
			content["metadata"] = metadata
		}
		// As Metacontroller does where the parent is cluster-scoped.
		byName[child.GetNamespace()+"/"+child.GetName()] = content
	}
	return map[string]any{
		"controller":  controller(h),
		"object":      object,
		"attachments": attachments,
		"related":     map[string]any{},
		"finalizing":  finalizing,
	}, nil
}

// namespaceObject is ns as the API server would write it.
func namespaceObject(ns *corev1.Namespace) (map[string]any, error) {
	ns = ns.DeepCopy()
	ns.ManagedFields = nil
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(ns)
	if err != nil {
		return nil, fmt.Errorf("convert namespace %q: %w", ns.Name, err)
	}
	object["apiVersion"], object["kind"] = "v1", "Namespace"
	if metadata, ok := object["metadata"].(map[string]any); ok {
		for _, field := range []string{"labels", "annotations"} { // hooks index them without looking
			if metadata[field] == nil {
				metadata[field] = map[string]any{}
			}
		}
	}
	return object, nil
}

// controller is the hook's own configuration, in the place where Metacontroller has its DecoratorController.
func controller(h berthv1alpha1.Hook) map[string]any {
	attachments := make([]any, 0, len(h.Attachments))
	for _, a := range h.Attachments {
		attachments = append(attachments, map[string]any{
			"apiVersion": a.APIVersion, "resource": a.Resource,
			"updateStrategy": map[string]any{"method": string(method(a))},
		})
	}
	return map[string]any{
		"metadata": map[string]any{"name": h.Name},
		"spec": map[string]any{
			"attachments": attachments, "resyncPeriodSeconds": int64(h.ResyncPeriodSeconds),
		},
	}
}

// method is the update method of a, as the API server would default it.
func method(a berthv1alpha1.HookAttachment) berthv1alpha1.UpdateMethod {
	if a.UpdateStrategy.Method == "" {
		return berthv1alpha1.OnDelete
	}
	return a.UpdateStrategy.Method
}

// KindOf is a declared attachment, of the kind that the cluster serves it as.
func KindOf(a berthv1alpha1.HookAttachment, gvk schema.GroupVersionKind) Kind {
	return Kind{GVK: gvk, Method: method(a)}
}

// Keys are the kinds as hooks write them, sorted.
func Keys(kinds []Kind) []string {
	var keys []string
	for _, kind := range kinds {
		keys = append(keys, kind.Key())
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
