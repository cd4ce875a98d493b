// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package hook_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// A hook that fails is a condition that names it, and keeps neither other hooks nor the profile back.
func TestHook_thatFails(t *testing.T) {
	e := setUp(t)
	elsewhere := configMap("a", "secret-word")
	elsewhere["metadata"] = object{"name": "a", "namespace": "default"}
	secret := object{"apiVersion": "v1", "kind": "Secret", "metadata": object{"name": "a"}, "stringData": object{"a": "secret-word"}}
	invalid := configMap("a", "1")
	invalid["data"] = object{"no key": "secret-word"}
	cases := map[string]struct {
		respond func(request) any
		change  func(*berthv1alpha1.Hook)
		want    string
	}{
		"a status that is not 200":   {respond: always(http.StatusInternalServerError), want: "the answer has status 500"},
		"no JSON":                    {respond: always("secret-word"), want: "the answer is not a JSON object"},
		"more than 4 MiB":            {respond: always(attachments(configMap("a", strings.Repeat("secret-word", 400<<10)))), want: "the answer is longer than 4 MiB"},
		"an answer that never comes": {respond: always(never{}), want: "no answer within 1s"},
		"a kind that is not declared": {
			respond: always(attachments(secret)), want: `attachment 0 (Secret.v1 "a"): its kind is not among the attachments of the hook`,
		},
		"another namespace":       {respond: always(attachments(elsewhere)), want: `attachment 0 (ConfigMap.v1 "a"): it is not in namespace`},
		"a label that is not its": {respond: always(object{"labels": object{"istio-injection": "disabled"}}), want: `labels has the key "istio-injection": hooks may not set it`},
		"what the server refuses": {
			respond: always(attachments(invalid)), want: `create ConfigMap.v1 "a": Invalid: data[no key] (FieldValueInvalid)`,
		},
		"a kind that the cluster does not serve": {
			respond: always(attachments()),
			change: func(h *berthv1alpha1.Hook) {
				h.Attachments = append(h.Attachments, attached("example.com/v1", "things", berthv1alpha1.InPlace))
			},
			want: "the cluster does not serve things of example.com/v1",
		},
		"a kind in no namespace": {
			respond: always(attachments()),
			change: func(h *berthv1alpha1.Hook) {
				h.Attachments = append(h.Attachments, attached("rbac.authorization.k8s.io/v1", "clusterroles", berthv1alpha1.InPlace))
			},
			want: "clusterroles of rbac.authorization.k8s.io/v1 are in no namespace",
		},
		"a server that is not there": {
			respond: always(200), change: func(h *berthv1alpha1.Hook) { h.Sync.URL = "http://127.0.0.1:1/sync?token=secret-word" },
			want: "ask 127.0.0.1:1: dial: connect: connection refused",
		},
	}
	healthy := newAnswerer(t, always(attachments(configMap("healthy", "1"))))
	r := e.run(t, nil)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			h := hookFor(newAnswerer(t, tc.respond), "broken", configMaps)
			h.Sync.TimeoutSeconds = 1
			if tc.change != nil {
				tc.change(&h)
			}
			class := e.newClass(t, h, hookFor(healthy, "healthy", configMaps))
			p := e.newProfile(t, class)
			message := e.awaitHookFailed(t, p.Name)
			if !strings.HasPrefix(message, `hook "broken": `) || !strings.Contains(message, tc.want) {
				t.Errorf("the message is %s, want %s", message, tc.want)
			}
			if strings.Contains(message, "secret-word") || strings.Contains(message, "healthy") {
				t.Errorf("the message says too much: %s", message)
			}
			e.awaitConfigMap(t, p.Name, "healthy", "1")
			e.awaitOthersReady(t, p.Name)
			e.setHooks(t, r, class) // asked no more
		})
	}
}

// A hook that works again is asked again, by itself.
func TestHook_recovers(t *testing.T) {
	e := setUp(t)
	a := newAnswerer(t, always(http.StatusServiceUnavailable))
	e.run(t, nil)
	p := e.newProfile(t, e.newClass(t, hookFor(a, "maps", configMaps)))
	e.awaitHookFailed(t, p.Name)
	a.answer(always(attachments(configMap("a", "1"))))
	e.awaitHooksReady(t, p.Name)
	e.awaitConfigMap(t, p.Name, "a", "1")
}

// What somebody else has is never written to; what has the hook's label is taken over.
func TestHook_objectsOfOthers(t *testing.T) {
	e := setUp(t)
	a := newAnswerer(t, always(attachments()))
	roleBinding := object{
		"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": object{"name": "namespaceAdmin"},
		"roleRef": object{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kubeflow-admin"},
	}
	class := e.newClass(t,
		hookFor(a, "maps", configMaps, attached("rbac.authorization.k8s.io/v1", "rolebindings", berthv1alpha1.InPlace)),
		hookFor(newAnswerer(t, always(attachments(configMap("other", "1")))), "other", configMaps))
	r := e.run(t, nil)
	p := e.newProfile(t, class)
	e.awaitHooksReady(t, p.Name)
	for name, labels := range map[string]map[string]string{"theirs": nil, "forged": {berthv1alpha1.HookLabel: "maps"}} {
		made := e.configMap(p.Name, name)
		made.Labels, made.Data = labels, map[string]string{"key": "theirs"}
		if err := e.Create(t.Context(), made); err != nil {
			t.Fatal(err)
		}
	}
	a.answer(always(attachments(
		configMap("theirs", "1"), configMap("forged", "1"), configMap("ours", "1"), configMap("other", "2"), roleBinding)))
	r.enqueueAll(t.Context())
	e.awaitConfigMap(t, p.Name, "ours", "1")
	e.awaitConfigMap(t, p.Name, "forged", "1")
	want := `hook "maps": ConfigMap.v1 "other" belongs to hook "other", ` +
		`ConfigMap.v1 "theirs" exists already and is not the hook's, ` +
		`RoleBinding.rbac.authorization.k8s.io/v1 "namespaceAdmin" is a part of the profile itself`
	if message := e.awaitHookFailed(t, p.Name); message != want {
		t.Errorf("the message is\n%s, want\n%s", message, want)
	}
	e.awaitConfigMap(t, p.Name, "theirs", "theirs")
	e.awaitConfigMap(t, p.Name, "other", "1")
}

// The controller may be killed after any write: what it had begun, the next one finishes, and nothing is left behind.
func TestHook_killedAfterAnyWrite(t *testing.T) {
	e := setUp(t)
	a := newAnswerer(t, always(object{
		"labels": object{"example.com/team": "a"}, "attachments": []any{configMap("a", "1"), configMap("b", "1")},
	}))
	h := hookFor(a, "maps", configMaps)
	h.Finalize = &berthv1alpha1.HookEndpoint{URL: a.URL + "/finalize"}
	class := e.newClass(t, h)
	p := e.newProfile(t, class)
	e.awaitOthersReady(t, p.Name)
	// Each controller gets one write further than the one before it, and then no more.
	for ready, deaths := false, 0; !ready; deaths++ {
		var sent, refused atomic.Int64
		r := e.run(t, func(controllertest.Write) error {
			if sent.Add(1) > 1 {
				refused.Add(1)
				return errors.New("killed")
			}
			return nil
		})
		testkit.Eventually(t, patience, func() error {
			ready = meta.IsStatusConditionTrue(e.profile(t, p.Name).Status.Conditions, kubeflowv1.ConditionHooksReady)
			if !ready && refused.Load() == 0 {
				return errors.New("neither ready nor killed")
			}
			return nil
		})
		r.stop()
		if deaths > 20 {
			t.Fatal("it is never ready")
		}
		if ready && deaths < 3 {
			t.Errorf("it was killed %d times only", deaths)
		}
	}
	r := e.run(t, nil)
	e.awaitHooksReady(t, p.Name)
	e.awaitConfigMap(t, p.Name, "a", "1")
	e.awaitConfigMap(t, p.Name, "b", "1")
	e.setHooks(t, r, class)
	testkit.Eventually(t, patience, func() error {
		ns, list := e.namespace(t, p.Name), &corev1.ConfigMapList{}
		if err := e.List(t.Context(), list); err != nil {
			return err
		}
		for _, m := range list.Items {
			if m.Namespace == p.Name && m.Labels[berthv1alpha1.HookLabel] != "" {
				return fmt.Errorf("ConfigMap %q is left", m.Name)
			}
		}
		if ns.Labels["example.com/team"] != "" || ns.Annotations[berthv1alpha1.AppliedHooksAnnotation] != "" {
			return fmt.Errorf("the namespace has %v and %v", ns.Labels, ns.Annotations)
		}
		if finalizers := e.profile(t, p.Name).Finalizers; strings.Contains(strings.Join(finalizers, " "), berthv1alpha1.HooksFinalizer) {
			return fmt.Errorf("the profile has the finalizers %q", finalizers)
		}
		return nil
	})
}

// A controller that may not watch or write a kind says so.
func TestHook_withoutTheRights(t *testing.T) {
	e := setUp(t)
	class := e.newClass(t, hookFor(newAnswerer(t, always(attachments(configMap("a", "1")))), "maps", configMaps))
	p := e.newProfile(t, class)
	e.awaitOthersReady(t, p.Name)
	e.config = e.limited(t)
	e.run(t, nil)
	message := e.awaitHookFailed(t, p.Name)
	want := `hook "maps": watch ConfigMap.v1: Forbidden: the role berth-hooks lacks the right, or a rule of the cluster forbids it`
	if message != want {
		t.Errorf("the message is\n%s, want\n%s", message, want)
	}
	var list corev1.ConfigMapList
	if err := e.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	for _, m := range list.Items {
		if m.Namespace == p.Name && m.Name == "a" {
			t.Error("it was made all the same")
		}
	}
}

// configMap is the place of one.
func (e env) configMap(namespace, name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}
