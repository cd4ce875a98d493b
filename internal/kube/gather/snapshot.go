// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	networkingv1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/snapshot"
)

// kind is one of those that decide about access.
type kind struct {
	group schema.GroupKind
	// list and object are empty ones; kinds without list are in files only.
	list   func() client.ObjectList
	object func() runtime.Object
	// optional kinds need not be served, and those of the cluster have no namespace.
	optional, cluster bool
}

// kinds has what a Snapshot is made of. All versions of a kind have the same fields.
var kinds = []kind{
	{group: core("Namespace"), list: func() client.ObjectList { return &corev1.NamespaceList{} }, object: func() runtime.Object { return &corev1.Namespace{} }, cluster: true},
	{group: core("ServiceAccount"), list: func() client.ObjectList { return &corev1.ServiceAccountList{} }, object: func() runtime.Object { return &corev1.ServiceAccount{} }},
	{group: core("Pod"), list: func() client.ObjectList { return &corev1.PodList{} }, object: func() runtime.Object { return &corev1.Pod{} }},
	{group: core("Service"), list: func() client.ObjectList { return &corev1.ServiceList{} }, object: func() runtime.Object { return &corev1.Service{} }},
	{group: core("ConfigMap"), object: func() runtime.Object { return &corev1.ConfigMap{} }},
	{group: rbac("Role"), list: func() client.ObjectList { return &rbacv1.RoleList{} }, object: func() runtime.Object { return &rbacv1.Role{} }},
	{group: rbac("RoleBinding"), list: func() client.ObjectList { return &rbacv1.RoleBindingList{} }, object: func() runtime.Object { return &rbacv1.RoleBinding{} }},
	{group: rbac("ClusterRole"), list: func() client.ObjectList { return &rbacv1.ClusterRoleList{} }, object: func() runtime.Object { return &rbacv1.ClusterRole{} }, cluster: true},
	{group: rbac("ClusterRoleBinding"), list: func() client.ObjectList { return &rbacv1.ClusterRoleBindingList{} }, object: func() runtime.Object { return &rbacv1.ClusterRoleBinding{} }, cluster: true},
	{group: security("AuthorizationPolicy"), list: func() client.ObjectList { return &securityv1beta1.AuthorizationPolicyList{} }, object: func() runtime.Object { return &securityv1beta1.AuthorizationPolicy{} }, optional: true},
	{group: security("RequestAuthentication"), list: func() client.ObjectList { return &securityv1beta1.RequestAuthenticationList{} }, object: func() runtime.Object { return &securityv1beta1.RequestAuthentication{} }, optional: true},
	{group: security("PeerAuthentication"), list: func() client.ObjectList { return &securityv1beta1.PeerAuthenticationList{} }, object: func() runtime.Object { return &securityv1beta1.PeerAuthentication{} }, optional: true},
	{group: networking("VirtualService"), list: func() client.ObjectList { return &networkingv1beta1.VirtualServiceList{} }, object: func() runtime.Object { return &networkingv1beta1.VirtualService{} }, optional: true},
	{group: networking("Gateway"), list: func() client.ObjectList { return &networkingv1beta1.GatewayList{} }, object: func() runtime.Object { return &networkingv1beta1.Gateway{} }, optional: true},
	{group: snapshot.GatewayKind, list: gatewayList, object: func() runtime.Object { return &unstructured.Unstructured{} }, optional: true},
	{group: schema.GroupKind{Group: kubeflowv1.GroupVersion.Group, Kind: "Profile"}, list: func() client.ObjectList { return &kubeflowv1.ProfileList{} }, object: func() runtime.Object { return &kubeflowv1.Profile{} }, optional: true, cluster: true},
	{group: core("APIResourceList"), object: func() runtime.Object { return &metav1.APIResourceList{} }},
	{group: schema.GroupKind{Group: apiextensionsv1.GroupName, Kind: "CustomResourceDefinition"}, list: func() client.ObjectList { return &apiextensionsv1.CustomResourceDefinitionList{} }, object: func() runtime.Object { return &apiextensionsv1.CustomResourceDefinition{} }, cluster: true},
}

func core(kind string) schema.GroupKind { return schema.GroupKind{Kind: kind} }

func rbac(kind string) schema.GroupKind { return schema.GroupKind{Group: rbacv1.GroupName, Kind: kind} }

func security(kind string) schema.GroupKind {
	return schema.GroupKind{Group: securityv1beta1.SchemeGroupVersion.Group, Kind: kind}
}

func networking(kind string) schema.GroupKind {
	return schema.GroupKind{Group: networkingv1beta1.SchemeGroupVersion.Group, Kind: kind}
}

func gatewayList() client.ObjectList {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(snapshot.GatewayKind.WithVersion("v1"))
	list.SetKind(snapshot.GatewayKind.Kind + "List")
	return list
}

// istioNamespace is where Istio's mesh configuration is, unless somebody says otherwise.
const istioNamespace = "istio-system"

// Snapshot reads what decides about access in a cluster, page by page. Whatever can't be read is an error: a missing role
// or policy would make the answers wrong. An API group whose server does not answer is left out of the resources.
func Snapshot(ctx context.Context, reader client.Reader, served discovery.ServerResourcesInterface) (*snapshot.Snapshot, error) {
	s := &snapshot.Snapshot{Mesh: snapshot.DefaultMesh()}
	for _, k := range kinds {
		if k.list == nil {
			continue
		}
		list := k.list()
		var wrong error
		err := each(ctx, reader, list, func() {
			wrong = errors.Join(wrong, meta.EachListItem(list, func(object runtime.Object) error {
				_, err := s.Put(object)
				return err
			}))
		})
		if k.optional && (meta.IsNoMatchError(err) || apierrors.IsNotFound(err)) {
			continue
		}
		if err = errors.Join(err, wrong); err != nil {
			return nil, fmt.Errorf("list the objects of kind %s: %w", k.group, err)
		}
	}
	var config corev1.ConfigMap
	err := reader.Get(ctx, client.ObjectKey{Namespace: istioNamespace, Name: "istio"}, &config)
	if err == nil {
		_, err = s.Put(&config)
	}
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read Istio's mesh configuration: %w", err)
	}
	_, lists, err := served.ServerGroupsAndResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, fmt.Errorf("ask which resources there are: %w", err)
	}
	for _, list := range lists {
		if _, err := s.Put(list); err != nil {
			return nil, fmt.Errorf("read which resources there are: %w", err)
		}
	}
	s.Sort()
	return s, nil
}

// SnapshotFiles reads a Snapshot from the YAML or JSON files of a directory, as kubectl get prints them, or Write does.
// Other kinds are skipped.
func SnapshotFiles(dir fs.FS) (*snapshot.Snapshot, error) {
	s := &snapshot.Snapshot{Mesh: snapshot.DefaultMesh()}
	found := false
	err := walk(dir, func(of metav1.TypeMeta, asJSON []byte) error {
		put, err := put(s, of, asJSON)
		found = found || put
		return err
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errors.New("read the snapshot: no .yaml or .json file has an object that decides about access")
	}
	s.Sort()
	return s, nil
}

// SnapshotFile reads the objects of one file, which may be those of a change. name is for errors.
func SnapshotFile(name string, data []byte) (*snapshot.Snapshot, error) {
	s := &snapshot.Snapshot{}
	found := false
	read := add(func(of metav1.TypeMeta, asJSON []byte) error {
		put, err := put(s, of, asJSON)
		found = found || put
		return err
	})
	if err := read.file(name, data); err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("%s: there is no object in it that decides about access", name)
	}
	s.Sort()
	return s, nil
}

// put adds an object of a file to s, if it is of one of the kinds.
func put(s *snapshot.Snapshot, of metav1.TypeMeta, asJSON []byte) (bool, error) {
	at := slices.IndexFunc(kinds, func(k kind) bool { return k.group == of.GroupVersionKind().GroupKind() })
	if at < 0 {
		return false, nil
	}
	object := kinds[at].object()
	if err := json.Unmarshal(asJSON, object); err != nil {
		return false, fmt.Errorf("this is no %s: %w", of.Kind, err)
	}
	if o, ok := object.(metav1.Object); ok && o.GetNamespace() == "" && !kinds[at].cluster {
		o.SetNamespace(metav1.NamespaceDefault) // as kubectl has it
	}
	found, err := s.Put(object)
	if err != nil {
		return found, fmt.Errorf("the %s can't be used: %w", of.Kind, err)
	}
	return found, nil
}
