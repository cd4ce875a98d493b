// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/controller/mesh"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

const (
	roleDir           = "../../deploy/kustomize/base/rbac"
	controllerAccount = "profiles-controller-service-account"
	controllerHome    = "profiles-system"
)

// installRole creates the controller's account and what it may do, as the manifests say, and returns the rules.
func installRole(t *testing.T, c client.Client) (rules []rbacv1.PolicyRule) {
	t.Helper()
	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: controllerHome}}); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"service_account.yaml", "role.yaml", "role_binding.yaml", "leader_election.yaml", "sync_sources.yaml"} {
		data, err := os.ReadFile(filepath.Join(roleDir, file))
		if err != nil {
			t.Fatal(err)
		}
		for doc := range bytes.SplitSeq(data, []byte("\n---\n")) {
			obj := &unstructured.Unstructured{}
			if err := yaml.Unmarshal(doc, &obj.Object); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			// What kustomize adds.
			if !strings.HasPrefix(obj.GetKind(), "Cluster") {
				obj.SetNamespace(controllerHome)
			}
			if subjects, found, _ := unstructured.NestedSlice(obj.Object, "subjects"); found {
				subjects[0].(map[string]any)["namespace"] = controllerHome
				if err := unstructured.SetNestedSlice(obj.Object, subjects, "subjects"); err != nil {
					t.Fatal(err)
				}
			}
			if strings.HasSuffix(obj.GetKind(), "Role") {
				var role rbacv1.ClusterRole
				if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, &role); err != nil {
					t.Fatal(err)
				}
				rules = append(rules, role.Rules...)
			}
			if err := c.Create(t.Context(), obj); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		}
	}
	return rules
}

// unseen are rights that no request shows.
var unseen = []string{
	// Asked for when a RoleBinding is written.
	"bind clusterroles.rbac.authorization.k8s.io",
	// Asked for where owner references are checked, which this cluster does not do.
	"update profiles/finalizers.kubeflow.org",
	// Where a server can't begin a watch with a list.
	"list inferenceservices.serving.kserve.io",
	"list namespaces",
	"list profileclasses.berth.dev",
	"list profilesyncs.berth.dev",
	"list profiles.kubeflow.org",
	"list validatingadmissionpolicies.admissionregistration.k8s.io",
	"list validatingadmissionpolicybindings.admissionregistration.k8s.io",
	"list validatingwebhookconfigurations.admissionregistration.k8s.io",
}

func TestRole_isWhatTheControllersNeedAndNoMore(t *testing.T) {
	t.Parallel() // on a cluster of its own, which records what is asked of it
	records := testkit.NewAudit(t, "system:serviceaccount:"+controllerHome+":"+controllerAccount)
	server := testkit.StartCluster(t, testkit.WithCRDs("testdata/crds"), records.Option())
	c := controllertest.Client(t, server.Config())
	rules := installRole(t, c)
	overtaken := testkit.Name(t, "overtaken")
	controllertest.Start(t, server.ServiceAccountConfig(t, controllerHome, controllerAccount),
		controllertest.WithConfig(func(config *render.Config) { config.MeshMode, config.CreateWaypoint = render.MeshAmbient, true }),
		func(o *controller.Options) { o.LeaderElection, o.LeaderElectionNamespace = true, controllerHome },
		controllertest.Intercept(overtake(t, c, overtaken), nil))

	doEverything(t, c, overtaken)

	records.AwaitExactly(t, patience, rules, unseen)
}

// overtake has somebody else make each object of the profile just before the controllers do.
func overtake(t *testing.T, c client.Client, name string) func(controllertest.Write) error {
	return func(w controllertest.Write) error {
		if w.Verb != "create" || w.Object.GetNamespace() != name && w.Object.GetLabels()[berthv1alpha1.ClassLabel] != name {
			return nil
		}
		other := w.Object.DeepCopyObject().(client.Object)
		other.SetLabels(nil)
		if err := c.Create(t.Context(), other); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Errorf("overtake %s: %v", w, err)
		}
		return nil
	}
}

// doEverything has the controllers do all that they ever do.
func doEverything(t *testing.T, c client.Client, overtaken string) {
	t.Helper()
	made, adopted := testkit.Name(t, "made"), testkit.Name(t, "adopted")
	given := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: adopted, Annotations: map[string]string{kubeflowv1.OwnerAnnotation: controllertest.Owner},
	}}
	if err := c.Create(t.Context(), given); err != nil {
		t.Fatal(err)
	}
	classify(t, c, overtaken)
	useSyncs(t, c)
	all := []string{made, adopted, overtaken}
	for _, name := range all {
		controllertest.Create(t, c, controllertest.Profile(name, controllertest.WithQuota("requests.cpu", "4")))
	}
	for _, name := range all {
		controllertest.AwaitReady(t, c, name)
		wantTenant(t, c, name, controllertest.Owner)
	}
	for range 2 { // the second Event of a kind is written otherwise than the first
		unlabel(t, c, made)
	}
	for _, name := range all {
		contribute(t, c, name)
	}
	useClass(t, c, []string{made, overtaken})
	breakRole(t, c, made)
	testkit.Eventually(t, patience, func() error { return adminRole(t, c, made) })
	controllertest.Change(t, c, made, func(p *kubeflowv1.Profile) { p.Spec.Owner.Name = "bob@example.com" })
	controllertest.AwaitReady(t, c, made)
	wantTenant(t, c, made, "bob@example.com")

	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: made, Name: "kf-resource-quota"}}
	controllertest.Change(t, c, made, func(p *kubeflowv1.Profile) { p.Spec.ResourceQuotaSpec.Hard = nil })
	controllertest.AwaitGone(t, c, quota)
	for _, name := range all {
		controllertest.Delete(t, c, name)
	}
	for _, name := range []string{made, overtaken} {
		awaitNothingLeft(t, c, name)
	}
	controllertest.AwaitGone(t, c, controllertest.Profile(adopted))
	if found, err := objects(t.Context(), c, adopted); err != nil || len(found) > 0 {
		t.Errorf("left behind in the adopted namespace: %v (error %v)", found, err)
	}
}

// classify has a class made, its rules written, and the class go.
func classify(t *testing.T, c client.Client, name string) {
	t.Helper()
	class := &berthv1alpha1.ProfileClass{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: berthv1alpha1.ProfileClassSpec{
			Policies: []berthv1alpha1.Policy{{Name: "any", Expression: "true", Message: "any"}},
			PolicyWebhook: &berthv1alpha1.PolicyWebhook{
				ClientConfig:  admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Namespace: "none", Name: "none"}},
				FailurePolicy: admissionregistrationv1.Ignore,
			},
		},
	}
	if err := c.Create(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(class), class); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(class.Status.Conditions, berthv1alpha1.ConditionReady) {
			return fmt.Errorf("class %q: %+v", name, class.Status)
		}
		return nil
	})
	if err := c.Delete(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	controllertest.AwaitGone(t, c, class)
}

// contribute has somebody invited, their policy spoilt, and them sent away again.
func contribute(t *testing.T, c client.Client, namespace string) {
	t.Helper()
	name := "user-bob-example-com-clusterrole-edit"
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{
			kubeflowv1.UserAnnotation: "bob@example.com", kubeflowv1.RoleAnnotation: "edit",
		}},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kubeflow-edit"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "bob@example.com"}},
	}
	if err := c.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	policy := &securityv1beta1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	letIn := func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(policy), policy); err != nil {
			return err
		}
		if rules := policy.Spec.Rules; len(rules) != 1 || len(rules[0].When) != 1 {
			return fmt.Errorf("the contributor's policy has the rules %v", rules)
		}
		return nil
	}
	testkit.Eventually(t, patience, letIn)
	if err := c.Patch(t.Context(), policy, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"rules":[]}}`))); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, letIn)
	if err := c.Delete(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	controllertest.AwaitGone(t, c, policy)
}

// unlabel takes our label and owner reference off everything that has them, and waits until they are back.
func unlabel(t *testing.T, c client.Client, namespace string) {
	t.Helper()
	waypoint := mesh.NewGateway()
	waypoint.SetName("waypoint")
	waypoint.SetNamespace(namespace)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default-viewer", Namespace: namespace}}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "kf-resource-quota", Namespace: namespace}}
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "default-editor", Namespace: namespace}}
	everything := []client.Object{waypoint, account, quota, binding}
	for _, obj := range everything {
		err := c.Patch(t.Context(), obj, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"app.kubernetes.io/managed-by":null},"ownerReferences":null}}`)))
		if err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, patience, func() error {
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
				return err
			}
			if obj.GetLabels()[kubeflowv1.ManagedByLabel] != kubeflowv1.ManagedByValue {
				return fmt.Errorf("%T %q has the labels %v", obj, obj.GetName(), obj.GetLabels())
			}
			return nil
		})
	}
}
