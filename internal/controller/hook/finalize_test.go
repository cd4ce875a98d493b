// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package hook_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/testkit"
)

// limited is a configuration with the rights of the controller's own role and on classes, and none for hooks.
func (e env) limited(t *testing.T) *rest.Config {
	t.Helper()
	raw, err := os.ReadFile("../../../deploy/kustomize/base/rbac/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(raw, &role); err != nil {
		t.Fatal(err)
	}
	user := testkit.Name(t, "limited")
	role.ObjectMeta = metav1.ObjectMeta{Name: user}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}
	for _, obj := range []client.Object{&role, binding} {
		if err := e.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	return cluster.Use(t).UserConfig(user)
}

// finalized is a hook that wants to be asked before the profile goes.
func finalized(a *answerer, seconds int32) berthv1alpha1.Hook {
	h := hookFor(a, "maps", configMaps)
	h.Finalize = &berthv1alpha1.HookEndpoint{URL: a.URL + "/finalize", TimeoutSeconds: 5}
	h.FinalizeTimeoutSeconds = seconds
	return h
}

// awaitFinalizer waits until p has the hooks' finalizer and what they ask for.
func (e env) awaitFinalizer(t *testing.T, name string) {
	t.Helper()
	e.awaitHooksReady(t, name)
	if have := e.profile(t, name).Finalizers; !slices.Contains(have, berthv1alpha1.HooksFinalizer) {
		t.Fatalf("the profile has the finalizers %q", have)
	}
}

// The hook is asked until it has let go, with the namespace as it was; then that goes.
func TestHook_finalizes(t *testing.T) {
	e := setUp(t)
	a := newAnswerer(t, func(r request) any {
		if r.Finalizing {
			return object{"finalized": false, "attachments": []any{configMap("farewell", "1")}}
		}
		return attachments(configMap("a", "1"))
	})
	e.run(t, nil)
	p := e.newProfile(t, e.newClass(t, finalized(a, 300)))
	e.awaitFinalizer(t, p.Name)
	controllertest.Delete(t, e.Client, p.Name)
	// What finalize asks for is had, too.
	e.awaitConfigMap(t, p.Name, "farewell", "1")
	controllertest.AwaitGone(t, e.Client, e.configMap(p.Name, "a"))
	message := controllertest.AwaitCondition(t, e.Client, p.Name, kubeflowv1.ConditionHooksReady, metav1.ConditionFalse, kubeflowv1.ReasonDeleting)
	if message != `waiting for hooks to let go: "maps"` {
		t.Errorf("the message is %s", message)
	}
	if message := controllertest.AwaitCondition(t, e.Client, p.Name, kubeflowv1.ConditionReady, metav1.ConditionFalse,
		kubeflowv1.ReasonDeleting); message != "hooks are being finalized" {
		t.Errorf("the profile says %s", message)
	}
	if ns := e.namespace(t, p.Name); !ns.DeletionTimestamp.IsZero() {
		t.Error("the namespace is being deleted already")
	}
	a.answer(always(object{"finalized": true}))
	controllertest.AwaitGone(t, e.Client, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: p.Name}})
	controllertest.AwaitGone(t, e.Client, p)
}

// A hook that does not let go delays a deletion as long as the class says, or as an administrator has patience.
func TestHook_finalizesInVain(t *testing.T) {
	cases := map[string]struct {
		respond func(request) any
		seconds int32
		after   func(context.Context, env, *kubeflowv1.Profile) error
		warned  string
	}{
		"that is not done": {
			respond: always(object{"finalized": false}), seconds: 1,
			warned: `hook "maps" did not let go in time; the deletion goes on without it`,
		},
		"that is down": {respond: always(http.StatusBadGateway), seconds: 1, warned: "the answer has status 502"},
		"and is skipped": {
			respond: always(http.StatusBadGateway), seconds: 3600,
			after: func(ctx context.Context, e env, p *kubeflowv1.Profile) error {
				patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:"true"}}}`, berthv1alpha1.SkipHookFinalizeAnnotation)
				return e.Patch(ctx, p, client.RawPatch("application/merge-patch+json", []byte(patch)))
			},
		},
	}
	e := setUp(t)
	e.run(t, nil)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a := newAnswerer(t, always(attachments(configMap("a", "1"))))
			p := e.newProfile(t, e.newClass(t, finalized(a, tc.seconds)))
			e.awaitFinalizer(t, p.Name)
			uid := e.profile(t, p.Name).UID
			a.answer(tc.respond)
			asked := len(a.about(p.Name))
			controllertest.Delete(t, e.Client, p.Name)
			a.awaitAsked(t, p.Name, asked)
			if tc.after != nil {
				if err := tc.after(t.Context(), e, p); err != nil {
					t.Fatal(err)
				}
			}
			controllertest.AwaitGone(t, e.Client, p)
			if tc.warned == "" {
				return
			}
			testkit.Eventually(t, patience, func() error {
				var list eventsv1.EventList
				if err := e.List(t.Context(), &list); err != nil {
					return err
				}
				if !slices.ContainsFunc(list.Items, func(event eventsv1.Event) bool {
					return event.Regarding.UID == uid && event.Reason == status.EventHookFinalizeTimedOut &&
						event.Type == corev1.EventTypeWarning && strings.Contains(event.Note, tc.warned)
				}) {
					return fmt.Errorf("no Event that says %q", tc.warned)
				}
				return nil
			})
		})
	}
}

// A profile whose class has no such hook any more is not held.
func TestHook_finalizerIsTakenOff(t *testing.T) {
	e := setUp(t)
	a := newAnswerer(t, always(attachments(configMap("a", "1"))))
	class := e.newClass(t, finalized(a, 3600))
	r := e.run(t, nil)
	p := e.newProfile(t, class)
	e.awaitFinalizer(t, p.Name)
	r.stop()
	gone := &berthv1alpha1.ProfileClass{ObjectMeta: metav1.ObjectMeta{Name: class}}
	if err := e.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	controllertest.Delete(t, e.Client, p.Name)
	// By force, as a class that is in use stays.
	if err := e.Patch(t.Context(), gone, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))); err != nil {
		t.Fatal(err)
	}
	controllertest.AwaitGone(t, e.Client, gone)
	e.run(t, nil)
	controllertest.AwaitGone(t, e.Client, p)
}

// A namespace that outlives its profile keeps nothing of the hooks.
func TestHook_leavesAnAdoptedNamespace(t *testing.T) {
	e := setUp(t)
	a := newAnswerer(t, always(object{"labels": object{"example.com/team": "a"}, "attachments": []any{configMap("a", "1")}}))
	e.run(t, nil)
	name := testkit.Name(t, "adopted")
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Annotations: map[string]string{kubeflowv1.AdoptAnnotation: controllertest.Owner},
	}}
	if err := e.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	p := controllertest.Profile(name)
	p.Labels = map[string]string{berthv1alpha1.ClassLabel: e.newClass(t, hookFor(a, "maps", configMaps))}
	controllertest.Create(t, e.Client, p)
	e.awaitHooksReady(t, name)
	if e.namespace(t, name).Labels["example.com/team"] != "a" {
		t.Error("the namespace lacks the label")
	}
	controllertest.Delete(t, e.Client, name)
	controllertest.AwaitGone(t, e.Client, p)
	controllertest.AwaitGone(t, e.Client, e.configMap(name, "a"))
	ns = e.namespace(t, name)
	if len(ns.Labels) != 1 || len(ns.Annotations) != 0 {
		t.Errorf("the namespace has %v and %v", ns.Labels, ns.Annotations)
	}
}
