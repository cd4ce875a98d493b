// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// MUST keep: object names, annotations, roleRefs and policy rules byte-compatible; both versions of the API. The files
// of testdata/tenant are section 1.5 of the description of Kubeflow's controller, with owner references and our label.
func TestTenant_hasEveryObject(t *testing.T) {
	spec := map[string]any{
		"owner": map[string]any{"kind": "User", "name": "alice@example.com"},
		"resourceQuotaSpec": map[string]any{
			"hard": map[string]any{
				"requests.cpu": int64(50), "requests.memory": "200Gi", "requests.nvidia.com/gpu": "8",
			},
			"scopes": []any{"NotTerminating"},
			"scopeSelector": map[string]any{"matchExpressions": []any{
				map[string]any{"operator": "DoesNotExist", "scopeName": "PriorityClass"},
			}},
		},
	}
	for _, version := range []kind{profileKind, profileBetaKind} {
		t.Run("created as "+version.apiVersion, func(t *testing.T) {
			c := onShared(t)
			obj := version.object("", testkit.Name(t, "team"))
			obj.Object["spec"] = spec
			create(t, c, obj)
			controllertest.AwaitReady(t, c, obj.GetName())
			p := read(t, c, controllertest.Profile(obj.GetName()))

			for _, want := range golden(t, "tenant", p) {
				have := read(t, c, kind{want.GetAPIVersion(), want.GetKind()}.object(want.GetNamespace(), want.GetName()))
				if d := cmp.Diff(want.Object, written(have)); d != "" {
					t.Errorf("%s %s (-want +got):\n%s", want.GetKind(), want.GetName(), d)
				}
			}
		})
	}
}

// MUST keep: written as v1beta1, readable as v1.
func TestPolicies_areReadableAsV1(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c)
	v1 := kind{"security.istio.io/v1", "AuthorizationPolicy"}
	for _, name := range []string{"ns-owner-access-istio", "ns-access-istio"} {
		want := read(t, c, policyKind.object(p.Name, name)).Object["spec"]
		if d := cmp.Diff(want, read(t, c, v1.object(p.Name, name)).Object["spec"]); d != "" {
			t.Errorf("%s (-v1beta1 +v1):\n%s", name, d)
		}
	}
}

// Defect 7: the probe paths stay open, as Knative needs them, and nothing else is. Defect 1: no value that the mesh
// reads as a wildcard, but for the path of notebooks' kernels.
func TestOwnerPolicy_opensOnlyProbePathsToEverybody(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c)
	rules, _, err := unstructured.NestedSlice(read(t, c, policyKind.object(p.Name, "ns-owner-access-istio")).Object, "spec", "rules")
	if err != nil {
		t.Fatal(err)
	}
	var open []any
	for _, rule := range rules {
		if fields := rule.(map[string]any); fields["from"] == nil && fields["when"] == nil {
			open = append(open, fields["to"])
		}
	}
	want := []any{[]any{map[string]any{"operation": map[string]any{"paths": []any{"/healthz", "/metrics", "/wait-for-drain"}}}}}
	if d := cmp.Diff(want, open); d != "" {
		t.Errorf("rules for everybody (-want +got):\n%s", d)
	}
}

func TestOwner_mayAdministerTheirNamespaceAndStrangersMayNot(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c)
	for who, want := range map[string]bool{controllertest.Owner: true, "mallory@example.com": false} {
		clients, err := kubernetes.NewForConfig(shared.Use(t).UserConfig(who))
		if err != nil {
			t.Fatal(err)
		}
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: p.Name, Verb: "create", Resource: "pods"},
		}}
		testkit.Eventually(t, patience, func() error { // the server's own authorizer follows the roles with a delay
			answer, err := clients.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
			if err == nil && answer.Status.Allowed != want {
				err = fmt.Errorf("%s may create pods: %t, want %t", who, answer.Status.Allowed, want)
			}
			return err
		})
	}
}

// MUST keep: the finalizer's name.
func TestProfile_hasTheFinalizer(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c)
	if d := cmp.Diff([]string{"profile-finalizer"}, p.Finalizers); d != "" {
		t.Errorf("finalizers (-want +got):\n%s", d)
	}
}

// MUST keep: spec.resourceQuotaSpec readable as {}. Defect 17: the controller leaves the spec as it was written.
func TestProfile_specStaysAsWritten(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c, controllertest.WithQuota("requests.cpu", "1000m"), func(p *kubeflowv1.Profile) {
		p.Spec.ResourceQuotaSpec.Hard["requests.memory"] = "1024Mi"
	})
	if p.Generation != 1 {
		t.Errorf("generation is %d: somebody changed the spec", p.Generation)
	}
	want := map[string]any{
		"owner":             map[string]any{"kind": "User", "name": controllertest.Owner},
		"resourceQuotaSpec": map[string]any{"hard": map[string]any{"requests.cpu": "1000m", "requests.memory": "1024Mi"}},
	}
	if d := cmp.Diff(want, read(t, c, profileKind.object("", p.Name)).Object["spec"]); d != "" {
		t.Errorf("spec (-want +got):\n%s", d)
	}
}
