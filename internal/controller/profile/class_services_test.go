// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

var (
	serviceKind = kind{"serving.kserve.io/v1beta1", "InferenceService"}
	storeKind   = kind{"external-secrets.io/v1", "SecretStore"}
	secretKind  = kind{"external-secrets.io/v1", "ExternalSecret"}
)

// install creates what is in a file, as an administrator might while the controllers run, and waits until the kinds are
// served.
func install(t testing.TB, c client.Client, file string, served ...kind) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096); ; {
		obj := &unstructured.Unstructured{}
		if err := decoder.Decode(obj); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if err := c.Create(t.Context(), obj); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, patience, func() error {
		var errs []error
		for _, kind := range served {
			list := &unstructured.UnstructuredList{}
			list.SetAPIVersion(kind.apiVersion)
			list.SetKind(kind.name + "List")
			errs = append(errs, c.List(t.Context(), list, client.InNamespace("default")))
		}
		return errors.Join(errs...)
	})
}

// Each InferenceService has a policy of its own from the moment that the cluster serves them until it goes.
func TestClass_inferenceAccess(t *testing.T) {
	c := onShared(t)
	class := newClass(t, c, `{inferenceAccess: {callers: [cluster.local/ns/shop/sa/web], methods: [POST]}}`)
	p := readyProfile(t, c, ofClass(class.Name))
	install(t, c, "../testdata/crds/inferenceservices.yaml", serviceKind)
	for _, name := range []string{"fraud", "churn"} {
		create(t, c, serviceKind.object(p.Name, name))
	}
	policy := policyKind.object(p.Name, "berth-isvc-fraud")
	testkit.Eventually(t, patience, func() error {
		return c.Get(t.Context(), client.ObjectKeyFromObject(policy), policy)
	})
	want := map[string]any{
		"selector": map[string]any{"matchLabels": map[string]any{"serving.kserve.io/inferenceservice": "fraud"}},
		"rules": []any{map[string]any{
			"from": []any{map[string]any{"source": map[string]any{"principals": []any{
				"cluster.local/ns/istio-system/sa/cluster-local-gateway-service-account",
				"cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account",
				"cluster.local/ns/knative-serving/sa/activator",
				"cluster.local/ns/shop/sa/web",
			}}}},
			"to": []any{map[string]any{"operation": map[string]any{"methods": []any{"POST"}}}},
		}},
	}
	if diff := cmp.Diff(want, policy.Object["spec"]); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
	remove(t, c, serviceKind.object(p.Name, "fraud"))
	absent(t, c, policyKind.object(p.Name, "berth-isvc-fraud"))
	testkit.Eventually(t, patience, func() error {
		obj := policyKind.object(p.Name, "berth-isvc-churn")
		return c.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)
	})
	edit(t, c, class, func(class *berthv1alpha1.ProfileClass) { class.Spec.InferenceAccess = nil })
	absent(t, c, policyKind.object(p.Name, "berth-isvc-churn"))
}

const withSecrets = `
serviceAccounts:
  defaultEditor: {imagePullSecrets: [shared-registry], annotations: {example.com/cost: team}}
  additional:
  - {name: trainer, clusterRole: kubeflow-view, automountServiceAccountToken: false}
credentials:
  vault: {server: "https://vault.example.com", path: secret, role: "tenant-{{ .profile }}", audiences: [vault]}
  secrets:
  - {name: database, data: [{secretKey: password, remoteKey: "teams/{{ .profile }}/db", property: password}]}
  s3: {remoteKey: "s3/{{ .profile }}", bucket: data}
  pullSecret: {remoteKey: registry}
`

// External Secrets is asked for the secrets of a profile, in the profile's name and by an account of its own. Its
// controller is played by the test.
func TestClass_credentials(t *testing.T) {
	c := onShared(t)
	class := newClass(t, c, withSecrets)
	p := newProfile(t, c, ofClass(class.Name))
	controllertest.AwaitCondition(t, c, p.Name, kubeflowv1.ConditionAccessReady, "True", "Ready")
	install(t, c, "../testdata/crds/externalsecrets.yaml", storeKind, secretKind)
	controllertest.AwaitReady(t, c, p.Name)

	store := read(t, c, storeKind.object(p.Name, "berth"))
	role, _, _ := unstructured.NestedString(store.Object, "spec", "provider", "vault", "auth", "kubernetes", "role")
	if role != "tenant-"+p.Name {
		t.Errorf("the role of Vault is %q", role)
	}
	binding := read(t, c, &rbacv1.RoleBinding{ObjectMeta: named(p.Name, "berth-credentials-token")})
	if binding.RoleRef.Name != "berth-credentials-token" || len(binding.Subjects) != 1 || binding.Subjects[0].Namespace != "external-secrets" {
		t.Errorf("the right to act as the account is %+v", binding)
	}
	var versions []string
	for _, name := range []string{"database", "berth-s3", "berth-registry"} {
		secret := read(t, c, secretKind.object(p.Name, name))
		versions = append(versions, secret.GetResourceVersion())
		fill(t.Context(), t, c, secret)
	}
	database := read(t, c, &corev1.Secret{ObjectMeta: named(p.Name, "database")})
	if got := string(database.Data["password"]); got != "value of teams/"+p.Name+"/db" {
		t.Errorf("the password is %q", got)
	}
	editor := read(t, c, &corev1.ServiceAccount{ObjectMeta: named(p.Name, "default-editor")})
	if got := editor.ImagePullSecrets; !slices.Equal(got, []corev1.LocalObjectReference{{Name: "berth-registry"}, {Name: "shared-registry"}}) ||
		editor.Annotations["example.com/cost"] != "team" {
		t.Errorf("default-editor pulls with %v and has %v", got, editor.Annotations)
	}
	read(t, c, accountKind.object(p.Name, "trainer"))
	read(t, c, bindingKind.object(p.Name, "berth-sa-trainer"))

	// What the API server filled in is no drift, and what was taken out of the class goes.
	controllertest.Change(t, c, p.Name, func(p *kubeflowv1.Profile) { p.Spec.Owner.Name = "bob@example.com" })
	controllertest.AwaitReady(t, c, p.Name)
	for i, name := range []string{"database", "berth-s3", "berth-registry"} {
		if now := read(t, c, secretKind.object(p.Name, name)).GetResourceVersion(); now != versions[i] {
			t.Errorf("%s was written again", name)
		}
	}
	edit(t, c, class, func(class *berthv1alpha1.ProfileClass) {
		class.Spec.Credentials.Secrets[0].Data[0].Property = ""
		class.Spec.Credentials.PullSecret = nil
		class.Spec.ServiceAccounts = nil
	})
	absent(t, c, secretKind.object(p.Name, "berth-registry"), accountKind.object(p.Name, "trainer"), bindingKind.object(p.Name, "berth-sa-trainer"))
	testkit.Eventually(t, patience, func() error {
		data, _, _ := unstructured.NestedSlice(read(t, c, secretKind.object(p.Name, "database")).Object, "spec", "data")
		editor := read(t, c, &corev1.ServiceAccount{ObjectMeta: named(p.Name, "default-editor")})
		if property, found, _ := unstructured.NestedString(data[0].(map[string]any), "remoteRef", "property"); found || len(editor.ImagePullSecrets) > 0 || len(editor.Annotations) > 0 {
			return fmt.Errorf("property is %q, default-editor pulls with %v and has %v", property, editor.ImagePullSecrets, editor.Annotations)
		}
		return nil
	})
}

// fill does what External Secrets does for an ExternalSecret: it makes the Secret.
func fill(ctx context.Context, t testing.TB, c client.Client, asked *unstructured.Unstructured) {
	t.Helper()
	name, _, _ := unstructured.NestedString(asked.Object, "spec", "target", "name")
	data, _, _ := unstructured.NestedSlice(asked.Object, "spec", "data")
	secret := &corev1.Secret{ObjectMeta: named(asked.GetNamespace(), name), Data: map[string][]byte{}}
	for _, item := range data {
		value, ok := item.(map[string]any)
		if !ok {
			t.Fatalf("spec.data has %v", item)
		}
		key, _, _ := unstructured.NestedString(value, "remoteRef", "key")
		secretKey, _, _ := unstructured.NestedString(value, "secretKey")
		secret.Data[secretKey] = []byte("value of " + key)
	}
	if err := c.Create(ctx, secret); err != nil {
		t.Fatal(err)
	}
}

func named(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}
