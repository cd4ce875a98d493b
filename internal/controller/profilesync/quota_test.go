// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// Each step of the quota of github-profiles-automator, in the order of one profile's life: what the list has, what the
// namespace has then, and that a second look writes nothing.
func TestSync_quota(t *testing.T) {
	var w writes
	c := start(t, w.option())
	team := testkit.Name(t, "team")
	controllertest.Create(t, c, controllertest.Profile(team, func(p *profileType) {
		p.Spec.Owner.Name = "olga@example.com"
		p.Spec.ResourceQuotaSpec.Hard = map[corev1.ResourceName]kubeflowv1.Quantity{"requests.cpu": "2"}
	}))
	controllertest.AwaitReady(t, c, team)
	s := newSync(t, c, listOf(entry(team)), "{}")
	priority := func(operator, values string) string {
		return "resources: {hard: {pods: 3}, scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: " + operator + ", values: " + values + "}]}}"
	}
	for _, step := range []struct {
		title, resources string
		want             map[string]string
		scope            string
	}{
		{"one that is not listed stays", "", map[string]string{"requests.cpu": "2"}, ""},
		{"a null is none", "resources: null", map[string]string{"requests.cpu": "2"}, ""},
		{"more", `resources: {hard: {requests.cpu: "1", requests.memory: 4Gi}}`, map[string]string{"requests.cpu": "1", "requests.memory": "4Gi"}, ""},
		{"a key less", `resources: {hard: {requests.cpu: "1"}}`, map[string]string{"requests.cpu": "1"}, ""},
		{"the same, written in thousandths", `resources: {hard: {requests.cpu: 1000m}}`, map[string]string{"requests.cpu": "1"}, ""},
		{"a half", `resources: {hard: {requests.cpu: 0.5}}`, map[string]string{"requests.cpu": "500m"}, ""},
		{"an unquoted number", `resources: {hard: {requests.cpu: 1}}`, map[string]string{"requests.cpu": "1"}, ""},
		{"a scope on a profile that is there", priority("In", "[high]"), map[string]string{"pods": "3"}, "In [high]"},
		{"another scope", priority("In", "[high, low]"), map[string]string{"pods": "3"}, "In [high low]"},
		{"the same in another order", priority("In", "[low, high]"), map[string]string{"pods": "3"}, "In [high low]"},
		{"an empty one takes it away", "resources: {}", nil, ""},
	} {
		t.Run(step.title, func(t *testing.T) {
			fields := []string{people("ann:edit")}
			if step.resources != "" {
				fields = append(fields, step.resources)
			}
			declare(t, c, s.Name, listOf(entry(team, fields...)))
			inForce(t, c, s)
			awaitAccess(t, c, team, at("ann:edit")...)
			awaitQuota(t, c, team, step.want, step.scope)
			controllertest.AwaitReady(t, c, team)
			w.quiet(t, c, s, team)
			awaitQuota(t, c, team, step.want, step.scope)
		})
	}
}

// awaitQuota waits until the namespace has a quota of want, by meaning, and nothing else; nil is for none.
func awaitQuota(t *testing.T, c client.Client, namespace string, want map[string]string, scope string) {
	t.Helper()
	testkit.Eventually(t, controllertest.Patience, func() error {
		var quota corev1.ResourceQuota
		err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "kf-resource-quota"}, &quota)
		if want == nil && apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		have, wanted := map[string]string{}, map[string]string{}
		for name, quantity := range quota.Spec.Hard {
			have[string(name)] = quantity.String()
		}
		for name, text := range want {
			quantity := resource.MustParse(text)
			wanted[name] = quantity.String()
		}
		scopes := ""
		if quota.Spec.ScopeSelector != nil {
			for _, e := range quota.Spec.ScopeSelector.MatchExpressions {
				scopes += fmt.Sprintf("%s %v", e.Operator, e.Values)
			}
		}
		if diff := cmp.Diff(wanted, have) + cmp.Diff(scope, scopes); diff != "" {
			return fmt.Errorf("quota (-want +got):\n%s", diff)
		}
		return nil
	})
}
