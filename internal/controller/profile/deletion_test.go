// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/testkit"
)

const heldBy = "example.com/held"

// held creates a ConfigMap that its finalizer keeps.
func held(t *testing.T, c client.Client, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	obj := configMapKind.object(namespace, name)
	obj.SetFinalizers([]string{heldBy})
	return create(t, c, obj)
}

func release(t *testing.T, c client.Client, obj *unstructured.Unstructured) {
	t.Helper()
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
	if err := c.Patch(t.Context(), obj, patch); err != nil {
		t.Fatal(err)
	}
}

// assertBlocked waits until the deletion of p is blocked, and returns what the condition says.
func assertBlocked(t *testing.T, c client.Client, p *kubeflowv1.Profile, want ...string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		read(t, c, p)
		message := readyMessage(p)
		for _, want := range append([]string{p.Name}, want...) {
			if !strings.Contains(message, want) {
				return fmt.Errorf("the condition does not mention %q: %s", want, message)
			}
		}
		return nil
	})
	awaitRefusal(t, c, p.Name, kubeflowv1.ReasonDeletionBlocked)
}

// Defect 9, and MUST keep: deleting a profile deletes its namespace; the profile goes last.
func TestDeletion_takesTheNamespaceAlong(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c, controllertest.WithQuota("requests.cpu", "4"))
	remove(t, c, p)
	controllertest.AwaitGone(t, c, p)
	namespace := namespaceKind.object("", p.Name)
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace); !apierrors.IsNotFound(err) {
		t.Errorf("the profile went before its namespace (error %v)", err)
	}
}

func TestDeletion_inTheForeground(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c)
	kept := adopted(t, c, nil)
	controllertest.AwaitReady(t, c, kept.Name)
	for _, p := range []*kubeflowv1.Profile{p, kept} {
		remove(t, c, p, client.PropagationPolicy(metav1.DeletePropagationForeground))
	}
	for _, p := range []*kubeflowv1.Profile{p, kept} {
		controllertest.AwaitGone(t, c, p)
	}
	controllertest.AwaitGone(t, c, namespaceKind.object("", p.Name))
	if ns := read(t, c, namespaceKind.object("", kept.Name)); ns.GetDeletionTimestamp() != nil {
		t.Error("the adopted namespace is being deleted")
	}
}

// Defect 10: nothing is applied while deleting.
func TestDeletion_rendersNothing(t *testing.T) {
	cfg, c := onOwn(t)
	var mu sync.Mutex
	var writes []string
	controllertest.Start(t, cfg, controllertest.Intercept(func(w controllertest.Write) error {
		mu.Lock()
		defer mu.Unlock()
		writes = append(writes, w.Verb+" "+w.Kind())
		return nil
	}, nil))
	p := readyProfile(t, c)
	holder := held(t, c, p.Name, "held")
	mu.Lock()
	writes = nil
	mu.Unlock()

	remove(t, c, p)
	assertBlocked(t, c, p, "configmaps")
	controllertest.AwaitGone(t, c, bindingKind.object(p.Name, "namespaceAdmin")) // nobody brings it back
	controllertest.Change(t, c, p.Name, withOwner(user("bob@example.com")))
	controllertest.AwaitCondition(t, c, p.Name, "Ready", metav1.ConditionFalse, kubeflowv1.ReasonDeletionBlocked)
	release(t, c, holder)
	controllertest.AwaitGone(t, c, p)

	allowed := []string{"delete Namespace", "status Profile", "patch Profile"} // the last takes the finalizer off
	mu.Lock()
	defer mu.Unlock()
	for _, write := range writes {
		if !slices.Contains(allowed, write) {
			t.Errorf("while deleting: %s", write)
		}
	}
}

// Nothing hangs silently: the condition says what blocks as long as it does, an Event says so once.
func TestDeletion_saysWhatBlocksIt(t *testing.T) {
	cases := map[string]struct {
		block func(t *testing.T, c client.Client, namespace string) []*unstructured.Unstructured
		want  []string
		// counted is set where the condition counts what is left, in these words.
		counted string
	}{
		"an object with a finalizer": {
			block: func(t *testing.T, c client.Client, namespace string) []*unstructured.Unstructured {
				return []*unstructured.Unstructured{held(t, c, namespace, "held")}
			},
			want: []string{"configmaps", heldBy},
		},
		"several objects, released one by one": {
			block: func(t *testing.T, c client.Client, namespace string) []*unstructured.Unstructured {
				return []*unstructured.Unstructured{
					held(t, c, namespace, "held-1"), held(t, c, namespace, "held-2"), held(t, c, namespace, "held-3"),
				}
			},
			want:    []string{"configmaps", heldBy},
			counted: "in %d resource instances",
		},
		"the namespace's own finalizer": {
			block: func(t *testing.T, c client.Client, namespace string) []*unstructured.Unstructured {
				ns := namespaceKind.object("", namespace)
				edit(t, c, ns, func(ns *unstructured.Unstructured) { ns.SetFinalizers([]string{heldBy}) })
				return []*unstructured.Unstructured{ns}
			},
			want: []string{heldBy},
		},
	}
	c := onShared(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := readyProfile(t, c)
			blocking := tc.block(t, c, p.Name)
			remove(t, c, p)
			for i, obj := range blocking {
				want := tc.want
				if tc.counted != "" {
					want = append(want, fmt.Sprintf(tc.counted, len(blocking)-i))
				}
				assertBlocked(t, c, p, want...)
				release(t, c, obj)
			}
			controllertest.AwaitGone(t, c, p)
			awaitEvent(t, c, p, status.EventDeletionBlocked)
			told, err := events(t.Context(), c, p, status.EventDeletionBlocked)
			if err != nil || len(told) != 1 || told[0].Series != nil {
				t.Errorf("want one Event, have %d (error %v):", len(told), err)
				for _, event := range told {
					t.Log(event.Note)
				}
			}
		})
	}
}

// MUST decide: a namespace that somebody deletes is made anew for its profile, which says meanwhile what goes on.
func TestDeletion_ofTheNamespaceAlone(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c)
	want := readTenant(t, c, p)
	holder := held(t, c, p.Name, "held")
	namespace := namespaceKind.object("", p.Name)
	was := read(t, c, namespace).GetUID()
	remove(t, c, namespace)
	awaitRefusal(t, c, p.Name, kubeflowv1.ReasonNamespaceTerminating)
	release(t, c, holder)
	testkit.Eventually(t, patience, func() error {
		err := c.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace)
		if err == nil && namespace.GetUID() == was {
			return errors.New("the namespace is still the old one")
		}
		return err
	})
	awaitTenant(t, c, p, want)
	controllertest.AwaitReady(t, c, p.Name)
}

// An adopted namespace that was deleted is made anew as the profile's own.
func TestDeletion_ofAnAdoptedNamespaceAlone(t *testing.T) {
	c := onShared(t)
	p := adopted(t, c, nil)
	controllertest.AwaitReady(t, c, p.Name)
	namespace := read(t, c, namespaceKind.object("", p.Name))
	was := namespace.GetUID()
	remove(t, c, namespace)
	testkit.Eventually(t, patience, func() error {
		err := c.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace)
		if err == nil && (namespace.GetUID() == was || len(namespace.GetOwnerReferences()) == 0) {
			return fmt.Errorf("not made anew: %v", namespace.Object["metadata"])
		}
		return err
	})
	controllertest.AwaitReady(t, c, p.Name)
}

func TestDeletion_rightAfterCreation(t *testing.T) {
	c := onShared(t)
	for _, delay := range []time.Duration{0, 5 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond} {
		t.Run(delay.String(), func(t *testing.T) {
			t.Parallel()
			p := newProfile(t, c)
			<-time.After(delay)
			remove(t, c, p)
			controllertest.AwaitGone(t, c, p)
			controllertest.AwaitGone(t, c, namespaceKind.object("", p.Name))
		})
	}
}

// A profile that was refused its namespace never touches it, and does not wait for anything; nor does one that
// Kubeflow's controller had put its finalizer on.
func TestDeletion_ofARefusedProfile(t *testing.T) {
	c := onShared(t)
	for name, finalizers := range map[string][]string{"new": nil, "with the finalizer": {"profile-finalizer"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := existing(t, c, map[string]string{"owner": "somebody-else"})
			p := create(t, c, controllertest.Profile(ns.Name, func(p *kubeflowv1.Profile) { p.Finalizers = finalizers }))
			awaitRefusal(t, c, p.Name, kubeflowv1.ReasonNamespaceNotOwned)
			remove(t, c, p)
			controllertest.AwaitGone(t, c, p)
			assertUntouched(t, c, ns)
		})
	}
}

// kubectl delete profile --cascade=orphan: the namespace and what is in it stay, as with Kubeflow's controller.
func TestDeletion_orphaningKeepsTheNamespace(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c)
	binding := bindingKind.object(p.Name, "namespaceAdmin")
	before := uids(t, c, namespaceKind.object("", p.Name), binding)
	awaitGarbageCollector(t, c, p.Name)
	remove(t, c, p, client.PropagationPolicy(metav1.DeletePropagationOrphan))
	controllertest.AwaitGone(t, c, p)
	ns := read(t, c, namespaceKind.object("", p.Name))
	if ns.GetDeletionTimestamp() != nil || len(ns.GetOwnerReferences()) > 0 {
		t.Errorf("the namespace is %v", ns.Object["metadata"])
	}
	if d := cmp.Diff(before, uids(t, c, ns, binding)); d != "" {
		t.Errorf("what is left (-before +after):\n%s", d)
	}
}

// awaitGarbageCollector returns when the garbage collector knows the bindings of the namespace: those that it does not
// know yet when their owner goes, it does not orphan.
func awaitGarbageCollector(t *testing.T, c client.Client, namespace string) {
	t.Helper()
	doomed := bindingKind.object(namespace, "doomed")
	doomed.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "gone", UID: "gone"}})
	doomed.Object["roleRef"] = map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
	create(t, c, doomed)
	controllertest.AwaitGone(t, c, doomed)
}

// The same where the owner references were taken off before the controller looked: better a namespace too many than
// one too few.
func TestDeletion_withoutOwnerReferenceKeepsTheNamespace(t *testing.T) {
	cfg, c := onOwn(t)
	first := controllertest.Start(t, cfg)
	p := readyProfile(t, c)
	first.Stop(t)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: p.Name}}
	edit(t, c, ns, func(ns *corev1.Namespace) { ns.OwnerReferences = nil })
	remove(t, c, p)
	controllertest.Start(t, cfg)
	controllertest.AwaitGone(t, c, p)
	if read(t, c, ns); !ns.DeletionTimestamp.IsZero() {
		t.Error("the namespace is being deleted")
	}
}

// A namespace of the same name that is somebody else's by now is not deleted in the place of ours.
func TestDeletion_leavesANamespaceThatIsSomebodyElsesByNow(t *testing.T) {
	cfg, c := onOwn(t)
	first := controllertest.Start(t, cfg)
	p := readyProfile(t, c)
	first.Stop(t)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: p.Name}}
	remove(t, c, ns)
	controllertest.AwaitGone(t, c, ns)
	other := create(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: p.Name}})
	remove(t, c, p)
	controllertest.Start(t, cfg)
	controllertest.AwaitGone(t, c, p)
	assertUntouched(t, c, other)
}
