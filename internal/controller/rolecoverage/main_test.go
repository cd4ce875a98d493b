// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package rolecoverage_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"berth.dev/berth/internal/access/coverage"
	"berth.dev/berth/internal/controller"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/controller/rolecoverage"
	"berth.dev/berth/internal/testkit"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Each parallel test has a cluster.
	if err := flag.Set("test.parallel", "2"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// patience is far above what anything takes on a slow machine.
const patience = controllertest.Patience

// home is the namespace that the controller runs in, outside a cluster.
const home = "kubeflow"

// start runs the controllers with role coverage on a cluster of the test's own, in which a distribution's roles are, but for
// those of KServe: these are of the time before TrainedModels.
func start(t *testing.T, options ...controllertest.Option) (*testkit.Cluster, client.Client) {
	t.Helper()
	cluster, c := begin(t)
	cover(t, cluster, options...)
	return cluster, c
}

func begin(t *testing.T, options ...testkit.ClusterOption) (*testkit.Cluster, client.Client) {
	t.Helper()
	cluster := testkit.StartCluster(t, options...)
	c := controllertest.Client(t, cluster.Config())
	create(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: home}})
	for _, name := range []string{"kubeflow-kserve-edit", "kubeflow-kserve-view"} {
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}}
		change(t, c, role, func() { role.Rules[0].Resources = []string{"inferenceservices"} })
	}
	return cluster, c
}

func cover(t *testing.T, cluster *testkit.Cluster, options ...controllertest.Option) *controllertest.Controllers {
	t.Helper()
	on := func(o *controller.Options) { o.RoleCoverage = true }
	return controllertest.Start(t, cluster.Config(), append([]controllertest.Option{on}, options...)...)
}

func create(t *testing.T, c client.Client, objects ...client.Object) {
	t.Helper()
	for _, obj := range objects {
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(t *testing.T, c client.Client, obj client.Object) {
	t.Helper()
	if err := c.Delete(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
}

// change changes obj as it is now.
func change(t *testing.T, c client.Client, obj client.Object, edit func()) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
			return err
		}
		edit()
		return c.Update(t.Context(), obj)
	})
}

// kind is the CRD of TrainedModels, or of another kind of a group.
func kind(t *testing.T) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	data, err := os.ReadFile("testdata/crds/trainedmodels.yaml")
	if err != nil {
		t.Fatal(err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(data, crd); err != nil {
		t.Fatal(err)
	}
	return crd
}

func another(t *testing.T, group, plural, name string) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	crd := kind(t)
	crd.Name, crd.Spec.Group = plural+"."+group, group
	crd.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Singular: plural[:len(plural)-1], Kind: name, ListKind: name + "List"}
	return crd
}

func policy(text string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: rolecoverage.PolicyName},
		Data:       map[string]string{rolecoverage.PolicyKey: "apiVersion: config.berth.dev/v1alpha1\nkind: RolePolicy\n" + text},
	}
}

// rulesOf are the rules of a role as "resources: verbs"; none where there is no such role.
func rulesOf(t *testing.T, c client.Client, name string) (rules []string, err error) {
	t.Helper()
	role := &rbacv1.ClusterRole{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: name}, role); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	for _, rule := range role.Rules {
		rules = append(rules, fmt.Sprint(rule.Resources, rule.Verbs))
	}
	return rules, nil
}

// await waits until the role that supplies TrainedModels has exactly the rules; with none, until there is no such role.
func await(t *testing.T, c client.Client, level coverage.Level, want ...string) {
	t.Helper()
	awaitRole(t, c, coverage.Name("serving.kserve.io", "trainedmodels", level), want...)
}

func awaitRole(t *testing.T, c client.Client, name string, want ...string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		have, err := rulesOf(t, c, name)
		if err == nil && !slices.Equal(have, want) {
			err = fmt.Errorf("%s has the rules %v, want %v", name, have, want)
		}
		return err
	})
}

// What TrainedModels lack in the beginning.
var (
	viewing = []string{"[trainedmodels] [get list watch]", "[trainedmodels/status] [get]"}
	editing = []string{"[trainedmodels] [create update patch delete]"}
)

// awaitEvent waits for an Event of a reason about an object.
func awaitEvent(t *testing.T, c client.Client, reason, about string) (note string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		var list eventsv1.EventList
		if err := c.List(t.Context(), &list); err != nil {
			return err
		}
		var told []string
		for _, e := range list.Items {
			if e.Reason == reason && e.Regarding.Name == about {
				note = e.Note
				return nil
			}
			told = append(told, e.Reason+" "+e.Regarding.Name)
		}
		return fmt.Errorf("no Event %s about %s: %v", reason, about, told)
	})
	return note
}

// counter counts what the controller writes to ClusterRoles.
type counter struct {
	mu     sync.Mutex
	writes []string
}

func (n *counter) option() controllertest.Option {
	return controllertest.Intercept(func(w controllertest.Write) error {
		if _, is := w.Object.(*rbacv1.ClusterRole); is {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.writes = append(n.writes, w.String())
		}
		return nil
	}, nil)
}

func (n *counter) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.writes)
}

// as is a client that is somebody.
func as(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	return controllertest.Client(t, config)
}

// model is a TrainedModel.
func model(namespace, name string) *unstructured.Unstructured {
	obj := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "serving.kserve.io/v1alpha1", "kind": "TrainedModel",
		"metadata": map[string]any{"namespace": namespace, "name": name},
		"spec": map[string]any{
			"inferenceService": "server", "model": map[string]any{"framework": "sklearn", "memory": "256Mi", "storageUri": "s3://models/one"},
		},
	}}
	return obj
}

// wantForbidden fails unless the API server refused it for want of a right.
func wantForbidden(t *testing.T, what string, err error) {
	t.Helper()
	if !apierrors.IsForbidden(err) {
		t.Errorf("%s: want it forbidden, have %v", what, err)
	}
}
