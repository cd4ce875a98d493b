// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync_test

import (
	"fmt"
	"testing"

	istiosecurity "istio.io/api/security/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

func made(namespace, name string, annotations map[string]string) *securityv1beta1.AuthorizationPolicy {
	return &securityv1beta1.AuthorizationPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: annotations},
		Spec: istiosecurity.AuthorizationPolicy{Rules: []*istiosecurity.Rule{{
			From: []*istiosecurity.Rule_From{{Source: &istiosecurity.Source{Principals: []string{"cluster.local/ns/old/sa/gone"}}}},
			When: []*istiosecurity.Condition{{Key: "request.headers[kubeflow-userid]", Values: []string{annotations["user"]}}},
		}}},
	}
}

func TestSync_keepsAndReplacesWhatIsThere(t *testing.T) {
	c := start(t)
	team, elsewhere := testkit.Name(t, "team"), testkit.Name(t, "elsewhere")
	controllertest.Create(t, c, controllertest.Profile(team, func(p *profileType) { p.Spec.Owner.Name = "olga@example.com" }))
	controllertest.AwaitReady(t, c, team)
	create(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: elsewhere}})

	roleDrift := bound(team, "role-drift", "dri@example.com", "view")
	roleDrift.RoleRef.Name = "kubeflow-admin"
	subjectDrift := bound(team, "subject-drift", "sub@example.com", "edit")
	subjectDrift.Subjects[0].Name = "evil@example.com"
	several := bound(team, "several", "multi@example.com", "edit")
	several.Subjects = append(several.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "rider@example.com"})
	capital := bound(team, "capital", "cap@example.com", "edit")
	capital.Annotations["role"] = "Edit"
	plain := bound(team, "plain", "somebody@example.com", "edit")
	plain.Annotations = nil
	group := bound(team, "group-x-clusterrole-edit", "x", "edit")
	group.Annotations = map[string]string{"group": "x", "role": "edit"}
	group.Subjects[0].Kind = rbacv1.GroupKind
	foreign := bound(elsewhere, "foreign", "gone@example.com", "edit")

	kept := []client.Object{
		bound(team, "user-ann-example-com-clusterrole-edit", "ann@example.com", "edit"), bound(team, "by-hand", "ed@example.com", "view"),
		capital, plain, group, foreign,
		made(elsewhere, "foreign", map[string]string{"user": "gone@example.com", "role": "edit"}), made(team, "not-a-contributor", nil),
	}
	replaced := []client.Object{
		roleDrift, subjectDrift, several, bound(team, "unlisted", "gone@example.com", "edit"),
		made(team, "stray", map[string]string{"user": "stray@example.com", "role": "view"}),
	}
	uids := map[client.Object]types.UID{}
	for _, obj := range append(append([]client.Object{}, kept...), replaced...) {
		create(t, c, obj)
		uids[obj] = obj.GetUID()
	}

	s := newSync(t, c, listOf(entry(team, people("ann:edit", "ed:view", "cap:edit", "dri:view", "sub:edit", "multi:edit"))), "{}")
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
	awaitAccess(t, c, team, at("ann:edit", "ed:view", "cap:edit", "dri:view", "sub:edit", "multi:edit")...)
	for _, obj := range kept {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil || obj.GetUID() != uids[obj] {
			t.Errorf("%T %s did not stay (error %v)", obj, obj.GetName(), err)
		}
	}
	for _, obj := range replaced {
		controllertest.AwaitGone(t, c, obj)
	}
	// The access-management API refuses the whole list of a namespace where one has several subjects.
	var all rbacv1.RoleBindingList
	if err := c.List(t.Context(), &all, client.InNamespace(team)); err != nil {
		t.Fatal(err)
	}
	for i := range all.Items {
		if b := &all.Items[i]; render.IsContributorBinding(b) && len(b.Subjects) != 1 {
			t.Errorf("RoleBinding %s has the subjects %v", b.Name, b.Subjects)
		}
	}
}

func TestSync_repairsWhatIsChangedByHand(t *testing.T) {
	c := start(t)
	team := testkit.Name(t, "team")
	s := newSync(t, c, listOf(entry(team, people("ann:edit"))), "{}")
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
	awaitAccess(t, c, team, at("ann:edit")...)
	name := "user-ann-example-com-clusterrole-edit"

	// More than the list says: the role of the binding can only be changed by making it anew.
	if err := c.Delete(t.Context(), binding(team, name)); err != nil {
		t.Fatal(err)
	}
	more := bound(team, name, "ann@example.com", "edit")
	more.RoleRef.Name = "kubeflow-admin"
	if err := c.Create(t.Context(), more); err != nil {
		// The sync was faster. Its own goes again, and another name takes the place.
		more.Name = "more"
		create(t, c, more)
	}
	awaitAccess(t, c, team, at("ann:edit")...)

	// Somebody else in the binding.
	testkit.Eventually(t, controllertest.Patience, func() error {
		for name := range access(t, c, team) {
			live := binding(team, name)
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(live), live); err != nil {
				return err
			}
			live.Subjects[0].Name = "evil@example.com"
			return c.Update(t.Context(), live)
		}
		return fmt.Errorf("nobody has access to %s", team)
	})
	awaitAccess(t, c, team, at("ann:edit")...)
}

func TestSync_upgradesAContributorOfTheDashboard(t *testing.T) {
	for title, tc := range map[string]struct {
		spec     string
		approves bool
	}{
		"where new admins wait for approval": {"{}", true},
		"where they do not":                  {"limits: {allowNewAdmins: true}", false},
	} {
		t.Run(title, func(t *testing.T) {
			c := start(t)
			team := testkit.Name(t, "team")
			controllertest.Create(t, c, controllertest.Profile(team, func(p *profileType) { p.Spec.Owner.Name = "olga@example.com" }))
			controllertest.AwaitReady(t, c, team)
			old := bound(team, "user-kim-example-com-clusterrole-edit", "kim@example.com", "edit")
			old.Labels = map[string]string{"purpose": "testing"}
			create(t, c, old)
			create(t, c, made(team, old.Name, old.Annotations))

			s := newSync(t, c, listOf(entry(team, people("kim:admin"))), tc.spec)
			if tc.approves {
				awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonLimitExceeded)
				awaitAccess(t, c, team, at("kim:edit")...)
				approve(t, c, s, s.Status.Plan.Digest)
			}
			awaitAccess(t, c, team, at("kim:admin")...)
			awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
			testkit.Eventually(t, controllertest.Patience, func() error {
				found := policies(t, c, team)
				if len(found) != 1 || found["user-kim-example-com-clusterrole-admin"] == nil {
					return fmt.Errorf("the policies are %v", found)
				}
				return nil
			})
		})
	}
}
