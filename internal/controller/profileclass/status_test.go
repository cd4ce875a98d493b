// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profileclass_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

func awaitCounts(t *testing.T, c client.Client, class *berthv1alpha1.ProfileClass, want berthv1alpha1.ProfileCounts) {
	t.Helper()
	testkit.Eventually(t, controllertest.Patience, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(class), class); err != nil {
			return err
		}
		if diff := cmp.Diff(want, class.Status.Profiles); diff != "" || class.Status.ObservedGeneration != class.Generation {
			return fmt.Errorf("at generation %d of %d (-want +got):\n%s", class.Status.ObservedGeneration, class.Generation, diff)
		}
		return nil
	})
}

func TestStatus_countsProfiles(t *testing.T) {
	_, c := start(t)
	class := newClass(t, c, "{description: counted}")
	var profiles []*kubeflowv1.Profile
	for range 2 {
		profiles = append(profiles, controllertest.Create(t, c, ofClass(t, class.Name)))
	}
	controllertest.Create(t, c, ofClass(t, class.Name, controllertest.WithQuota("requests.cpu", "-1")))
	for _, p := range profiles {
		controllertest.AwaitReady(t, c, p.Name)
	}
	awaitCounts(t, c, class, berthv1alpha1.ProfileCounts{Total: 3, Ready: 2, Failed: 1})
	controllertest.Change(t, c, profiles[1].Name, func(p *kubeflowv1.Profile) { p.Labels = nil })
	awaitCounts(t, c, class, berthv1alpha1.ProfileCounts{Total: 2, Ready: 1, Failed: 1})
	change(t, c, class, func(class *berthv1alpha1.ProfileClass) { class.Spec.Description = "changed" })
	awaitCounts(t, c, class, berthv1alpha1.ProfileCounts{Total: 2, Ready: 1, Failed: 1})
	if class.Status.ObservedGeneration != 2 {
		t.Errorf("the counts are about generation %d", class.Status.ObservedGeneration)
	}
}

func TestStatus_saysWhereAQuotaHasNoDefaults(t *testing.T) {
	_, c := start(t)
	class := newClass(t, c, `quota: {default: {limits.cpu: "8"}}`)
	message := awaitCondition(t, c, class, berthv1alpha1.ConditionQuotaUsable, berthv1alpha1.ReasonQuotaWithoutDefaults)
	if !strings.Contains(message, "limits.cpu") {
		t.Errorf("the message is %q", message)
	}
	change(t, c, class, func(class *berthv1alpha1.ProfileClass) { class.Spec.Quota = nil })
	awaitCondition(t, c, class, berthv1alpha1.ConditionQuotaUsable, berthv1alpha1.ReasonReady)
}

func TestClass_staysWhileProfilesHaveIt(t *testing.T) {
	_, c := start(t)
	class := newClass(t, c, costCentre("Audit"))
	p := controllertest.Create(t, c, ofClass(t, class.Name))
	awaitCounts(t, c, class, berthv1alpha1.ProfileCounts{Total: 1, Updating: 1})
	if !slices.Contains(class.Finalizers, berthv1alpha1.InUseFinalizer) {
		t.Fatalf("finalizers %q", class.Finalizers)
	}
	if err := c.Delete(t.Context(), class); err != nil { // without the guard rails
		t.Fatal(err)
	}
	message := awaitCondition(t, c, class, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonInUse)
	if want := "kubectl get profiles -l berth.dev/class=" + class.Name; !strings.Contains(message, want) {
		t.Errorf("the message %q does not say %q", message, want)
	}
	controllertest.Change(t, c, p.Name, func(p *kubeflowv1.Profile) { p.Labels = nil })
	controllertest.AwaitGone(t, c, class)
	awaitNone(t, c, class.Name)
}

func TestRest_nothingIsWritten(t *testing.T) {
	var mu sync.Mutex
	writes := map[string][]string{}
	seen := func(name string) (seen []string) {
		mu.Lock()
		defer mu.Unlock()
		for of, all := range writes {
			if strings.Contains(of, name) {
				seen = append(seen, all...)
			}
		}
		slices.Sort(seen)
		return seen
	}
	_, c := start(t, controllertest.Intercept(func(w controllertest.Write) error {
		mu.Lock()
		defer mu.Unlock()
		writes[w.Object.GetName()] = append(writes[w.Object.GetName()], w.String())
		return nil
	}, nil))
	class := newClass(t, c, costCentre("Deny")+`
quota: {max: {requests.cpu: "8"}, required: [requests.cpu]}
policyWebhook: {clientConfig: {service: {namespace: policies, name: profiles}}, failurePolicy: Ignore}`)
	awaitCondition(t, c, class, berthv1alpha1.ConditionPoliciesReady, berthv1alpha1.ReasonReady)
	before := seen(class.Name)
	// Looks without a reason to write: the class is touched, and a policy. The last has to come after them.
	for i := range 3 {
		change(t, c, class, func(class *berthv1alpha1.ProfileClass) {
			class.Annotations = map[string]string{"touched": fmt.Sprint(i)}
		})
	}
	other := newClass(t, c, "{description: later}")
	awaitCondition(t, c, other, berthv1alpha1.ConditionPoliciesReady, berthv1alpha1.ReasonReady)
	<-time.After(2 * time.Second) // longer than the pace of status writes
	if diff := cmp.Diff(before, seen(class.Name)); diff != "" {
		t.Errorf("written at rest (-before +after):\n%s", diff)
	}
	if statuses := slices.DeleteFunc(before, func(w string) bool { return !strings.HasPrefix(w, "status") }); len(statuses) != 1 {
		t.Errorf("the status was written %d times: %q", len(statuses), statuses)
	}
}
