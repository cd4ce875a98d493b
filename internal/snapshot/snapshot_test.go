// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package snapshot_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"berth.dev/berth/internal/snapshot"
)

func put(t *testing.T, s *snapshot.Snapshot, objects ...runtime.Object) {
	t.Helper()
	for _, object := range objects {
		if found, err := s.Put(object); !found || err != nil {
			t.Fatalf("%T: %t %v", object, found, err)
		}
	}
}

func TestSnapshot_Put_keepsNoSecrets(t *testing.T) {
	s := &snapshot.Snapshot{}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "a", Name: "b", Labels: map[string]string{"app": "x"},
			Annotations: map[string]string{"sidecar.istio.io/status": "{}", "note": "secret"},
		},
		Spec: corev1.PodSpec{ServiceAccountName: "sa", Containers: []corev1.Container{{
			Name: "c", Command: []string{"run", "--token=secret"}, Env: []corev1.EnvVar{{Name: "TOKEN", Value: "secret"}},
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}},
		}}},
	}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{
		Namespace: "a", Name: "r", Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: "secret"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}},
	}}
	put(t, s, pod, role)
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b", Labels: map[string]string{"app": "x"}, Annotations: map[string]string{"sidecar.istio.io/status": "{}"}},
		Spec: corev1.PodSpec{ServiceAccountName: "sa", Containers: []corev1.Container{{
			Name: "c", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}},
		}}},
	}
	if d := cmp.Diff(want, s.Pods[0]); d != "" {
		t.Errorf("-want, +got:\n%s", d)
	}
	if len(s.Roles[0].Annotations)+len(s.Roles[0].ManagedFields) > 0 {
		t.Errorf("%+v", s.Roles[0].ObjectMeta)
	}
	if found, err := s.Put(&corev1.Secret{}); found || err != nil {
		t.Errorf("a Secret is kept: %t %v", found, err)
	}
}

func TestSnapshot_Put_mesh(t *testing.T) {
	config := func(name, mesh string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: name}, Data: map[string]string{"mesh": mesh}}
	}
	s := &snapshot.Snapshot{Mesh: snapshot.DefaultMesh()}
	put(t, s, config("istio-canary", "trustDomain: canary"), config("istio", "trustDomain: td\npathNormalization: {normalization: MERGE_SLASHES}\nextensionProviders: [{name: p}]"))
	for _, other := range []*corev1.ConfigMap{config("istio-canary", "trustDomain: canary"), config("other", "trustDomain: x"), {}} {
		if found, err := s.Put(other); found || err != nil {
			t.Errorf("%s: %t %v", other.Name, found, err)
		}
	}
	want := snapshot.Mesh{RootNamespace: "istio-system", TrustDomain: "td", PathNormalization: snapshot.NormalizeMergeSlashes, Providers: []string{"p"}}
	if d := cmp.Diff(want, s.Mesh); d != "" {
		t.Errorf("-want, +got:\n%s", d)
	}
	back := &snapshot.Snapshot{}
	written, err := s.Mesh.MeshConfigMap()
	if err != nil {
		t.Fatal(err)
	}
	put(t, back, written)
	if d := cmp.Diff(want, back.Mesh); d != "" {
		t.Errorf("written and read: -want, +got:\n%s", d)
	}
	if _, err := s.Put(config("istio", "trustDomain: [")); err == nil {
		t.Error("no error for what is no mesh configuration")
	}
}

func TestSnapshot_Resource(t *testing.T) {
	s := &snapshot.Snapshot{}
	crd := &apiextensionsv1.CustomResourceDefinition{Spec: apiextensionsv1.CustomResourceDefinitionSpec{
		Group: "serving.kserve.io", Scope: apiextensionsv1.NamespaceScoped,
		Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "inferenceservices", Singular: "inferenceservice", Kind: "InferenceService", ShortNames: []string{"isvc"}},
		Versions: []apiextensionsv1.CustomResourceDefinitionVersion{
			{Served: true, Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}}},
			{Served: false, Subresources: &apiextensionsv1.CustomResourceSubresources{Scale: &apiextensionsv1.CustomResourceSubresourceScale{}}},
		},
	}}
	services := &metav1.APIResourceList{GroupVersion: "serving.knative.dev/v1", APIResources: []metav1.APIResource{
		{Name: "services", SingularName: "service", Kind: "Service", Namespaced: true, Verbs: metav1.Verbs{"get"}}, {Name: "services/status", Kind: "Service", Namespaced: true},
	}}
	runs := func(group string) *metav1.APIResourceList {
		return &metav1.APIResourceList{GroupVersion: group + "/v1", APIResources: []metav1.APIResource{{Name: "runs", Kind: "Run", Namespaced: true}}}
	}
	put(t, s, crd, services, runs("a.example.com"), runs("b.example.com"))
	put(t, s, &rbacv1.ClusterRole{Rules: []rbacv1.PolicyRule{{APIGroups: []string{"ruled.example.com", "*"}, Resources: []string{"rules"}, Verbs: []string{"get"}}}})
	cases := map[string]struct {
		group, name string
		known       bool
	}{
		"isvc":                         {"serving.kserve.io", "inferenceservices", true},
		"InferenceService":             {"serving.kserve.io", "inferenceservices", true},
		"services":                     {"", "services", true},
		"services.serving.knative.dev": {"serving.knative.dev", "services", true},
		"runs.b.example.com":           {"b.example.com", "runs", true},
		"deploy":                       {"apps", "deployments", true},
		"rules":                        {"ruled.example.com", "rules", true},
		"Unknowns":                     {"", "unknowns", false},
		"unknowns.example.com":         {"example.com", "unknowns", false},
	}
	for name, tc := range cases {
		got, known, err := s.Resource(name)
		if err != nil || got.Group != tc.group || got.Name != tc.name || known != tc.known {
			t.Errorf("%s: %+v %t %v", name, got, known, err)
		}
	}
	var ambiguous *snapshot.ErrAmbiguous
	if _, _, err := s.Resource("runs"); !errors.As(err, &ambiguous) || len(ambiguous.Groups) != 2 {
		t.Errorf("runs: %v", err)
	}
	got, _, _ := s.Resource("isvc")
	if d := cmp.Diff([]string{"status"}, got.Subresources); d != "" {
		t.Errorf("subresources of inferenceservices: -want, +got:\n%s", d)
	}
}

func TestSnapshot_With(t *testing.T) {
	role := func(namespace, name, verb string) *rbacv1.Role {
		return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Rules: []rbacv1.PolicyRule{{Verbs: []string{verb}}}}
	}
	verbs := func(s *snapshot.Snapshot) (all []string) {
		for _, r := range s.Roles {
			all = append(all, r.Namespace+"/"+r.Name+" "+r.Rules[0].Verbs[0])
		}
		return all
	}
	s := &snapshot.Snapshot{Mesh: snapshot.DefaultMesh(), Gateways: []snapshot.Gateway{{Namespace: "a", Name: "g", Class: "x"}}}
	put(t, s, role("a", "one", "get"), role("a", "two", "get"))
	change := &snapshot.Snapshot{Gateways: []snapshot.Gateway{{Namespace: "a", Name: "g", Class: "y"}}}
	put(t, change, role("a", "two", "list"), role("b", "two", "list"))

	after := s.With(change)
	if d := cmp.Diff([]string{"a/one get", "a/two list", "b/two list"}, verbs(after)); d != "" || len(after.Gateways) != 1 || after.Gateways[0].Class != "y" {
		t.Errorf("with: -want, +got:\n%s%v", d, after.Gateways)
	}
	if d := cmp.Diff([]string{"a/one get"}, verbs(s.Without(change))); d != "" || len(s.Without(change).Gateways) != 0 {
		t.Errorf("without: -want, +got:\n%s", d)
	}
	if d := cmp.Diff([]string{"a/one get", "a/two get"}, verbs(s)); d != "" || after.Mesh.TrustDomain != "cluster.local" {
		t.Errorf("the snapshot itself has changed: -want, +got:\n%s", d)
	}
}
