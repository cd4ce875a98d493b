// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// everything is a class that asks for each part.
const everything = `
limitRange: {limits: [{type: Pod, max: {cpu: "8"}}]}
isolation:
  network: {}
  mtls: Strict
  userToken: Strip
  tokenIssuers: [{issuer: "https://issuer.example.com"}]
inferenceAccess: {}
credentials:
  vault: {server: "https://vault.example.com", path: secret, role: "{{ .profile }}"}
  secrets: [{name: database, extract: "{{ .profile }}"}]
`

// useClass has the controllers do all that they ever do for a class, in the namespaces of profiles that are there.
func useClass(t *testing.T, c client.Client, profiles []string) {
	t.Helper()
	class := &berthv1alpha1.ProfileClass{ObjectMeta: metav1.ObjectMeta{
		Name: testkit.Name(t, "class"), Annotations: map[string]string{berthv1alpha1.DefaultClassAnnotation: "true"},
	}}
	if err := yaml.UnmarshalStrict([]byte(everything), &class.Spec); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	for _, name := range profiles {
		testkit.Eventually(t, patience, func() error { return hasClass(t, c, name, class.Name) })
		for _, obj := range classObjects(name) {
			spoil := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":null,"ownerReferences":null}}`))
			if err := c.Patch(t.Context(), obj, spoil); err != nil {
				t.Fatal(err)
			}
			testkit.Eventually(t, patience, func() error {
				if err := c.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
					return err
				}
				if len(obj.GetOwnerReferences()) == 0 || len(obj.GetLabels()) == 0 {
					return fmt.Errorf("%T %q was not put right", obj, obj.GetName())
				}
				return nil
			})
		}
	}
	if err := c.Patch(t.Context(), class, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":null}}`))); err != nil {
		t.Fatal(err)
	}
	for _, name := range profiles {
		for _, obj := range classObjects(name) {
			controllertest.AwaitGone(t, c, obj)
		}
	}
}

func hasClass(t *testing.T, c client.Client, profile, class string) error {
	t.Helper()
	p := controllertest.Profile(profile)
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
		return err
	}
	if p.Status.Class == nil || p.Status.Class.Name != class {
		return fmt.Errorf("the class of %s is %v", profile, p.Status.Class)
	}
	return controllertest.Ready(t.Context(), c, profile)
}

// classObjects are those of the class in a namespace, one of each kind.
func classObjects(namespace string) []client.Object {
	objects := []client.Object{
		&networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "berth-default-deny"}},
		&corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "berth-limits"}},
	}
	for _, generic := range [][3]string{
		{"security.istio.io/v1beta1", "PeerAuthentication", "berth-mtls"},
		{"security.istio.io/v1beta1", "RequestAuthentication", "berth-user-token"},
		{"external-secrets.io/v1", "SecretStore", "berth"},
		{"external-secrets.io/v1", "ExternalSecret", "database"},
	} {
		obj := &unstructured.Unstructured{}
		obj.SetAPIVersion(generic[0])
		obj.SetKind(generic[1])
		obj.SetName(generic[2])
		objects = append(objects, obj)
	}
	for _, obj := range objects {
		obj.SetNamespace(namespace)
	}
	return objects
}
