// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// ProfileUID is the UID of the profile that Profile makes of a name.
func ProfileUID(name string) types.UID { return types.UID("uid-of-" + name) }

// Profile is a profile as the API server hands it out, owned by the user ann unless an option says otherwise.
func Profile(name string, options ...func(*kubeflowv1.Profile)) *kubeflowv1.Profile {
	p := &kubeflowv1.Profile{
		TypeMeta:   metav1.TypeMeta{APIVersion: kubeflowv1.GroupVersion.String(), Kind: "Profile"},
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: ProfileUID(name), Generation: 1, ResourceVersion: "1"},
	}
	Owner("ann")(p)
	for _, option := range options {
		option(p)
	}
	return p
}

// Owner makes a user the owner.
func Owner(name string) func(*kubeflowv1.Profile) { return OwnerOf(rbacv1.UserKind, name, "") }

// OwnerOf makes somebody of any kind the owner.
func OwnerOf(kind, name, namespace string) func(*kubeflowv1.Profile) {
	return func(p *kubeflowv1.Profile) {
		p.Spec.Owner = rbacv1.Subject{Kind: kind, Name: name, Namespace: namespace}
	}
}

// Quota sets one limit of the quota.
func Quota(resource corev1.ResourceName, quantity kubeflowv1.Quantity) func(*kubeflowv1.Profile) {
	return func(p *kubeflowv1.Profile) {
		if p.Spec.ResourceQuotaSpec.Hard == nil {
			p.Spec.ResourceQuotaSpec.Hard = map[corev1.ResourceName]kubeflowv1.Quantity{}
		}
		p.Spec.ResourceQuotaSpec.Hard[resource] = quantity
	}
}

// Plugin adds a plugin with its spec as JSON.
func Plugin(kind, spec string) func(*kubeflowv1.Profile) {
	return func(p *kubeflowv1.Profile) {
		p.Spec.Plugins = append(p.Spec.Plugins, kubeflowv1.Plugin{Kind: kind, Spec: &runtime.RawExtension{Raw: []byte(spec)}})
	}
}

// Told adds a condition to the status.
func Told(condition metav1.Condition) func(*kubeflowv1.Profile) {
	return func(p *kubeflowv1.Profile) { p.Status.Conditions = append(p.Status.Conditions, condition) }
}

// UID sets the UID; empty, the profile is one that no API server has seen.
func UID(uid types.UID) func(*kubeflowv1.Profile) {
	return func(p *kubeflowv1.Profile) { p.UID = uid }
}

// Namespace is a namespace as the API server hands it out.
func Namespace(name string, options ...func(*corev1.Namespace)) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, UID: types.UID("uid-of-namespace-" + name), ResourceVersion: "1",
		Labels: map[string]string{corev1.LabelMetadataName: name}, Annotations: map[string]string{},
	}}
	for _, option := range options {
		option(ns)
	}
	return ns
}

// Label sets a label of a namespace.
func Label(key, value string) func(*corev1.Namespace) {
	return func(ns *corev1.Namespace) { ns.Labels[key] = value }
}

// Annotation sets an annotation of a namespace.
func Annotation(key, value string) func(*corev1.Namespace) {
	return func(ns *corev1.Namespace) { ns.Annotations[key] = value }
}

// OwnedBy adds an owner reference to a namespace.
func OwnedBy(apiVersion, kind, name string, uid types.UID) func(*corev1.Namespace) {
	return func(ns *corev1.Namespace) {
		ns.OwnerReferences = append(ns.OwnerReferences, metav1.OwnerReference{APIVersion: apiVersion, Kind: kind, Name: name, UID: uid})
	}
}
