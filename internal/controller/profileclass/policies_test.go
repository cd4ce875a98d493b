// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profileclass_test

import (
	"fmt"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

const sentence = "say who pays by the label cost-centre, four digits"

// costCentre is a rule that profiles have the label cost-centre.
func costCentre(action string) string {
	return `policies: [{name: cost-centre, expression: "'cost-centre' in variables.labels", message: "` + sentence + `", action: ` + action + `}]`
}

func TestPolicies_refuseWithTheSentenceOfTheClass(t *testing.T) {
	_, c := start(t)
	class := newClass(t, c, costCentre("Deny"))
	without := ofClass(t, class.Name)
	awaitRefused(t, c, without, sentence)
	if message := awaitCondition(t, c, class, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonReady); message == "" {
		t.Error("Ready says nothing")
	}
	with := ofClass(t, class.Name)
	with.Labels["cost-centre"] = "4711"
	controllertest.Create(t, c, with)
	controllertest.AwaitReady(t, c, with.Name)
	if err := refused(c.Patch(t.Context(), with.DeepCopy(), client.RawPatch("application/merge-patch+json",
		[]byte(`{"metadata":{"labels":{"cost-centre":null}}}`))), sentence); err != nil {
		t.Error(err)
	}
	controllertest.Create(t, c, controllertest.Profile(testkit.Name(t, "other"))) // of no class
	// What broke the rule before it was there may be changed in what it is not about, and may go.
	change(t, c, class, func(p *berthv1alpha1.ProfileClass) { p.Spec.Policies[0].Expression = "variables.owner == 'nobody'" })
	awaitRefused(t, c, with, sentence)
	controllertest.Delete(t, c, with.Name)
	controllertest.AwaitGone(t, c, with)
}

func TestPolicies_auditLetsInWithAWarning(t *testing.T) {
	server, c := start(t)
	class := newClass(t, c, costCentre("Audit"))
	told, w := warned(t, server, c)
	p := ofClass(t, class.Name)
	testkit.Eventually(t, controllertest.Patience, func() error {
		if err := told.Create(t.Context(), p.DeepCopy(), client.DryRunAll); err != nil {
			return err
		}
		if !w.has(sentence) {
			return fmt.Errorf("warned of %q", w.told)
		}
		return nil
	})
	change(t, c, class, func(class *berthv1alpha1.ProfileClass) { class.Spec.Policies[0].Action = berthv1alpha1.Deny })
	awaitRefused(t, c, p, sentence)
	change(t, c, class, func(class *berthv1alpha1.ProfileClass) { class.Spec.Policies[0].Action = berthv1alpha1.Audit })
	awaitTaken(t, c, p)
}

func TestPolicies_keepTheLastGoodOne(t *testing.T) {
	_, c := start(t)
	class := newClass(t, c, costCentre("Deny"))
	p := ofClass(t, class.Name)
	awaitRefused(t, c, p, sentence)
	change(t, c, class, func(class *berthv1alpha1.ProfileClass) {
		class.Spec.Policies[0].Expression, class.Spec.Policies[0].Action = "no such thing(", berthv1alpha1.Audit
		class.Spec.Policies = append(class.Spec.Policies, berthv1alpha1.Policy{
			Name: "owner", Expression: "variables.owner != 'eve@example.com'", Message: "eve owns nothing", Action: berthv1alpha1.Deny,
		})
	})
	message := awaitCondition(t, c, class, berthv1alpha1.ConditionPoliciesReady, berthv1alpha1.ReasonPolicyInvalid)
	if err := refused(fmt.Errorf("%s", message), "Syntax error"); err != nil {
		t.Errorf("the condition does not say what the API server says: %v", err)
	}
	awaitCondition(t, c, class, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonPolicyInvalid)
	if err := refused(c.Create(t.Context(), p.DeepCopy(), client.DryRunAll), sentence); err != nil {
		t.Error(err)
	}
	eve := ofClass(t, class.Name, func(p *kubeflowv1.Profile) { p.Spec.Owner.Name = "eve@example.com" })
	eve.Labels["cost-centre"] = "1"
	awaitRefused(t, c, eve, "eve owns nothing") // the rule beside the bad one
	change(t, c, class, func(class *berthv1alpha1.ProfileClass) { class.Spec.Policies[0].Expression = "true" })
	awaitCondition(t, c, class, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonReady)
	awaitTaken(t, c, p)
}

func TestPolicies_comeBackAndGo(t *testing.T) {
	_, c := start(t)
	class := newClass(t, c, costCentre("Deny"))
	p := ofClass(t, class.Name)
	awaitRefused(t, c, p, sentence)
	meta := metav1.ObjectMeta{Name: "berth-class-" + class.Name + ".cost-centre"}
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: meta}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: meta}
	if err := c.Delete(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	awaitExists(t, c, binding)
	for _, patch := range []string{`{"spec":{"failurePolicy":"Ignore"}}`, `{"metadata":{"labels":null}}`} {
		if err := c.Patch(t.Context(), policy, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, controllertest.Patience, func() error {
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(policy), policy); err != nil {
				return err
			}
			if *policy.Spec.FailurePolicy != admissionregistrationv1.Fail || policy.Labels[berthv1alpha1.ClassLabel] != class.Name {
				return fmt.Errorf("the policy has %v and the labels %v", *policy.Spec.FailurePolicy, policy.Labels)
			}
			return nil
		})
	}
	change(t, c, class, func(class *berthv1alpha1.ProfileClass) { class.Spec.Policies = nil })
	controllertest.AwaitGone(t, c, policy)
	controllertest.AwaitGone(t, c, binding)
	awaitTaken(t, c, p)
}

func awaitExists(t *testing.T, c client.Client, obj client.Object) {
	t.Helper()
	testkit.Eventually(t, controllertest.Patience, func() error { return c.Get(t.Context(), client.ObjectKeyFromObject(obj), obj) })
}

func TestPolicies_followTheDefault(t *testing.T) {
	_, c := start(t)
	first := newClass(t, c, costCentre("Deny"), asDefault)
	p := controllertest.Profile(testkit.Name(t, "unnamed"))
	awaitRefused(t, c, p, sentence)
	change(t, c, first, func(class *berthv1alpha1.ProfileClass) { class.Annotations = nil })
	awaitTaken(t, c, p)
	change(t, c, first, asDefault)
	awaitRefused(t, c, p, sentence)
	second := newClass(t, c, "{description: the newest}", asDefault, labelled("x", "y"))
	testkit.Eventually(t, controllertest.Patience, func() error { // within the same second, the name decides
		if err := c.Create(t.Context(), p.DeepCopy(), client.DryRunAll); err != nil && second.CreationTimestamp.After(first.CreationTimestamp.Time) {
			return err
		}
		return nil
	})
	for _, class := range []*berthv1alpha1.ProfileClass{first, second} {
		// As the default, it is that of all profiles that name none.
		change(t, c, class, func(class *berthv1alpha1.ProfileClass) { class.Annotations = nil })
		awaitCounts(t, c, class, berthv1alpha1.ProfileCounts{})
		if err := c.Delete(t.Context(), class); err != nil {
			t.Fatal(err)
		}
		controllertest.AwaitGone(t, c, class)
	}
	awaitTaken(t, c, p)
}

func TestPolicies_quota(t *testing.T) {
	_, c := start(t)
	class := newClass(t, c, `quota: {max: {requests.cpu: "8", requests.memory: 16Gi, requests.nvidia.com/gpu: 2}, required: [requests.memory]}`)
	asking := func(hard map[string]string) *kubeflowv1.Profile {
		p := ofClass(t, class.Name, controllertest.WithQuota("requests.memory", "1Gi"))
		for key, value := range hard {
			controllertestHard(p, key, value)
		}
		return p
	}
	for name, tc := range map[string]struct {
		hard     map[string]string
		sentence string
	}{
		"too much":                 {map[string]string{"requests.cpu": "8001m"}, "asks for 8001m of requests.cpu, and class " + class.Name + " allows 8:"},
		"too much by another name": {map[string]string{"cpu": "9"}, "asks for 9 of cpu, and class " + class.Name + " allows 8:"},
		"too much memory":          {map[string]string{"requests.memory": "17179869185"}, "asks for 17179869185 of requests.memory"},
		"too many devices":         {map[string]string{"requests.nvidia.com/gpu": "3"}, "asks for 3 of requests.nvidia.com/gpu"},
		"devices not counted":      {map[string]string{"nvidia.com/gpu": "1"}, "does not count nvidia.com/gpu (1)"},
	} {
		t.Run(name, func(t *testing.T) { awaitRefused(t, c, asking(tc.hard), tc.sentence) })
	}
	awaitRefused(t, c, ofClass(t, class.Name, controllertest.WithQuota("pods", "9")), "lacks requests.memory, which class "+class.Name+" requires")
	for _, hard := range []map[string]string{
		{"requests.cpu": "8000m", "requests.nvidia.com/gpu": "2"},
		{"count/jobs.batch": "3"},
		{"gold.storageclass.storage.k8s.io/requests.storage": "1Ti", "gold.deviceclass.resource.k8s.io/devices": "1"},
	} {
		if err := c.Create(t.Context(), asking(hard), client.DryRunAll); err != nil {
			t.Error(err)
		}
	}
	if err := c.Create(t.Context(), ofClass(t, class.Name), client.DryRunAll); err != nil {
		t.Errorf("without any quota: %v", err)
	}
}

func controllertestHard(p *kubeflowv1.Profile, key, value string) {
	hard := p.Spec.ResourceQuotaSpec.Hard
	controllertest.WithQuota(key, value)(p)
	for k, v := range hard {
		if string(k) != key {
			p.Spec.ResourceQuotaSpec.Hard[k] = v
		}
	}
}
