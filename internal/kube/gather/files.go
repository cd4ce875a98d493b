// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"errors"
	"fmt"
	"io/fs"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/pmr"
)

// Files reads what a cluster had when its objects were written into the YAML or JSON files of a directory, as kubectl get
// prints them. Kinds that say nothing about profiles are skipped.
func Files(dir fs.FS) (pmr.Have, error) {
	var found objects
	if err := walk(dir, found.add); err != nil {
		return pmr.Have{}, err
	}
	if len(found.profiles.Items)+len(found.namespaces.Items)+len(found.bindings.Items)+len(found.policies.Items) == 0 {
		return pmr.Have{}, errors.New("read the snapshot: there is no Profile, Namespace, RoleBinding or AuthorizationPolicy in any .yaml or .json file")
	}
	return read(found.list)
}

// objects are what files have.
type objects struct {
	profiles   kubeflowv1.ProfileList
	namespaces corev1.NamespaceList
	bindings   rbacv1.RoleBindingList
	policies   securityv1beta1.AuthorizationPolicyList
}

// list hands out the objects of a kind.
func (o *objects) list(into client.ObjectList, use func()) error {
	switch into := into.(type) {
	case *kubeflowv1.ProfileList:
		*into = o.profiles
	case *corev1.NamespaceList:
		*into = o.namespaces
	case *rbacv1.RoleBindingList:
		*into = o.bindings
	case *securityv1beta1.AuthorizationPolicyList:
		into.Items = o.policies.Items
	}
	use()
	return nil
}

// add adds an object of one of the kinds that are looked at.
func (o *objects) add(of metav1.TypeMeta, asJSON []byte) error {
	var err error
	switch of.GroupVersionKind().GroupKind() {
	case kubeflowv1.GroupVersion.WithKind("Profile").GroupKind(): // its JSON is the same in all versions
		o.profiles.Items, err = appended(o.profiles.Items, asJSON)
	case corev1.SchemeGroupVersion.WithKind("Namespace").GroupKind():
		o.namespaces.Items, err = appended(o.namespaces.Items, asJSON)
	case rbacv1.SchemeGroupVersion.WithKind("RoleBinding").GroupKind():
		o.bindings.Items, err = appended(o.bindings.Items, asJSON)
	case securityv1beta1.SchemeGroupVersion.WithKind("AuthorizationPolicy").GroupKind():
		policy := metav1.PartialObjectMetadata{} // what it says decides nothing
		if err = yaml.Unmarshal(asJSON, &policy); err == nil {
			o.policies.Items = append(o.policies.Items, &securityv1beta1.AuthorizationPolicy{ObjectMeta: policy.ObjectMeta})
		}
	}
	if err != nil {
		return fmt.Errorf("this is no %s: %w", of.Kind, err)
	}
	return nil
}

func appended[T any](items []T, asJSON []byte) ([]T, error) {
	var item T
	if err := yaml.Unmarshal(asJSON, &item); err != nil {
		return items, err
	}
	return append(items, item), nil
}
