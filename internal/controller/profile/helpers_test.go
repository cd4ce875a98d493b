// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

const (
	patience = controllertest.Patience
	// atOnce is short for a loaded machine, and shorter than anything the controller does from time to time.
	atOnce = 4 * time.Second
)

// Kinds that tests read and write as plain JSON, as any client might.
var (
	namespaceKind   = kind{"v1", "Namespace"}
	accountKind     = kind{"v1", "ServiceAccount"}
	configMapKind   = kind{"v1", "ConfigMap"}
	quotaKind       = kind{"v1", "ResourceQuota"}
	bindingKind     = kind{"rbac.authorization.k8s.io/v1", "RoleBinding"}
	policyKind      = kind{"security.istio.io/v1beta1", "AuthorizationPolicy"}
	gatewayKind     = kind{"gateway.networking.k8s.io/v1", "Gateway"}
	profileKind     = kind{"kubeflow.org/v1", "Profile"}
	profileBetaKind = kind{"kubeflow.org/v1beta1", "Profile"}
)

type kind struct{ apiVersion, name string }

// object is an object of the kind with only a name, and a namespace where it is not empty.
func (k kind) object(namespace, name string) *unstructured.Unstructured {
	obj := &unstructured.Unstructured{}
	obj.SetAPIVersion(k.apiVersion)
	obj.SetKind(k.name)
	obj.SetNamespace(namespace)
	obj.SetName(name)
	return obj
}

func create[T client.Object](t testing.TB, c client.Client, obj T) T {
	t.Helper()
	if err := c.Create(t.Context(), obj); err != nil {
		t.Fatalf("create %T %q: %v", obj, obj.GetName(), err)
	}
	return obj
}

// read reads obj as it is now.
func read[T client.Object](t testing.TB, c client.Client, obj T) T {
	t.Helper()
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
		t.Fatalf("read %T %q: %v", obj, obj.GetName(), err)
	}
	return obj
}

// edit changes obj as it is now, and fails the test if that changed nothing.
func edit[T client.Object](t testing.TB, c client.Client, obj T, change func(T)) {
	t.Helper()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		before := read(t, c, obj).GetResourceVersion()
		change(obj)
		err := c.Update(t.Context(), obj)
		if err == nil && obj.GetResourceVersion() == before {
			t.Fatalf("the edit of %T %q changed nothing", obj, obj.GetName())
		}
		return err
	})
	if err != nil {
		t.Fatalf("edit %T %q: %v", obj, obj.GetName(), err)
	}
}

func remove(t testing.TB, c client.Client, obj client.Object, options ...client.DeleteOption) {
	t.Helper()
	if err := c.Delete(t.Context(), obj, options...); err != nil {
		t.Fatalf("delete %T %q: %v", obj, obj.GetName(), err)
	}
}

// newProfile creates a profile under a name of its own.
func newProfile(t testing.TB, c client.Client, changes ...func(*kubeflowv1.Profile)) *kubeflowv1.Profile {
	t.Helper()
	return create(t, c, controllertest.Profile(testkit.Name(t, "team"), changes...))
}

// readyProfile creates a profile and waits until it is ready.
func readyProfile(t testing.TB, c client.Client, changes ...func(*kubeflowv1.Profile)) *kubeflowv1.Profile {
	t.Helper()
	p := newProfile(t, c, changes...)
	controllertest.AwaitReady(t, c, p.Name)
	return read(t, c, p)
}

func withOwner(owner rbacv1.Subject) func(*kubeflowv1.Profile) {
	return func(p *kubeflowv1.Profile) { p.Spec.Owner = owner }
}

func withName(name string) func(*kubeflowv1.Profile) {
	return func(p *kubeflowv1.Profile) { p.Name = name }
}

func user(name string) rbacv1.Subject { return rbacv1.Subject{Kind: rbacv1.UserKind, Name: name} }

func group(name string) rbacv1.Subject { return rbacv1.Subject{Kind: rbacv1.GroupKind, Name: name} }

func serviceAccount(namespace, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}
}

// awaitRefusal waits until the profile is not ready for reason, and returns the message.
func awaitRefusal(t testing.TB, c client.Client, name, reason string) string {
	t.Helper()
	return controllertest.AwaitCondition(t, c, name, kubeflowv1.ConditionReady, metav1.ConditionFalse, reason)
}

// events are the Events on p so far with the reason.
func events(ctx context.Context, c client.Client, p *kubeflowv1.Profile, reason string) ([]eventsv1.Event, error) {
	var list eventsv1.EventList
	if err := c.List(ctx, &list, client.InNamespace(metav1.NamespaceDefault)); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(e eventsv1.Event) bool {
		return e.Regarding.UID != p.UID || e.Reason != reason
	}), nil
}

// awaitEvent waits for an Event on p with the reason and returns the first one's note.
func awaitEvent(t testing.TB, c client.Client, p *kubeflowv1.Profile, reason string) string {
	t.Helper()
	var note string
	testkit.Eventually(t, patience, func() error {
		found, err := events(t.Context(), c, p, reason)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return fmt.Errorf("profile %q has no Event %s", p.Name, reason)
		}
		note = found[0].Note
		return nil
	})
	return note
}

// golden reads the objects that the files of testdata/DIR describe for p, in the order of the files' names.
func golden(t testing.TB, dir string, p *kubeflowv1.Profile) []*unstructured.Unstructured {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files in %q (error %v)", dir, err)
	}
	var objects []*unstructured.Unstructured
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer("${NAME}", p.Name, "${UID}", string(p.UID)).Replace(string(data))
		obj := &unstructured.Unstructured{}
		if data, err = yaml.YAMLToJSONStrict([]byte(text)); err == nil {
			err = obj.UnmarshalJSON(data) // which tells whole numbers from others, as clients do
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		objects = append(objects, obj)
	}
	return objects
}

// written is obj without what the API server adds to any object.
func written(obj *unstructured.Unstructured) map[string]any {
	obj = obj.DeepCopy()
	for _, field := range []string{"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"} {
		unstructured.RemoveNestedField(obj.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(obj.Object, "status")
	if obj.GetKind() == "Namespace" {
		unstructured.RemoveNestedField(obj.Object, "spec")
		unstructured.RemoveNestedField(obj.Object, "metadata", "labels", "kubernetes.io/metadata.name")
	}
	return obj.Object
}

// tenant is how the objects of p are now, by kind and name; absent ones are nil.
func tenant(ctx context.Context, c client.Client, p *kubeflowv1.Profile) (map[string]map[string]any, error) {
	have := map[string]map[string]any{}
	for _, obj := range []*unstructured.Unstructured{
		namespaceKind.object("", p.Name),
		accountKind.object(p.Name, "default-editor"), accountKind.object(p.Name, "default-viewer"),
		bindingKind.object(p.Name, "default-editor"), bindingKind.object(p.Name, "default-viewer"),
		bindingKind.object(p.Name, "namespaceAdmin"),
		policyKind.object(p.Name, "ns-owner-access-istio"), policyKind.object(p.Name, "ns-access-istio"),
		quotaKind.object(p.Name, "kf-resource-quota"),
	} {
		id := obj.GetKind() + " " + obj.GetName()
		switch err := c.Get(ctx, client.ObjectKeyFromObject(obj), obj); {
		case err == nil:
			have[id] = written(obj)
		case !apierrors.IsNotFound(err):
			return nil, err
		}
	}
	return have, nil
}

// readTenant is tenant, once.
func readTenant(t testing.TB, c client.Client, p *kubeflowv1.Profile) map[string]map[string]any {
	t.Helper()
	have, err := tenant(t.Context(), c, p)
	if err != nil {
		t.Fatal(err)
	}
	return have
}

// awaitTenant waits until the objects of p are as in want.
func awaitTenant(t testing.TB, c client.Client, p *kubeflowv1.Profile, want map[string]map[string]any) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		have, err := tenant(t.Context(), c, p)
		if err != nil {
			return err
		}
		if d := cmp.Diff(want, have); d != "" {
			return fmt.Errorf("the tenant differs (-want +got):\n%s", d)
		}
		return nil
	})
}

// uids are the UIDs of the objects of p that are there.
func uids(t testing.TB, c client.Client, objects ...client.Object) map[string]string {
	t.Helper()
	have := map[string]string{}
	for _, obj := range objects {
		have[fmt.Sprintf("%T %s", obj, client.ObjectKeyFromObject(obj))] = string(read(t, c, obj).GetUID())
	}
	return have
}

// dropProfiles removes all profiles from a cluster without controllers.
func dropProfiles(t testing.TB, c client.Client) {
	t.Helper()
	ctx := context.Background() // the test's own has ended by the time it cleans up
	var profiles kubeflowv1.ProfileList
	if err := c.List(ctx, &profiles); err != nil {
		t.Error(err)
	}
	for i := range profiles.Items {
		p := &profiles.Items[i]
		before := p.DeepCopy()
		p.Finalizers = nil
		if err := c.Patch(ctx, p, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
		if err := c.Delete(ctx, p); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	}
}

// conditions are the conditions of the profile by type, as "STATUS REASON".
func conditions(t testing.TB, c client.Client, name string) map[string]string {
	t.Helper()
	p := read(t, c, controllertest.Profile(name))
	have := map[string]string{}
	for _, condition := range p.Status.Conditions {
		have[condition.Type] = string(condition.Status) + " " + condition.Reason
	}
	return have
}

// readyMessage is the message of the condition Ready.
func readyMessage(p *kubeflowv1.Profile) string {
	if ready := meta.FindStatusCondition(p.Status.Conditions, kubeflowv1.ConditionReady); ready != nil {
		return ready.Message
	}
	return ""
}

func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
