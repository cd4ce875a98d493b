// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	networkingv1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// GatewayKind is that of the Gateway API, which objects without types are read of.
var GatewayKind = schema.GroupKind{Group: "gateway.networking.k8s.io", Kind: "Gateway"}

// Put adds an object, without looking for another of its name. It returns false for kinds that decide nothing about
// access. An error says what can't be read in the object.
func (s *Snapshot) Put(object runtime.Object) (bool, error) {
	switch o := object.(type) {
	case *corev1.Namespace:
		s.Namespaces = append(s.Namespaces, slim(o))
	case *corev1.ServiceAccount:
		s.ServiceAccounts = append(s.ServiceAccounts, slim(o))
	case *corev1.Pod:
		s.Pods = append(s.Pods, slimPod(o))
	case *corev1.Service:
		s.Services = append(s.Services, slim(o))
	case *corev1.ConfigMap:
		return s.putMesh(o)
	case *rbacv1.Role:
		s.Roles = append(s.Roles, slim(o))
	case *rbacv1.RoleBinding:
		s.RoleBindings = append(s.RoleBindings, slim(o))
	case *rbacv1.ClusterRole:
		if o.AggregationRule == nil { // else who wrote the rules decides whether they stay without parts
			slim(o)
		}
		s.ClusterRoles = append(s.ClusterRoles, o)
	case *rbacv1.ClusterRoleBinding:
		s.ClusterRoleBindings = append(s.ClusterRoleBindings, slim(o))
	case *kubeflowv1.Profile:
		s.Profiles = append(s.Profiles, slim(o))
	case *metav1.APIResourceList:
		return true, s.putServed(o)
	case *apiextensionsv1.CustomResourceDefinition:
		s.putResource(definedBy(o))
	default:
		return s.putMeshed(object)
	}
	return true, nil
}

// putMeshed adds an object of Istio or of the Gateway API.
func (s *Snapshot) putMeshed(object runtime.Object) (bool, error) {
	switch o := object.(type) {
	case *securityv1beta1.AuthorizationPolicy:
		s.AuthorizationPolicies = append(s.AuthorizationPolicies, slim(o))
	case *securityv1beta1.RequestAuthentication:
		s.RequestAuthentications = append(s.RequestAuthentications, slim(o))
	case *securityv1beta1.PeerAuthentication:
		s.PeerAuthentications = append(s.PeerAuthentications, slim(o))
	case *networkingv1beta1.VirtualService:
		s.VirtualServices = append(s.VirtualServices, slim(o))
	case *networkingv1beta1.Gateway:
		s.IngressGateways = append(s.IngressGateways, slim(o))
	case *unstructured.Unstructured:
		if o.GroupVersionKind().GroupKind() != GatewayKind {
			return false, nil
		}
		class, _, err := unstructured.NestedString(o.Object, "spec", "gatewayClassName")
		if err != nil {
			return true, fmt.Errorf("spec.gatewayClassName is no text: %w", err)
		}
		s.Gateways = append(s.Gateways, Gateway{Namespace: o.GetNamespace(), Name: o.GetName(), Class: class})
	default:
		return false, nil
	}
	return true, nil
}

// slim drops what decides nothing and may be large, or nobody's business.
func slim[T metav1.Object](object T) T {
	object.SetManagedFields(nil)
	if annotations := object.GetAnnotations(); annotations[corev1.LastAppliedConfigAnnotation] != "" {
		delete(annotations, corev1.LastAppliedConfigAnnotation)
	}
	return object
}

// slimPod is what of a pod selects and identifies it. Its environment, which may hold secrets, is not.
func slimPod(pod *corev1.Pod) *corev1.Pod {
	out := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: pod.Name, Labels: pod.Labels, DeletionTimestamp: pod.DeletionTimestamp, Annotations: map[string]string{},
		},
		Spec:   corev1.PodSpec{ServiceAccountName: pod.Spec.ServiceAccountName, HostNetwork: pod.Spec.HostNetwork},
		Status: corev1.PodStatus{Phase: pod.Status.Phase, PodIP: pod.Status.PodIP},
	}
	for key, value := range pod.Annotations {
		if strings.Contains(key, "istio.io/") {
			out.Annotations[key] = value
		}
	}
	only := func(containers []corev1.Container) (out []corev1.Container) {
		for i := range containers {
			out = append(out, corev1.Container{Name: containers[i].Name, Ports: containers[i].Ports})
		}
		return out
	}
	out.Spec.InitContainers, out.Spec.Containers = only(pod.Spec.InitContainers), only(pod.Spec.Containers)
	return out
}

// meshName is the ConfigMap, or with a revision behind it the prefix, that has Istio's mesh configuration.
const meshName = "istio"

// meshConfig is what Istio's mesh configuration has to do with access.
type meshConfig struct {
	RootNamespace      string   `json:"rootNamespace,omitempty"`
	TrustDomain        string   `json:"trustDomain,omitempty"`
	TrustDomainAliases []string `json:"trustDomainAliases,omitempty"`
	PathNormalization  struct {
		Normalization string `json:"normalization,omitempty"`
	} `json:"pathNormalization"`
	ExtensionProviders []meshProvider `json:"extensionProviders,omitempty"`
}

type meshProvider struct {
	Name string `json:"name"`
}

// putMesh reads the mesh configuration, if that is what a ConfigMap has.
func (s *Snapshot) putMesh(found *corev1.ConfigMap) (bool, error) {
	text, has := found.Data["mesh"]
	if !has || found.Name != meshName && (!strings.HasPrefix(found.Name, meshName+"-") || s.meshFrom == meshName) {
		return false, nil
	}
	var config meshConfig
	if err := yaml.Unmarshal([]byte(text), &config); err != nil {
		return true, fmt.Errorf("data.mesh is no mesh configuration: %w", err)
	}
	normal := PathNormalization(config.PathNormalization.Normalization)
	if normal == "" || normal == "DEFAULT" {
		normal = NormalizeBase
	}
	s.meshFrom = found.Name
	s.Mesh = Mesh{
		RootNamespace: cmp.Or(config.RootNamespace, found.Namespace), TrustDomain: cmp.Or(config.TrustDomain, DefaultMesh().TrustDomain),
		TrustDomainAliases: config.TrustDomainAliases, PathNormalization: normal, Providers: []string{},
	}
	for _, provider := range config.ExtensionProviders {
		s.Mesh.Providers = append(s.Mesh.Providers, provider.Name)
	}
	return true, nil
}

// MeshConfigMap is the ConfigMap that putMesh reads m from.
func (m Mesh) MeshConfigMap() (*corev1.ConfigMap, error) {
	config := meshConfig{RootNamespace: m.RootNamespace, TrustDomain: m.TrustDomain, TrustDomainAliases: m.TrustDomainAliases}
	config.PathNormalization.Normalization = string(m.PathNormalization)
	for _, name := range m.Providers {
		config.ExtensionProviders = append(config.ExtensionProviders, meshProvider{name})
	}
	text, err := yaml.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("write the mesh configuration: %w", err)
	}
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: m.RootNamespace, Name: meshName}, Data: map[string]string{"mesh": string(text)},
	}, nil
}

// Sort puts all lists in the order of namespaces and names, so that the order in which they were read decides nothing.
func (s *Snapshot) Sort() {
	sortObjects(s.Namespaces)
	sortObjects(s.ServiceAccounts)
	sortObjects(s.Pods)
	sortObjects(s.Services)
	sortObjects(s.Roles)
	sortObjects(s.RoleBindings)
	sortObjects(s.ClusterRoles)
	sortObjects(s.ClusterRoleBindings)
	sortObjects(s.AuthorizationPolicies)
	sortObjects(s.RequestAuthentications)
	sortObjects(s.PeerAuthentications)
	sortObjects(s.VirtualServices)
	sortObjects(s.IngressGateways)
	sortObjects(s.Profiles)
	slices.SortFunc(s.Gateways, func(a, b Gateway) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(s.Resources, func(a, b Resource) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Name, b.Name))
	})
}

func sortObjects[T metav1.Object](list []T) {
	slices.SortStableFunc(list, func(a, b T) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
}
