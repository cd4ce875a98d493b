// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// command runs berth with args on the cluster, and returns what it prints. Colours are for terminals.
func command(t *testing.T, cluster *testkit.Cluster, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := Root()
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(append(args, "--kubeconfig", cluster.Kubeconfig))
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// says fails unless a command succeeds and prints all of wants.
func says(t *testing.T, cluster *testkit.Cluster, args []string, wants ...string) string {
	t.Helper()
	out, err := command(t, cluster, args...)
	if err != nil {
		t.Fatalf("berth %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	for _, want := range wants {
		if !strings.Contains(out, want) {
			t.Errorf("berth %s does not say %q:\n%s", strings.Join(args, " "), want, out)
		}
	}
	return out
}

// refuses fails unless a command fails with an error that has all of wants.
func refuses(t *testing.T, cluster *testkit.Cluster, args []string, wants ...string) {
	t.Helper()
	_, err := command(t, cluster, args...)
	for _, want := range wants {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("berth %s: want an error with %q, have %v", strings.Join(args, " "), want, err)
		}
	}
}

func TestSync_approvedAndDeletedByCommands(t *testing.T) {
	cluster := testkit.StartCluster(t)
	c := controllertest.Client(t, cluster.Config())
	controllertest.Start(t, cluster.Config())
	list := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: platform, Name: "teams"}, Data: map[string]string{
		"pmr.yaml": "profiles:\n- name: vision\n  owner: {kind: User, name: ann@example.com}\n  contributors: [{name: bob@example.com, role: edit}]\n",
	}}
	s := &berthv1alpha1.ProfileSync{ObjectMeta: metav1.ObjectMeta{Name: "teams"}, Spec: berthv1alpha1.ProfileSyncSpec{
		Source: berthv1alpha1.SyncSource{ConfigMap: &berthv1alpha1.ConfigMapSource{Name: "teams"}}, Mode: berthv1alpha1.SyncPlan,
		Stale: berthv1alpha1.StalePolicy{GracePeriod: &metav1.Duration{}, DeletionPolicy: "Delete"},
	}}
	for _, obj := range []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: platform}}, list, s} {
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	digest := awaitHeld(t, c, s, 2)
	says(t, cluster, []string{"sync", "plan", "teams"}, "+ create, for User ann@example.com", "+ bob@example.com: edit", "berth sync approve "+digest)
	var plan struct{ HeldDigest string }
	if err := json.Unmarshal([]byte(says(t, cluster, []string{"sync", "plan", "teams", "-o", "json"})), &plan); err != nil || plan.HeldDigest != digest {
		t.Errorf("as JSON, the digest is %q (error %v), want %q", plan.HeldDigest, err, digest)
	}
	refuses(t, cluster, []string{"sync", "approve", "sha256:12"}, "sha256:12", "64 hexadecimal digits")
	refuses(t, cluster, []string{"sync", "approve", "sha256:" + strings.Repeat("0", 64)}, "no ProfileSync holds a plan")
	says(t, cluster, []string{"sync", "approve", digest}, "approved for ProfileSync teams: 2 actions")
	controllertest.AwaitCondition(t, c, "vision", kubeflowv1.ConditionSynced, metav1.ConditionTrue, berthv1alpha1.ReasonSucceeded)
	says(t, cluster, []string{"stale", "list"}, "Every profile of a sync is on its list.")
	refuses(t, cluster, []string{"stale", "approve", "vision"}, `"vision" is not stale`)

	list.Data["pmr.yaml"] = "profiles: []"
	if err := c.Update(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	says(t, cluster, []string{"sync", "now", "teams"})
	says(t, cluster, []string{"sync", "approve", awaitHeld(t, c, s, 3)})
	// What has become stale may be deleted, once that is approved as well.
	testkit.Eventually(t, controllertest.Patience, func() error {
		out, err := command(t, cluster, "stale", "list")
		if err == nil && !strings.Contains(out, "Deletable") {
			err = fmt.Errorf("have:\n%s", out)
		}
		return err
	})
	says(t, cluster, []string{"stale", "report", "vision"}, "Owner               ann@example.com", "Contributors        1: bob@example.com (edit)", "Running pods        0")
	says(t, cluster, []string{"stale", "report", "vision", "-o", "json"}, `"profile": "vision"`)
	says(t, cluster, []string{"stale", "approve", "vision"}, "profile vision will be deleted")
	says(t, cluster, []string{"stale", "list"}, "DeletionApproved")
}

// awaitHeld waits until the sync holds so many actions, and returns the digest.
func awaitHeld(t *testing.T, c client.Client, s *berthv1alpha1.ProfileSync, held int32) string {
	t.Helper()
	testkit.Eventually(t, controllertest.Patience, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
			return err
		}
		if s.Status.Plan == nil || s.Status.Plan.Held != held {
			return fmt.Errorf("want %d held, have %+v, plan %+v", held, s.Status.Conditions, s.Status.Plan)
		}
		return nil
	})
	return s.Status.Plan.Digest
}
