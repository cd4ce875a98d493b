// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync_test

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

func TestSync_makesProfilesWithTheirContributors(t *testing.T) {
	c := start(t)
	team, other := testkit.Name(t, "team"), testkit.Name(t, "other")
	s := newSync(t, c, fmt.Sprintf(`
profiles:
- name: %s
  owner: {kind: User, name: olga@example.com}
  resources: {hard: {requests.cpu: "4"}}
  labels: {cost-centre: a1}
  contributors:
  - {name: ann@example.com, role: admin}
  - {name: ed@example.com, role: edit}
- name: %s
  owner: {kind: User, name: olga@example.com}
`, team, other), "{}")
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
	awaitAccess(t, c, team, "ann@example.com:admin", "ed@example.com:edit")
	p := profile(t, c, team)
	if p.Labels["cost-centre"] != "a1" || p.Labels[berthv1alpha1.SyncLabel] != s.Name || p.Spec.ResourceQuotaSpec.Hard["requests.cpu"] != "4" {
		t.Errorf("the profile is %+v", p)
	}
	if names := access(t, c, team); names["user-ann-example-com-clusterrole-admin"] == "" {
		t.Errorf("the RoleBindings are %v", names)
	}
	controllertest.AwaitCondition(t, c, team, kubeflowv1.ConditionSynced, metav1.ConditionTrue, berthv1alpha1.ReasonSucceeded)
	if s.Status.Profiles != 2 || s.Status.Contributors != 2 || s.Status.Plan != nil || s.Status.Source.Revision == "" {
		t.Errorf("the status is %+v", s.Status)
	}

	// The list changes: a role, somebody who goes, and a label.
	declare(t, c, s.Name, fmt.Sprintf(`
profiles:
- name: %s
  owner: {kind: User, name: olga@example.com}
  resources: {hard: {requests.cpu: 4000m}}
  contributors:
  - {name: ann@example.com, role: admin}
  - {name: ed@example.com, role: view}
- name: %s
  owner: {kind: User, name: olga@example.com}
`, team, other))
	awaitAccess(t, c, team, "ann@example.com:admin", "ed@example.com:view")
	testkit.Eventually(t, controllertest.Patience, func() error {
		if p := profile(t, c, team); p.Labels["cost-centre"] != "" || p.Spec.ResourceQuotaSpec.Hard["requests.cpu"] != "4" {
			return fmt.Errorf("the profile is %+v", p)
		}
		return nil
	})

	// Somebody else's changes are undone.
	for name := range access(t, c, team) {
		if strings.Contains(name, "ed-example") {
			gone := binding(team, name)
			if err := c.Delete(t.Context(), gone); err != nil {
				t.Fatal(err)
			}
		}
	}
	awaitAccess(t, c, team, "ann@example.com:admin", "ed@example.com:view")
}

func TestSync_holdsNewAdminsUntilApproved(t *testing.T) {
	c := start(t)
	team := testkit.Name(t, "team")
	list := func(contributors string) string {
		return fmt.Sprintf("profiles:\n- name: %s\n  owner: {kind: User, name: olga@example.com}\n  contributors: [%s]\n", team, contributors)
	}
	s := newSync(t, c, list("{name: ann@example.com, role: admin}"), "{}")
	awaitAccess(t, c, team, "ann@example.com:admin")
	declare(t, c, s.Name, list("{name: ann@example.com, role: admin}, {name: mal@example.com, role: admin}, {name: vic@example.com, role: view}"))
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonLimitExceeded)
	awaitAccess(t, c, team, "ann@example.com:admin", "vic@example.com:view")
	controllertest.AwaitCondition(t, c, team, kubeflowv1.ConditionSynced, metav1.ConditionFalse, berthv1alpha1.ReasonApprovalPending)
	if s.Status.Plan == nil || s.Status.Plan.Held != 1 {
		t.Fatalf("the plan is %+v", s.Status.Plan)
	}
	digest := s.Status.Plan.Digest
	approve(t, c, s, digest)
	awaitAccess(t, c, team, "ann@example.com:admin", "vic@example.com:view", "mal@example.com:admin")
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
	if s.Status.Approval == nil || !s.Status.Approval.Done || s.Annotations[berthv1alpha1.SyncApproveAnnotation] != "" {
		t.Errorf("the approval is %+v, annotations %v", s.Status.Approval, s.Annotations)
	}
	// Once approved, it is theirs: somebody who takes the binding away by hand does not make them new.
	for name, who := range access(t, c, team) {
		if who == "mal@example.com:admin" {
			if err := c.Delete(t.Context(), binding(team, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	awaitAccess(t, c, team, "ann@example.com:admin", "vic@example.com:view", "mal@example.com:admin")
}

// approve approves a plan, as berth sync approve does.
func approve(t *testing.T, c client.Client, s *berthv1alpha1.ProfileSync, digest string) {
	t.Helper()
	before := s.DeepCopy()
	if s.Annotations == nil {
		s.Annotations = map[string]string{}
	}
	s.Annotations[berthv1alpha1.SyncApproveAnnotation] = digest
	if err := c.Patch(t.Context(), s, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}
