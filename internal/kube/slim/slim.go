// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package slim keeps caches of the cluster small. A profile is ten objects, so every kilobyte that an object has too
// much is a hundred megabytes at ten thousand profiles.
package slim

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/render"
)

// NewInformer leaves out the index by namespace, which costs more than the objects in it: nothing lists the cache by
// namespace. Whoever wants to gets an error that names the missing index.
func NewInformer(lw toolscache.ListerWatcher, example runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
	needed := maps.Clone(indexers)
	delete(needed, toolscache.NamespaceIndex)
	return toolscache.NewSharedIndexInformer(lw, example, resync, needed)
}

// Transform takes out of an object what no controller reads, before it is cached, and has the objects share what is the
// same in nearly all of them. What is read from the cache is a copy, so sharing is safe.
func Transform(in any) (any, error) {
	obj, err := meta.Accessor(in)
	if err != nil {
		return in, nil //nolint:nilerr // what is no object, such as a tombstone, stays as it is
	}
	obj.SetManagedFields(nil)
	obj.SetLabels(sharedLabels(obj.GetLabels()))
	obj.SetOwnerReferences(sharedOwners(obj.GetNamespace(), obj.GetOwnerReferences()))
	if annotations := obj.GetAnnotations(); annotations[corev1.LastAppliedConfigAnnotation] != "" {
		delete(annotations, corev1.LastAppliedConfigAnnotation) // the whole object once more
		obj.SetAnnotations(annotations)
	}
	switch obj := in.(type) {
	case *corev1.ResourceQuota:
		obj.Status = corev1.ResourceQuotaStatus{}
	case *rbacv1.RoleBinding:
		obj.RoleRef.APIGroup, obj.RoleRef.Kind = shared(obj.RoleRef.APIGroup), shared(obj.RoleRef.Kind)
		obj.RoleRef.Name = shared(obj.RoleRef.Name)
		for i := range obj.Subjects {
			subject := &obj.Subjects[i]
			subject.APIGroup, subject.Kind = shared(subject.APIGroup), shared(subject.Kind)
			subject.Name = shared(subject.Name)
		}
	case *apiextensionsv1.CustomResourceDefinition:
		obj.Spec.Conversion = nil
		for i := range obj.Spec.Versions { // schemas are nearly all of it
			v := &obj.Spec.Versions[i]
			v.Schema, v.AdditionalPrinterColumns, v.SelectableFields = nil, nil, nil
		}
	case *kubeflowv1.Profile:
		for i := range obj.Status.Conditions {
			c := &obj.Status.Conditions[i]
			c.Type, c.Reason, c.Message = shared(c.Type), shared(c.Reason), shared(c.Message)
		}
	}
	return in, nil
}

// ourLabels are the labels of most objects.
var ourLabels = map[string]string{kubeflowv1.ManagedByLabel: kubeflowv1.ManagedByValue}

func sharedLabels(labels map[string]string) map[string]string {
	if maps.Equal(labels, ourLabels) {
		return ourLabels
	}
	return labels
}

var yes = true

func sharedOwners(namespace string, owners []metav1.OwnerReference) []metav1.OwnerReference {
	for i := range owners {
		owner := &owners[i]
		owner.APIVersion, owner.Kind = shared(owner.APIVersion), shared(owner.Kind)
		if owner.Name == namespace {
			owner.Name = namespace
		}
		if owner.Controller != nil && *owner.Controller {
			owner.Controller = &yes
		}
		if owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion {
			owner.BlockOwnerDeletion = &yes
		}
	}
	return owners
}

// texts are those that stand in every profile's objects. The list is closed, so that nothing a tenant writes can make
// it grow.
var texts = func() map[string]string {
	list := map[string]string{}
	for _, text := range []string{
		kubeflowv1.GroupVersion.String(), "Profile", rbacv1.GroupName, "ClusterRole", "Role",
		"kubeflow-admin", "kubeflow-edit", "kubeflow-view", "default-editor", "default-viewer",
		rbacv1.UserKind, rbacv1.GroupKind, rbacv1.ServiceAccountKind,
		kubeflowv1.ConditionReady, kubeflowv1.ConditionNamespaceReady, kubeflowv1.ConditionAccessReady,
		kubeflowv1.ConditionMeshReady, kubeflowv1.ConditionQuotaReady, kubeflowv1.ConditionPluginsReady,
		"the namespace is in place", "authorization policies are in place", render.UnenforcedMessage, "the quota is in place",
		"service accounts and role bindings are in place", kubeflowv1.ReasonNoQuota, "the profile asks for no quota",
	} {
		list[text] = text
	}
	return list
}()

// shared is text, in the one copy that all objects share if it is among texts.
func shared(text string) string {
	if one, found := texts[text]; found {
		return one
	}
	return text
}
