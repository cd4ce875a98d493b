// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package hook_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/hook"
	"berth.dev/berth/internal/testkit"
)

var (
	configMapKind  = schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}
	deploymentKind = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
)

// terms are those of the hook "h" in namespace "team".
func terms(method berthv1alpha1.UpdateMethod) hook.Terms {
	return hook.Terms{
		Hook: "h", Namespace: "team", Owner: metav1.OwnerReference{APIVersion: "kubeflow.org/v1", Kind: "Profile", Name: "team", UID: "uid"},
		Kinds:    []hook.Kind{{GVK: configMapKind, Method: method}, {GVK: deploymentKind, Method: method}},
		Reserved: []string{"example.com/of-the-class"},
	}
}

func TestRequest(t *testing.T) {
	ns := testkit.Namespace("team", testkit.Label("a", "b"))
	ns.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "somebody"}}
	child := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"k": "v"},
		"metadata": map[string]any{"name": "a", "namespace": "team", "managedFields": []any{}},
	}}
	h := berthv1alpha1.Hook{Name: "h", Attachments: []berthv1alpha1.HookAttachment{{APIVersion: "v1", Resource: "configmaps"}}}
	got, err := hook.Request(h, ns, terms("").Kinds, []*unstructured.Unstructured{child}, true)
	if err != nil {
		t.Fatal(err)
	}
	object, ok := got["object"].(map[string]any)
	if !ok || object["kind"] != "Namespace" || object["apiVersion"] != "v1" {
		t.Errorf("object is %v", got["object"])
	}
	delete(got, "object")
	want := map[string]any{
		"controller": map[string]any{
			"metadata": map[string]any{"name": "h"},
			"spec": map[string]any{"resyncPeriodSeconds": int64(0), "attachments": []any{map[string]any{
				"apiVersion": "v1", "resource": "configmaps", "updateStrategy": map[string]any{"method": "OnDelete"},
			}}},
		},
		"attachments": map[string]any{
			"ConfigMap.v1": map[string]any{"team/a": map[string]any{
				"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"k": "v"},
				"metadata": map[string]any{"name": "a", "namespace": "team"},
			}},
			"Deployment.apps/v1": map[string]any{},
		},
		"related": map[string]any{}, "finalizing": true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	if _, found := child.Object["metadata"].(map[string]any)["managedFields"]; !found {
		t.Error("the child was changed")
	}
}

func TestRead_refuses(t *testing.T) {
	attachment := func(text string) string { return `{"attachments":[` + text + `]}` }
	meta := func(metadata string) string {
		return attachment(`{"apiVersion":"v1","kind":"ConfigMap","metadata":` + metadata + `}`)
	}
	cases := map[string]struct{ body, want string }{
		"no JSON":                          {`secret`, "the answer is not a JSON object"},
		"null":                             {`null`, "the answer is not a JSON object"},
		"a list":                           {`[]`, "the answer is not a JSON object"},
		"a status that is text":            {`{"status":"ok"}`, "status is not an object"},
		"labels that are a list":           {`{"labels":[]}`, "labels is not an object"},
		"annotations that are text":        {`{"annotations":"a"}`, "annotations is not an object"},
		"a label that is a number":         {`{"labels":{"a":1}}`, `labels has the key "a": its value is not text`},
		"a label with a bad key":           {`{"labels":{"a b":"c"}}`, `labels has the key "a b": it is not a valid key`},
		"a label with a bad value":         {`{"labels":{"a":"b c"}}`, `labels has the key "a": its value is not a valid one`},
		"our label":                        {`{"labels":{"berth.dev/class":"x"}}`, `labels has the key "berth.dev/class": hooks may not set it`},
		"our annotation":                   {`{"annotations":{"berth.dev/made-for":"x"}}`, `annotations has the key "berth.dev/made-for": hooks may not set it`},
		"the owner":                        {`{"annotations":{"owner":"eve"}}`, `annotations has the key "owner": hooks may not set it`},
		"Pod Security":                     {`{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}`, `labels has the key "pod-security.kubernetes.io/enforce": hooks may not set it`},
		"the mesh":                         {`{"labels":{"istio.io/rev":"x"}}`, `labels has the key "istio.io/rev": hooks may not set it`},
		"injection":                        {`{"labels":{"istio-injection":"disabled"}}`, `labels has the key "istio-injection": hooks may not set it`},
		"managed-by":                       {`{"labels":{"app.kubernetes.io/managed-by":"x"}}`, `labels has the key "app.kubernetes.io/managed-by": hooks may not set it`},
		"the name":                         {`{"labels":{"kubernetes.io/metadata.name":"x"}}`, `labels has the key "kubernetes.io/metadata.name": hooks may not set it`},
		"a label of the class":             {`{"labels":{"example.com/of-the-class":"x"}}`, `labels has the key "example.com/of-the-class": hooks may not set it`},
		"a protected label, to be gone":    {`{"labels":{"istio-injection":null}}`, `labels has the key "istio-injection": hooks may not set it`},
		"a resync that is text":            {`{"resyncAfterSeconds":"1"}`, "resyncAfterSeconds is not a number"},
		"a resync in the past":             {`{"resyncAfterSeconds":-1}`, "resyncAfterSeconds is negative"},
		"finalized as text":                {`{"finalized":"true"}`, "finalized is neither true nor false"},
		"attachments by name":              {`{"attachments":{}}`, "attachments is not a list"},
		"an attachment that is text":       {attachment(`"a"`), "attachment 0 is not an object"},
		"no metadata":                      {attachment(`{"apiVersion":"v1","kind":"ConfigMap"}`), `attachment 0 (ConfigMap.v1 ""): it has no metadata`},
		"a kind that is not declared":      {attachment(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}`), `attachment 0 (Secret.v1 "a"): its kind is not among the attachments of the hook`},
		"a version that is not declared":   {attachment(`{"apiVersion":"apps/v1beta1","kind":"Deployment","metadata":{"name":"a"}}`), `attachment 0 (Deployment.apps/v1beta1 "a"): its kind is not among the attachments of the hook`},
		"another namespace":                {meta(`{"name":"a","namespace":"other"}`), `attachment 0 (ConfigMap.v1 "a"): it is not in namespace "team"`},
		"a namespace that is a number":     {meta(`{"name":"a","namespace":1}`), `attachment 0 (ConfigMap.v1 "a"): it is not in namespace "team"`},
		"no name":                          {meta(`{}`), `attachment 0 (ConfigMap.v1 ""): its name is not a valid one`},
		"a name that is a path":            {meta(`{"name":"a/b"}`), `attachment 0 (ConfigMap.v1 "a/b"): its name is not a valid one`},
		"a generated name":                 {meta(`{"generateName":"a-"}`), `attachment 0 (ConfigMap.v1 ""): it has a generateName: give it a name`},
		"labels that are no texts":         {meta(`{"name":"a","labels":{"a":1}}`), `attachment 0 (ConfigMap.v1 "a"): its labels are not texts`},
		"our label on it":                  {meta(`{"name":"a","labels":{"berth.dev/part":"x"}}`), `attachment 0 (ConfigMap.v1 "a"): its labels have the key "berth.dev/part": hooks may not set it`},
		"our annotation on it":             {meta(`{"name":"a","annotations":{"berth.dev/x":"x"}}`), `attachment 0 (ConfigMap.v1 "a"): its annotations have the key "berth.dev/x": hooks may not set it`},
		"the same twice":                   {attachment(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}},{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"team"}}`), `attachment 1 (ConfigMap.v1 "a"): there is one of that name before it`},
		"two mistakes, both in one breath": {`{"status":1,"finalized":1}`, "status is not an object, finalized is neither true nor false"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			answer, err := hook.Read([]byte(tc.body), terms(berthv1alpha1.InPlace))
			if err == nil || err.Error() != tc.want {
				t.Errorf("error %v, want %s", err, tc.want)
			}
			if diff := cmp.Diff(hook.Answer{}, answer); diff != "" {
				t.Errorf("something is taken all the same:\n%s", diff)
			}
		})
	}
}

func TestRead_takes(t *testing.T) {
	a := read(t, `{"status":{"any":1},"labels":{"a":"b","gone":null},"annotations":{"c":"d e"},"resyncAfterSeconds":1.5,"finalized":true,"else":1,
		"attachments":[{"apiVersion":"v1","kind":"ConfigMap","status":{"a":1},"data":{"k":"v","none":null},"metadata":{"name":"a",
		"uid":"forged","resourceVersion":"1","finalizers":["x/y"],"ownerReferences":[{"uid":"x"}],"creationTimestamp":null,
		"labels":{"mine":"1","berth.dev/hook":"other","app.kubernetes.io/managed-by":"helm"},"annotations":{"berth.dev/hook-applied":"x"}}}]}`)
	if a.Resync != 1500*time.Millisecond || !a.Finalized {
		t.Errorf("answer is %+v", a)
	}
	if diff := cmp.Diff([]map[string]string{{"a": "b"}, {"c": "d e"}}, []map[string]string{a.Labels, a.Annotations}); diff != "" {
		t.Errorf("labels and annotations (-want +got):\n%s", diff)
	}
	got := a.Attachments[0].Object
	metadata := got["metadata"].(map[string]any)
	if hash := a.Attachments[0].GetAnnotations()[berthv1alpha1.HookAppliedAnnotation]; len(hash) != 16 {
		t.Errorf("the hash is %q", hash)
	}
	delete(metadata, "annotations")
	want := map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"k": "v"},
		"metadata": map[string]any{
			"name": "a", "namespace": "team",
			"labels": map[string]any{"mine": "1", "berth.dev/hook": "h", "app.kubernetes.io/managed-by": "berth"},
			"ownerReferences": []any{map[string]any{
				"apiVersion": "kubeflow.org/v1", "kind": "Profile", "name": "team", "uid": "uid",
			}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attachment (-want +got):\n%s", diff)
	}
	if a := read(t, `{"resyncAfterSeconds":1e300}`); a.Resync != 24*time.Hour {
		t.Errorf("the longest resync is %s", a.Resync)
	}
	if long := read(t, `{"labels":{"x":"`+strings.Repeat("a", 63)+`"}}`); len(long.Labels) != 1 {
		t.Error("a long label is lost")
	}
}

func read(t *testing.T, body string) hook.Answer {
	t.Helper()
	a, err := hook.Read([]byte(body), terms(berthv1alpha1.InPlace))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAmend(t *testing.T) {
	ns := testkit.Namespace("team", testkit.Label("theirs", "1"), testkit.Label("same", "1"))
	before := ns.DeepCopy()
	amend := func(name string, labels, annotations map[string]string, kinds ...string) []string {
		return hook.Amend(ns, name, labels, annotations, kinds)
	}
	refused := amend("h", map[string]string{"a": "1", "same": "1", "theirs": "2"}, map[string]string{"n": "1"}, "Secret.v1", "ConfigMap.v1")
	if diff := cmp.Diff([]string{`label "theirs" is there already with another value`}, refused); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	refused = amend("other", map[string]string{"a": "2"}, nil)
	if diff := cmp.Diff([]string{`label "a" is that of another hook`}, refused); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	want := `{"h":{"labels":{"a":"1"},"annotations":{"n":"1"},"kinds":["ConfigMap.v1","Secret.v1"]}}`
	if got := ns.Annotations[berthv1alpha1.AppliedHooksAnnotation]; got != want {
		t.Errorf("the record is %s, want %s", got, want)
	}
	wantKinds := []schema.GroupVersionKind{configMapKind, {Version: "v1", Kind: "Secret"}}
	if diff := cmp.Diff(wantKinds, hook.RecordOf(ns).KindsOf("h")); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
	ns.Labels["a"] = "tampered"
	amend("h", map[string]string{"a": "1"}, nil)
	if ns.Labels["a"] != "1" || ns.Annotations["n"] != "" {
		t.Errorf("the namespace has %v and %v", ns.Labels, ns.Annotations)
	}
	hook.Release(ns)
	if diff := cmp.Diff(before, ns); diff != "" {
		t.Errorf("after the release (-want +got):\n%s", diff)
	}
	for _, broken := range []string{"null", "[]", "{", `{"h":{"kinds":["x"]}}`} {
		ns := &corev1.Namespace{}
		ns.Annotations = map[string]string{berthv1alpha1.AppliedHooksAnnotation: broken}
		if record := hook.RecordOf(ns); record == nil || len(record.KindsOf("h")) > 1 {
			t.Errorf("%s reads as %v", broken, record)
		}
	}
}
