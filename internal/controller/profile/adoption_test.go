// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/testkit"
)

// existing creates a namespace that somebody else made, with annotations.
func existing(t *testing.T, c client.Client, annotations map[string]string) *corev1.Namespace {
	t.Helper()
	return create(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: testkit.Name(t, "existing"), Annotations: annotations, Labels: labels{"team": "infra"},
	}})
}

// assertUntouched fails if the namespace differs from how it was, or holds anything of ours.
func assertUntouched(t *testing.T, c client.Client, was *corev1.Namespace) {
	t.Helper()
	have := read(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: was.Name}})
	if d := cmp.Diff(was.ObjectMeta, have.ObjectMeta); d != "" {
		t.Errorf("the namespace was touched (-before +after):\n%s", d)
	}
	inside := readTenant(t, c, controllertest.Profile(was.Name))
	delete(inside, "Namespace "+was.Name)
	if len(inside) > 0 {
		t.Errorf("it holds %v", names(inside))
	}
}

// behind keeps from the controllers, as a cache does that has not caught up, that there are namespaces that start with
// prefix, until they look for what is inside.
func behind(prefix string) controllertest.Option {
	var known sync.Map
	return controllertest.WithClient(func(c client.Client) client.Client {
		return interceptor.NewClient(noWatch{c}, interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
				switch obj.(type) {
				case *corev1.Namespace:
					if _, found := known.Load(key.Name); !found && strings.HasPrefix(key.Name, prefix) {
						return apierrors.NewNotFound(corev1.Resource("namespaces"), key.Name)
					}
				case *corev1.ServiceAccount:
					known.Store(key.Namespace, true)
				}
				return c.Get(ctx, key, obj, opts...)
			},
		})
	})
}

// Whether a profile may have a namespace is decided about the very namespace that is then written, not about one that
// came into the cache a moment later.
func TestAdoption_neverOfANamespaceThatTurnsUpMeanwhile(t *testing.T) {
	cfg, c := onOwn(t)
	controllertest.Start(t, cfg, behind("existing"))
	ns := existing(t, c, map[string]string{"owner": "somebody-else"})
	// With the finalizer in place nothing is written before the namespace is.
	p := create(t, c, controllertest.Profile(ns.Name, func(p *kubeflowv1.Profile) { p.Finalizers = []string{"profile-finalizer"} }))
	awaitRefusal(t, c, p.Name, kubeflowv1.ReasonNamespaceNotOwned)
	assertUntouched(t, c, ns)
}

// A namespace that went, and that somebody else made anew, gets nothing even while the cache still has the old one.
func TestAdoption_neverOfANamespaceThatTookAnothersPlace(t *testing.T) {
	cfg, c := onOwn(t)
	ns := existing(t, c, map[string]string{"owner": "somebody-else"})
	p := create(t, c, controllertest.Profile(ns.Name))
	looked := make(chan struct{}, 100)
	controllertest.Start(t, cfg, controllertest.WithClient(func(c client.Client) client.Client {
		return interceptor.NewClient(noWatch{c}, interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
				err := c.Get(ctx, key, obj, opts...)
				if old, ok := obj.(*corev1.Namespace); ok && key.Name == ns.Name {
					old.UID = "of-the-one-that-went"
					old.Annotations = map[string]string{kubeflowv1.MadeForAnnotation: string(p.UID)}
				}
				if _, ok := obj.(*rbacv1.RoleBinding); ok && key.Namespace == ns.Name && key.Name == "namespaceAdmin" {
					select {
					case looked <- struct{}{}:
					default:
					}
				}
				return err
			},
		})
	}))
	for range 3 { // each look begins after what the one before wrote
		select {
		case <-looked:
		case <-time.After(patience):
			t.Fatal("nobody looks at the profile")
		}
	}
	assertUntouched(t, c, ns)
}

// Defect 11, and MUST keep: a namespace that exists is taken only where it was given. The refusal says what to run, and
// what it says works at once.
func TestAdoption_messageHasTheCommandThatWorks(t *testing.T) {
	cases := map[string]string{
		"plain owner": "ann@example.com",
		"odd owner":   `ann o'neil "x" $(id)`,
	}
	c := onShared(t)
	for name, owner := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := existing(t, c, nil)
			p := create(t, c, controllertest.Profile(ns.Name, withOwner(user(owner))))
			message := awaitRefusal(t, c, ns.Name, kubeflowv1.ReasonNamespaceNotOwned)
			if read(t, c, p); len(p.Finalizers) > 0 {
				t.Errorf("a refused profile has the finalizers %v", p.Finalizers)
			}
			assertUntouched(t, c, ns)

			_, command, found := strings.Cut(message, "run: ")
			if !found {
				t.Fatalf("no command in %q", message)
			}
			words := shellWords(t, command)
			key, value, _ := strings.Cut(words[len(words)-1], "=")
			want := []string{"kubectl", "annotate", "namespace", ns.Name, "--overwrite", "berth.dev/adopt=" + owner}
			if d := cmp.Diff(want, words); d != "" {
				t.Fatalf("command (-want +got):\n%s", d)
			}
			edit(t, c, ns, func(ns *corev1.Namespace) { ns.Annotations = map[string]string{key: value} })
			begin := time.Now()
			controllertest.AwaitReady(t, c, ns.Name)
			if took := time.Since(begin); took > atOnce {
				t.Errorf("the adoption took %s", took)
			}
			awaitEvent(t, c, p, status.EventAdopted)
			if told, err := events(t.Context(), c, p, status.EventRepaired); err != nil || len(told) > 0 {
				t.Errorf("the adoption is told as a repair: %v (error %v)", told, err)
			}
		})
	}
}

// shellWords has a POSIX shell take the command apart.
func shellWords(t *testing.T, command string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s\\n' "+command).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// MUST keep: the annotation owner on the namespace gives it to a profile of that owner.
func TestAdoption_byAnnotation(t *testing.T) {
	const ann, bob = "ann@example.com", "bob@example.com"
	cases := map[string]struct {
		annotations map[string]string
		want        bool
	}{
		"owner":                         {map[string]string{"owner": ann}, true},
		"resource management's owner":   {map[string]string{"kubeflow-resource-management/owner": ann}, true},
		"adopt":                         {map[string]string{"berth.dev/adopt": ann}, true},
		"adopt beside another's owner":  {map[string]string{"berth.dev/adopt": ann, "owner": bob}, true},
		"another's owner":               {map[string]string{"owner": bob}, false},
		"another's adopt beside owner":  {map[string]string{"berth.dev/adopt": bob, "owner": ann}, false},
		"an empty owner":                {map[string]string{"owner": ""}, false},
		"other annotations":             {map[string]string{"creator": ann}, false},
		"the record of another profile": {map[string]string{"berth.dev/adopted-by": "0d5a9c6e", "berth.dev/made-for": "0d5a9c6e"}, false},
	}
	c := onShared(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := existing(t, c, tc.annotations)
			p := create(t, c, controllertest.Profile(ns.Name))
			if !tc.want {
				awaitRefusal(t, c, ns.Name, kubeflowv1.ReasonNamespaceNotOwned)
				assertUntouched(t, c, ns)
				return
			}
			controllertest.AwaitReady(t, c, ns.Name)
			have := readTenant(t, c, p)
			if len(have) != 8 {
				t.Errorf("the adopted namespace holds %v", names(have))
			}
			was := ns.UID
			read(t, c, ns)
			if ns.UID != was || len(ns.OwnerReferences) > 0 || ns.Annotations["owner"] != ann || ns.Labels["istio-injection"] != "" {
				t.Errorf("the adopted namespace is %+v", ns.ObjectMeta)
			}
		})
	}
}

// Platform namespaces are nobody's, whatever is written on them. Names that the API refuses are in stored_test.go.
func TestAdoption_neverOfReservedNamespaces(t *testing.T) {
	cfg, c := onOwn(t)
	annotated := map[string]string{"owner": controllertest.Owner, "berth.dev/adopt": controllertest.Owner}
	system := read(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-public"}})
	system.Annotations = annotated
	if err := c.Update(t.Context(), system); err != nil {
		t.Fatal(err)
	}
	istio := create(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "istio-system", Annotations: annotated}})
	var stored []*unstructured.Unstructured
	for _, ns := range []*corev1.Namespace{system, istio} {
		obj := profileKind.object("", ns.Name)
		obj.Object["spec"] = owned("User", controllertest.Owner)
		stored = append(stored, obj)
	}
	storedBefore(t, c, stored...)
	controllertest.Start(t, cfg)
	for _, ns := range []*corev1.Namespace{system, istio} {
		awaitRefusal(t, c, ns.Name, kubeflowv1.ReasonNamespaceReserved)
		assertUntouched(t, c, ns)
		p := controllertest.Profile(ns.Name)
		remove(t, c, p)
		controllertest.AwaitGone(t, c, p)
		assertUntouched(t, c, ns)
	}
}

// Defect 11: an adopted namespace outlives its profile, without anything of ours, with everything else.
func TestAdoption_endsWithoutLeftovers(t *testing.T) {
	c := onShared(t)
	ns := existing(t, c, map[string]string{"owner": controllertest.Owner, "note": "kept"})
	settings := create(t, c, configMapKind.object(ns.Name, "settings"))
	binding := bindingKind.object(ns.Name, "user-bob-clusterrole-edit")
	binding.Object["roleRef"] = map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kubeflow-edit"}
	create(t, c, binding)
	p := create(t, c, controllertest.Profile(ns.Name, controllertest.WithQuota("requests.cpu", "4")))
	controllertest.AwaitReady(t, c, ns.Name)

	remove(t, c, p)
	controllertest.AwaitGone(t, c, p)
	awaitEvent(t, c, p, status.EventReleased)
	was := ns.DeepCopy()
	delete(was.Annotations, "owner") // what it allowed is over
	read(t, c, ns)
	was.ResourceVersion, was.ManagedFields = ns.ResourceVersion, ns.ManagedFields
	assertUntouched(t, c, was)
	uids(t, c, settings, binding)
}

// MUST keep: a namespace that Kubeflow's controller made is taken over without making anything anew, and goes with its
// profile.
func TestAdoption_ofWhatTheIncumbentMade(t *testing.T) {
	cfg, c := onOwn(t)
	p := newProfile(t, c, withOwner(user("alice@example.com")), controllertest.WithQuota("requests.cpu", "4"))
	var objects []client.Object
	for _, obj := range golden(t, "tenant", p) {
		if obj.GetName() == "ns-access-istio" {
			continue // it has no such policy
		}
		obj.SetLabels(nil)
		switch obj.GetKind() {
		case "Namespace":
			obj.SetLabels(labels{"istio-injection": "enabled", "app.kubernetes.io/part-of": "kubeflow-profile"})
			obj.SetAnnotations(map[string]string{"owner": "alice@example.com"})
		case "ResourceQuota":
			obj.Object["spec"] = map[string]any{"hard": map[string]any{"requests.cpu": "4"}}
		}
		objects = append(objects, create(t, c, obj))
	}
	edit(t, c, p, func(p *kubeflowv1.Profile) { p.Finalizers = []string{"profile-finalizer"} })
	before := uids(t, c, objects...)

	controllertest.Start(t, cfg)
	controllertest.AwaitReady(t, c, p.Name)
	if d := cmp.Diff(before, uids(t, c, objects...)); d != "" {
		t.Errorf("objects were made anew (-before +after):\n%s", d)
	}
	for _, obj := range objects {
		if obj.GetLabels()[managedBy] != "berth" {
			t.Errorf("%s is not labelled: %v", obj.GetName(), obj.GetLabels())
		}
	}
	if have := readTenant(t, c, p); len(have) != 9 {
		t.Errorf("the tenant consists of %v", names(have))
	}
	remove(t, c, p)
	controllertest.AwaitGone(t, c, p)
	namespace := namespaceKind.object("", p.Name)
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace); !apierrors.IsNotFound(err) {
		t.Error(fmt.Errorf("the namespace outlived its profile (error %w)", err))
	}
}
