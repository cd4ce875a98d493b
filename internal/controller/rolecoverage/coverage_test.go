// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package rolecoverage_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"berth.dev/berth/internal/access/coverage"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/controller/rolecoverage"
	"berth.dev/berth/internal/testkit"
)

const (
	view = coverage.View
	edit = coverage.Edit
)

// What started it: from a notebook, which runs as default-editor, a TrainedModel could not be made.
func TestTrainedModel_byDefaultEditorOfAProfile(t *testing.T) {
	t.Parallel()
	cluster, c := begin(t)
	profiles := controllertest.Start(t, cluster.Config()) // without role coverage
	create(t, c, kind(t))
	name := testkit.Name(t, "team")
	controllertest.Create(t, c, controllertest.Profile(name))
	controllertest.AwaitReady(t, c, name)
	editor := as(t, cluster.ServiceAccountConfig(t, name, "default-editor"))
	viewer := as(t, cluster.ServiceAccountConfig(t, name, "default-viewer"))
	wantForbidden(t, "create as default-editor, before", editor.Create(t.Context(), model(name, "one")))
	wantForbidden(t, "get as default-viewer, before", viewer.Get(t.Context(), client.ObjectKey{Namespace: name, Name: "one"}, model(name, "one")))
	profiles.Stop(t)

	cover(t, cluster)

	testkit.Eventually(t, patience, func() error { return editor.Create(t.Context(), model(name, "one")) })
	one := model(name, "one")
	testkit.Eventually(t, patience, func() error {
		return viewer.Get(t.Context(), client.ObjectKeyFromObject(one), one)
	})
	wantForbidden(t, "create as default-viewer", viewer.Create(t.Context(), model(name, "two")))
	wantForbidden(t, "delete as default-viewer", viewer.Delete(t.Context(), model(name, "one")))
	one.Object["spec"].(map[string]any)["inferenceService"] = "other"
	wantForbidden(t, "update as default-viewer", viewer.Update(t.Context(), one.DeepCopy()))
	if err := editor.Update(t.Context(), one); err != nil {
		t.Errorf("update as default-editor: %v", err)
	}
	if err := editor.Delete(t.Context(), model(name, "one")); err != nil {
		t.Errorf("delete as default-editor: %v", err)
	}
	wantForbidden(t, "create in another namespace", editor.Create(t.Context(), model("default", "one")))
}

func TestRoles_comeAndGoWithTheKind(t *testing.T) { // not in parallel: what is measured is the process's
	_, c := start(t)
	crd := kind(t)
	create(t, c, crd)
	await(t, c, view, viewing...)
	await(t, c, edit, editing...)
	note := awaitEvent(t, c, rolecoverage.EventGapClosed, crd.Name)
	if !strings.Contains(note, "berth-trainedmodels.serving.kserve.io-view, berth-trainedmodels.serving.kserve.io-edit") {
		t.Errorf("the Event says %q", note)
	}
	wantGauge(t, map[string]string{"resource": "trainedmodels", "code": "no-role", "state": "closed"}, 1)
	// What nobody can supply is told.
	if note := awaitEvent(t, c, rolecoverage.EventGapOpen, "kubeflow-pipelines-view"); !strings.Contains(note, "viewers.kubeflow.org") {
		t.Errorf("the Event says %q", note)
	}
	wantGauge(t, map[string]string{"resource": "viewers", "code": "view-writes", "state": "open"}, 1)

	remove(t, c, crd)
	await(t, c, view)
	await(t, c, edit)
	wantGauge(t, map[string]string{"resource": "trainedmodels"}, 0)
}

func TestRoles_areRepairedAndNotWrittenForNothing(t *testing.T) {
	t.Parallel()
	var n counter
	_, c := start(t, n.option())
	create(t, c, kind(t))
	await(t, c, view, viewing...)
	await(t, c, edit, editing...)
	name := coverage.Name("serving.kserve.io", "trainedmodels", edit)
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}}
	before := len(n.all())
	for what, spoil := range map[string]func(){
		"rules": func() { role.Rules[0].Verbs = []string{"*"} },
		"more rules": func() {
			role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}})
		},
		"a label of another level": func() { role.Labels[view.Label()] = "true" },
		"the label of its level":   func() { delete(role.Labels, edit.Label()) },
		"an aggregation": func() {
			role.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"no": "one"}}}}
		},
	} {
		change(t, c, role, spoil)
		testkit.Eventually(t, patience, func() error {
			now := &rbacv1.ClusterRole{}
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(role), now); err != nil {
				return err
			}
			if len(now.Rules) != 1 || len(now.Rules[0].Verbs) != 4 || now.Labels[view.Label()] != "" || now.Labels[edit.Label()] != "true" || now.AggregationRule != nil {
				return fmt.Errorf("%s: not repaired: %+v", what, now)
			}
			return nil
		})
	}
	remove(t, c, role)
	await(t, c, edit, editing...)
	if got := n.all()[before:]; len(got) != 7 { // an aggregation is got rid of by deleting and creating
		t.Errorf("for six changes, it wrote %d times: %v", len(got), got)
	}

	// Other roles and kinds that change are no reason to write, and neither is a restart.
	settled := len(n.all())
	create(t, c, another(t, "example.com", "things", "Thing"), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "of-others"}})
	create(t, c, another(t, "serving.kserve.io", "localmodelnamespacecaches", "LocalModelNamespaceCache"))
	awaitRole(t, c, "berth-localmodelnamespacecaches.serving.kserve.io-edit", "[localmodelnamespacecaches] [create update patch delete]")
	testkit.Eventually(t, patience, func() error {
		if got := n.all()[settled:]; len(got) != 2 {
			return fmt.Errorf("it wrote %v", got)
		}
		return nil
	})
}

func TestRestart_writesNothing(t *testing.T) {
	t.Parallel()
	cluster, c := begin(t)
	create(t, c, kind(t))
	first := cover(t, cluster)
	await(t, c, view, viewing...)
	await(t, c, edit, editing...)
	first.Stop(t)

	var n counter
	cover(t, cluster, n.option())
	// The first look comes before what it leads to.
	create(t, c, another(t, "ray.io", "rayjobs", "RayJob"))
	awaitRole(t, c, "berth-rayjobs.ray.io-edit", "[rayjobs] [create update patch delete]")
	for _, write := range n.all() {
		if !strings.Contains(write, "rayjobs") {
			t.Errorf("it wrote %s", write)
		}
	}
}

func TestRoles_ofOthersStay(t *testing.T) {
	t.Parallel()
	_, c := start(t)
	name := coverage.Name("serving.kserve.io", "trainedmodels", view)
	theirs := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"theirs": "true"}}}
	unprefixed := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "kept", Labels: map[string]string{coverage.GeneratedLabel: coverage.GeneratedValue}}}
	create(t, c, theirs, unprefixed, kind(t))
	// As view does not have them.
	await(t, c, edit, "[trainedmodels] [get list watch create update patch delete]", "[trainedmodels/status] [get]")
	awaitEvent(t, c, rolecoverage.EventGapOpen, "trainedmodels.serving.kserve.io")
	remove(t, c, kind(t))
	await(t, c, edit)
	for _, role := range []*rbacv1.ClusterRole{theirs, unprefixed} {
		now := &rbacv1.ClusterRole{}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(role), now); err != nil || now.ResourceVersion != role.ResourceVersion {
			t.Errorf("%s was touched: %v, %+v", role.Name, err, now)
		}
	}
}

// What another role gives meanwhile, ours need not give.
func TestRoles_yieldToOthers(t *testing.T) {
	t.Parallel()
	_, c := start(t)
	create(t, c, kind(t))
	await(t, c, edit, editing...)
	create(t, c, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "theirs", Labels: map[string]string{edit.Label(): "true"}},
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"serving.kserve.io"}, Resources: []string{"trainedmodels"}, Verbs: []string{"create", "update", "delete"},
		}},
	})
	await(t, c, edit, "[trainedmodels] [patch]")
}

func TestPolicy(t *testing.T) { // not in parallel: what is measured is the process's
	_, c := start(t)
	log := controllertest.Logs(t)
	create(t, c, kind(t))
	await(t, c, edit, editing...)

	config := policy("groups: [{name: serving.kserve.io, view: [get], edit: [get, patch]}]")
	create(t, c, config)
	await(t, c, view, "[trainedmodels] [get]", "[trainedmodels/status] [get]")
	await(t, c, edit, "[trainedmodels] [patch]")

	// The last good policy stays in force: also for kinds that come after it was spoilt.
	change(t, c, config, func() { config.Data[rolecoverage.PolicyKey] = "groups: [{name: '*', edit: ['*']}]" })
	awaitEvent(t, c, rolecoverage.EventPolicyInvalid, rolecoverage.PolicyName)
	wantMetric(t, "berth_role_policy_invalid", nil, 1)
	create(t, c, another(t, "serving.kserve.io", "localmodelnamespacecaches", "LocalModelNamespaceCache"))
	awaitRole(t, c, "berth-localmodelnamespacecaches.serving.kserve.io-edit", "[localmodelnamespacecaches] [patch]")
	await(t, c, edit, "[trainedmodels] [patch]")
	if lines := log.Lines("Could not use the policy of roles"); len(lines) != 1 {
		t.Errorf("it logged %d times: %v", len(lines), lines)
	}

	change(t, c, config, func() { config.Data = policy("groups: [{name: ray.io}]").Data })
	await(t, c, view)
	await(t, c, edit)
	wantMetric(t, "berth_role_policy_invalid", nil, 0)

	remove(t, c, config)
	await(t, c, view, viewing...)
	await(t, c, edit, editing...)
}

// Who starts with a policy that can't be used does not know what is meant, and changes nothing.
func TestPolicy_unusableFromTheStart(t *testing.T) {
	t.Parallel()
	cluster, c := begin(t)
	create(t, c, kind(t))
	first := cover(t, cluster)
	await(t, c, edit, editing...)
	first.Stop(t)
	config := policy("groups: [{name: ray.io}, {name: secrets}]")
	create(t, c, config)
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: coverage.Name("serving.kserve.io", "trainedmodels", edit)}}
	change(t, c, role, func() { role.Rules[0].Verbs = []string{"create"} })

	cover(t, cluster)
	awaitEvent(t, c, rolecoverage.EventPolicyInvalid, rolecoverage.PolicyName)
	await(t, c, edit, "[trainedmodels] [create]")

	change(t, c, config, func() { config.Data = policy("groups: [{name: serving.kserve.io}]").Data })
	await(t, c, edit, editing...)
}

func wantGauge(t *testing.T, labels map[string]string, want float64) {
	t.Helper()
	wantMetric(t, "berth_role_gaps", labels, want)
}

// wantMetric waits until so much is measured with the labels, all together.
func wantMetric(t *testing.T, name string, labels map[string]string, want float64) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		families, err := metrics.Registry.(prometheus.Gatherer).Gather()
		if err != nil {
			return err
		}
		sum := 0.0
		for _, family := range families {
			if family.GetName() != name {
				continue
			}
			for _, m := range family.GetMetric() {
				matching := 0
				for _, pair := range m.GetLabel() {
					if value, asked := labels[pair.GetName()]; asked && value == pair.GetValue() {
						matching++
					}
				}
				if matching == len(labels) {
					sum += m.GetGauge().GetValue()
				}
			}
		}
		if sum != want {
			return fmt.Errorf("%s%v is %v, want %v", name, labels, sum, want)
		}
		return nil
	})
}
