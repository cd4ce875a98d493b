// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"strconv"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// ClassPolicies are the rules of a class as the API server enforces them. A policy stands before its binding. Where the
// class is the default, they are also for the profiles that name none. All defaults are filled in: what the API server
// stores is what is written here.
func ClassPolicies(class *berthv1alpha1.ProfileClass, isDefault bool) []Object {
	r := classRules{class: class, conditions: classConditions(class.Name, isDefault)}
	for _, policy := range class.Spec.Policies {
		actions := []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}
		if policy.Action != berthv1alpha1.Deny {
			actions = []admissionregistrationv1.ValidationAction{admissionregistrationv1.Warn, admissionregistrationv1.Audit}
		}
		// The dot keeps apart what dashes would not: no class has one in its name.
		r.add(r.name()+"."+policy.Name, []admissionregistrationv1.Variable{
			{Name: "labels", Expression: "object.metadata.?labels.orValue({})"},
			{Name: "annotations", Expression: "object.metadata.?annotations.orValue({})"},
			{Name: "owner", Expression: "object.?spec.?owner.?name.orValue('')"},
		}, []admissionregistrationv1.Validation{{
			Expression: policy.Expression, Message: strings.Join(strings.Fields(policy.Message), " "), Reason: new(metav1.StatusReasonForbidden),
		}}, actions)
	}
	if class.Spec.Quota != nil {
		r.add(r.name()+"-quota", []admissionregistrationv1.Variable{
			{Name: "hard", Expression: "object.?spec.?resourceQuotaSpec.?hard.orValue({})"},
		}, quotaRules(class.Name, *class.Spec.Quota), []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny})
	}
	if class.Spec.PolicyWebhook != nil {
		r.addWebhook(*class.Spec.PolicyWebhook)
	}
	return r.objects
}

// classConditions select what the rules of a class are asked about. A profile that is going is let go, and what no person
// asked for, such as finalizers and status, passes.
func classConditions(class string, isDefault bool) []admissionregistrationv1.MatchCondition {
	names := "['" + class + "']"
	if isDefault {
		names = "['" + class + "', '']"
	}
	return []admissionregistrationv1.MatchCondition{
		{Name: "class", Expression: "object.metadata.?labels[?'" + berthv1alpha1.ClassLabel + "'].orValue('') in " + names},
		{Name: "changed", Expression: "request.operation == 'CREATE' || object.?spec != oldObject.?spec || " +
			"object.metadata.?labels.orValue({}) != oldObject.metadata.?labels.orValue({}) || " +
			"object.metadata.?annotations.orValue({}) != oldObject.metadata.?annotations.orValue({})"},
		{Name: "stays", Expression: "!has(object.metadata.deletionTimestamp)"},
	}
}

// classRules collects the rules of a class.
type classRules struct {
	class      *berthv1alpha1.ProfileClass
	conditions []admissionregistrationv1.MatchCondition
	objects    []Object
}

func (r *classRules) name() string { return "berth-class-" + r.class.Name }

func (r *classRules) meta(name string) metav1.ObjectMeta {
	yes := true
	return metav1.ObjectMeta{
		Name: name,
		Labels: map[string]string{
			kubeflowv1.ManagedByLabel: kubeflowv1.ManagedByValue, berthv1alpha1.ClassLabel: r.class.Name,
		},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: berthv1alpha1.GroupVersion.String(), Kind: "ProfileClass", Name: r.class.Name, UID: r.class.UID, Controller: &yes,
		}},
	}
}

// profileChanges are the requests that rules are about.
func profileChanges() admissionregistrationv1.RuleWithOperations {
	return admissionregistrationv1.RuleWithOperations{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
		Rule: admissionregistrationv1.Rule{
			APIGroups: []string{kubeflowv1.GroupVersion.Group}, APIVersions: []string{kubeflowv1.GroupVersion.Version},
			Resources: []string{"profiles"}, Scope: new(admissionregistrationv1.AllScopes),
		},
	}
}

// add adds a policy and its binding.
func (r *classRules) add(name string, variables []admissionregistrationv1.Variable, validations []admissionregistrationv1.Validation, actions []admissionregistrationv1.ValidationAction) {
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: admissionregistrationv1.SchemeGroupVersion.String(), Kind: "ValidatingAdmissionPolicy"},
		ObjectMeta: r.meta(name),
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: new(admissionregistrationv1.Fail),
			MatchConstraints: &admissionregistrationv1.MatchResources{
				MatchPolicy:       new(admissionregistrationv1.Equivalent),
				NamespaceSelector: &metav1.LabelSelector{}, ObjectSelector: &metav1.LabelSelector{},
				ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: profileChanges()}},
			},
			MatchConditions: r.conditions,
			Variables:       variables,
			Validations:     validations,
		},
	}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: admissionregistrationv1.SchemeGroupVersion.String(), Kind: "ValidatingAdmissionPolicyBinding"},
		ObjectMeta: r.meta(name),
		Spec:       admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: name, ValidationActions: actions},
	}
	r.objects = append(r.objects,
		Object{Resource: policy, Purpose: "a rule for profiles of the class", Exact: []string{"spec"}},
		Object{Resource: binding, Purpose: "puts the rule in force", Exact: []string{"spec"}})
}

func (r *classRules) addWebhook(webhook berthv1alpha1.PolicyWebhook) {
	hook := admissionregistrationv1.ValidatingWebhook{
		Name:         r.class.Name + ".class." + berthv1alpha1.GroupVersion.Group,
		ClientConfig: *webhook.ClientConfig.DeepCopy(),
		Rules:        []admissionregistrationv1.RuleWithOperations{profileChanges()},
		// The API server's defaults are others where the class was written without ours.
		FailurePolicy: new(admissionregistrationv1.Fail), TimeoutSeconds: new(int32(5)),
		MatchPolicy:       new(admissionregistrationv1.Equivalent),
		NamespaceSelector: &metav1.LabelSelector{}, ObjectSelector: &metav1.LabelSelector{},
		SideEffects:             new(admissionregistrationv1.SideEffectClassNone),
		AdmissionReviewVersions: []string{"v1"},
		MatchConditions:         r.conditions,
	}
	if webhook.FailurePolicy != "" {
		hook.FailurePolicy = new(webhook.FailurePolicy)
	}
	if webhook.TimeoutSeconds != 0 {
		hook.TimeoutSeconds = new(webhook.TimeoutSeconds)
	}
	if service := hook.ClientConfig.Service; service != nil && service.Port == nil {
		service.Port = new(int32(443))
	}
	r.objects = append(r.objects, Object{
		Resource: &admissionregistrationv1.ValidatingWebhookConfiguration{
			TypeMeta:   metav1.TypeMeta{APIVersion: admissionregistrationv1.SchemeGroupVersion.String(), Kind: "ValidatingWebhookConfiguration"},
			ObjectMeta: r.meta(r.name()),
			Webhooks:   []admissionregistrationv1.ValidatingWebhook{hook},
		},
		Purpose: "asks about changes of profiles of the class", Exact: []string{"webhooks"},
	})
}

// aliases are other names under which Kubernetes counts the same.
var aliases = map[string]string{
	"requests.cpu": "cpu", "requests.memory": "memory", "requests.ephemeral-storage": "ephemeral-storage",
	"cpu": "requests.cpu", "memory": "requests.memory", "ephemeral-storage": "requests.ephemeral-storage",
}

// quotaRules refuse a profile's quota that is above the class's, is incomplete, or names what Kubernetes does not count.
// A quantity that can't be parsed is the business of others.
func quotaRules(class string, quota berthv1alpha1.QuotaSettings) []admissionregistrationv1.Validation {
	var rules []admissionregistrationv1.Validation
	rule := func(expression, message string) {
		rules = append(rules, admissionregistrationv1.Validation{
			Expression: expression, MessageExpression: message, Reason: new(metav1.StatusReasonForbidden),
		})
	}
	rule("!variables.hard.exists(k, "+uncounted+")",
		"'Kubernetes does not count ' + variables.hard.filter(k, "+uncounted+").map(k, k + ' (' + string(variables.hard[k]) + ')').join(', ') + "+
			"': the quota of an extended resource begins with requests., such as requests.nvidia.com/gpu'")
	for _, name := range sortedKeys(quota.Max) {
		limit := strconv.Quote(string(quota.Max[name]))
		keys := []string{string(name)}
		if alias, found := aliases[string(name)]; found {
			keys = append(keys, alias)
		}
		for _, plain := range keys {
			key := strconv.Quote(plain)
			value := "string(variables.hard[" + key + "])"
			rule("!("+key+" in variables.hard) || !isQuantity("+value+") || quantity("+value+").compareTo(quantity("+limit+")) <= 0",
				"'the quota asks for ' + "+value+" + ' of ' + "+key+" + ', and class "+class+" allows ' + "+limit+" + ': ask for that or less'")
		}
	}
	for _, name := range quota.Required {
		key := strconv.Quote(string(name))
		rule("size(variables.hard) == 0 || "+key+" in variables.hard",
			"'the quota lacks ' + "+key+" + ', which class "+class+" requires: name it in spec.resourceQuotaSpec.hard, or leave that empty'")
	}
	return rules
}

// uncounted is true of the name k of an extended resource that a ResourceQuota takes and does not count.
const uncounted = "k.contains('/') && !k.startsWith('requests.') && !k.startsWith('count/') && " +
	"!k.contains('.storageclass.storage.k8s.io/') && !k.contains('.deviceclass.resource.k8s.io/')"
