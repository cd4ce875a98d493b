// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

var cluster testkit.SharedCluster

func TestMain(m *testing.M) {
	os.Exit(testkit.RunWithCluster(m, &cluster, testkit.WithCRDs("../testdata/crds")))
}

// home is where the controllers run, and have their Secrets and ConfigMaps.
const home = "profiles-system"

// start runs the controllers under exactly the rights of the manifests, until the test ends.
func start(t *testing.T, options ...controllertest.Option) client.Client {
	t.Helper()
	c := installed(t)
	launch(t, options...)
	return c
}

// installed gives the controllers the rights of the manifests.
func installed(t *testing.T) client.Client {
	t.Helper()
	server := cluster.Use(t)
	c := controllertest.Client(t, server.Config())
	create(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: home}})
	for _, file := range []string{"service_account.yaml", "role.yaml", "role_binding.yaml", "leader_election.yaml", "sync_sources.yaml"} {
		data, err := os.ReadFile("../../../deploy/kustomize/base/rbac/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for doc := range bytes.SplitSeq(data, []byte("\n---\n")) {
			obj := &unstructured.Unstructured{}
			if err := yaml.Unmarshal(doc, &obj.Object); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(obj.GetKind(), "Cluster") { // what kustomize adds
				obj.SetNamespace(home)
			}
			if subjects, found, _ := unstructured.NestedSlice(obj.Object, "subjects"); found {
				subjects[0].(map[string]any)["namespace"] = home
				if err := unstructured.SetNestedSlice(obj.Object, subjects, "subjects"); err != nil {
					t.Fatal(err)
				}
			}
			create(t, c, obj)
		}
	}
	return c
}

// launch runs the controllers.
func launch(t *testing.T, options ...controllertest.Option) *controllertest.Controllers {
	t.Helper()
	options = append([]controllertest.Option{func(o *controller.Options) { o.LeaderElectionNamespace = home }}, options...)
	return controllertest.Start(t, cluster.Use(t).ServiceAccountConfig(t, home, "profiles-controller-service-account"), options...)
}

func create(t *testing.T, c client.Client, obj client.Object) {
	t.Helper()
	if err := c.Create(t.Context(), obj); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

// declare writes a list to the ConfigMap called name.
func declare(t *testing.T, c client.Client, name, list string) {
	t.Helper()
	data := map[string]string{"pmr.yaml": list}
	found := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: name}, Data: data}
	err := c.Create(t.Context(), found)
	if apierrors.IsAlreadyExists(err) {
		err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(found), found); err != nil {
				return err
			}
			found.Data = data
			return c.Update(t.Context(), found)
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// newSync creates a sync with its list, that goes when the test ends. Its source is looked at each second.
func newSync(t *testing.T, c client.Client, list, spec string) *berthv1alpha1.ProfileSync {
	t.Helper()
	s := &berthv1alpha1.ProfileSync{ObjectMeta: metav1.ObjectMeta{Name: testkit.Name(t, "sync")}}
	if list != "" {
		declare(t, c, s.Name, list)
	}
	if err := c.Create(t.Context(), written(t, s.Name, spec)); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(c.Delete(context.WithoutCancel(t.Context()), s)); err != nil {
			t.Error(err)
		}
	})
	return s
}

// written is a sync as somebody writes it, without what the API server fills in.
func written(t *testing.T, name, spec string) *unstructured.Unstructured {
	t.Helper()
	fields := map[string]any{"interval": "1s", "source": map[string]any{"configMap": map[string]any{"name": name}}}
	if err := yaml.UnmarshalStrict([]byte(spec), &fields); err != nil {
		t.Fatalf("%v in\n%s", err, spec)
	}
	s := &unstructured.Unstructured{Object: map[string]any{"spec": fields}}
	s.SetGroupVersionKind(berthv1alpha1.GroupVersion.WithKind("ProfileSync"))
	s.SetName(name)
	return s
}

// awaitSync waits until the sync has the condition for its spec as it is now, and returns its message.
func awaitSync(t *testing.T, c client.Client, s *berthv1alpha1.ProfileSync, conditionType, reason string) (message string) {
	t.Helper()
	testkit.Eventually(t, controllertest.Patience, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
			return err
		}
		have := meta.FindStatusCondition(s.Status.Conditions, conditionType)
		if have == nil || have.Reason != reason || have.ObservedGeneration != s.Generation {
			return fmt.Errorf("want %s for reason %s at generation %d, have %+v", conditionType, reason, s.Generation, s.Status)
		}
		message = have.Message
		return nil
	})
	return message
}

// access are the contributors' bindings of a namespace, as NAME=USER:ROLE.
func access(t *testing.T, c client.Client, namespace string) map[string]string {
	t.Helper()
	var list rbacv1.RoleBindingList
	if err := c.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for i := range list.Items {
		if b := &list.Items[i]; render.IsContributorBinding(b) && b.DeletionTimestamp.IsZero() {
			for _, subject := range b.Subjects {
				found[b.Name] = subject.Name + ":" + render.RoleShown(b)
			}
		}
	}
	return found
}

// awaitAccess waits until the namespace has exactly these contributors, as USER:ROLE.
func awaitAccess(t *testing.T, c client.Client, namespace string, want ...string) {
	t.Helper()
	testkit.Eventually(t, controllertest.Patience, func() error {
		found := map[string]int{}
		have := access(t, c, namespace)
		for _, who := range have {
			found[who]++
		}
		for _, who := range want {
			found[who]--
		}
		for who, n := range found {
			if n != 0 {
				return fmt.Errorf("want %q, have %v (%s)", want, have, who)
			}
		}
		return nil
	})
}

// profile reads a profile.
func profile(t *testing.T, c client.Client, name string) *kubeflowv1.Profile {
	t.Helper()
	p := &kubeflowv1.Profile{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: name}, p); err != nil {
		t.Fatal(err)
	}
	return p
}

func binding(namespace, name string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}
