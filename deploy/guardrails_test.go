// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

var guardrails = []string{"classes", "mesh", "namespaces", "network-policies", "objects", "profiles", "role-bindings"}

// rails are a profile's namespace with the guard rails on, and who may act in it.
type rails struct {
	admin, tenant client.Client
	namespace     string
	owner         string
}

// all are the verbs but bind and escalate, which would be rights over rights.
var all = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}

// newRails installs the manifests, runs the controllers under exactly their role, and makes a profile. Its owner is
// given every verb on everything in the namespace besides.
func newRails(t *testing.T, changes ...func(*kubeflowv1.Profile)) rails {
	t.Helper()
	server := cluster.Use(t)
	admin := controllertest.Client(t, server.Config())
	install(t, admin, build(t, "standalone"))
	controllertest.Start(t, server.ServiceAccountConfig(t, "profiles-system", serviceAccount))

	name := testkit.Name(t, "railed")
	r := rails{admin: admin, namespace: name, owner: name + "@example.com"}
	r.tenant = controllertest.Client(t, server.UserConfig(r.owner))
	changes = append(changes, func(p *kubeflowv1.Profile) { p.Spec.Owner.Name = r.owner })
	controllertest.Create(t, admin, controllertest.Profile(name, append(changes, controllertest.WithQuota("requests.cpu", "4"))...))
	controllertest.AwaitReady(t, admin, name)
	subject := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: r.owner}}
	rules := []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: all}}
	for _, obj := range []client.Object{
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "everything"}, Rules: rules},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "everything"}, Subjects: subject,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "everything"},
		},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{kubeflowv1.GroupVersion.Group}, Resources: []string{"profiles"}, Verbs: []string{"get", "create"}},
			{
				APIGroups: []string{kubeflowv1.GroupVersion.Group}, Resources: []string{"profiles", "profiles/status"},
				ResourceNames: []string{name}, Verbs: []string{"update", "patch", "delete"},
			},
		}},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: subject,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		},
	} {
		if err := admin.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, patience, func() error { // rights take a moment to count
		return client.NewDryRunClient(r.tenant).Create(t.Context(), r.parse(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}"))
	})
	return r
}

// parse is an object in the namespace.
func (r rails) parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	obj := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(text, "NAMESPACE", r.namespace)), &obj.Object); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	obj.SetNamespace(r.namespace)
	return obj
}

// attack is something that somebody tries.
type attack func(c client.Client) error

func (r rails) create(t *testing.T, text string) attack {
	return func(c client.Client) error { return c.Create(t.Context(), r.parse(t, text)) }
}

// put changes an object as it is now and writes the whole of it, to a subresource where one is named.
func put(t *testing.T, obj client.Object, subresource string, change func(client.Object)) attack {
	return func(c client.Client) error {
		for {
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
				return err
			}
			change(obj)
			var err error
			if subresource == "" {
				err = c.Update(t.Context(), obj)
			} else {
				err = c.SubResource(subresource).Update(t.Context(), obj)
			}
			if !apierrors.IsConflict(err) {
				return err
			}
		}
	}
}

func merge(t *testing.T, obj client.Object, patch string) attack {
	return func(c client.Client) error {
		return c.Patch(t.Context(), obj.DeepCopyObject().(client.Object), client.RawPatch(types.MergePatchType, []byte(patch)))
	}
}

func remove(t *testing.T, obj client.Object) attack {
	return func(c client.Client) error { return c.Delete(t.Context(), obj) }
}

// wantRefused fails the test unless the tenant is refused by the rail, with the sentence, and an administrator is not.
func (r rails) wantRefused(t *testing.T, try attack, rail, sentence string) {
	t.Helper()
	check := func(err error) error {
		if err == nil {
			return fmt.Errorf("it is let through; want it refused by %s", rail)
		}
		for _, text := range []string{"'berth-guardrails-" + rail + "'", sentence, "an administrator of the cluster"} {
			if !strings.Contains(err.Error(), text) {
				return fmt.Errorf("want a refusal that contains %q, got: %w", text, err)
			}
		}
		return nil
	}
	testkit.Eventually(t, patience, func() error { return check(try(client.NewDryRunClient(r.tenant))) }) // policies take a moment
	if err := check(try(r.tenant)); err != nil {
		t.Error(err)
	}
	if err := try(client.NewDryRunClient(r.admin)); err != nil {
		t.Errorf("an administrator is refused: %v", err)
	}
}

func wantDone(t *testing.T, c client.Client, try attack) {
	t.Helper()
	if err := try(c); err != nil {
		t.Error(err)
	}
}

// The API server takes every expression and finds no field in them that the kinds lack.
func TestGuardrails_typeCheck(t *testing.T) {
	c := controllertest.Client(t, cluster.Use(t).Config())
	install(t, c, build(t, "standalone"))
	for _, rail := range guardrails {
		policy := &admissionregistrationv1.ValidatingAdmissionPolicy{}
		testkit.Eventually(t, patience, func() error {
			if err := c.Get(t.Context(), client.ObjectKey{Name: "berth-guardrails-" + rail}, policy); err != nil {
				return err
			}
			if policy.Status.ObservedGeneration != policy.Generation || policy.Status.TypeChecking == nil {
				return fmt.Errorf("not checked yet: %+v", policy.Status)
			}
			return nil
		})
		for _, warning := range policy.Status.TypeChecking.ExpressionWarnings {
			t.Errorf("%s: %s: %s", rail, warning.FieldRef, warning.Warning)
		}
	}
}

func TestGuardrails_namespace(t *testing.T) {
	r := newRails(t)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}
	class := &berthv1alpha1.ProfileClass{ObjectMeta: metav1.ObjectMeta{Name: testkit.Name(t, "class")}}
	class.Spec.Namespace = &berthv1alpha1.NamespaceSettings{
		Labels:      []berthv1alpha1.Setting{{Key: "from-class", Value: "yes"}},
		Annotations: []berthv1alpha1.Setting{{Key: "class-note", Value: "x"}},
		PodSecurity: &berthv1alpha1.PodSecurity{Enforce: "baseline"},
	}
	wantDone(t, r.admin, func(c client.Client) error { return c.Create(t.Context(), class) })
	wantDone(t, r.admin, merge(t, controllertest.Profile(r.namespace), `{"metadata":{"labels":{"berth.dev/class":"`+class.Name+`"}}}`))
	testkit.Eventually(t, patience, func() error {
		if err := r.admin.Get(t.Context(), client.ObjectKeyFromObject(ns), ns); err != nil || ns.Annotations["class-note"] == "" {
			return fmt.Errorf("the class is not in force: %v, %w", ns.Annotations, err)
		}
		return nil
	})
	label := func(key string) func(client.Object) {
		return func(obj client.Object) { obj.SetLabels(with(obj.GetLabels(), key, "restricted")) }
	}
	unlabel := func(key string) func(client.Object) {
		return func(obj client.Object) { l := obj.GetLabels(); delete(l, key); obj.SetLabels(l) }
	}
	annotate := func(key, value string) func(client.Object) {
		return func(obj client.Object) { obj.SetAnnotations(with(obj.GetAnnotations(), key, value)) }
	}
	cases := map[string]struct {
		change   func(client.Object)
		sentence string
	}{
		"a label of the labels file":    {label("app.kubernetes.io/part-of"), "app.kubernetes.io/part-of"},
		"a label of the mesh":           {label("istio-injection"), "istio-injection"},
		"a label of the mesh taken off": {unlabel("istio-injection"), "istio-injection"},
		"a label of the mesh added":     {label("istio.io/dataplane-mode"), "istio.io/dataplane-mode"},
		"a label of pod security":       {unlabel("pod-security.kubernetes.io/enforce"), "pod-security.kubernetes.io/enforce"},
		"another label of pod security": {label("pod-security.kubernetes.io/warn"), "pod-security.kubernetes.io/warn"},
		"a label of the class":          {unlabel("from-class"), "from-class"},
		"our label":                     {unlabel(kubeflowv1.ManagedByLabel), kubeflowv1.ManagedByLabel},
		"a label of the guard rails":    {label("berth.dev/tenant-network-policies"), "berth.dev/tenant-network-policies"},
		"the owner":                     {annotate("owner", "eve@example.com"), "owner"},
		"whose it is":                   {annotate(kubeflowv1.MadeForAnnotation, ""), kubeflowv1.MadeForAnnotation},
		"that it was adopted":           {annotate(kubeflowv1.AdoptedByAnnotation, "x"), kubeflowv1.AdoptedByAnnotation},
		"the record of labels":          {annotate(kubeflowv1.AppliedLabelsAnnotation, ""), kubeflowv1.AppliedLabelsAnnotation},
		"an annotation of the class":    {annotate("class-note", "y"), "class-note"},
		"break-glass":                   {annotate("berth.dev/break-glass", "let me"), "berth.dev/break-glass"},
		"all annotations":               {func(obj client.Object) { obj.SetAnnotations(nil) }, "owner"},
		"all labels":                    {func(obj client.Object) { obj.SetLabels(nil) }, "istio-injection"},
		"the owner reference":           {func(obj client.Object) { obj.SetOwnerReferences(nil) }, "owner references"},
		"the owner reference's controller": {func(obj client.Object) {
			owners := obj.GetOwnerReferences()
			owners[0].Controller = nil
			obj.SetOwnerReferences(owners)
		}, "owner references"},
	}
	for name, tc := range cases {
		for _, subresource := range []string{"", "status", "finalize"} {
			t.Run(name+"/"+subresource, func(t *testing.T) {
				r.wantRefused(t, put(t, ns, subresource, tc.change), "namespaces", tc.sentence)
			})
		}
	}
	t.Run("by a merge patch", func(t *testing.T) {
		r.wantRefused(t, merge(t, ns, `{"metadata":{"labels":{"istio-injection":null}}}`), "namespaces", "istio-injection")
	})
	t.Run("deletion", func(t *testing.T) {
		r.wantRefused(t, remove(t, ns), "namespaces", "delete the profile")
	})
	t.Run("what is the tenant's own may be changed", func(t *testing.T) {
		wantDone(t, r.tenant, put(t, ns, "", label("team.example.com/colour")))
		wantDone(t, r.tenant, put(t, ns, "status", annotate("team.example.com/note", "hello")))
		wantDone(t, r.tenant, put(t, ns, "", unlabel("team.example.com/colour")))
	})
	t.Run("an administrator may", func(t *testing.T) {
		wantDone(t, r.admin, merge(t, ns, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`))
	})
	t.Run("the controller may", func(t *testing.T) {
		wantDone(t, r.admin, merge(t, ns, `{"metadata":{"labels":{"istio-injection":null}}}`))
		testkit.Eventually(t, controllertest.Patience, func() error {
			if err := r.admin.Get(t.Context(), client.ObjectKeyFromObject(ns), ns); err != nil {
				return err
			}
			if ns.Labels["istio-injection"] != "enabled" {
				return fmt.Errorf("labels %v", ns.Labels)
			}
			return nil
		})
	})
}

// A namespace that is not a profile's yet can't be prepared so that the rails are off when it becomes one.
func TestGuardrails_breakGlassIsForAdministratorsInAnyNamespace(t *testing.T) {
	r := newRails(t)
	other := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testkit.Name(t, "unclaimed")}}
	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: other.Name, Name: "namespace"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: all}},
	}
	bound := &rbacv1.RoleBinding{
		ObjectMeta: role.ObjectMeta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: r.owner}},
	}
	for _, obj := range []client.Object{other, role, bound} {
		if err := r.admin.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, patience, func() error {
		return merge(t, other, `{"metadata":{"annotations":{"mine":"yes"}}}`)(r.tenant)
	})
	r.wantRefused(t, merge(t, other, `{"metadata":{"annotations":{"berth.dev/break-glass":"x"}}}`), "namespaces", "berth.dev/break-glass")
}

func with(m map[string]string, key, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}
