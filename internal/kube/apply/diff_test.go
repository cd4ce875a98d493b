// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	istiosecurity "istio.io/api/security/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

// wanted are the objects of a profile that has everything.
func wanted(options ...func(*kubeflowv1.Profile)) []render.Object {
	config := render.DefaultConfig()
	config.MeshMode, config.CreateWaypoint = render.MeshAmbient, true
	config.NamespaceLabels = map[string]string{"k": "v", "gone": ""}
	options = append([]func(*kubeflowv1.Profile){
		testkit.Quota("requests.cpu", "1000m"), testkit.Quota("count/jobs.batch", "10"),
		testkit.Plugin(render.PluginAWSIAM, `{"awsIamRole": "arn:aws:iam::1:role/a"}`),
	}, options...)
	return render.Profile(testkit.Profile("a", options...), render.Input{
		Config: config, Mesh: render.MeshKinds{AuthorizationPolicy: true, Gateway: true},
	}).Objects()
}

func wantedKind(t testing.TB, kind, name string, options ...func(*kubeflowv1.Profile)) render.Object {
	t.Helper()
	for _, object := range wanted(options...) {
		if object.GetObjectKind().GroupVersionKind().Kind == kind && (name == "" || object.GetName() == name) {
			return object
		}
	}
	t.Fatalf("no %s %q is rendered", kind, name)
	return render.Object{}
}

// stored is object as the API server stores it and a client reads it.
func stored[T render.Resource](t testing.TB, object T) T {
	t.Helper()
	object.SetResourceVersion("7")
	object.SetUID("uid-of-object")
	return decoded(t, object, encoded(t, object))
}

func encoded(t testing.TB, object any) []byte {
	t.Helper()
	data, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// decoded reads data as an object of the type of like.
func decoded[T render.Resource](t testing.TB, like T, data []byte) T {
	t.Helper()
	into, ok := reflect.TypeAssert[T](reflect.New(reflect.TypeOf(like).Elem()))
	if !ok {
		t.Fatalf("no %T can be made", like)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return into
}

// settle applies what diff says to live, as the API server does, and checks what holds for every diff: neither side was
// changed, and there is nothing to be done after it.
func settle(t testing.TB, want render.Object, live render.Resource) (render.Resource, difference) {
	t.Helper()
	wantBefore, liveBefore := encoded(t, want.Resource), encoded(t, live)
	d, err := diff(want, live)
	if err != nil {
		t.Fatal(err)
	}
	if after := encoded(t, want.Resource); string(after) != string(wantBefore) {
		t.Fatalf("what is wanted was changed from\n%s to\n%s", wantBefore, after)
	}
	if after := encoded(t, live); string(after) != string(liveBefore) {
		t.Fatalf("what is there was changed from\n%s to\n%s", liveBefore, after)
	}
	if d.recreate {
		return live, d
	}
	if (len(d.fields) == 0) != (d.patch == nil) {
		t.Fatalf("fields %q differ, and the patch is %v", d.fields, d.patch)
	}
	if d.patch == nil {
		return live, d
	}
	patched, err := jsonpatch.MergePatch(liveBefore, encoded(t, d.patch))
	if err != nil {
		t.Fatalf("apply %s: %v", encoded(t, d.patch), err)
	}
	after := decoded(t, live, patched)
	again, err := diff(want, after)
	if err != nil {
		t.Fatal(err)
	}
	if len(again.fields) > 0 {
		t.Fatalf("there is more to be done after\n%s: %s\non\n%s", encoded(t, d.patch), encoded(t, again.patch), patched)
	}
	return after, d
}

func TestDiff_nothingToDo(t *testing.T) {
	for _, want := range wanted() {
		if _, d := settle(t, want, stored(t, want.Resource)); len(d.fields) > 0 {
			t.Errorf("%s %s: fields %q differ from themselves: %s", want.GetObjectKind().GroupVersionKind().Kind, want.GetName(), d.fields, encoded(t, d.patch))
		}
	}
}

func TestDiff_fields(t *testing.T) {
	policy := func(change func(*istiosecurity.AuthorizationPolicy)) func(render.Resource) {
		return func(live render.Resource) { change(&live.(*securityv1beta1.AuthorizationPolicy).Spec) }
	}
	gateway := func(value any, path ...string) func(render.Resource) {
		return func(live render.Resource) {
			if err := unstructured.SetNestedField(live.(*unstructured.Unstructured).Object, value, path...); err != nil {
				t.Fatal(err)
			}
		}
	}
	quota := func(change func(*corev1.ResourceQuotaSpec)) func(render.Resource) {
		return func(live render.Resource) { change(&live.(*corev1.ResourceQuota).Spec) }
	}
	binding := func(change func(*rbacv1.RoleBinding)) func(render.Resource) {
		return func(live render.Resource) { change(live.(*rbacv1.RoleBinding)) }
	}
	cases := map[string]struct {
		kind, name   string
		change       func(live render.Resource)
		wantFields   []string
		wantRecreate bool
		// keeps means that what was changed is somebody else's to change.
		keeps bool
	}{
		"labels of others stay":      {kind: "RoleBinding", change: func(l render.Resource) { l.SetLabels(map[string]string{"x": "y", kubeflowv1.ManagedByLabel: "berth"}) }, keeps: true},
		"our label is restored":      {kind: "RoleBinding", change: func(l render.Resource) { l.SetLabels(nil) }, wantFields: []string{"metadata.labels"}},
		"annotations of others stay": {kind: "ServiceAccount", change: func(l render.Resource) { l.GetAnnotations()["x"] = "y" }, keeps: true},
		"our annotation is restored": {kind: "RoleBinding", name: render.OwnerBindingName, change: func(l render.Resource) { l.GetAnnotations()["user"] = "eve" }, wantFields: []string{"metadata.annotations"}},
		"finalizers of others stay":  {kind: "RoleBinding", change: func(l render.Resource) { l.SetFinalizers([]string{"x/y"}) }, keeps: true},
		"secrets of an account stay": {kind: "ServiceAccount", change: func(l render.Resource) {
			account := l.(*corev1.ServiceAccount)
			account.Secrets = []corev1.ObjectReference{{Name: "s"}}
			account.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "s"}}
		}, keeps: true},
		"a namespace's finalizers and status stay": {kind: "Namespace", change: func(l render.Resource) {
			ns := l.(*corev1.Namespace)
			ns.Spec.Finalizers, ns.Status.Phase = []corev1.FinalizerName{corev1.FinalizerKubernetes}, corev1.NamespaceActive
		}, keeps: true},
		"a label that must not be there goes": {kind: "Namespace", change: func(l render.Resource) { l.GetLabels()["gone"] = "x" }, wantFields: []string{"metadata.labels"}},
		"another subject":                     {kind: "RoleBinding", change: binding(func(b *rbacv1.RoleBinding) { b.Subjects[0].Name = "eve" }), wantFields: []string{"subjects"}},
		"one subject more": {kind: "RoleBinding", change: binding(func(b *rbacv1.RoleBinding) {
			b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: "User", Name: "eve", APIGroup: rbacv1.GroupName})
		}), wantFields: []string{"subjects"}},
		"no subject":              {kind: "RoleBinding", change: binding(func(b *rbacv1.RoleBinding) { b.Subjects = nil }), wantFields: []string{"subjects"}},
		"another role":            {kind: "RoleBinding", change: binding(func(b *rbacv1.RoleBinding) { b.RoleRef.Name = "cluster-admin" }), wantFields: []string{"roleRef"}, wantRecreate: true},
		"another role and labels": {kind: "RoleBinding", change: binding(func(b *rbacv1.RoleBinding) { b.RoleRef.Kind, b.Labels = "Role", nil }), wantFields: []string{"roleRef"}, wantRecreate: true},
		"another limit":           {kind: "ResourceQuota", change: quota(func(s *corev1.ResourceQuotaSpec) { s.Hard["requests.cpu"] = quantity("2") }), wantFields: []string{"spec"}},
		"one limit more":          {kind: "ResourceQuota", change: quota(func(s *corev1.ResourceQuotaSpec) { s.Hard["pods"] = quantity("2") }), wantFields: []string{"spec"}},
		"one limit less":          {kind: "ResourceQuota", change: quota(func(s *corev1.ResourceQuotaSpec) { delete(s.Hard, "requests.cpu") }), wantFields: []string{"spec"}},
		"no limits":               {kind: "ResourceQuota", change: quota(func(s *corev1.ResourceQuotaSpec) { *s = corev1.ResourceQuotaSpec{} }), wantFields: []string{"spec"}},
		"the same limit in other words": {kind: "ResourceQuota", change: quota(func(s *corev1.ResourceQuotaSpec) {
			s.Hard["requests.cpu"], s.Hard["count/jobs.batch"] = quantity("1"), quantity("10000m")
		}), keeps: true},
		"what is used": {kind: "ResourceQuota", change: func(l render.Resource) {
			l.(*corev1.ResourceQuota).Status.Used = corev1.ResourceList{"requests.cpu": quantity("1")}
		}, keeps: true},
		"a scope more": {kind: "ResourceQuota", change: quota(func(s *corev1.ResourceQuotaSpec) {
			s.Scopes = []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}
		}), wantFields: []string{"spec.scopes"}, wantRecreate: true},
		"a scope selector more": {kind: "ResourceQuota", change: quota(func(s *corev1.ResourceQuotaSpec) {
			s.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{{Operator: "Exists", ScopeName: "BestEffort"}}}
		}), wantFields: []string{"spec"}},
		"another rule": {kind: "AuthorizationPolicy", name: render.OwnerPolicyName, change: policy(func(s *istiosecurity.AuthorizationPolicy) {
			s.Rules = append(s.Rules, &istiosecurity.Rule{})
		}), wantFields: []string{"spec"}},
		"rules for contributors": {kind: "AuthorizationPolicy", name: render.InviteesPolicyName, change: policy(func(s *istiosecurity.AuthorizationPolicy) {
			s.Rules = []*istiosecurity.Rule{{}}
		}), keeps: true},
		"another action": {kind: "AuthorizationPolicy", name: render.OwnerPolicyName, change: policy(func(s *istiosecurity.AuthorizationPolicy) {
			s.Action = istiosecurity.AuthorizationPolicy_DENY
		}), wantFields: []string{"spec"}},
		"an empty policy": {kind: "AuthorizationPolicy", name: render.OwnerPolicyName, change: func(l render.Resource) {
			l.(*securityv1beta1.AuthorizationPolicy).Spec.Reset()
		}, wantFields: []string{"spec"}},
		"a principal more": {kind: "AuthorizationPolicy", name: render.OwnerPolicyName, change: policy(func(s *istiosecurity.AuthorizationPolicy) {
			source := s.Rules[0].From[0].Source
			source.Principals = append(source.Principals, "*")
		}), wantFields: []string{"spec"}},
		"a default that the server fills in": {kind: "Gateway", change: gateway("all", "spec", "infrastructure", "x"), keeps: true},
		"a status of a gateway":              {kind: "Gateway", change: gateway("x", "status", "x"), keeps: true},
		"a gateway's label":                  {kind: "Gateway", change: func(l render.Resource) { l.SetLabels(map[string]string{"x": "y"}) }, wantFields: []string{"metadata.labels"}},
		"a gateway's class":                  {kind: "Gateway", change: gateway("istio", "spec", "gatewayClassName"), wantFields: []string{"spec"}},
		"a gateway's listeners":              {kind: "Gateway", change: gateway([]any{}, "spec", "listeners"), wantFields: []string{"spec"}},
		"a gateway without a spec":           {kind: "Gateway", change: func(l render.Resource) { delete(l.(*unstructured.Unstructured).Object, "spec") }, wantFields: []string{"spec"}},
		"an owner reference more":            {kind: "RoleBinding", change: owners(ownerRef("v1", "ConfigMap", "x", "u")), keeps: true},
		"no owner reference":                 {kind: "RoleBinding", change: func(l render.Resource) { l.SetOwnerReferences(nil) }, wantFields: []string{"metadata.ownerReferences"}},
		"a controller reference of others":   {kind: "RoleBinding", change: owners(controllerRef("v1", "ConfigMap", "x", "u")), wantFields: []string{"metadata.ownerReferences"}},
		"a reference to an earlier profile":  {kind: "RoleBinding", change: owners(ownerRef("kubeflow.org/v1", "Profile", "a", "before")), wantFields: []string{"metadata.ownerReferences"}},
		"a reference to another API's":       {kind: "RoleBinding", change: owners(ownerRef("other.org/v1", "Profile", "a", "u")), keeps: true},
		"our reference by the older version": {kind: "RoleBinding", change: func(l render.Resource) {
			l.SetOwnerReferences([]metav1.OwnerReference{ownerRef("kubeflow.org/v1beta1", "Profile", "a", "uid-of-a")})
		}, wantFields: []string{"metadata.ownerReferences"}},
		"our reference twice": {kind: "RoleBinding", change: owners(ownerRef("kubeflow.org/v1beta1", "Profile", "a", "uid-of-a")), wantFields: []string{"metadata.ownerReferences"}},
		"our reference without blocking": {kind: "RoleBinding", change: func(l render.Resource) {
			l.SetOwnerReferences([]metav1.OwnerReference{ownerRef("kubeflow.org/v1", "Profile", "a", "uid-of-a")})
		}, wantFields: []string{"metadata.ownerReferences"}},
		"references in another order are one": {kind: "Namespace", change: func(l render.Resource) {
			l.SetOwnerReferences(append([]metav1.OwnerReference{ownerRef("v1", "Node", "x", "u")}, l.GetOwnerReferences()...))
		}, keeps: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			want := wantedKind(t, tc.kind, tc.name)
			live := stored(t, want.Resource)
			if live.GetAnnotations() == nil {
				live.SetAnnotations(map[string]string{})
			}
			tc.change(live)
			after, d := settle(t, want, live)
			if !slices.Equal(d.fields, tc.wantFields) || d.recreate != tc.wantRecreate {
				t.Errorf("fields %q differ, recreate %t; want %q, %t: %s", d.fields, d.recreate, tc.wantFields, tc.wantRecreate, encoded(t, d.patch))
			}
			if diff := cmp.Diff(live, after, protocmp.Transform()); tc.keeps && diff != "" {
				t.Errorf("what others may change was changed:\n%s", diff)
			}
		})
	}
}

func TestDiff_defaultsInsideLists(t *testing.T) {
	want := wantedKind(t, "Gateway", "")
	live := stored(t, want.Resource.(*unstructured.Unstructured))
	listeners, _, err := unstructured.NestedSlice(live.Object, "spec", "listeners")
	if err != nil {
		t.Fatal(err)
	}
	listeners[0].(map[string]any)["tls"] = map[string]any{"mode": "Terminate"} // a later version's default
	if err := unstructured.SetNestedSlice(live.Object, listeners, "spec", "listeners"); err != nil {
		t.Fatal(err)
	}
	if _, d := settle(t, want, live); len(d.fields) > 0 {
		t.Errorf("a default is fought over: %s", encoded(t, d.patch))
	}
	listeners[0].(map[string]any)["port"] = int64(1)
	if err := unstructured.SetNestedSlice(live.Object, listeners, "spec", "listeners"); err != nil {
		t.Fatal(err)
	}
	after, d := settle(t, want, live)
	if !slices.Equal(d.fields, []string{"spec"}) {
		t.Errorf("fields %q differ", d.fields)
	}
	if diff := cmp.Diff(want.Resource.(*unstructured.Unstructured).Object["spec"], after.(*unstructured.Unstructured).Object["spec"]); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
}

// The patch holds only for what was looked at.
func TestDiff_preconditions(t *testing.T) {
	for _, want := range wanted() {
		live := stored(t, want.Resource)
		live.SetLabels(nil)
		_, d := settle(t, want, live)
		metadata, _ := d.patch["metadata"].(map[string]any)
		if metadata["resourceVersion"] != "7" || metadata["uid"] != "uid-of-object" {
			t.Errorf("%s: metadata of the patch is %v", want.GetName(), metadata)
		}
	}
}

func TestDiff_wantedWinsOverAbsent(t *testing.T) {
	want := wantedKind(t, "Namespace", "")
	want.AbsentLabels = append(want.AbsentLabels, "k")
	live := stored(t, want.Resource)
	if after, d := settle(t, want, live); len(d.fields) > 0 || after.GetLabels()["k"] != "v" {
		t.Errorf("fields %q differ, labels are %v", d.fields, after.GetLabels())
	}
}

// Whatever two profiles ask for, one patch leads from the objects of the one to those of the other, and what others
// added on the way stays.
func TestDiff_fromAnyToAny(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	some := func() []func(*kubeflowv1.Profile) {
		options := []func(*kubeflowv1.Profile){
			testkit.OwnerOf([]string{"User", "Group", "ServiceAccount"}[random.IntN(3)], []string{"ann", "bob"}[random.IntN(2)], "ns"),
		}
		for _, resource := range []corev1.ResourceName{"requests.cpu", "pods", "requests.nvidia.com/gpu", "limits.memory"} {
			if random.IntN(2) == 0 {
				options = append(options, testkit.Quota(resource, kubeflowv1.Quantity([]string{"1", "1000m", "2", "1e3", "4Gi"}[random.IntN(5)])))
			}
		}
		return options
	}
	for range 300 {
		from, to := wanted(some()...), wanted(some()...)
		for i, want := range to {
			live := stored(t, from[i].Resource)
			labels, annotations := live.GetLabels(), live.GetAnnotations()
			if annotations == nil {
				annotations = map[string]string{}
			}
			labels["foreign"], annotations["foreign"] = "1", "2"
			live.SetLabels(labels)
			live.SetAnnotations(annotations)
			live.SetOwnerReferences(append(live.GetOwnerReferences(), ownerRef("v1", "ConfigMap", "x", "u")))
			after, d := settle(t, want, live)
			if d.recreate {
				continue
			}
			if after.GetLabels()["foreign"] != "1" || after.GetAnnotations()["foreign"] != "2" || !OwnedBy(after, "u") || !OwnedBy(after, "uid-of-a") {
				t.Fatalf("%s lost something: %v %v %v", want.GetName(), after.GetLabels(), after.GetAnnotations(), after.GetOwnerReferences())
			}
		}
	}
}

// Whatever is stored under a name of ours, one patch brings it in line.
func FuzzDiff(f *testing.F) {
	objects := wanted()
	for i, object := range objects {
		f.Add(i, encoded(f, stored(f, object.Resource)))
		f.Add(i, []byte(`{"metadata": {"labels": null, "annotations": {"a": "b"}, "ownerReferences": [{"uid": "u", "controller": false}, {"uid": "u"}]}}`))
	}
	f.Add(1, []byte(`{"spec": {"listeners": {"x": 1}, "gatewayClassName": null, "addresses": []}}`))
	f.Add(4, []byte(`{"spec": {"hard": {"cpu": "1e9"}, "scopes": []}}`))
	f.Fuzz(func(t *testing.T, which int, data []byte) {
		want := objects[uint(which)%uint(len(objects))]
		live, ok := reflect.TypeAssert[render.Resource](reflect.New(reflect.TypeOf(want.Resource).Elem()))
		if !ok {
			t.Fatal("no object")
		}
		if generic, isGeneric := live.(*unstructured.Unstructured); isGeneric {
			if err := json.Unmarshal(data, &generic.Object); err != nil || generic.Object == nil {
				return
			}
			generic.SetGroupVersionKind(render.GatewayKind)
			if _, isMap := generic.Object["metadata"].(map[string]any); !isMap {
				return // no server hands that out
			}
			if data, ok := tryJSON(generic); !ok || json.Unmarshal(data, generic) != nil {
				return
			}
		} else if json.Unmarshal(data, live) != nil {
			return
		}
		if _, ok := tryJSON(live); !ok {
			return
		}
		settle(t, want, live)
	})
}

func tryJSON(object any) ([]byte, bool) {
	data, err := json.Marshal(object)
	return data, err == nil
}

func TestMergeOwners_nothingWanted(t *testing.T) {
	if _, changed := mergeOwners(nil, []metav1.OwnerReference{ownerRef("v1", "Node", "x", "u")}); changed {
		t.Error("references of others are changed where none of ours is wanted")
	}
}

func TestOwnedBy(t *testing.T) {
	object := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{ownerRef("v1", "Node", "x", ""), ownerRef("v1", "Node", "y", "u")}}}
	if !OwnedBy(object, "u") || OwnedBy(object, "v") || OwnedBy(object, "") {
		t.Errorf("owned by u: %t, v: %t, nobody: %t", OwnedBy(object, "u"), OwnedBy(object, "v"), OwnedBy(object, ""))
	}
}
