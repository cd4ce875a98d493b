// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profileclass_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

var cluster testkit.SharedCluster

func TestMain(m *testing.M) { os.Exit(testkit.RunWithCluster(m, &cluster)) }

// start runs the controllers under exactly the rights of the manifests, until the test ends.
func start(t *testing.T, options ...controllertest.Option) (*testkit.Cluster, client.Client) {
	t.Helper()
	server := cluster.Use(t)
	c := controllertest.Client(t, server.Config())
	data, err := os.ReadFile("../../../deploy/kustomize/base/rbac/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(data, role); err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "profiles-system", Name: "controller"}}
	for _, obj := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: account.Namespace}}, account, role,
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: role.Name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: account.Namespace, Name: account.Name}},
		},
	} {
		if err := c.Create(t.Context(), obj); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	controllertest.Start(t, server.ServiceAccountConfig(t, account.Namespace, account.Name), options...)
	return server, c
}

// newClass creates a class under a name of its own, which goes when the test ends.
func newClass(t *testing.T, c client.Client, spec string, changes ...func(*berthv1alpha1.ProfileClass)) *berthv1alpha1.ProfileClass {
	t.Helper()
	class := &berthv1alpha1.ProfileClass{ObjectMeta: metav1.ObjectMeta{Name: testkit.Name(t, "class")}}
	if err := yaml.UnmarshalStrict([]byte(spec), &class.Spec); err != nil {
		t.Fatalf("%v in\n%s", err, spec)
	}
	for _, change := range changes {
		change(class)
	}
	if err := c.Create(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	return class
}

// change changes the class as it is now.
func change(t *testing.T, c client.Client, class *berthv1alpha1.ProfileClass, change func(*berthv1alpha1.ProfileClass)) {
	t.Helper()
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(class), class); err != nil {
			return err
		}
		change(class)
		return c.Update(t.Context(), class)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func asDefault(class *berthv1alpha1.ProfileClass) {
	class.Annotations = map[string]string{berthv1alpha1.DefaultClassAnnotation: "true"}
}

// ofClass is a profile of the class.
func ofClass(t *testing.T, class string, changes ...func(*kubeflowv1.Profile)) *kubeflowv1.Profile {
	p := controllertest.Profile(testkit.Name(t, "team"), changes...)
	p.Labels = map[string]string{berthv1alpha1.ClassLabel: class}
	return p
}

func labelled(key, value string) func(*berthv1alpha1.ProfileClass) {
	return func(class *berthv1alpha1.ProfileClass) { class.Labels = map[string]string{key: value} }
}

// awaitCondition waits until the class has the condition as it is now, and returns its message.
func awaitCondition(t *testing.T, c client.Client, class *berthv1alpha1.ProfileClass, conditionType, reason string) (message string) {
	t.Helper()
	testkit.Eventually(t, controllertest.Patience, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(class), class); err != nil {
			return err
		}
		have := meta.FindStatusCondition(class.Status.Conditions, conditionType)
		if have == nil || have.Reason != reason || have.ObservedGeneration != class.Generation {
			return fmt.Errorf("want %s for reason %s at generation %d, have %+v", conditionType, reason, class.Generation, class.Status)
		}
		message = have.Message
		return nil
	})
	return message
}

// refused fails unless err is a refusal with the sentence.
func refused(err error, sentence string) error {
	if err == nil || !strings.Contains(err.Error(), sentence) {
		return fmt.Errorf("want a refusal that says %q, got: %w", sentence, err)
	}
	return nil
}

// awaitRefused waits until p can't be created, and the refusal says the sentence.
func awaitRefused(t *testing.T, c client.Client, p *kubeflowv1.Profile, sentence string) {
	t.Helper()
	testkit.Eventually(t, controllertest.Patience, func() error {
		return refused(c.Create(t.Context(), p.DeepCopy(), client.DryRunAll), sentence)
	})
}

// awaitTaken waits until p can be created.
func awaitTaken(t *testing.T, c client.Client, p *kubeflowv1.Profile) {
	t.Helper()
	testkit.Eventually(t, controllertest.Patience, func() error { return c.Create(t.Context(), p.DeepCopy(), client.DryRunAll) })
}

// warnings collects what the API server warns of.
type warnings struct {
	mu   sync.Mutex
	told []string
}

// HandleWarningHeader takes a warning.
func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, text)
}

func (w *warnings) has(sentence string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.told, func(text string) bool { return strings.Contains(text, sentence) })
}

// warned is a client whose warnings are collected.
func warned(t *testing.T, server *testkit.Cluster, c client.Client) (client.Client, *warnings) {
	t.Helper()
	w := &warnings{}
	cfg := rest.CopyConfig(server.Config())
	cfg.WarningHandler = w
	told, err := client.New(cfg, client.Options{Scheme: c.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return told, w
}
