// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profileclass

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/render"
)

// enforced are the objects that enforce rules of the class, bindings first.
func (r *Reconciler) enforced(ctx context.Context, class string) (live []client.Object, err error) {
	var bindings admissionregistrationv1.ValidatingAdmissionPolicyBindingList
	var policies admissionregistrationv1.ValidatingAdmissionPolicyList
	var webhooks admissionregistrationv1.ValidatingWebhookConfigurationList
	ours := client.MatchingLabels{
		kubeflowv1.ManagedByLabel: kubeflowv1.ManagedByValue, berthv1alpha1.ClassLabel: class,
	}
	for _, list := range []client.ObjectList{&bindings, &policies, &webhooks} {
		if err := r.Client.List(ctx, list, ours); err != nil {
			return nil, fmt.Errorf("list %T: %w", list, err)
		}
	}
	for i := range bindings.Items {
		live = append(live, &bindings.Items[i])
	}
	for i := range policies.Items {
		live = append(live, &policies.Items[i])
	}
	for i := range webhooks.Items {
		live = append(live, &webhooks.Items[i])
	}
	return live, nil
}

func kindOf(obj render.Resource) string {
	if object, wrapped := obj.(render.Object); wrapped {
		obj = object.Resource
	}
	return fmt.Sprintf("%T", obj)
}

func isBinding(object render.Object) bool {
	_, is := object.Resource.(*admissionregistrationv1.ValidatingAdmissionPolicyBinding)
	return is
}

// lenient says whether the rule denies nothing.
func lenient(rule rule) bool {
	binding, is := rule[len(rule)-1].Resource.(*admissionregistrationv1.ValidatingAdmissionPolicyBinding)
	return is && !slices.Contains(binding.Spec.ValidationActions, admissionregistrationv1.Deny)
}

// order puts what is changed before what is created: a binding comes after the policy that it is the first for.
func order(op apply.Op) int {
	if op.Action == apply.Create && op.Kind == "ValidatingAdmissionPolicyBinding" {
		return 1
	}
	return 0
}

// refusals remembers what the API server did not take, so that it is not asked the same at each look. The zero value
// remembers nothing.
type refusals struct {
	mu     sync.Mutex
	byName map[string]refusal
}

type refusal struct {
	asked, answer string
	at            time.Time
}

// refusalHolds is how long an answer counts: another version of the API server may take what this one does not.
const refusalHolds = 10 * time.Minute

func (r *refusals) known(name, asked string, now time.Time) (answer string, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, found := r.byName[name]
	return last.answer, found && last.asked == asked && now.Sub(last.at) < refusalHolds
}

func (r *refusals) remember(name, asked, answer string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byName == nil {
		r.byName = map[string]refusal{}
	}
	r.byName[name] = refusal{asked: asked, answer: answer, at: now}
}

func (r *refusals) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byName, name)
}
