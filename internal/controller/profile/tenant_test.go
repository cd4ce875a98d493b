// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"fmt"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

func TestTenant_becomesReady(t *testing.T) {
	cfg := cluster.Use(t).Config()
	controllertest.Start(t, cfg)
	c := controllertest.Client(t, cfg)
	p := &kubeflowv1.Profile{
		ObjectMeta: metav1.ObjectMeta{Name: testkit.Name(t, "team")},
		Spec: kubeflowv1.ProfileSpec{
			Owner: rbacv1.Subject{Kind: "User", Name: "alice@example.com"},
		},
	}
	if err := c.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(p.Status.Conditions, "Ready") {
			return fmt.Errorf("not ready: %v", p.Status.Conditions)
		}
		return nil
	})
}
