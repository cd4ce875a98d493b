// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package slim_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kube/slim"
	"berth.dev/berth/internal/testkit"
)

// fresh is text in memory of its own, as a decoder makes it.
func fresh(text string) string { return string([]byte(text)) }

func meta(change func(*metav1.ObjectMeta)) metav1.ObjectMeta {
	yes := true
	m := metav1.ObjectMeta{
		Name: "x", Namespace: "team", ResourceVersion: "7", UID: "u",
		Labels:      map[string]string{fresh(kubeflowv1.ManagedByLabel): fresh(kubeflowv1.ManagedByValue)},
		Annotations: map[string]string{"user": "ann", "role": "edit"},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: fresh(kubeflowv1.GroupVersion.String()), Kind: fresh("Profile"), Name: fresh("team"), UID: "p", Controller: &yes, BlockOwnerDeletion: &yes,
		}},
	}
	change(&m)
	return m
}

// What controllers read stays; what only costs memory goes.
func TestTransform(t *testing.T) {
	same := func(*metav1.ObjectMeta) {}
	full := func(m *metav1.ObjectMeta) {
		m.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "berth"}}
		m.Annotations[corev1.LastAppliedConfigAnnotation] = "{}"
	}
	others := func(m *metav1.ObjectMeta) { m.Labels["team"] = "x"; m.OwnerReferences[0].Controller = new(false) }
	binding := func(m metav1.ObjectMeta) client.Object {
		return &rbacv1.RoleBinding{
			ObjectMeta: m, RoleRef: rbacv1.RoleRef{APIGroup: fresh(rbacv1.GroupName), Kind: fresh("ClusterRole"), Name: fresh("kubeflow-edit")},
			Subjects: []rbacv1.Subject{{Kind: fresh("User"), Name: "ann"}, {Kind: fresh("Group"), Name: "*"}},
		}
	}
	quota := corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"cpu": resource.MustParse("1")}}
	cases := map[string]struct{ in, want any }{
		"a binding":                    {binding(meta(full)), binding(meta(same))},
		"a binding with more on it":    {binding(meta(others)), binding(meta(others))},
		"a quota, without its usage":   {&corev1.ResourceQuota{ObjectMeta: meta(full), Spec: quota, Status: corev1.ResourceQuotaStatus{Hard: quota.Hard}}, &corev1.ResourceQuota{ObjectMeta: meta(same), Spec: quota}},
		"a policy":                     {&securityv1beta1.AuthorizationPolicy{ObjectMeta: meta(full)}, &securityv1beta1.AuthorizationPolicy{ObjectMeta: meta(same)}},
		"a profile with its condition": {withCondition(testkit.Profile("team")), withCondition(testkit.Profile("team"))},
		"a namespace":                  {testkit.Namespace("team"), testkit.Namespace("team")},
		"a tombstone":                  {toolscache.DeletedFinalStateUnknown{Key: "team/x"}, toolscache.DeletedFinalStateUnknown{Key: "team/x"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := slim.Transform(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, protocmp.Transform()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func withCondition(p *kubeflowv1.Profile) *kubeflowv1.Profile {
	p.Status.Conditions = []metav1.Condition{{Type: fresh("Ready"), Reason: "Ready", Message: fresh("the namespace is in place")}}
	return p
}

// Objects share what is the same in nearly all of them.
func TestTransform_shares(t *testing.T) {
	transformed := func() *rbacv1.RoleBinding {
		b := &rbacv1.RoleBinding{ObjectMeta: meta(func(*metav1.ObjectMeta) {}), RoleRef: rbacv1.RoleRef{Name: fresh("kubeflow-edit")}}
		if _, err := slim.Transform(b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	one, other := transformed(), transformed()
	if one.OwnerReferences[0].Controller != other.OwnerReferences[0].Controller {
		t.Error("what controls is there twice")
	}
	// Sharing is safe as whoever reads from the cache gets a copy.
	read := one.DeepCopy()
	read.Labels["x"] = "y"
	*read.OwnerReferences[0].Controller = false
	if len(other.Labels) != 1 || !*other.OwnerReferences[0].Controller {
		t.Errorf("changing one object changed another: %v", other.ObjectMeta)
	}
}

// Indexes that somebody asks for are kept; the one by namespace is not, nor taken from whoever passed it.
func TestNewInformer(t *testing.T) {
	given := toolscache.Indexers{
		toolscache.NamespaceIndex: toolscache.MetaNamespaceIndexFunc,
		"field:x":                 func(any) ([]string, error) { return nil, nil },
	}
	informer := slim.NewInformer(&toolscache.ListWatch{}, &rbacv1.RoleBinding{}, 0, given)
	if have := slices.Collect(maps.Keys(informer.GetIndexer().GetIndexers())); !slices.Equal(have, []string{"field:x"}) {
		t.Errorf("indexes %q", have)
	}
	if len(given) != 2 {
		t.Errorf("the given indexes are %d now", len(given))
	}
}
