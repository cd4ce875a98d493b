// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/examples"
)

// platform is the namespace that the demo's controller takes for its own.
const platform = "kubeflow"

// syncList has profiles made from the list of examples/pmr: the plan is shown, approved and carried out.
func (d *demo) syncList(ctx context.Context) error {
	s := &berthv1alpha1.ProfileSync{
		ObjectMeta: metav1.ObjectMeta{Name: "teams"},
		Spec: berthv1alpha1.ProfileSyncSpec{
			Source: berthv1alpha1.SyncSource{ConfigMap: &berthv1alpha1.ConfigMapSource{Name: "teams"}, Path: "pmr.yaml"},
			Mode:   berthv1alpha1.SyncPlan,
		},
	}
	fmt.Fprintln(d.out)
	err := d.step("Putting in the list of examples/pmr, as a ProfileSync that waits for approval", func() (string, error) {
		for _, obj := range []client.Object{
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: platform}},
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: platform, Name: "teams"}, Data: map[string]string{"pmr.yaml": examples.PMR}},
			s,
		} {
			if err := d.client.Create(ctx, obj); err != nil && !apierrors.IsAlreadyExists(err) {
				return "", fmt.Errorf("put in the list: %w", err)
			}
		}
		return "planned", d.await(ctx, "the plan", func(ctx context.Context) (bool, string, error) {
			err := d.client.Get(ctx, client.ObjectKeyFromObject(s), s)
			return err == nil && s.Status.Plan != nil && s.Status.Plan.Held > 0, fmt.Sprint(s.Status.Conditions), err
		})
	})
	if err != nil {
		return err
	}
	settings := newSettings(os.Getenv)
	plan, err := previewer(d.client, settings, platform).Preview(ctx, s)
	if err != nil {
		return fmt.Errorf("plan ProfileSync %q: %w", s.Name, err)
	}
	fmt.Fprintf(d.out, "\nThe plan, as berth sync plan %s shows it:\n\n", s.Name)
	if err := printPlan(d.out, plan, approveCommand); err != nil {
		return err
	}
	fmt.Fprintln(d.out)
	if digest := plan.HeldDigest(); digest != s.Status.Plan.Digest {
		return fmt.Errorf("the plan has the digest %s, and the status says %s", digest, s.Status.Plan.Digest)
	}
	err = d.step("Approving it", func() (string, error) {
		if err := annotateSync(ctx, d.client, s, berthv1alpha1.SyncApproveAnnotation, s.Status.Plan.Digest); err != nil {
			return "", err
		}
		err := d.await(ctx, "the list to be carried out", func(ctx context.Context) (bool, string, error) {
			err := d.client.Get(ctx, client.ObjectKeyFromObject(s), s)
			return err == nil && meta.IsStatusConditionTrue(s.Status.Conditions, berthv1alpha1.ConditionReady), fmt.Sprint(s.Status.Conditions), err
		})
		if err == nil && s.Status.Plan != nil {
			err = errors.New("something of the plan is left")
		}
		return fmt.Sprintf("%d profiles with %d contributors are there", s.Status.Profiles, s.Status.Contributors), err
	})
	if err != nil {
		return err
	}
	return d.showContributors(ctx, "ml-engineers", "ann@example.com")
}
