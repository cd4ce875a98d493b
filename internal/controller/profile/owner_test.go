// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

const (
	gatewayPrincipal = "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"
	uiPrincipal      = "cluster.local/ns/kubeflow/sa/ml-pipeline-ui"
)

// ownership is everything that says who owns a namespace.
type ownership struct {
	Namespace, BindingUser, BindingRole, PolicyUser, PolicyRole string
	Subjects                                                    []rbacv1.Subject
	Rule                                                        any
}

// readOwnership reads who owns the namespace of p.
func readOwnership(t testing.TB, c client.Client, profile string) (o ownership, err error) {
	t.Helper()
	namespace := namespaceKind.object("", profile)
	binding := &rbacv1.RoleBinding{}
	policy := policyKind.object(profile, "ns-owner-access-istio")
	for _, read := range []error{
		c.Get(t.Context(), client.ObjectKey{Name: profile}, namespace),
		c.Get(t.Context(), client.ObjectKey{Namespace: profile, Name: "namespaceAdmin"}, binding),
		c.Get(t.Context(), client.ObjectKeyFromObject(policy), policy),
	} {
		if read != nil {
			return o, read
		}
	}
	rules, _, err := unstructured.NestedSlice(policy.Object, "spec", "rules")
	if err != nil || len(rules) == 0 {
		return o, fmt.Errorf("policy without rules: %v (error %w)", policy.Object["spec"], err)
	}
	return ownership{
		Namespace:   namespace.GetAnnotations()["owner"],
		BindingUser: binding.Annotations["user"], BindingRole: binding.Annotations["role"],
		PolicyUser: policy.GetAnnotations()["user"], PolicyRole: policy.GetAnnotations()["role"],
		Subjects: binding.Subjects, Rule: rules[0],
	}, nil
}

// awaitOwnership waits until everything says that the namespace is the owner's.
func awaitOwnership(t testing.TB, c client.Client, profile string, owner rbacv1.Subject, rule map[string]any) {
	t.Helper()
	subject := owner
	if owner.Kind != rbacv1.ServiceAccountKind {
		subject.APIGroup = rbacv1.GroupName
	}
	want := ownership{
		Namespace: owner.Name, BindingUser: owner.Name, BindingRole: "admin", PolicyUser: owner.Name, PolicyRole: "admin",
		Subjects: []rbacv1.Subject{subject}, Rule: rule,
	}
	testkit.Eventually(t, patience, func() error {
		have, err := readOwnership(t, c, profile)
		if err != nil {
			return err
		}
		if d := cmp.Diff(want, have); d != "" {
			return fmt.Errorf("ownership of %q (-want +got):\n%s", profile, d)
		}
		return nil
	})
}

func from(principals ...any) []any {
	return []any{map[string]any{"source": map[string]any{"principals": principals}}}
}

func when(key, value string) []any {
	return []any{map[string]any{"key": key, "values": []any{value}}}
}

// userRule lets a user in by header, groupRule a group by verified claim, accountRule a service account by principal.
func userRule(name string) map[string]any {
	return map[string]any{"from": from(gatewayPrincipal, uiPrincipal), "when": when("request.headers[kubeflow-userid]", name)}
}

func groupRule(name string) map[string]any {
	return map[string]any{"from": from(gatewayPrincipal, uiPrincipal), "when": when("request.auth.claims[groups]", name)}
}

func accountRule(principal string) map[string]any {
	return map[string]any{"from": from(principal)}
}

// Defect 4: the kind of the owner counts. A group is let in by a claim that the mesh verified, so that a user of the
// group's name is not; a service account is let in by its own identity.
func TestOwner_isLetInByKind(t *testing.T) {
	cases := map[string]struct {
		owner rbacv1.Subject
		rule  map[string]any
	}{
		"user":               {user("bob@example.com"), userRule("bob@example.com")},
		"user with odd name": {user(`b"o'b <x> ü`), userRule(`b"o'b <x> ü`)},
		"group":              {group("ml-team"), groupRule("ml-team")},
		"service account":    {serviceAccount("ci", "robot"), accountRule("cluster.local/ns/ci/sa/robot")},
	}
	c := onShared(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := readyProfile(t, c, withOwner(tc.owner))
			awaitOwnership(t, c, p.Name, tc.owner, tc.rule)
		})
	}
}

// Defect 9: changing the owner moves everything, and an Event tells it; the profile can be deleted then.
func TestOwnerChange_movesEverything(t *testing.T) {
	cases := map[string]struct {
		from, to rbacv1.Subject
		rule     map[string]any
	}{
		"to another user":             {user("ann@example.com"), user("bob@example.com"), userRule("bob@example.com")},
		"to a group":                  {user("ann@example.com"), group("ml-team"), groupRule("ml-team")},
		"to a group of the same name": {user("ml-team"), group("ml-team"), groupRule("ml-team")},
		"to a service account":        {user("ann@example.com"), serviceAccount("ci", "robot"), accountRule("cluster.local/ns/ci/sa/robot")},
		"back to a user":              {serviceAccount("ci", "robot"), user("ann@example.com"), userRule("ann@example.com")},
	}
	c := onShared(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := readyProfile(t, c, withOwner(tc.from))
			binding := bindingKind.object(p.Name, "namespaceAdmin")
			policy := policyKind.object(p.Name, "ns-owner-access-istio")
			before := uids(t, c, binding, policy)

			controllertest.Change(t, c, p.Name, withOwner(tc.to))
			controllertest.AwaitReady(t, c, p.Name)
			awaitOwnership(t, c, p.Name, tc.to, tc.rule)
			if d := cmp.Diff(before, uids(t, c, binding, policy)); d != "" {
				t.Errorf("objects were made anew (-before +after):\n%s", d)
			}
			if note := awaitEvent(t, c, p, status.EventOwnerChanged); !strings.Contains(note, tc.to.Kind) {
				t.Errorf("the Event says %q", note)
			}

			remove(t, c, p)
			controllertest.AwaitGone(t, c, p)
		})
	}
}

// While the owner changes, there is at every moment exactly one.
func TestOwnerChange_neverLeavesNoneOrTwo(t *testing.T) {
	c := onShared(t)
	watching, err := client.NewWithWatch(shared.Use(t).Config(), client.Options{Scheme: c.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	p := readyProfile(t, c)
	watcher, err := watching.Watch(t.Context(), &rbacv1.RoleBindingList{}, client.InNamespace(p.Name),
		client.MatchingFields{"metadata.name": "namespaceAdmin"})
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop()
	owners := []rbacv1.Subject{user("bob@example.com"), group("ml-team"), serviceAccount("ci", "robot"), user("last@example.com")}
	for _, owner := range owners {
		controllertest.Change(t, c, p.Name, withOwner(owner))
		controllertest.AwaitReady(t, c, p.Name)
	}

	for event := range watcher.ResultChan() {
		binding, ok := event.Object.(*rbacv1.RoleBinding)
		if !ok || event.Type == watch.Deleted || len(binding.Subjects) != 1 {
			t.Fatalf("the owner's binding was %s: %v", event.Type, event.Object)
		}
		if binding.Subjects[0].Name == "last@example.com" {
			return
		}
	}
	t.Error("the watch ended early")
}

// Somebody who edits our objects does not become an owner by that, and nobody is told so.
func TestOwnerChange_isNotToldForDrift(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c)
	edit(t, c, namespaceKind.object("", p.Name), set("mallory", "metadata", "annotations", "owner"))
	awaitEvent(t, c, p, status.EventRepaired)
	edit(t, c, bindingKind.object(p.Name, "namespaceAdmin"), addSubject)
	awaitOwnership(t, c, p.Name, user(controllertest.Owner), userRule(controllertest.Owner))
	controllertest.Change(t, c, p.Name, withOwner(user("bob@example.com")))
	awaitEvent(t, c, p, status.EventOwnerChanged)
	if told, err := events(t.Context(), c, p, status.EventOwnerChanged); err != nil || len(told) != 1 || told[0].Series != nil {
		t.Errorf("want one Event, have %v (error %v)", told, err)
	}
}

func TestOwnerChange_ofAnAdoptedNamespace(t *testing.T) {
	c := onShared(t)
	p := adopted(t, c, nil)
	controllertest.AwaitReady(t, c, p.Name)
	controllertest.Change(t, c, p.Name, withOwner(user("bob@example.com")))
	controllertest.AwaitReady(t, c, p.Name)
	awaitOwnership(t, c, p.Name, user("bob@example.com"), userRule("bob@example.com"))
	awaitEvent(t, c, p, status.EventOwnerChanged)
}

// MUST keep: Canonical's automator patches the profile and the namespace's annotation, deletes the owner's binding and
// policy, and waits for them to come back.
func TestOwnerChange_byCanonicalsAutomator(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c)
	automate := func(owner string, wait bool) {
		patch := func(obj client.Object, body string) {
			if err := c.Patch(t.Context(), obj, client.RawPatch("application/merge-patch+json", []byte(body))); err != nil {
				t.Fatal(err)
			}
		}
		patch(controllertest.Profile(p.Name), `{"spec":{"owner":{"kind":"User","name":"`+owner+`"}}}`)
		patch(namespaceKind.object("", p.Name), `{"metadata":{"annotations":{"owner":"`+owner+`"}}}`)
		for _, obj := range []client.Object{
			bindingKind.object(p.Name, "namespaceAdmin"), policyKind.object(p.Name, "ns-owner-access-istio"),
		} {
			if err := c.Delete(t.Context(), obj); client.IgnoreNotFound(err) != nil {
				t.Fatal(err)
			}
			if !wait {
				continue
			}
			testkit.Eventually(t, patience, func() error {
				return c.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)
			})
		}
	}
	automate("bob@example.com", true)
	awaitOwnership(t, c, p.Name, user("bob@example.com"), userRule("bob@example.com"))
	controllertest.AwaitReady(t, c, p.Name)

	for i := range 8 { // in quick succession, without waiting for anything
		automate(fmt.Sprintf("user-%d@example.com", i), false)
	}
	awaitOwnership(t, c, p.Name, user("user-7@example.com"), userRule("user-7@example.com"))
	controllertest.AwaitReady(t, c, p.Name)
}

// MUST keep, also with another trust domain: it is that of the gateway's principal.
func TestOwner_serviceAccountHasTheGatewaysTrustDomain(t *testing.T) {
	cfg, c := onOwn(t)
	controllertest.Start(t, cfg, controllertest.WithConfig(func(config *render.Config) {
		config.Principals.IngressGateway = "mesh.example.com/ns/ingress/sa/gateway"
	}))
	p := readyProfile(t, c, withOwner(serviceAccount("ci", "robot")))
	awaitOwnership(t, c, p.Name, serviceAccount("ci", "robot"), accountRule("mesh.example.com/ns/ci/sa/robot"))
	p = readyProfile(t, c)
	have, err := readOwnership(t, c, p.Name)
	if err != nil {
		t.Fatal(err)
	}
	want := userRule(controllertest.Owner)
	want["from"] = from("mesh.example.com/ns/ingress/sa/gateway", uiPrincipal)
	if d := cmp.Diff(any(want), have.Rule); d != "" {
		t.Errorf("rule (-want +got):\n%s", d)
	}
}

// Defect 9: the owner was changed while no controller ran, and the profile deleted.
func TestOwnerChange_thenDeletionWhileTheControllerWasDown(t *testing.T) {
	cfg, c := onOwn(t)
	first := controllertest.Start(t, cfg)
	p := readyProfile(t, c)
	first.Stop(t)
	controllertest.Change(t, c, p.Name, withOwner(user("bob@example.com")))
	remove(t, c, p)
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(p), p); apierrors.IsNotFound(err) {
		t.Fatal("the profile is gone without its finalizer's work")
	}
	controllertest.Start(t, cfg)
	controllertest.AwaitGone(t, c, p)
	controllertest.AwaitGone(t, c, namespaceKind.object("", p.Name))
}
