// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/render"
)

// partConditions are the conditions of the parts of a tenant that this controller writes.
var partConditions = []string{
	kubeflowv1.ConditionNamespaceReady, kubeflowv1.ConditionMeshReady,
	kubeflowv1.ConditionQuotaReady, kubeflowv1.ConditionAccessReady,
}

// report tells what was done: Events for what happened, conditions for how things stand.
func (r *Reconciler) report(ctx context.Context, p *kubeflowv1.Profile, tenant render.Tenant, occasion status.Occasion, o outcome) error {
	for _, event := range happened(p, tenant, occasion, o) {
		r.tell(p, event)
	}
	if o.conflicted() {
		return nil // not worth a word: the next look will tell
	}
	if o.blocked != nil && o.blocked.Reason == kubeflowv1.ReasonNamespaceNotOwned {
		handled.WithLabelValues("reject profile taking over exi").Inc()
	}
	conditions, gone := conditions(p, r.Config, tenant, o)
	want := *p.Status.DeepCopy()
	if !tenant.Class.Unknown {
		want.Class = tenant.Class.Status()
	}
	status.Merge(&want, p.Generation, metav1.NewTime(r.Now()), conditions, gone...)
	return status.Patch(ctx, r.Client, p, want)
}

// happened are the Events of what was done.
func happened(p *kubeflowv1.Profile, tenant render.Tenant, occasion status.Occasion, o outcome) []status.Event {
	told := status.Events(p.Name, occasion, o.changes)
	if class := tenant.Class.Status(); occasion == status.Changed && len(o.changes) > 0 && !equality.Semantic.DeepEqual(p.Status.Class, class) {
		told = []status.Event{classApplied(class, o.changes)} // one for each object would be thousands in a roll-out
	}
	patched := func(kind, name, field string) bool {
		return slices.ContainsFunc(o.changes, func(c apply.Change) bool {
			return c.Action == apply.Patch && c.Kind == kind && c.Name == name && slices.Contains(c.Fields, field)
		})
	}
	namespaceAnnotated := patched("Namespace", p.Name, "metadata.annotations")
	if tenant.Claim.Kind == render.ClaimAdopted && !tenant.Claim.Held && namespaceAnnotated {
		told = append(told, status.Event{
			Type: corev1.EventTypeNormal, Reason: status.EventAdopted,
			Note: fmt.Sprintf("took over namespace %s, which existed; it will outlive this profile", p.Name),
		})
	}
	if namespaceAnnotated && tenant.GlassBroken {
		told = append(told, status.Event{
			Type: corev1.EventTypeWarning, Reason: status.EventBreakGlass,
			Note: status.Note("the guard rails are off, for this reason: " + render.BreakGlass(p)),
		})
	}
	if namespaceAnnotated && tenant.GlassMended {
		told = append(told, status.Event{Type: corev1.EventTypeNormal, Reason: status.EventGuardRailsOn, Note: "the guard rails are on again"})
	}
	// The annotation holds the owner's name alone: an owner of another kind shows in the binding.
	renamed := namespaceAnnotated && tenant.PreviousOwner != ""
	rebound := tenant.PreviousOwner == "" && o.err() == nil && patched("RoleBinding", render.OwnerBindingName, "subjects")
	if occasion != status.Drift && (renamed || rebound) {
		told = append(told, status.Event{
			Type: corev1.EventTypeNormal, Reason: status.EventOwnerChanged,
			// Events end up in logs: people's names stay out of them.
			Note: fmt.Sprintf("moved namespace %s and all access from its former owner to the %s in spec.owner", p.Name, p.Spec.Owner.Kind),
		})
	}
	return told
}

// classApplied is the Event of a profile that has another class now, or another generation of it.
func classApplied(class *kubeflowv1.ClassStatus, changes []apply.Change) status.Event {
	what := "the built-in class"
	if class != nil {
		what = fmt.Sprintf("generation %d of class %s", class.Generation, class.Name)
	}
	return status.Event{
		Type: corev1.EventTypeNormal, Reason: status.EventClassApplied,
		Note: status.Note(fmt.Sprintf("brought in line with %s: %s", what, status.List(changes))),
	}
}

// conditions say how things stand, and which conditions say nothing any more.
func conditions(p *kubeflowv1.Profile, config render.Config, tenant render.Tenant, o outcome) (want []status.Condition, gone []string) {
	if o.blocked != nil {
		parts := slices.DeleteFunc(slices.Clone(partConditions), func(t string) bool { return t == kubeflowv1.ConditionNamespaceReady })
		return []status.Condition{
			notReady(kubeflowv1.ConditionNamespaceReady, *o.blocked),
			notReady(kubeflowv1.ConditionReady, *o.blocked),
		}, append(parts, render.ClassConditions()...)
	}
	namespace := status.Condition{
		Type: kubeflowv1.ConditionNamespaceReady, Status: metav1.ConditionTrue,
		Reason: kubeflowv1.ReasonReady, Message: "the namespace is in place",
	}
	if o.namespace != nil {
		namespace = failedCondition(namespace.Type, o.namespace)
	}
	want = append(want, namespace)
	gone = render.ClassConditions()
	for _, part := range o.parts {
		if part.Retired && part.err == nil {
			continue
		}
		want = append(want, partCondition(part))
		gone = slices.DeleteFunc(gone, func(condition string) bool { return condition == part.Condition })
	}
	if tenant.Class.Unknown {
		gone = nil // nobody knows what the class asked for
	}
	want = append(want, ready(p, config, tenant, want))
	return want, gone
}

func partCondition(part partOutcome) status.Condition {
	switch {
	case part.err != nil:
		return failedCondition(part.Condition, part.err)
	case part.Problem != nil:
		return notReady(part.Condition, *part.Problem)
	}
	return status.Condition{Type: part.Condition, Status: metav1.ConditionTrue, Reason: part.Reason, Message: part.Message}
}

// ready sums up the parts and what the controllers of plugins and hooks say.
func ready(p *kubeflowv1.Profile, config render.Config, tenant render.Tenant, parts []status.Condition) status.Condition {
	if hooks := hooksCondition(p, tenant.Class); hooks != nil {
		parts = append(slices.Clone(parts), *hooks)
	}
	if plugins := pluginsCondition(p, config); plugins != nil {
		parts = append(slices.Clone(parts), *plugins)
	}
	var reason string
	var messages []string
	for _, part := range parts {
		if part.Status == metav1.ConditionTrue {
			continue
		}
		if reason == "" {
			reason = part.Reason
		}
		if !slices.Contains(messages, part.Message) {
			messages = append(messages, part.Message)
		}
	}
	if reason == "" {
		return status.Condition{
			Type: kubeflowv1.ConditionReady, Status: metav1.ConditionTrue,
			Reason: kubeflowv1.ReasonReady, Message: fmt.Sprintf("namespace %s is ready to use", p.Name),
		}
	}
	return notReady(kubeflowv1.ConditionReady, render.Problem{Reason: reason, Message: strings.Join(messages, "; ")})
}

// hooksCondition is how the hooks of the class stand, as their own controller told; nil where there are none.
func hooksCondition(p *kubeflowv1.Profile, class render.Class) *status.Condition {
	if len(class.Spec.Hooks) == 0 {
		return nil
	}
	told := meta.FindStatusCondition(p.Status.Conditions, kubeflowv1.ConditionHooksReady)
	if told == nil {
		c := notReady(kubeflowv1.ConditionHooksReady, render.Problem{
			Reason: kubeflowv1.ReasonProgressing, Message: "hooks are being asked",
		})
		return &c
	}
	return &status.Condition{Type: told.Type, Status: told.Status, Reason: told.Reason, Message: told.Message}
}

// pluginsCondition is how the plugins stand, as their own controller told; nil where there are none.
func pluginsCondition(p *kubeflowv1.Profile, config render.Config) *status.Condition {
	if len(render.Plugins(p, config)) == 0 && len(p.Status.Plugins) == 0 {
		return nil
	}
	told := meta.FindStatusCondition(p.Status.Conditions, kubeflowv1.ConditionPluginsReady)
	if told == nil || told.ObservedGeneration != p.Generation {
		c := notReady(kubeflowv1.ConditionPluginsReady, render.Problem{
			Reason: kubeflowv1.ReasonProgressing, Message: "plugins are being applied",
		})
		return &c
	}
	return &status.Condition{Type: told.Type, Status: told.Status, Reason: told.Reason, Message: told.Message}
}

func notReady(conditionType string, problem render.Problem) status.Condition {
	return status.Condition{Type: conditionType, Status: metav1.ConditionFalse, Reason: problem.Reason, Message: problem.Message}
}

func failedCondition(conditionType string, err error) status.Condition {
	return notReady(conditionType, render.Problem{Reason: kubeflowv1.ReasonApplyFailed, Message: err.Error()})
}
