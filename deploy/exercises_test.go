// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/testkit"
)

// The exercises of docs/guides/secure-a-tenant.md, with the files that they use. The first is tested with the controller.

// exercise installs the manifests, runs the controllers under exactly their role, and reads an example's class and
// profile, under names of their own. The class is in the cluster when it returns.
func exercise(t *testing.T, example, profile string) (*testkit.Cluster, client.Client, *berthv1alpha1.ProfileClass, *kubeflowv1.Profile) {
	t.Helper()
	server := cluster.Use(t)
	admin := controllertest.Client(t, server.Config())
	install(t, admin, build(t, "standalone"))
	controllertest.Start(t, server.ServiceAccountConfig(t, "profiles-system", serviceAccount))
	class, p := &berthv1alpha1.ProfileClass{}, &kubeflowv1.Profile{}
	for file, into := range map[string]client.Object{"class.yaml": class, "profile.yaml": p} {
		data, err := os.ReadFile(filepath.Join("../examples", example, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(data, into); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	class.Name, p.Name = testkit.Name(t, class.Name), testkit.Name(t, profile)
	p.Labels[berthv1alpha1.ClassLabel] = class.Name
	wantDone(t, admin, func(c client.Client) error { return c.Create(t.Context(), class) })
	return server, admin, class, p
}

// told collects the warnings of the API server.
type told struct {
	mu       sync.Mutex
	warnings []string
}

// HandleWarningHeader takes a warning.
func (w *told) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.warnings = append(w.warnings, text)
}

// of are the warnings so far that have the sentence.
func (w *told) of(sentence string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.warnings), func(text string) bool { return !strings.Contains(text, sentence) })
}

func TestExercise_namesAndLabels(t *testing.T) {
	server, admin, class, p := exercise(t, "naming-policy", "team-risk")
	payer, called := class.Spec.Policies[0], class.Spec.Policies[1]
	if payer.Action != berthv1alpha1.Deny || called.Action != berthv1alpha1.Audit {
		t.Fatalf("the example's rules are %+v", class.Spec.Policies)
	}
	warnings := &told{}
	cfg := server.Config()
	cfg.WarningHandler = warnings
	user, err := client.New(cfg, client.Options{Scheme: admin.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	refused := func(err error) error {
		if err == nil || !strings.Contains(err.Error(), "denied request: "+payer.Message) {
			return fmt.Errorf("want it refused with %q, got: %w", payer.Message, err)
		}
		return nil
	}

	without := p.DeepCopy()
	delete(without.Labels, "cost-centre")
	testkit.Eventually(t, patience, func() error { return refused(user.Create(t.Context(), without.DeepCopy(), client.DryRunAll)) })
	wantDone(t, user, func(c client.Client) error { return c.Create(t.Context(), p) })
	err = merge(t, p, `{"metadata":{"labels":{"cost-centre":null}}}`)(user)
	t.Logf("the refusal, of reason %q: %v", apierrors.ReasonForError(err), err)
	if err := refused(err); err != nil {
		t.Error(err)
	}
	if have := warnings.of(called.Message); len(have) > 0 {
		t.Errorf("warned of a name as it should be: %q", have)
	}

	// The rule about names is in Audit mode.
	odd := p.DeepCopy()
	odd.ObjectMeta = metav1.ObjectMeta{Name: testkit.Name(t, "risk"), Labels: p.Labels}
	testkit.Eventually(t, patience, func() error {
		if err := user.Create(t.Context(), odd.DeepCopy(), client.DryRunAll); err != nil || len(warnings.of(called.Message)) == 0 {
			return fmt.Errorf("not warned of it: %q (error %w)", warnings.warnings, err)
		}
		return nil
	})
	wantDone(t, user, func(c client.Client) error { return c.Create(t.Context(), odd) })
	t.Logf("the warning: %q", warnings.of(called.Message)[0])

	// And so may be that about who pays.
	wantDone(t, admin, put(t, class, "", func(o client.Object) { o.(*berthv1alpha1.ProfileClass).Spec.Policies[0].Action = berthv1alpha1.Audit }))
	testkit.Eventually(t, patience, func() error {
		if err := user.Create(t.Context(), renamed(t, without), client.DryRunAll); err != nil || len(warnings.of(payer.Message)) == 0 {
			return fmt.Errorf("not let in with a warning: %q (error %w)", warnings.warnings, err)
		}
		return nil
	})
	wantDone(t, user, func(c client.Client) error { return c.Create(t.Context(), renamed(t, without)) })
}

func renamed(t *testing.T, p *kubeflowv1.Profile) *kubeflowv1.Profile {
	p = p.DeepCopy()
	p.Name = testkit.Name(t, "team-risk")
	return p
}

// repairedWithin is what the guide promises.
const repairedWithin = 2 * time.Second

func TestExercise_aWallThatSomebodyTakesDown(t *testing.T) {
	server, admin, _, p := exercise(t, "secure-team", "fraud")
	p.Spec.Owner.Name = p.Name + "@example.com"
	controllertest.Create(t, admin, p)
	controllertest.AwaitReady(t, admin, p.Name)
	owner := controllertest.Client(t, server.UserConfig(p.Spec.Owner.Name)) // has kubeflow-admin in the namespace, nothing more
	var bindings rbacv1.RoleBindingList
	if err := admin.List(t.Context(), &bindings, client.InNamespace(p.Name)); err != nil {
		t.Fatal(err)
	}
	for _, binding := range bindings.Items {
		if slices.ContainsFunc(binding.Subjects, func(s rbacv1.Subject) bool { return s.Name == p.Spec.Owner.Name }) && binding.RoleRef.Name != "kubeflow-admin" {
			t.Errorf("the owner has %s as well", binding.RoleRef.Name)
		}
	}

	wall := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: p.Name, Name: "berth-default-deny"}}
	rails := rails{admin: admin, tenant: owner, namespace: p.Name}
	rails.wantRefused(t, remove(t, wall), "objects", "NetworkPolicy berth-default-deny in the namespace "+p.Name+" belongs to the platform")
	err := remove(t, wall)(owner)
	t.Logf("the refusal, of reason %q: %v", apierrors.ReasonForError(err), err)
	if !apierrors.IsForbidden(err) {
		t.Errorf("want it forbidden, got: %v", err)
	}

	const rail = "berth-guardrails-objects"
	wantDone(t, admin, remove(t, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: rail}}))
	defer install(t, admin, slices.DeleteFunc(build(t, "standalone"), func(o unstructured.Unstructured) bool {
		return o.GetKind() != "ValidatingAdmissionPolicyBinding" || o.GetName() != rail
	})) // others use this cluster as well
	testkit.Eventually(t, patience, func() error { return remove(t, wall)(client.NewDryRunClient(owner)) }) // it takes a moment
	wantDone(t, admin, func(c client.Client) error { return c.Get(t.Context(), client.ObjectKeyFromObject(wall), wall) })
	before := wall.DeepCopy()
	began := time.Now()
	wantDone(t, owner, remove(t, wall))
	testkit.Eventually(t, repairedWithin, func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(wall), wall); err != nil {
			return err
		}
		if wall.UID == before.UID {
			return fmt.Errorf("it was not deleted")
		}
		return nil
	})
	t.Logf("back after %s", time.Since(began))
	if wall.Spec.String() != before.Spec.String() {
		t.Errorf("the policy came back as %s, was %s", wall.Spec.String(), before.Spec.String())
	}
	testkit.Eventually(t, patience, func() error {
		var list eventsv1.EventList
		if err := admin.List(t.Context(), &list, client.InNamespace(metav1.NamespaceDefault)); err != nil {
			return err
		}
		for _, event := range list.Items {
			if event.Regarding.UID == p.UID && event.Reason == status.EventRepaired && strings.Contains(event.Note, wall.Name) {
				t.Logf("the Event: %s", event.Note)
				return nil
			}
		}
		return fmt.Errorf("no Event %s of the %d names %s", status.EventRepaired, len(list.Items), wall.Name)
	})
}
