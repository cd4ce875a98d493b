// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package contributor_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	istiosecurity "istio.io/api/security/v1beta1"
	istiotype "istio.io/api/type/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/testkit"
)

const (
	alice = "alice@example.com"
	bob   = "bob@example.com"
)

// kubeflows is the policy that Kubeflow's access-management API makes for a user.
func kubeflows(namespace, name, user string) *securityv1beta1.AuthorizationPolicy {
	p := policy(namespace, name)
	p.Annotations = map[string]string{"user": user, "role": "edit"}
	p.Spec.Rules = []*istiosecurity.Rule{{
		From: []*istiosecurity.Rule_From{{Source: &istiosecurity.Source{Principals: []string{
			"cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account", "cluster.local/ns/kubeflow/sa/ml-pipeline-ui",
		}}}},
		When: []*istiosecurity.Condition{{Key: "request.headers[kubeflow-userid]", Values: []string{user}}},
	}}
	return p
}

// What somebody makes in the namespace of a profile, and what becomes of it.
func TestContributor_policies(t *testing.T) {
	c := start(t)
	for name, test := range map[string]func(*testing.T, client.Client){
		"a binding made by hand":                   madeByHand,
		"several subjects of all kinds":            allKinds,
		"no binding without both annotations":      notAnnotated,
		"annotations put on and taken off":         annotatedLater,
		"a pair of Kubeflow's is left as it is":    kubeflowsPair,
		"a pair with names of its own is kept":     automatorsPair,
		"a foreign policy outlives its binding":    foreignPolicy,
		"a policy of the platform is not taken":    platformsPolicy,
		"an odd name":                              oddName,
		"subjects and role follow the binding":     followsBinding,
		"what was edited is put back":              edited,
		"a wildcard lets nobody in":                wildcard,
		"an adopted namespace":                     adopted,
		"a namespace that is not the profile's":    notHeld,
		"a profile that is being deleted is left":  deleting,
		"a profile that is being orphaned is left": orphaning,
		"a namespace that goes takes all along":    namespaceGoes,
		"what is deleted with the profile is gone": profileGoes,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, c)
		})
	}
}

func madeByHand(t *testing.T, c client.Client) {
	p := team(t, c)
	b := create(t, c, binding(p.Name, "alice-edit", user(alice)))
	awaitPolicies(t, c, p, perContributor(map[string]string{"alice-edit": lets(alice)}))
	made := policy(p.Name, "alice-edit")
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(made), made); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"user": alice, "role": "edit"}, made.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if note := awaitTold(t, c, p, status.EventContributorPolicies); !strings.Contains(note, "AuthorizationPolicy alice-edit") {
		t.Errorf("told %q", note)
	}
	remove(t, c, b)
	awaitPolicies(t, c, p, perContributor(nil))
}

func allKinds(t *testing.T, c client.Client) {
	p := team(t, c)
	create(t, c, binding(p.Name, "x", user(alice),
		rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "ml-team"},
		rbacv1.Subject{Kind: "ServiceAccount", Namespace: "ci", Name: "bot"}))
	people := "istio-ingressgateway-service-account ml-pipeline-ui "
	awaitPolicies(t, c, p, perContributor(map[string]string{"x": "ours: [" + people + "request.headers[kubeflow-userid]=" + alice + "] [" +
		people + "request.auth.claims[groups]=ml-team] [bot]"}))
}

func notAnnotated(t *testing.T, c client.Client) {
	p := team(t, c)
	for i, annotations := range []map[string]string{nil, {"user": alice}, {"role": "edit"}} {
		b := binding(p.Name, fmt.Sprintf("half-%d", i), user(alice))
		b.Annotations = annotations
		create(t, c, b)
	}
	create(t, c, binding(p.Name, "whole", user(bob))) // after the others
	awaitPolicies(t, c, p, perContributor(map[string]string{"whole": lets(bob)}))
}

func annotatedLater(t *testing.T, c client.Client) {
	p := team(t, c)
	b := binding(p.Name, "x", user(alice))
	b.Annotations = nil
	create(t, c, b)
	edit(t, c, b, func(b *rbacv1.RoleBinding) { b.Annotations = map[string]string{"user": alice, "role": "edit"} })
	awaitPolicies(t, c, p, perContributor(map[string]string{"x": lets(alice)}))
	canary(t, c) // what was to be looked at was
	edit(t, c, b, func(b *rbacv1.RoleBinding) { delete(b.Annotations, "role") })
	awaitPolicies(t, c, p, perContributor(nil))
}

func kubeflowsPair(t *testing.T, c client.Client) {
	p := team(t, c)
	name := "user-alice-example-com-clusterrole-edit"
	theirs := create(t, c, kubeflows(p.Name, name, alice))
	create(t, c, binding(p.Name, name, user(alice)))
	awaitPolicies(t, c, p, perContributor(map[string]string{name: asOthers(lets(alice))}))
	canary(t, c) // what was to be looked at was
	now := policy(p.Name, name)
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(now), now); err != nil {
		t.Fatal(err)
	}
	if now.UID != theirs.UID || now.ResourceVersion != theirs.ResourceVersion {
		t.Errorf("the policy was made anew or written: generation %d", now.Generation)
	}
}

// Canonical's automator names pairs otherwise, and knows no trust domains.
func automatorsPair(t *testing.T, c client.Client) {
	p := team(t, c)
	theirs := kubeflows(p.Name, "alice-example-com-edit", alice)
	theirs.Spec.Rules[0].From[0].Source.Principals = []string{"cluster.local/ns/other/sa/gateway"}
	create(t, c, theirs)
	create(t, c, binding(p.Name, "alice-example-com-edit", user(alice)))
	awaitPolicies(t, c, p, perContributor(map[string]string{"alice-example-com-edit": asOthers(lets(alice))}))
}

// asOthers is what a policy says that somebody else made and keeps.
func asOthers(said string) string { return strings.Replace(said, "ours:", "foreign:", 1) }

func foreignPolicy(t *testing.T, c client.Client) {
	p := team(t, c)
	theirs := kubeflows(p.Name, "alice-edit", "somebody-else")
	theirs.Labels = map[string]string{kubeflowv1.ManagedByLabel: "Helm"}
	create(t, c, theirs)
	b := create(t, c, binding(p.Name, "alice-edit", user(alice)))
	foreign := asOthers(lets(alice))
	awaitPolicies(t, c, p, perContributor(map[string]string{"alice-edit": foreign}))
	create(t, c, binding(p.Name, "bob-edit", user(bob)))
	remove(t, c, b)
	awaitPolicies(t, c, p, perContributor(map[string]string{"alice-edit": foreign, "bob-edit": lets(bob)}))
	remove(t, c, binding(p.Name, "bob-edit"))
	awaitPolicies(t, c, p, perContributor(map[string]string{"alice-edit": foreign}))
}

// Whoever may make RoleBindings does not rewrite a policy by naming one after it.
func platformsPolicy(t *testing.T, c client.Client) {
	p := team(t, c)
	deny := policy(p.Name, "deny-external")
	deny.Spec.Action = istiosecurity.AuthorizationPolicy_DENY
	deny.Spec.Rules = []*istiosecurity.Rule{{To: []*istiosecurity.Rule_To{{Operation: &istiosecurity.Operation{Methods: []string{"DELETE"}}}}}}
	create(t, c, deny)
	create(t, c, binding(p.Name, "deny-external", user(alice)))
	create(t, c, binding(p.Name, "with-others", user(bob)))
	awaitPolicies(t, c, p, perContributor(map[string]string{"deny-external": "foreign: DENY [DELETE]", "with-others": lets(bob)}))
	if note := awaitTold(t, c, p, status.EventContributorRefused); !strings.Contains(note, "deny-external") {
		t.Errorf("told %q", note)
	}
	canary(t, c)       // what was to be looked at was
	remove(t, c, deny) // which makes room
	awaitPolicies(t, c, p, perContributor(map[string]string{"deny-external": lets(alice), "with-others": lets(bob)}))
}

// Names that policies can't have, or that are taken by the profile's own.
func oddName(t *testing.T, c client.Client) {
	p := team(t, c)
	for _, name := range []string{"Alice:edit", "ns-owner-access-istio", "ns-access-istio"} {
		create(t, c, binding(p.Name, name, user(alice)))
	}
	testkit.Eventually(t, patience, func() error {
		have, err := saying(t.Context(), c, p)
		if err != nil {
			return err
		}
		letting := 0
		for name, said := range have {
			if strings.HasPrefix(name, "contributor-") && said == lets(alice) {
				letting++
			}
		}
		if letting != 3 || len(have) != 4 || have["ns-access-istio"] != "ours:" {
			return fmt.Errorf("policies %v", have)
		}
		return nil
	})
	controllertest.AwaitReady(t, c, p.Name)
}

func followsBinding(t *testing.T, c client.Client) {
	p := team(t, c)
	b := create(t, c, binding(p.Name, "x", user(alice)))
	awaitPolicies(t, c, p, perContributor(map[string]string{"x": lets(alice)}))
	edit(t, c, b, func(b *rbacv1.RoleBinding) { b.Subjects = append(b.Subjects, user(bob)) })
	awaitPolicies(t, c, p, perContributor(map[string]string{"x": lets(alice, bob)}))
	edit(t, c, b, func(b *rbacv1.RoleBinding) { b.Subjects = b.Subjects[1:] })
	awaitPolicies(t, c, p, perContributor(map[string]string{"x": lets(bob)}))
	edit(t, c, b, func(b *rbacv1.RoleBinding) { b.Subjects = nil })
	awaitPolicies(t, c, p, perContributor(nil))
}

func edited(t *testing.T, c client.Client) {
	p := team(t, c)
	create(t, c, binding(p.Name, "x", user(alice)))
	want := perContributor(map[string]string{"x": lets(alice)})
	awaitPolicies(t, c, p, want)
	for _, name := range []string{"x", "ns-access-istio"} {
		for change, spoil := range map[string]func(*securityv1beta1.AuthorizationPolicy){
			"rules for everybody": func(a *securityv1beta1.AuthorizationPolicy) { a.Spec.Rules = []*istiosecurity.Rule{{}} },
			"action": func(a *securityv1beta1.AuthorizationPolicy) {
				a.Spec.Action, a.Spec.Rules = istiosecurity.AuthorizationPolicy_DENY, []*istiosecurity.Rule{{}}
			},
			"selector": func(a *securityv1beta1.AuthorizationPolicy) {
				a.Spec.Selector = &istiotype.WorkloadSelector{MatchLabels: map[string]string{"a": "b"}}
			},
			"no rules":           func(a *securityv1beta1.AuthorizationPolicy) { a.Spec.Reset(); a.Labels = nil },
			"no label":           func(a *securityv1beta1.AuthorizationPolicy) { a.Labels = nil },
			"no owner reference": func(a *securityv1beta1.AuthorizationPolicy) { a.OwnerReferences = nil },
			"no annotations":     func(a *securityv1beta1.AuthorizationPolicy) { a.Annotations = nil; a.Spec.Rules = nil },
			"another's label":    func(a *securityv1beta1.AuthorizationPolicy) { a.Labels[kubeflowv1.ManagedByLabel] = "mallory" },
		} {
			if name == "x" && change == "another's label" {
				continue // it is another's from then on
			}
			edit(t, c, policy(p.Name, name), spoil)
			t.Log(name, change)
			awaitPolicies(t, c, p, want)
		}
		remove(t, c, policy(p.Name, name))
		awaitPolicies(t, c, p, want)
	}
}

// Somebody who can't be told apart from others gets no policy, and that is told once, however often it is looked at.
func wildcard(t *testing.T, c client.Client) {
	p := team(t, c)
	b := create(t, c, binding(p.Name, "everybody", user("*")))
	note := awaitTold(t, c, p, status.EventContributorRefused)
	if !strings.Contains(note, "everybody") {
		t.Errorf("told %q", note)
	}
	for i := range 3 {
		edit(t, c, b, func(b *rbacv1.RoleBinding) { b.Labels = map[string]string{"touched": fmt.Sprint(i)} })
		name := fmt.Sprintf("other-%d", i)
		create(t, c, binding(p.Name, name, user(alice)))
		awaitPolicies(t, c, p, perContributor(map[string]string{name: lets(alice)}))
		remove(t, c, binding(p.Name, name))
		awaitPolicies(t, c, p, perContributor(nil))
	}
	events, err := told(t.Context(), c, p, status.EventContributorRefused)
	if err != nil || len(events) != 1 || events[0].Type != corev1.EventTypeWarning || events[0].Series != nil {
		t.Errorf("told %+v (error %v)", events, err)
	}
	edit(t, c, b, func(b *rbacv1.RoleBinding) { b.Subjects = []rbacv1.Subject{user(alice)} })
	awaitPolicies(t, c, p, perContributor(map[string]string{"everybody": lets(alice)}))
}

func namespace(name string, annotations map[string]string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}
}
