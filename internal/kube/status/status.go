// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package status reports on a Profile: its conditions, in one write and only when something changed, and the Events
// that tell what happened.
package status

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kube/apply"
)

// Condition is a condition as decided in this pass.
type Condition struct {
	Type    string
	Status  metav1.ConditionStatus
	Reason  string
	Message string
}

// Merge puts the conditions want into status, with the times at which they changed, and takes out those of the types
// gone. Conditions of others stay.
func Merge(status *kubeflowv1.ProfileStatus, generation int64, now metav1.Time, want []Condition, gone ...string) {
	for _, c := range want {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: c.Type, Status: c.Status, Reason: c.Reason, Message: clip(c.Message),
			ObservedGeneration: generation, LastTransitionTime: now,
		})
	}
	for _, t := range gone {
		meta.RemoveStatusCondition(&status.Conditions, t)
	}
	slices.SortStableFunc(status.Conditions, func(a, b metav1.Condition) int { return rank(a.Type) - rank(b.Type) })
}

// Says says whether p's status has the condition, about p as it is.
func Says(p *kubeflowv1.Profile, c Condition) bool {
	told := meta.FindStatusCondition(p.Status.Conditions, c.Type)
	return told != nil && told.Status == c.Status && told.Reason == c.Reason && told.Message == clip(c.Message) && told.ObservedGeneration == p.Generation
}

// ranked are the types of conditions in the order in which people read them: the summary first.
var ranked = []string{
	kubeflowv1.ConditionReady, kubeflowv1.ConditionNamespaceReady, kubeflowv1.ConditionMeshReady,
	kubeflowv1.ConditionQuotaReady, kubeflowv1.ConditionAccessReady, kubeflowv1.ConditionPluginsReady,
	kubeflowv1.ConditionClassReady, kubeflowv1.ConditionGuardRailsReady, kubeflowv1.ConditionNetworkReady,
	kubeflowv1.ConditionMTLSReady, kubeflowv1.ConditionUserTokenReady, kubeflowv1.ConditionLimitRangeReady,
	kubeflowv1.ConditionInferenceAccessReady, kubeflowv1.ConditionCredentialsReady,
	kubeflowv1.ConditionServiceAccountsReady, kubeflowv1.ConditionHooksReady,
}

// rank is the place of a condition; those of others come last.
func rank(conditionType string) int {
	if place := slices.Index(ranked, conditionType); place >= 0 {
		return place
	}
	return len(ranked)
}

// clip makes a message one that the API server takes and hands out again as it was: any other would differ at the next
// look, and be written again.
func clip(message string) string {
	const limit = 32 << 10
	message = strings.ToValidUTF8(message, "\uFFFD")
	if len(message) <= limit {
		return message
	}
	return strings.ToValidUTF8(message[:limit-3], "") + "..."
}

// Patch writes want as the status of p, if it differs. p is the profile as it was read; a write by somebody else since
// then is a conflict, and p has to be looked at again.
func Patch(ctx context.Context, c client.Client, p *kubeflowv1.Profile, want kubeflowv1.ProfileStatus) error {
	if equality.Semantic.DeepEqual(p.Status, want) {
		return nil
	}
	body := map[string]any{
		"metadata": map[string]any{"resourceVersion": p.ResourceVersion, "uid": p.UID},
		"status":   map[string]any{"conditions": want.Conditions, "plugins": want.Plugins, "class": want.Class},
	}
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode status of profile %q: %w", p.Name, err)
	}
	if err := c.Status().Patch(ctx, p, client.RawPatch(types.MergePatchType, data), apply.FieldOwner); err != nil {
		return fmt.Errorf("write status of profile %q: %w", p.Name, err)
	}
	return nil
}
