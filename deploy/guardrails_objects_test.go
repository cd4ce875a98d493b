// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// ours are objects as the controllers make them, beyond those that every profile has.
var ours = []string{
	"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: berth-default-deny, labels: {app.kubernetes.io/managed-by: berth}}, spec: {podSelector: {}}}",
	"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: ours-by-label, labels: {app.kubernetes.io/managed-by: berth}}, spec: {podSelector: {}}}",
	"{apiVersion: v1, kind: LimitRange, metadata: {name: berth-limits, labels: {app.kubernetes.io/managed-by: berth}}, spec: {limits: [{type: Container, max: {cpu: 1}}]}}",
	"{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: berth-mtls, labels: {app.kubernetes.io/managed-by: berth}}, spec: {mtls: {mode: STRICT}}}",
	"{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {name: tokens, labels: {app.kubernetes.io/managed-by: berth, berth.dev/part: user-token}}, spec: {}}",
	"{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: inference, labels: {app.kubernetes.io/managed-by: berth, berth.dev/part: inference}}, spec: {}}",
	"{apiVersion: v1, kind: ServiceAccount, metadata: {name: extra, labels: {app.kubernetes.io/managed-by: berth, berth.dev/part: accounts}}}",
	"{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: extra, labels: {app.kubernetes.io/managed-by: berth, berth.dev/part: accounts}}, " +
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: kubeflow-view}, subjects: [{kind: ServiceAccount, name: extra}]}",
}

// everybodys are those that every profile has.
var everybodys = []string{
	"{apiVersion: v1, kind: ResourceQuota, metadata: {name: kf-resource-quota}}",
	"{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: ns-owner-access-istio}}",
	"{apiVersion: security.istio.io/v1beta1, kind: AuthorizationPolicy, metadata: {name: ns-access-istio}}",
}

func TestGuardrails_objects(t *testing.T) {
	r := newRails(t)
	for _, text := range ours {
		wantDone(t, r.admin, r.create(t, text))
	}
	for _, text := range append(append([]string{}, everybodys...), ours...) {
		obj := r.parse(t, text)
		t.Run(obj.GetKind()+" "+obj.GetName(), func(t *testing.T) {
			reference := obj.GetKind() + " " + obj.GetName()
			r.wantRefused(t, merge(t, obj, `{"metadata":{"labels":{"app.kubernetes.io/managed-by":null}}}`), "objects", reference)
			r.wantRefused(t, put(t, obj.DeepCopy(), "", func(o client.Object) { o.SetAnnotations(map[string]string{"x": "y"}) }), "objects", reference)
			r.wantRefused(t, remove(t, obj), "objects", reference)
		})
	}
	t.Run("all of a kind at once", func(t *testing.T) {
		r.wantRefused(t, func(c client.Client) error {
			return c.DeleteAllOf(t.Context(), &corev1.LimitRange{}, client.InNamespace(r.namespace))
		}, "objects", "LimitRange berth-limits")
	})
	t.Run("the quota's numbers", func(t *testing.T) {
		quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "kf-resource-quota"}}
		r.wantRefused(t, merge(t, quota, `{"spec":{"hard":{"requests.cpu":"400"}}}`), "objects", "ResourceQuota kf-resource-quota")
		r.wantRefused(t, put(t, quota, "status", func(o client.Object) { o.(*corev1.ResourceQuota).Status.Used = nil }), "objects", "ResourceQuota kf-resource-quota")
	})
	made := map[string]struct{ text, sentence string }{
		"a second quota":    {"{apiVersion: v1, kind: ResourceQuota, metadata: {name: mine}, spec: {hard: {pods: 9}}}", "has one ResourceQuota"},
		"our policy's name": {"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: berth-mine}, spec: {podSelector: {}}}", "NetworkPolicy berth-mine"},
		"a generated name":  {"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {generateName: berth-}, spec: {podSelector: {}}}", "NetworkPolicy berth-"},
		"our limits' name":  {"{apiVersion: v1, kind: LimitRange, metadata: {name: berth-mine}, spec: {limits: []}}", "LimitRange berth-mine"},
		"our mTLS's name":   {"{apiVersion: security.istio.io/v1beta1, kind: PeerAuthentication, metadata: {name: berth-mine}, spec: {mtls: {mode: DISABLE}}}", "PeerAuthentication berth-mine"},
		"our label":         {"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: mine, labels: {app.kubernetes.io/managed-by: berth}}, spec: {podSelector: {}}}", "NetworkPolicy mine"},
	}
	for name, tc := range made {
		t.Run(name, func(t *testing.T) { r.wantRefused(t, r.create(t, tc.text), "objects", tc.sentence) })
	}
	t.Run("the tenant's own", func(t *testing.T) {
		for _, text := range []string{
			"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: mine}, spec: {podSelector: {}, ingress: [{}]}}",
			"{apiVersion: v1, kind: LimitRange, metadata: {name: mine}, spec: {limits: []}}",
			"{apiVersion: v1, kind: ServiceAccount, metadata: {name: mine}}",
			"{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: mine}, spec: {}}",
		} {
			wantDone(t, r.tenant, r.create(t, text))
			wantDone(t, r.tenant, merge(t, r.parse(t, text), `{"metadata":{"labels":{"colour":"blue"}}}`))
			wantDone(t, r.tenant, remove(t, r.parse(t, text)))
		}
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "default-editor"}}
		wantDone(t, r.tenant, merge(t, account, `{"imagePullSecrets":[{"name":"mine"}]}`))
	})
	t.Run("while glass is broken", func(t *testing.T) {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}
		wantDone(t, r.admin, merge(t, controllertest.Profile(r.namespace), `{"metadata":{"annotations":{"berth.dev/break-glass":"incident 7"}}}`))
		limits := r.parse(t, ours[2])
		testkit.Eventually(t, patience, func() error { return remove(t, limits)(client.NewDryRunClient(r.tenant)) })
		wantDone(t, r.tenant, remove(t, limits))
		r.wantRefused(t, remove(t, ns), "namespaces", "delete the profile")
		r.wantRefused(t, merge(t, ns, `{"metadata":{"labels":{"istio-injection":null}}}`), "namespaces", "istio-injection")
		r.wantRefused(t, r.create(t, "{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {name: x}, spec: {}}"), "mesh", "EnvoyFilter")
	})
}

func TestGuardrails_networkPolicies(t *testing.T) {
	r := newRails(t)
	policy := func(spec string) string {
		return "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {generateName: mine-}, spec: {podSelector: {}, " + spec + "}}"
	}
	open := map[string]string{
		"from anywhere":             policy("ingress: [{}]"),
		"from another namespace":    policy("ingress: [{from: [{namespaceSelector: {}, podSelector: {}}]}]"),
		"from an address":           policy("ingress: [{from: [{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8}}]}]"),
		"from anywhere, some ports": policy("ingress: [{from: [{podSelector: {}}]}, {ports: [{port: 80}]}]"),
		"to anywhere":               policy("policyTypes: [Egress], egress: [{}]"),
		"to another namespace":      policy("egress: [{to: [{namespaceSelector: {}}]}]"),
	}
	closed := map[string]string{
		"from here": policy("ingress: [{from: [{podSelector: {}}, {podSelector: {matchLabels: {a: b}}}]}]"),
		"to here":   policy("policyTypes: [Egress], egress: [{to: [{podSelector: {}}], ports: [{port: 80}]}]"),
		"nothing":   policy("policyTypes: [Ingress, Egress]"),
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}
	for _, texts := range []map[string]string{open, closed} {
		for _, text := range texts {
			wantDone(t, r.tenant, r.create(t, text))
		}
	}
	wantDone(t, r.admin, merge(t, ns, `{"metadata":{"labels":{"berth.dev/tenant-network-policies":"samenamespace"}}}`))
	for name, text := range open {
		t.Run("same namespace: "+name, func(t *testing.T) { r.wantRefused(t, r.create(t, text), "network-policies", "podSelector alone") })
	}
	for _, text := range closed {
		wantDone(t, r.tenant, r.create(t, text))
	}
	t.Run("same namespace: widened later", func(t *testing.T) {
		mine := r.parse(t, policy("ingress: [{from: [{podSelector: {}}]}]"))
		if err := r.tenant.Create(t.Context(), mine); err != nil {
			t.Fatal(err)
		}
		r.wantRefused(t, merge(t, mine, `{"spec":{"ingress":[{}]}}`), "network-policies", "podSelector alone")
	})
	wantDone(t, r.admin, merge(t, ns, `{"metadata":{"labels":{"berth.dev/tenant-network-policies":"deny"}}}`))
	for name, text := range closed {
		t.Run("deny: "+name, func(t *testing.T) {
			r.wantRefused(t, r.create(t, text), "network-policies", "tenants make no NetworkPolicies")
		})
	}
}

func TestGuardrails_roleBindings(t *testing.T) {
	r := newRails(t)
	bind := func(role string, subjects ...string) string {
		return "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {generateName: mine-}, " +
			"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: " + role + "}, subjects: [" + strings.Join(subjects, ", ") + "]}"
	}
	group := func(name string) string {
		return "{apiGroup: rbac.authorization.k8s.io, kind: Group, name: '" + name + "'}"
	}
	user := func(name string) string {
		return "{apiGroup: rbac.authorization.k8s.io, kind: User, name: '" + name + "'}"
	}
	refused := map[string]string{
		"everybody":                         group("system:authenticated"),
		"everybody and nobody":              group("system:unauthenticated"),
		"all service accounts":              group("system:serviceaccounts"),
		"another namespace's accounts":      group("system:serviceaccounts:kube-system"),
		"a namespace whose name begins so":  group("system:serviceaccounts:NAMESPACE-2"),
		"whoever gives no name":             user("system:anonymous"),
		"a user with a star":                user("*"),
		"a group with a star in its middle": group("team-*"),
	}
	for name, subject := range refused {
		t.Run(name, func(t *testing.T) {
			r.wantRefused(t, r.create(t, bind("kubeflow-view", user("bob@example.com"), subject)), "role-bindings", "would let in everybody")
		})
	}
	t.Run("single people", func(t *testing.T) {
		wantDone(t, r.tenant, r.create(t, bind("kubeflow-view", user("bob@example.com"), group("team-b"), group("system:serviceaccounts:NAMESPACE"))))
	})
	t.Run("added later", func(t *testing.T) {
		mine := r.parse(t, bind("kubeflow-view", user("bob@example.com")))
		if err := r.tenant.Create(t.Context(), mine); err != nil {
			t.Fatal(err)
		}
		r.wantRefused(t, put(t, mine, "", func(o client.Object) {
			subjects, _, _ := unstructured.NestedSlice(o.(*unstructured.Unstructured).Object, "subjects")
			everybody := map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}
			o.(*unstructured.Unstructured).Object["subjects"] = append(subjects, everybody)
		}), "role-bindings", "Group system:authenticated")
	})
	t.Run("more than one's own rights", func(t *testing.T) {
		err := r.create(t, bind("cluster-admin", user(r.owner)))(r.tenant)
		if err == nil || !strings.Contains(err.Error(), "attempting to grant RBAC permissions not currently held") {
			t.Errorf("binding cluster-admin: %v", err)
		}
	})
}

// What Kubernetes does by itself goes on: usage is counted, and namespaces go with all that is in them.
func TestGuardrails_clusterGoesOn(t *testing.T) {
	r := newRails(t)
	for _, text := range ours {
		wantDone(t, r.admin, r.create(t, text))
	}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "kf-resource-quota"}}
	controllertest.Change(t, r.admin, r.namespace, func(p *kubeflowv1.Profile) { controllertest.WithQuota("requests.cpu", "9")(p) })
	testkit.Eventually(t, controllertest.Patience, func() error {
		if err := r.admin.Get(t.Context(), client.ObjectKeyFromObject(quota), quota); err != nil {
			return err
		}
		if got := quota.Status.Hard["requests.cpu"]; got.String() != "9" {
			return fmt.Errorf("the quota's status has %v", quota.Status)
		}
		return nil
	})
	owned := r.parse(t, strings.Replace(ours[0], "berth-default-deny", "berth-owned", 1))
	holder := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "holder"}}
	if err := r.admin.Create(t.Context(), holder); err != nil {
		t.Fatal(err)
	}
	owned.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: holder.Name, UID: holder.UID}})
	if err := r.admin.Create(t.Context(), owned); err != nil {
		t.Fatal(err)
	}
	wantDone(t, r.tenant, remove(t, holder))
	controllertest.AwaitGone(t, r.admin, owned) // by the garbage collector

	wantDone(t, r.tenant, remove(t, controllertest.Profile(r.namespace)))
	controllertest.AwaitGone(t, r.admin, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}})
	controllertest.AwaitGone(t, r.admin, controllertest.Profile(r.namespace))
}
