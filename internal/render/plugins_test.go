// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/testkit"
)

const (
	role    = "arn:aws:iam::123456789012:role/ml/team-a"
	account = "team-a@project.iam.gserviceaccount.com"

	awsSpec = `{"awsIamRole": "` + role + `"}`
	gcpSpec = `{"gcpServiceAccount": "` + account + `"}`
)

func TestPlugins(t *testing.T) {
	type plugin = func(*kubeflowv1.Profile)
	aws := func(spec string) plugin { return testkit.Plugin(PluginAWSIAM, spec) }
	gcp := func(spec string) plugin { return testkit.Plugin(PluginWorkloadIdentity, spec) }
	without := func(p *kubeflowv1.Profile) {
		p.Spec.Plugins = append(p.Spec.Plugins, kubeflowv1.Plugin{Kind: PluginAWSIAM})
	}
	cases := map[string]struct {
		plugins []plugin
		// byDefault is the default workload identity.
		byDefault string
		want      []Plugin // without problems
		// wants are in the message of each plugin's problem; empty where there is none.
		wants [][]string
	}{
		"none": {},
		"a role": {
			plugins: []plugin{aws(awsSpec)}, want: []Plugin{{Kind: PluginAWSIAM, Identity: role}}, wants: [][]string{nil},
		},
		"a role that others bind": {
			plugins: []plugin{aws(`{"awsIamRole": "` + role + `", "annotateOnly": true}`)},
			want:    []Plugin{{Kind: PluginAWSIAM, Identity: role, AnnotateOnly: true}}, wants: [][]string{nil},
		},
		"a Google account": {
			plugins: []plugin{gcp(gcpSpec)}, want: []Plugin{{Kind: PluginWorkloadIdentity, Identity: account}}, wants: [][]string{nil},
		},
		"a wrong type in the other kind's field": {
			plugins: []plugin{gcp(`{"gcpServiceAccount": "` + account + `", "annotateOnly": true, "awsIamRole": 5, "x": []}`)},
			want:    []Plugin{{Kind: PluginWorkloadIdentity}}, wants: [][]string{{"awsIamRole", "number", "string"}},
		},
		"no spec":          {plugins: []plugin{without}, want: []Plugin{{Kind: PluginAWSIAM}}, wants: [][]string{{"spec.plugins[0]", "awsIamRole", `""`}}},
		"a null spec":      {plugins: []plugin{aws(`null`)}, want: []Plugin{{Kind: PluginAWSIAM}}, wants: [][]string{{"awsIamRole"}}},
		"an empty spec":    {plugins: []plugin{gcp(`{}`)}, want: []Plugin{{Kind: PluginWorkloadIdentity}}, wants: [][]string{{"gcpServiceAccount"}}},
		"a null role":      {plugins: []plugin{aws(`{"awsIamRole": null}`)}, want: []Plugin{{Kind: PluginAWSIAM}}, wants: [][]string{{"awsIamRole"}}},
		"a list for spec":  {plugins: []plugin{aws(`["a"]`)}, want: []Plugin{{Kind: PluginAWSIAM}}, wants: [][]string{{"array", "object"}}},
		"a word for spec":  {plugins: []plugin{aws(`"a"`)}, want: []Plugin{{Kind: PluginAWSIAM}}, wants: [][]string{{"string", "object"}}},
		"a number for it":  {plugins: []plugin{gcp(`5`)}, want: []Plugin{{Kind: PluginWorkloadIdentity}}, wants: [][]string{{"number", "object"}}},
		"broken JSON":      {plugins: []plugin{gcp(`{"gcpServiceAccount": `)}, want: []Plugin{{Kind: PluginWorkloadIdentity}}, wants: [][]string{{"can't be read"}}},
		"a number as role": {plugins: []plugin{aws(`{"awsIamRole": 5}`)}, want: []Plugin{{Kind: PluginAWSIAM}}, wants: [][]string{{"awsIamRole", "number", "string"}}},
		"a list as role":   {plugins: []plugin{aws(`{"awsIamRole": ["` + role + `"]}`)}, want: []Plugin{{Kind: PluginAWSIAM}}, wants: [][]string{{"awsIamRole", "array", "string"}}},
		"a word as switch": {plugins: []plugin{aws(`{"awsIamRole": "` + role + `", "annotateOnly": "true"}`)}, want: []Plugin{{Kind: PluginAWSIAM}}, wants: [][]string{{"annotateOnly", "string", "bool"}}},
		"a short account":  {plugins: []plugin{gcp(`{"gcpServiceAccount": "a@b"}`)}, want: []Plugin{{Kind: PluginWorkloadIdentity, Identity: "a@b"}}, wants: [][]string{{`"a@b"`, "iam.gserviceaccount.com"}}},
		"a user as role":   {plugins: []plugin{aws(`{"awsIamRole": "arn:aws:iam::1:user/a"}`)}, want: []Plugin{{Kind: PluginAWSIAM, Identity: "arn:aws:iam::1:user/a"}}, wants: [][]string{{"user/a", "role"}}},
		"an unknown kind":  {plugins: []plugin{testkit.Plugin("awsIamForServiceAccount", awsSpec)}, want: []Plugin{{Kind: "awsIamForServiceAccount"}}, wants: [][]string{{`"awsIamForServiceAccount"`, PluginAWSIAM, PluginWorkloadIdentity}}},
		"no kind":          {plugins: []plugin{testkit.Plugin("", awsSpec)}, want: []Plugin{{}}, wants: [][]string{{`""`}}},
		"a role twice, the first counts": {
			plugins: []plugin{aws(awsSpec), gcp(gcpSpec), aws(`{"awsIamRole": "` + role + `-2"}`)},
			want:    []Plugin{{Kind: PluginAWSIAM, Identity: role}, {Kind: PluginWorkloadIdentity, Identity: account}, {Kind: PluginAWSIAM, Identity: role + "-2"}},
			wants:   [][]string{nil, nil, {"spec.plugins[2]", PluginAWSIAM, "keep one"}},
		},
		"the default":                              {byDefault: account, want: []Plugin{{Kind: PluginWorkloadIdentity, Identity: account}}, wants: [][]string{nil}},
		"the default beside a role":                {plugins: []plugin{aws(awsSpec)}, byDefault: account, want: []Plugin{{Kind: PluginAWSIAM, Identity: role}, {Kind: PluginWorkloadIdentity, Identity: account}}, wants: [][]string{nil, nil}},
		"no default beside one's own":              {plugins: []plugin{gcp(gcpSpec)}, byDefault: "x@y.iam.gserviceaccount.com", want: []Plugin{{Kind: PluginWorkloadIdentity, Identity: account}}, wants: [][]string{nil}},
		"no default where one's own can't be used": {plugins: []plugin{gcp(`{}`)}, byDefault: account, want: []Plugin{{Kind: PluginWorkloadIdentity}}, wants: [][]string{{"spec.plugins[0]"}}},
		"a default that can't be used":             {byDefault: "x", want: []Plugin{{Kind: PluginWorkloadIdentity, Identity: "x"}}, wants: [][]string{{"controller's default", `"x"`}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p := testkit.Profile("a", tc.plugins...)
			before := p.DeepCopy()
			got := Plugins(p, Config{DefaultWorkloadIdentity: tc.byDefault})
			if len(got) != len(tc.want) {
				t.Fatalf("got %d plugins, want %d: %+v", len(got), len(tc.want), got)
			}
			for i, plugin := range got {
				problem := plugin.Problem
				plugin.Problem = nil
				if diff := cmp.Diff(tc.want[i], plugin); diff != "" {
					t.Errorf("plugin %d, -want, +got:\n%s", i, diff)
				}
				if (problem != nil) != (len(tc.wants[i]) > 0) {
					t.Fatalf("problem of plugin %d is %v", i, problem)
				}
				for _, want := range tc.wants[i] {
					if !strings.Contains(problem.Message, want) || problem.Reason != kubeflowv1.ReasonPluginInvalid {
						t.Errorf("problem of plugin %d does not name %s: %+v", i, want, *problem)
					}
				}
				if problem != nil && strings.Contains(problem.Message, "struct") {
					t.Errorf("the problem is told in Go's words: %s", problem.Message)
				}
			}
			if diff := cmp.Diff(before, p); diff != "" {
				t.Errorf("the profile was changed:\n%s", diff)
			}
		})
	}
}

func TestPluginsToRevoke(t *testing.T) {
	told := testkit.Told(metav1.Condition{Type: kubeflowv1.ConditionPluginsReady})
	firstLook := testkit.Told(metav1.Condition{Type: kubeflowv1.ConditionReady})
	recorded := func(p *kubeflowv1.Profile) {
		p.Status.Plugins = []kubeflowv1.PluginStatus{{Kind: PluginAWSIAM, Identity: role}}
	}
	cases := map[string]struct {
		options   []func(*kubeflowv1.Profile)
		byDefault string
		want      bool
	}{
		"no plugins":    {},
		"recorded ones": {options: []func(*kubeflowv1.Profile){told, recorded}, want: true},
		"recorded ones that are in the spec no more":      {options: []func(*kubeflowv1.Profile){recorded}, want: true},
		"ours by the spec, but never bound":               {options: []func(*kubeflowv1.Profile){told, testkit.Plugin(PluginAWSIAM, awsSpec)}},
		"the incumbent's, by the spec":                    {options: []func(*kubeflowv1.Profile){testkit.Plugin(PluginAWSIAM, awsSpec)}, want: true},
		"the incumbent's, looked at once":                 {options: []func(*kubeflowv1.Profile){firstLook, testkit.Plugin(PluginAWSIAM, awsSpec)}, want: true},
		"the incumbent's, that was somebody else's":       {options: []func(*kubeflowv1.Profile){testkit.Plugin(PluginAWSIAM, `{"awsIamRole": "`+role+`", "annotateOnly": true}`)}},
		"the incumbent's, that can't have worked":         {options: []func(*kubeflowv1.Profile){testkit.Plugin(PluginAWSIAM, `{}`)}},
		"the incumbent's default":                         {byDefault: account, want: true},
		"a default that came after the last report on it": {options: []func(*kubeflowv1.Profile){told}, byDefault: account},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := PluginsToRevoke(testkit.Profile("a", tc.options...), Config{DefaultWorkloadIdentity: tc.byDefault}); got != tc.want {
				t.Errorf("got %t, want %t", got, tc.want)
			}
		})
	}
}

func TestEditor_annotations(t *testing.T) {
	const other = "arn:aws:iam::123456789012:role/before"
	live := func(keysAndValues ...string) *corev1.ServiceAccount {
		editor := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: EditorName, Annotations: map[string]string{}}}
		for i := 0; i < len(keysAndValues); i += 2 {
			editor.Annotations[keysAndValues[i]] = keysAndValues[i+1]
		}
		return editor
	}
	aws, broken := testkit.Plugin(PluginAWSIAM, awsSpec), testkit.Plugin(PluginAWSIAM, `{}`)
	cases := map[string]struct {
		plugins    []func(*kubeflowv1.Profile)
		live       *corev1.ServiceAccount
		want       map[string]string
		wantAbsent []string
	}{
		"nothing":               {wantAbsent: []string{appliedAnnotations}},
		"a role":                {plugins: []func(*kubeflowv1.Profile){aws}, want: map[string]string{annotationAWS: role, appliedAnnotations: annotationAWS}},
		"a foreign role stays":  {live: live(annotationAWS, other), wantAbsent: []string{appliedAnnotations}},
		"a role dropped goes":   {live: live(annotationAWS, other, appliedAnnotations, annotationAWS), wantAbsent: []string{annotationAWS, appliedAnnotations}},
		"a role replaced":       {plugins: []func(*kubeflowv1.Profile){aws}, live: live(annotationAWS, other, appliedAnnotations, annotationAWS), want: map[string]string{annotationAWS: role, appliedAnnotations: annotationAWS}},
		"a slip of the pen":     {plugins: []func(*kubeflowv1.Profile){broken}, live: live(annotationAWS, other, appliedAnnotations, annotationAWS), want: map[string]string{annotationAWS: other, appliedAnnotations: annotationAWS}},
		"a slip over a foreign": {plugins: []func(*kubeflowv1.Profile){broken}, live: live(annotationAWS, other), wantAbsent: []string{appliedAnnotations}},
		"a role twice: the first": {
			plugins: []func(*kubeflowv1.Profile){aws, testkit.Plugin(PluginAWSIAM, `{"awsIamRole": "`+role+`-2"}`)},
			live:    live(annotationAWS, other, appliedAnnotations, annotationAWS),
			want:    map[string]string{annotationAWS: role, appliedAnnotations: annotationAWS},
		},
		"a record that was tampered with takes nothing of others": {
			live: live("x", "y", appliedAnnotations, "x,,"+annotationGCP), wantAbsent: []string{annotationGCP, appliedAnnotations},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p := testkit.Profile("a", tc.plugins...)
			got := editor(p, Input{Config: DefaultConfig(), Editor: tc.live}, Claim{Kind: ClaimOwned})
			if diff := cmp.Diff(tc.want, got.GetAnnotations()); diff != "" {
				t.Errorf("-want, +got:\n%s", diff)
			}
			if !slices.Equal(tc.wantAbsent, got.AbsentAnnotations) {
				t.Errorf("absent are %q, want %q", got.AbsentAnnotations, tc.wantAbsent)
			}
		})
	}
}

func FuzzParsePlugin(f *testing.F) {
	for _, spec := range []string{awsSpec, gcpSpec, `null`, `[]`, `""`, `{"awsIamRole": {}}`, `{"annotateOnly": 1}`, `{`, ``} {
		f.Add(PluginAWSIAM, []byte(spec))
		f.Add(PluginWorkloadIdentity, []byte(spec))
	}
	f.Fuzz(func(t *testing.T, kind string, spec []byte) {
		got := parsePlugin(kubeflowv1.Plugin{Kind: kind, Spec: &runtime.RawExtension{Raw: spec}})
		if got.Kind != kind || (got.Problem == nil) != (got.Identity != "" && got.annotation() != "" && checkPlugin(got).Problem == nil) {
			t.Errorf("%q is understood as %+v", spec, got)
		}
	})
}
