// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// patience is far above what anything takes on a slow machine.
const patience = controllertest.Patience

var cluster testkit.SharedCluster

func TestMain(m *testing.M) {
	flag.Parse()
	// The parallel tests mostly wait: for a cluster to start, for a namespace to go.
	if err := flag.Set("test.parallel", "5"); err != nil {
		panic(err)
	}
	os.Exit(testkit.RunWithCluster(m, &cluster))
}

// tenantObjects are the objects of a profile with a quota, besides the namespace itself.
var tenantObjects = []string{
	"AuthorizationPolicy ns-access-istio",
	"AuthorizationPolicy ns-owner-access-istio",
	"ResourceQuota kf-resource-quota",
	"RoleBinding default-editor",
	"RoleBinding default-viewer",
	"RoleBinding namespaceAdmin",
	"ServiceAccount default-editor",
	"ServiceAccount default-viewer",
}

// objects are the objects of the kinds that we make in a namespace, except what Kubernetes itself puts there.
func objects(ctx context.Context, c client.Client, namespace string) (found []string, err error) {
	for kind, list := range map[string]client.ObjectList{
		"AuthorizationPolicy": &securityv1beta1.AuthorizationPolicyList{},
		"ResourceQuota":       &corev1.ResourceQuotaList{},
		"RoleBinding":         &rbacv1.RoleBindingList{},
		"ServiceAccount":      &corev1.ServiceAccountList{},
	} {
		if err := c.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return nil, err
		}
		err := meta.EachListItem(list, func(item runtime.Object) error {
			if name := item.(client.Object).GetName(); kind != "ServiceAccount" || name != "default" {
				found = append(found, kind+" "+name)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(found)
	return found, nil
}

// wantTenant fails the test unless the namespace holds exactly the objects of a profile of owner, each the owner's.
func wantTenant(t *testing.T, c client.Client, name, owner string) {
	t.Helper()
	found, err := objects(t.Context(), c, name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tenantObjects, found); diff != "" {
		t.Errorf("objects in namespace %q (-want +got):\n%s", name, diff)
	}
	ns, binding, policy := &corev1.Namespace{}, &rbacv1.RoleBinding{}, &securityv1beta1.AuthorizationPolicy{}
	for key, obj := range map[client.ObjectKey]client.Object{
		{Name: name}: ns,
		{Namespace: name, Name: "namespaceAdmin"}:        binding,
		{Namespace: name, Name: "ns-owner-access-istio"}: policy,
	} {
		if err := c.Get(t.Context(), key, obj); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]string{
		"annotation of the namespace": ns.Annotations["owner"],
		"annotation of the binding":   binding.Annotations["user"],
		"annotation of the policy":    policy.Annotations["user"],
	}
	if len(binding.Subjects) == 1 {
		got["subject"] = binding.Subjects[0].Name
	}
	if len(policy.Spec.Rules) > 0 && len(policy.Spec.Rules[0].When) > 0 {
		got["policy"] = strings.Join(policy.Spec.Rules[0].When[0].Values, ",")
	}
	want := map[string]string{}
	for _, key := range []string{"annotation of the namespace", "annotation of the binding", "annotation of the policy", "subject", "policy"} {
		want[key] = owner
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the owner of %q (-want +got):\n%s", name, diff)
	}
}

// awaitNothingLeft waits until the profile and its namespace are gone, and so all that was in it.
func awaitNothingLeft(t *testing.T, c client.Client, name string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		for _, obj := range []client.Object{&kubeflowv1.Profile{}, &corev1.Namespace{}} {
			if err := c.Get(t.Context(), client.ObjectKey{Name: name}, obj); !apierrors.IsNotFound(err) {
				return fmt.Errorf("%T %q is still there: %+v (error %w)", obj, name, obj, err)
			}
		}
		return nil
	})
	if found, err := objects(t.Context(), c, name); err != nil || len(found) > 0 {
		t.Errorf("left behind in namespace %q: %v (error %v)", name, found, err)
	}
}

// profileEvents are the Events about a profile, as "reason: note".
func profileEvents(t *testing.T, c client.Client, name string) (told []string) {
	t.Helper()
	var list eventsv1.EventList
	if err := c.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	for _, e := range list.Items {
		if e.Regarding.Kind == "Profile" && e.Regarding.Name == name {
			told = append(told, e.Reason+": "+e.Note)
		}
	}
	return told
}

// names are n names of profiles.
func names(t *testing.T, prefix string, n int) (all []string) {
	t.Helper()
	base := testkit.Name(t, prefix)
	for i := range n {
		all = append(all, fmt.Sprintf("%s-%d", base, i))
	}
	return all
}

func raw(json string) *runtime.RawExtension { return &runtime.RawExtension{Raw: []byte(json)} }
