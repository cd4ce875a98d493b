// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package controllertest

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/testkit"
)

// Patience is far above what anything takes on a slow machine.
const Patience = time.Minute

// Owner is the owner of profiles that name none other.
const Owner = "ann@example.com"

// Profile is a profile of Owner, with changes.
func Profile(name string, changes ...func(*kubeflowv1.Profile)) *kubeflowv1.Profile {
	p := &kubeflowv1.Profile{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       kubeflowv1.ProfileSpec{Owner: rbacv1.Subject{Kind: rbacv1.UserKind, Name: Owner}},
	}
	for _, change := range changes {
		change(p)
	}
	return p
}

// WithQuota asks for a quota of one resource.
func WithQuota(resource, quantity string) func(*kubeflowv1.Profile) {
	return func(p *kubeflowv1.Profile) {
		p.Spec.ResourceQuotaSpec.Hard = map[corev1.ResourceName]kubeflowv1.Quantity{
			corev1.ResourceName(resource): kubeflowv1.Quantity(quantity),
		}
	}
}

// Create creates p.
func Create(t testing.TB, c client.Client, p *kubeflowv1.Profile) *kubeflowv1.Profile {
	t.Helper()
	if err := c.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	return p
}

// Change changes the profile as it is now.
func Change(t testing.TB, c client.Client, name string, change func(*kubeflowv1.Profile)) {
	t.Helper()
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		p := &kubeflowv1.Profile{}
		if err := c.Get(t.Context(), client.ObjectKey{Name: name}, p); err != nil {
			return err
		}
		change(p)
		return c.Update(t.Context(), p)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Delete deletes the profile, without waiting for it to be gone.
func Delete(t testing.TB, c client.Client, name string) {
	t.Helper()
	if err := c.Delete(t.Context(), Profile(name)); err != nil {
		t.Fatal(err)
	}
}

// AwaitReady waits until the profile is ready as it is now.
func AwaitReady(t testing.TB, c client.Client, name string) {
	t.Helper()
	AwaitCondition(t, c, name, kubeflowv1.ConditionReady, metav1.ConditionTrue, kubeflowv1.ReasonReady)
}

// Ready fails unless the profile is ready as it is now.
func Ready(ctx context.Context, c client.Client, name string) error {
	_, err := condition(ctx, c, name, kubeflowv1.ConditionReady, metav1.ConditionTrue, kubeflowv1.ReasonReady)
	return err
}

// AwaitCondition waits until the profile has the condition for its spec as it is now, and returns its message.
func AwaitCondition(t testing.TB, c client.Client, name, conditionType string, status metav1.ConditionStatus, reason string) string {
	t.Helper()
	var message string
	testkit.Eventually(t, Patience, func() (err error) {
		message, err = condition(t.Context(), c, name, conditionType, status, reason)
		return err
	})
	return message
}

func condition(ctx context.Context, c client.Client, name, conditionType string, status metav1.ConditionStatus, reason string) (string, error) {
	p := &kubeflowv1.Profile{}
	if err := c.Get(ctx, client.ObjectKey{Name: name}, p); err != nil {
		return "", err
	}
	have := meta.FindStatusCondition(p.Status.Conditions, conditionType)
	if have == nil || have.Status != status || have.Reason != reason || have.ObservedGeneration != p.Generation {
		return "", fmt.Errorf("profile %q: want %s=%s for reason %s at generation %d, have %+v",
			name, conditionType, status, reason, p.Generation, p.Status.Conditions)
	}
	return have.Message, nil
}

// AwaitGone waits until obj is gone.
func AwaitGone(t testing.TB, c client.Client, obj client.Object) {
	t.Helper()
	testkit.Eventually(t, Patience, func() error {
		err := c.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("%T %q is still there: %+v (error %w)", obj, obj.GetName(), obj, err)
	})
}
