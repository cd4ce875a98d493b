// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"bytes"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/snapshot"
)

// Write writes s as YAML files, one for each kind, that SnapshotFiles reads: write is called with the name of each and what
// is in it. There is no Secret in them, and of pods nothing but what selects and identifies them.
func Write(s *snapshot.Snapshot, write func(name string, data []byte) error) error {
	var config []any
	if s.Mesh.Providers != nil { // else it was never read
		made, err := s.Mesh.MeshConfigMap()
		if err != nil {
			return err
		}
		config = append(config, made)
	}
	files := []struct {
		name    string
		objects []any
	}{
		{"mesh", config},
		{"namespaces", typed(s.Namespaces, core("Namespace"), "v1")},
		{"serviceaccounts", typed(s.ServiceAccounts, core("ServiceAccount"), "v1")},
		{"pods", typed(s.Pods, core("Pod"), "v1")},
		{"services", typed(s.Services, core("Service"), "v1")},
		{"roles", typed(s.Roles, rbac("Role"), "v1")},
		{"rolebindings", typed(s.RoleBindings, rbac("RoleBinding"), "v1")},
		{"clusterroles", typed(s.ClusterRoles, rbac("ClusterRole"), "v1")},
		{"clusterrolebindings", typed(s.ClusterRoleBindings, rbac("ClusterRoleBinding"), "v1")},
		{"authorizationpolicies", typed(s.AuthorizationPolicies, security("AuthorizationPolicy"), "v1beta1")},
		{"requestauthentications", typed(s.RequestAuthentications, security("RequestAuthentication"), "v1beta1")},
		{"peerauthentications", typed(s.PeerAuthentications, security("PeerAuthentication"), "v1beta1")},
		{"virtualservices", typed(s.VirtualServices, networking("VirtualService"), "v1beta1")},
		{"ingressgateways", typed(s.IngressGateways, networking("Gateway"), "v1beta1")},
		{"profiles", typed(s.Profiles, schema.GroupKind{Group: kubeflowv1.GroupVersion.Group, Kind: "Profile"}, "v1")},
		{"gateways", gateways(s.Gateways)},
		{"resources", served(s.Resources)},
	}
	for _, file := range files {
		if len(file.objects) == 0 {
			continue
		}
		var data bytes.Buffer
		for _, object := range file.objects {
			document, err := yaml.Marshal(object)
			if err != nil {
				return fmt.Errorf("write %s: %w", file.name, err)
			}
			data.WriteString("---\n")
			data.Write(document)
		}
		if err := write(file.name+".yaml", data.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// typed are copies of objects that say what they are.
func typed[T runtime.Object](objects []T, of schema.GroupKind, version string) []any {
	out := make([]any, len(objects))
	for i, object := range objects {
		written := object.DeepCopyObject()
		written.GetObjectKind().SetGroupVersionKind(of.WithVersion(version))
		out[i] = written
	}
	return out
}

func gateways(list []snapshot.Gateway) []any {
	out := make([]any, len(list))
	for i, g := range list {
		out[i] = map[string]any{
			"apiVersion": snapshot.GatewayKind.Group + "/v1", "kind": snapshot.GatewayKind.Kind,
			"metadata": map[string]any{"namespace": g.Namespace, "name": g.Name}, "spec": map[string]any{"gatewayClassName": g.Class},
		}
	}
	return out
}

// served are resources as an API server tells of them, one list for each group. Which versions it has of them is not kept.
func served(resources []snapshot.Resource) []any {
	var out []any
	var list *metav1.APIResourceList
	for _, r := range resources { // sorted by group
		version := schema.GroupVersion{Group: r.Group, Version: "v1"}.String()
		if list == nil || list.GroupVersion != version {
			list = &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIResourceList"}, GroupVersion: version}
			out = append(out, list)
		}
		list.APIResources = append(list.APIResources, metav1.APIResource{
			Name: r.Name, SingularName: r.Singular, Namespaced: r.Namespaced, Kind: r.Kind, ShortNames: r.ShortNames, Verbs: r.Verbs,
		})
		for _, sub := range r.Subresources {
			list.APIResources = append(list.APIResources, metav1.APIResource{Name: r.Name + "/" + sub, Namespaced: r.Namespaced, Kind: r.Kind, Verbs: metav1.Verbs{}})
		}
	}
	return out
}
