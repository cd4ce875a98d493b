// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/cloud"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

const (
	roleA = "arn:aws:iam::123456789012:role/a"
	roleB = "arn:aws:iam::123456789012:role/b"
)

var namespace = testkit.Namespace("team")

func role(arn string) func(*kubeflowv1.Profile) {
	return testkit.Plugin(render.PluginAWSIAM, `{"awsIamRole":"`+arn+`"}`)
}

func annotateOnly(arn string) func(*kubeflowv1.Profile) {
	return testkit.Plugin(render.PluginAWSIAM, `{"awsIamRole":"`+arn+`","annotateOnly":true}`)
}

func record(arn string, phase kubeflowv1.PluginPhase) kubeflowv1.PluginStatus {
	return kubeflowv1.PluginStatus{Kind: render.PluginAWSIAM, Identity: arn, Phase: phase, NamespaceUID: namespace.UID}
}

func onRecord(records ...kubeflowv1.PluginStatus) func(*kubeflowv1.Profile) {
	return func(p *kubeflowv1.Profile) { p.Status.Plugins = records }
}

func deleting(p *kubeflowv1.Profile) { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }

var told = testkit.Told(metav1.Condition{Type: kubeflowv1.ConditionPluginsReady})

// summary is what was decided, in words.
type summary struct {
	Calls, Kept, Problems []string
	Waiting               bool
}

func summarize(s steps) (out summary) {
	for _, c := range s.calls {
		verb := "apply "
		switch {
		case c.revoke:
			verb = "revoke "
		case c.verify:
			verb = "verify "
		}
		out.Calls = append(out.Calls, verb+c.record.Identity)
	}
	for _, kept := range s.kept {
		out.Kept = append(out.Kept, kept.Identity)
	}
	for _, problem := range s.problems {
		out.Problems = append(out.Problems, problem.Reason)
	}
	out.Waiting = s.waiting
	return out
}

func TestDecide(t *testing.T) {
	invalid := []string{kubeflowv1.ReasonPluginInvalid}
	applied, applying, revoking := kubeflowv1.PluginApplied, kubeflowv1.PluginApplying, kubeflowv1.PluginRevoking
	elsewhere := record(roleA, applied)
	elsewhere.NamespaceUID = "another"
	cases := map[string]struct {
		profile []func(*kubeflowv1.Profile)
		gone    bool // the namespace
		verify  bool
		config  render.Config
		want    summary
	}{
		"nothing asked for, nothing on record": {},
		"a new plugin is applied":              {profile: with(role(roleA)), want: summary{Calls: []string{"apply " + roleA}}},
		"an applied plugin is left alone":      {profile: with(role(roleA), onRecord(record(roleA, applied))), want: summary{Kept: []string{roleA}}},
		"an applied plugin is verified":        {profile: with(role(roleA), onRecord(record(roleA, applied))), verify: true, want: summary{Calls: []string{"verify " + roleA}}},
		"what was begun is done":               {profile: with(role(roleA), onRecord(record(roleA, applying))), want: summary{Calls: []string{"apply " + roleA}}},
		"what was to be revoked is wanted":     {profile: with(role(roleA), onRecord(record(roleA, revoking))), want: summary{Calls: []string{"apply " + roleA}}},
		"another namespace":                    {profile: with(role(roleA), onRecord(elsewhere)), want: summary{Calls: []string{"apply " + roleA}}},
		"the new one before the old one":       {profile: with(role(roleB), onRecord(record(roleA, applied))), want: summary{Calls: []string{"apply " + roleB, "revoke " + roleA}}},
		"no longer asked for":                  {profile: with(onRecord(record(roleA, applied))), want: summary{Calls: []string{"revoke " + roleA}}},
		"no namespace yet":                     {profile: with(role(roleA)), gone: true, want: summary{Waiting: true}},
		"no namespace any more":                {profile: with(role(roleA), onRecord(record(roleA, applied))), gone: true, want: summary{Waiting: true, Kept: []string{roleA}}},
		"no namespace, and another one":        {profile: with(role(roleB), onRecord(record(roleA, applied))), gone: true, want: summary{Waiting: true, Calls: []string{"revoke " + roleA}}},
		"malformed, nothing on record":         {profile: with(role("x")), want: summary{Problems: invalid}},
		"malformed over a good one":            {profile: with(role("x"), onRecord(record(roleA, applied))), want: summary{Problems: invalid, Kept: []string{roleA}}},
		"two of a kind":                        {profile: with(role(roleA), role(roleB), onRecord(record(roleA, applied))), want: summary{Problems: invalid, Kept: []string{roleA}}},
		"two of a kind, both malformed":        {profile: with(role("x"), role("y"), onRecord(record(roleA, applied))), want: summary{Problems: append(invalid, invalid...), Kept: []string{roleA}}},
		"an unknown kind":                      {profile: with(testkit.Plugin("Teapot", "{}")), want: summary{Problems: invalid}},
		"annotate only":                        {profile: with(annotateOnly(roleA))},
		"annotate only what was bound":         {profile: with(annotateOnly(roleA), onRecord(record(roleA, applied)))},
		"annotate another one only":            {profile: with(annotateOnly(roleB), onRecord(record(roleA, applied))), want: summary{Calls: []string{"revoke " + roleA}}},
		"the default":                          {config: render.Config{DefaultWorkloadIdentity: "a@models.iam.gserviceaccount.com"}, want: summary{Calls: []string{"apply a@models.iam.gserviceaccount.com"}}},
		"deleted with a record":                {profile: with(role(roleA), onRecord(record(roleA, applied)), deleting), gone: true, want: summary{Calls: []string{"revoke " + roleA}}},
		"deleted with a malformed plugin":      {profile: with(role("x"), onRecord(record(roleA, applied)), deleting), want: summary{Calls: []string{"revoke " + roleA}}},
		"deleted, never applied":               {profile: with(role(roleA), told, deleting)},
		"deleted, looked at once by others":    {profile: with(role(roleA), testkit.Told(metav1.Condition{Type: kubeflowv1.ConditionReady}), deleting), want: summary{Calls: []string{"revoke " + roleA}}},
		"deleted, of an earlier controller":    {profile: with(role(roleA), deleting), gone: true, want: summary{Calls: []string{"revoke " + roleA}}},
		"deleted, earlier, annotated only":     {profile: with(annotateOnly(roleA), deleting)},
		"deleted, earlier, malformed":          {profile: with(role("x"), deleting)},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			ns := namespace
			if tc.gone {
				ns = nil
			}
			got := summarize(decide(testkit.Profile("team", tc.profile...), ns, tc.config, tc.verify))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}

func with(changes ...func(*kubeflowv1.Profile)) []func(*kubeflowv1.Profile) { return changes }

func TestSteps_recordsAfterTheCalls(t *testing.T) {
	failed := errors.New("no answer")
	untouched := cloud.Untouched(failed)
	applied, applying, revoking := kubeflowv1.PluginApplied, kubeflowv1.PluginApplying, kubeflowv1.PluginRevoking
	cases := map[string]struct {
		call   call
		result error
		want   []kubeflowv1.PluginStatus
	}{
		"applied":                       {call{record: record(roleA, applying)}, nil, []kubeflowv1.PluginStatus{record(roleA, applied)}},
		"perhaps applied":               {call{record: record(roleA, applying)}, failed, []kubeflowv1.PluginStatus{record(roleA, applying)}},
		"certainly not applied":         {call{record: record(roleA, applying)}, untouched, nil},
		"could not be verified":         {call{record: record(roleA, applied), verify: true}, failed, []kubeflowv1.PluginStatus{record(roleA, applied)}},
		"verifying did not even start":  {call{record: record(roleA, applied), verify: true}, untouched, []kubeflowv1.PluginStatus{record(roleA, applied)}},
		"revoked":                       {call{record: record(roleA, revoking), revoke: true}, nil, nil},
		"perhaps revoked":               {call{record: record(roleA, revoking), revoke: true}, failed, []kubeflowv1.PluginStatus{record(roleA, revoking)}},
		"certainly still to be revoked": {call{record: record(roleA, revoking), revoke: true}, untouched, []kubeflowv1.PluginStatus{record(roleA, revoking)}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			kept := record(roleB, applied)
			s := steps{kept: []kubeflowv1.PluginStatus{kept}, calls: []call{tc.call}}
			var results []error
			results = append(results, tc.result)
			if diff := cmp.Diff(append(tc.want, kept), s.achieved(results)); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSteps_condition(t *testing.T) {
	yes, no := metav1.ConditionTrue, metav1.ConditionFalse
	apply, revoke := call{record: record(roleA, kubeflowv1.PluginApplying)}, call{record: record(roleA, kubeflowv1.PluginRevoking), revoke: true}
	problem := render.Problem{Reason: kubeflowv1.ReasonPluginInvalid, Message: "spec.plugins[0]: nonsense"}
	failed := errors.New("no answer")
	cases := map[string]struct {
		steps   steps
		results []error
		want    *status.Condition
	}{
		"no plugins":              {want: nil},
		"the last one revoked":    {steps: steps{calls: []call{revoke}}, results: []error{nil}, want: nil},
		"all in place":            {steps: steps{asked: true}, want: condition(yes, kubeflowv1.ReasonReady, "plugins are applied")},
		"waiting":                 {steps: steps{asked: true, waiting: true}, want: condition(no, kubeflowv1.ReasonProgressing, "plugins wait for the namespace")},
		"the provider failed":     {steps: steps{asked: true, calls: []call{apply}}, results: []error{failed}, want: condition(no, kubeflowv1.ReasonPluginFailed, "no answer")},
		"a problem and a failure": {steps: steps{asked: true, calls: []call{apply}, problems: []render.Problem{problem}}, results: []error{failed}, want: condition(no, kubeflowv1.ReasonPluginInvalid, "spec.plugins[0]: nonsense; no answer")},
		"revoking failed":         {steps: steps{calls: []call{revoke}}, results: []error{failed}, want: condition(no, kubeflowv1.ReasonPluginRevokeFailed, "the binding of "+roleA+" could not be taken back: no answer")},
		"deleted":                 {steps: steps{asked: true, deleting: true, calls: []call{revoke}}, results: []error{nil}, want: condition(no, kubeflowv1.ReasonDeleting, "plugins are revoked")},
		"deleted, and failing":    {steps: steps{asked: true, deleting: true, calls: []call{revoke}}, results: []error{failed}, want: condition(no, kubeflowv1.ReasonPluginRevokeFailed, "the binding of "+roleA+" could not be taken back: no answer")},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, tc.steps.condition(tc.results, tc.steps.achieved(tc.results))); diff != "" {
				t.Errorf("condition (-want +got):\n%s", diff)
			}
		})
	}
}

func condition(s metav1.ConditionStatus, reason, message string) *status.Condition {
	return &status.Condition{Type: kubeflowv1.ConditionPluginsReady, Status: s, Reason: reason, Message: message}
}
