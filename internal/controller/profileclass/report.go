// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profileclass

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/render"
)

// count says how far the profiles of the class are.
func count(class *berthv1alpha1.ProfileClass, classes []berthv1alpha1.ProfileClass, profiles []kubeflowv1.Profile) (counts berthv1alpha1.ProfileCounts) {
	unnamed := render.DefaultClass(classes)
	for i := range profiles {
		p := &profiles[i]
		name := p.Labels[berthv1alpha1.ClassLabel]
		if name == "" {
			name = unnamed
		}
		if name != class.Name {
			continue
		}
		counts.Total++
		has := p.Status.Class
		switch {
		case has == nil || has.Name != class.Name || has.Generation != class.Generation:
			counts.Updating++
		case meta.IsStatusConditionTrue(p.Status.Conditions, kubeflowv1.ConditionReady):
			counts.Ready++
		default:
			counts.Failed++
		}
	}
	return counts
}

// newStatus is the status of the class as of this look.
func newStatus(class *berthv1alpha1.ProfileClass, counts berthv1alpha1.ProfileCounts, problems []string, failed error) berthv1alpha1.ProfileClassStatus {
	policies := metav1.Condition{
		Type: berthv1alpha1.ConditionPoliciesReady, Status: metav1.ConditionTrue, Reason: berthv1alpha1.ReasonReady,
		Message: "the policies are in force",
	}
	if len(problems) > 0 {
		policies.Status, policies.Reason = metav1.ConditionFalse, berthv1alpha1.ReasonPolicyInvalid
		policies.Message = "the API server does not take a policy, and its last good version stays in force: " + strings.Join(problems, "; ")
	} else if failed != nil {
		policies.Status, policies.Reason = metav1.ConditionFalse, berthv1alpha1.ReasonPolicyNotApplied
		policies.Message = failed.Error()
	}
	quota := metav1.Condition{
		Type: berthv1alpha1.ConditionQuotaUsable, Status: metav1.ConditionTrue, Reason: berthv1alpha1.ReasonReady,
		Message: "containers have defaults for what the quota counts",
	}
	if missing := render.WithoutDefaults(class.Spec); len(missing) > 0 {
		quota.Status, quota.Reason = metav1.ConditionFalse, berthv1alpha1.ReasonQuotaWithoutDefaults
		quota.Message = fmt.Sprintf("pods whose containers do not name %s are refused, as the quota counts it: give limitRange an item of "+
			"type Container with default and defaultRequest for it", strings.Join(missing, ", "))
	}
	ready := metav1.Condition{
		Type: berthv1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: berthv1alpha1.ReasonReady, Message: "the class is in force",
	}
	if !class.DeletionTimestamp.IsZero() {
		ready.Status, ready.Reason = metav1.ConditionFalse, berthv1alpha1.ReasonInUse
		ready.Message = "the class goes when no profile has it any more: give them another; kubectl get profiles -l " +
			berthv1alpha1.ClassLabel + "=" + class.Name + " lists those that name it"
	} else {
		for _, part := range []metav1.Condition{policies, quota} {
			if part.Status != metav1.ConditionTrue && ready.Status == metav1.ConditionTrue {
				ready.Status, ready.Reason, ready.Message = part.Status, part.Reason, part.Message
			}
		}
	}
	status := *class.Status.DeepCopy()
	status.ObservedGeneration, status.Profiles = class.Generation, counts
	for _, c := range []metav1.Condition{ready, policies, quota} {
		c.ObservedGeneration, c.Message = class.Generation, clip(c.Message)
		meta.SetStatusCondition(&status.Conditions, c)
	}
	return status
}

// clip makes a message one that the API server takes and hands out again as it was.
func clip(message string) string {
	const limit = 32 << 10
	message = strings.ToValidUTF8(message, "\uFFFD")
	if len(message) <= limit {
		return message
	}
	return strings.ToValidUTF8(message[:limit-3], "") + "..."
}

// report writes the status, if it differs and the last write was not just now; then it says how long to wait.
func (r *Reconciler) report(ctx context.Context, class *berthv1alpha1.ProfileClass, want berthv1alpha1.ProfileClassStatus) (time.Duration, error) {
	if equality.Semantic.DeepEqual(class.Status, want) {
		return 0, nil
	}
	if wait := r.pace.wait(class.UID, r.Now()); wait > 0 {
		return wait, nil
	}
	data, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": class.ResourceVersion, "uid": class.UID},
		"status":   want,
	})
	if err != nil {
		return 0, fmt.Errorf("encode status of profile class %q: %w", class.Name, err)
	}
	if err := r.Client.Status().Patch(ctx, class, client.RawPatch(types.MergePatchType, data), apply.FieldOwner); err != nil {
		return 0, fmt.Errorf("write status of profile class %q: %w", class.Name, err)
	}
	return 0, nil
}

// between is the time between two writes of a class's status: a roll-out changes every profile, one after the other.
const between = time.Second

// pace is when the status of each class was written. The zero value has seen none.
type pace struct {
	mu   sync.Mutex
	last map[types.UID]time.Time
}

// wait is how long to wait before a write; 0 lets it happen, and counts it.
func (p *pace) wait(class types.UID, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if due := p.last[class].Add(between); now.Before(due) {
		return due.Sub(now)
	}
	if p.last == nil {
		p.last = map[types.UID]time.Time{}
	}
	p.last[class] = now
	return 0
}

func (p *pace) forget(class types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.last, class)
}
