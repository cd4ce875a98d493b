// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/testkit"
)

const (
	patience   = 30 * time.Second
	protection = "berth.dev/deletion-protection"
)

var cluster testkit.SharedCluster

func TestMain(m *testing.M) { os.Exit(testkit.RunWithCluster(m, &cluster)) }

func TestOverlays_areAcceptedByTheServer(t *testing.T) {
	c := newClient(t)
	kubeflow := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kubeflow"}}
	if err := c.Create(t.Context(), kubeflow); err != nil {
		t.Fatal(err)
	}
	for _, overlay := range append(slices.Clone(overlays), kfamOverlay) {
		t.Run(overlay, func(t *testing.T) { install(t, c, build(t, overlay)) })
	}
}

func TestDeletionProtection(t *testing.T) {
	cases := map[string]struct {
		annotations, labels map[string]string
		wantLift            string // what the refusal tells to run; empty where the profile goes
	}{
		"annotated profiles stay": {
			annotations: map[string]string{protection: "true"},
			wantLift:    "kubectl annotate profile NAME " + protection + "-",
		},
		"labelled profiles stay": {
			labels:   map[string]string{protection: "true"},
			wantLift: "kubectl label profile NAME " + protection + "-",
		},
		"others go":                         {},
		"profiles with false go":            {annotations: map[string]string{protection: "false"}},
		"other annotations protect nothing": {annotations: map[string]string{"owner": "true"}},
	}
	c := newClient(t)
	install(t, c, build(t, "standalone"))
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p := newProfile(t, c, tc.annotations, tc.labels)
			if tc.wantLift == "" {
				if err := c.Delete(t.Context(), p); err != nil {
					t.Errorf("delete: %v", err)
				}
				return
			}

			testkit.Eventually(t, patience, func() error { // a policy takes a moment to count
				if err := c.Delete(t.Context(), p, client.DryRunAll); !apierrors.IsForbidden(err) {
					return fmt.Errorf("delete: want it forbidden, got %w", err)
				}
				return nil
			})
			err := c.Delete(t.Context(), p)
			if want := strings.ReplaceAll(tc.wantLift, "NAME", p.Name); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the refusal does not say %q: %v", want, err)
			}

			p.Annotations, p.Labels = nil, nil
			if err := c.Update(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if err := c.Delete(t.Context(), p); err != nil {
				t.Errorf("delete after lifting the protection: %v", err)
			}
		})
	}
}

func newClient(t *testing.T) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, rbacv1.AddToScheme, kubeflowv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(cluster.Use(t).Config(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// install applies objects as `kubectl apply --server-side` does.
func install(t *testing.T, c client.Client, objects []unstructured.Unstructured) {
	t.Helper()
	for _, o := range objects {
		err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(&o), client.FieldOwner("install"), client.ForceOwnership)
		if err != nil {
			t.Errorf("apply %s %q: %v", o.GetKind(), o.GetName(), err)
		}
	}
}

func newProfile(t *testing.T, c client.Client, annotations, labels map[string]string) *kubeflowv1.Profile {
	t.Helper()
	p := &kubeflowv1.Profile{
		ObjectMeta: metav1.ObjectMeta{Name: testkit.Name(t, "protected"), Annotations: annotations, Labels: labels},
		Spec:       kubeflowv1.ProfileSpec{Owner: rbacv1.Subject{Kind: rbacv1.UserKind, Name: "ann@example.com"}},
	}
	if err := c.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	return p
}
