// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

// shown is a condition without its message: "Ready=True (Ready)".
func shown(conditions []status.Condition) []string {
	var all []string
	for _, c := range conditions {
		all = append(all, c.Type+"="+string(c.Status)+" ("+c.Reason+")")
	}
	return all
}

func TestConditions(t *testing.T) {
	parts := func(change func(mesh, quota, access *partOutcome)) []partOutcome {
		all := make([]partOutcome, 3)
		for i, name := range []string{kubeflowv1.ConditionMeshReady, kubeflowv1.ConditionQuotaReady, kubeflowv1.ConditionAccessReady} {
			all[i].Part = render.Part{Condition: name, Reason: kubeflowv1.ReasonReady, Message: "in place"}
		}
		change(&all[0], &all[1], &all[2])
		return all
	}
	fine := func(*partOutcome, *partOutcome, *partOutcome) {}
	owner := &render.Problem{Reason: kubeflowv1.ReasonOwnerInvalid, Message: "the owner is a star"}
	cases := map[string]struct {
		o        outcome
		want     []string
		wantGone []string
		// wants are in the message of Ready, each once.
		wants []string
	}{
		"all is well": {
			o:     outcome{parts: parts(fine)},
			want:  []string{"NamespaceReady=True (Ready)", "MeshReady=True (Ready)", "QuotaReady=True (Ready)", "AccessReady=True (Ready)", "Ready=True (Ready)"},
			wants: []string{"namespace a is ready"},
		},
		"no quota is fine": {
			o:     outcome{parts: parts(func(_, quota, _ *partOutcome) { quota.Reason = kubeflowv1.ReasonNoQuota })},
			want:  []string{"NamespaceReady=True (Ready)", "MeshReady=True (Ready)", "QuotaReady=True (NoQuota)", "AccessReady=True (Ready)", "Ready=True (Ready)"},
			wants: []string{"ready to use"},
		},
		"one trouble of two parts is told once": {
			o:     outcome{parts: parts(func(mesh, _, access *partOutcome) { mesh.Problem, access.Problem = owner, owner })},
			want:  []string{"NamespaceReady=True (Ready)", "MeshReady=False (OwnerInvalid)", "QuotaReady=True (Ready)", "AccessReady=False (OwnerInvalid)", "Ready=False (OwnerInvalid)"},
			wants: []string{"the owner is a star"},
		},
		"a failed write hides what was asked for": {
			o: outcome{parts: parts(func(_, quota, access *partOutcome) {
				quota.err, access.err, access.Problem = errors.New("refused"), errors.New("too late"), owner
			})},
			want:  []string{"NamespaceReady=True (Ready)", "MeshReady=True (Ready)", "QuotaReady=False (ApplyFailed)", "AccessReady=False (ApplyFailed)", "Ready=False (ApplyFailed)"},
			wants: []string{"refused; too late"},
		},
		"no namespace, no parts": {
			o:     outcome{namespace: errors.New("refused")},
			want:  []string{"NamespaceReady=False (ApplyFailed)", "Ready=False (ApplyFailed)"},
			wants: []string{"refused"},
		},
		"blocked, the parts say nothing any more": {
			o:        outcome{blocked: terminating("a")},
			want:     []string{"NamespaceReady=False (NamespaceTerminating)", "Ready=False (NamespaceTerminating)"},
			wantGone: []string{"MeshReady", "QuotaReady", "AccessReady"},
			wants:    []string{"namespace a is being deleted"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := slices.Clone(partConditions)
			got, gone := conditions(testkit.Profile("a"), render.Config{}, render.Tenant{}, tc.o)
			if diff := cmp.Diff(tc.want, shown(got)); diff != "" {
				t.Errorf("-want, +got:\n%s", diff)
			}
			if !slices.Equal(gone, append(slices.Clone(tc.wantGone), render.ClassConditions()...)) || !slices.Equal(before, partConditions) {
				t.Errorf("gone are %q, want %q; the parts became %q", gone, tc.wantGone, partConditions)
			}
			message := got[len(got)-1].Message
			for _, want := range tc.wants {
				if strings.Count(message, want) != 1 {
					t.Errorf("the message does not say once %q: %s", want, message)
				}
			}
			again, _ := conditions(testkit.Profile("a"), render.Config{}, render.Tenant{}, tc.o)
			if diff := cmp.Diff(got, again); diff != "" {
				t.Errorf("told again, it reads differently:\n%s", diff)
			}
		})
	}
}

// Ready counts what the plugins' own controller told, as far as it has seen what is asked for.
func TestReady_plugins(t *testing.T) {
	role := testkit.Plugin(render.PluginAWSIAM, `{"awsIamRole": "arn:aws:iam::1:role/a"}`)
	told := func(value metav1.ConditionStatus, reason string, generation int64) func(*kubeflowv1.Profile) {
		return testkit.Told(metav1.Condition{
			Type: kubeflowv1.ConditionPluginsReady, Status: value, Reason: reason, Message: "as told", ObservedGeneration: generation,
		})
	}
	recorded := func(p *kubeflowv1.Profile) {
		p.Status.Plugins = []kubeflowv1.PluginStatus{{Kind: render.PluginAWSIAM, Identity: "i"}}
	}
	type options = []func(*kubeflowv1.Profile)
	cases := map[string]struct {
		options   options
		byDefault string
		want      string
	}{
		"no plugins":                        {want: "Ready=True (Ready)"},
		"no plugins, and an old word":       {options: options{told(metav1.ConditionFalse, "PluginFailed", 1)}, want: "Ready=True (Ready)"},
		"plugins nobody has looked at":      {options: options{role}, want: "Ready=False (Progressing)"},
		"plugins in place":                  {options: options{role, told(metav1.ConditionTrue, "Ready", 1)}, want: "Ready=True (Ready)"},
		"plugins in place before a change":  {options: options{role, told(metav1.ConditionTrue, "Ready", 0)}, want: "Ready=False (Progressing)"},
		"plugins that fail":                 {options: options{role, told(metav1.ConditionFalse, "PluginFailed", 1)}, want: "Ready=False (PluginFailed)"},
		"plugins that nobody knows about":   {options: options{role, told(metav1.ConditionUnknown, "Odd", 1)}, want: "Ready=False (Odd)"},
		"plugins dropped and still revoked": {options: options{recorded, told(metav1.ConditionFalse, "PluginRevokeFailed", 1)}, want: "Ready=False (PluginRevokeFailed)"},
		"the default identity":              {byDefault: "a@b.iam.gserviceaccount.com", want: "Ready=False (Progressing)"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			parts := make([]status.Condition, 0, 8) // with room, so that appending would show
			parts = append(parts, status.Condition{Type: kubeflowv1.ConditionNamespaceReady, Status: metav1.ConditionTrue})
			got := ready(testkit.Profile("a", tc.options...), render.Config{DefaultWorkloadIdentity: tc.byDefault}, render.Tenant{}, parts)
			if shown([]status.Condition{got})[0] != tc.want {
				t.Errorf("got %s, want %s", shown([]status.Condition{got})[0], tc.want)
			}
			if rest := parts[:2][1]; rest.Type != "" {
				t.Errorf("the list of parts was written to: %+v", rest)
			}
		})
	}
}

func TestHappened(t *testing.T) {
	const annotations, subjects = "metadata.annotations", "subjects"
	patched := func(kind, name string, fields ...string) apply.Change {
		return apply.Change{Action: apply.Patch, Kind: kind, Name: name, Fields: fields}
	}
	binding := patched("RoleBinding", render.OwnerBindingName, subjects)
	adopted := render.Claim{Kind: render.ClaimAdopted}
	cases := map[string]struct {
		tenant   render.Tenant
		occasion status.Occasion
		o        outcome
		want     []string // reasons
	}{
		"nothing": {occasion: status.Changed},
		"a tenant was made": {
			occasion: status.New, o: outcome{changes: []apply.Change{{Action: apply.Create, Kind: "Namespace", Name: "a"}}},
			want: []string{status.EventCreated},
		},
		"a namespace was adopted": {
			tenant: render.Tenant{Claim: adopted}, occasion: status.New,
			o:    outcome{changes: []apply.Change{patched("Namespace", "a", annotations)}},
			want: []string{status.EventUpdated, status.EventAdopted},
		},
		"an adopted namespace got other labels, and a record of them": {
			tenant: render.Tenant{Claim: render.Claim{Kind: render.ClaimAdopted, Held: true}}, occasion: status.Changed,
			o:    outcome{changes: []apply.Change{patched("Namespace", "a", "metadata.labels", annotations)}},
			want: []string{status.EventUpdated},
		},
		"the owner changed": {
			tenant: render.Tenant{Claim: render.Claim{Kind: render.ClaimOwned, Held: true}, PreviousOwner: "bob"}, occasion: status.Changed,
			o:    outcome{changes: []apply.Change{binding, patched("Namespace", "a", annotations)}},
			want: []string{status.EventUpdated, status.EventUpdated, status.EventOwnerChanged},
		},
		"the owner of an adopted namespace changed": {
			tenant: render.Tenant{Claim: render.Claim{Kind: render.ClaimAdopted, Held: true}, PreviousOwner: "bob"}, occasion: status.Changed,
			o:    outcome{changes: []apply.Change{binding, patched("Namespace", "a", annotations)}},
			want: []string{status.EventUpdated, status.EventUpdated, status.EventOwnerChanged},
		},
		"the owner changed, and the last write failed": {
			tenant: render.Tenant{PreviousOwner: "bob"}, occasion: status.Changed,
			o:    outcome{namespace: errors.New("refused"), changes: []apply.Change{binding}},
			want: []string{status.EventUpdated},
		},
		"the owner is of another kind": {
			occasion: status.Changed, o: outcome{changes: []apply.Change{binding}},
			want: []string{status.EventUpdated, status.EventOwnerChanged},
		},
		"somebody meddled with the binding": {
			occasion: status.Drift, o: outcome{changes: []apply.Change{binding}}, want: []string{status.EventRepaired},
		},
		"somebody meddled with the annotation": {
			tenant: render.Tenant{PreviousOwner: "eve"}, occasion: status.Drift,
			o: outcome{changes: []apply.Change{patched("Namespace", "a", annotations)}}, want: []string{status.EventRepaired},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, event := range happened(testkit.Profile("a", testkit.Owner("zoe")), tc.tenant, tc.occasion, tc.o) {
				got = append(got, event.Reason)
				if strings.Contains(event.Note, "zoe") || strings.Contains(event.Note, "bob") {
					t.Errorf("a person is named: %s", event.Note)
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("told %q, want %q", got, tc.want)
			}
		})
	}
}

func TestNamespaceProgress(t *testing.T) {
	condition := func(conditionType corev1.NamespaceConditionType, value corev1.ConditionStatus, message string) func(*corev1.Namespace) {
		return func(ns *corev1.Namespace) {
			ns.Status.Conditions = append(ns.Status.Conditions, corev1.NamespaceCondition{Type: conditionType, Status: value, Message: message})
		}
	}
	cases := map[string]struct {
		options    []func(*corev1.Namespace)
		wantReason string
		wants      []string
	}{
		"going": {wantReason: kubeflowv1.ReasonDeleting, wants: []string{"namespace a"}},
		"going, and all is said to be well": {
			options:    []func(*corev1.Namespace){condition(corev1.NamespaceContentRemaining, corev1.ConditionFalse, "all gone")},
			wantReason: kubeflowv1.ReasonDeleting, wants: []string{"namespace a"},
		},
		"held by what is in it": {
			options: []func(*corev1.Namespace){
				condition(corev1.NamespaceContentRemaining, corev1.ConditionTrue, "pods. has 1"),
				condition(corev1.NamespaceFinalizersRemaining, corev1.ConditionTrue, "x/y in 1"),
			},
			wantReason: kubeflowv1.ReasonDeletionBlocked, wants: []string{"pods. has 1; x/y in 1"},
		},
		"held by its own finalizer": {
			options:    []func(*corev1.Namespace){func(ns *corev1.Namespace) { ns.Finalizers = []string{"x/y"} }},
			wantReason: kubeflowv1.ReasonDeletionBlocked, wants: []string{"finalizer x/y"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := namespaceProgress(testkit.Namespace("a", tc.options...))
			if got.Reason != tc.wantReason {
				t.Errorf("reason is %s, want %s", got.Reason, tc.wantReason)
			}
			for _, want := range tc.wants {
				if !strings.Contains(got.Message, want) {
					t.Errorf("the message does not say %q: %s", want, got.Message)
				}
			}
		})
	}
}

func TestRepairs_occasion(t *testing.T) {
	ready := testkit.Told(metav1.Condition{Type: kubeflowv1.ConditionReady, Status: metav1.ConditionTrue, Reason: kubeflowv1.ReasonReady})
	progressing := testkit.Told(metav1.Condition{Type: kubeflowv1.ConditionReady, Status: metav1.ConditionFalse, Reason: kubeflowv1.ReasonProgressing})
	labels := map[string]string{"k": "v"}
	in := func(labels map[string]string) render.Input {
		return render.Input{Config: render.Config{NamespaceLabels: labels}}
	}
	cases := map[string]struct {
		p      *kubeflowv1.Profile
		worked func(*repairs) // what went before
		writes int
		want   status.Occasion
	}{
		"nothing to do":              {p: testkit.Profile("a", ready), want: status.Changed},
		"never reported on":          {p: testkit.Profile("a"), writes: 1, want: status.New},
		"never complete":             {p: testkit.Profile("a", progressing), writes: 1, want: status.New},
		"the first look since start": {p: testkit.Profile("a", ready), writes: 1, want: status.Changed},
		"complete before":            {p: testkit.Profile("a", ready), writes: 1, worked: func(r *repairs) { r.worked(testkit.Profile("a"), in(labels), true) }, want: status.Drift},
		"worked on, never complete":  {p: testkit.Profile("a", ready), writes: 1, worked: func(r *repairs) { r.worked(testkit.Profile("a"), in(labels), false) }, want: status.Changed},
		"complete, then worked on": {p: testkit.Profile("a", ready), writes: 1, worked: func(r *repairs) {
			r.worked(testkit.Profile("a"), in(labels), true)
			r.worked(testkit.Profile("a"), in(labels), false)
		}, want: status.Drift},
		"complete with other labels": {p: testkit.Profile("a", ready), writes: 1, worked: func(r *repairs) { r.worked(testkit.Profile("a"), in(nil), true) }, want: status.Changed},
		"complete before a new spec": {p: testkit.Profile("a", ready, func(p *kubeflowv1.Profile) { p.Generation = 2 }), writes: 1, worked: func(r *repairs) { r.worked(testkit.Profile("a"), in(labels), true) }, want: status.Changed},
		"another of that name":       {p: testkit.Profile("a", ready, testkit.UID("later")), writes: 1, worked: func(r *repairs) { r.worked(testkit.Profile("a"), in(labels), true) }, want: status.Changed},
		"forgotten":                  {p: testkit.Profile("a", ready), writes: 1, worked: func(r *repairs) { r.worked(testkit.Profile("a"), in(labels), true); r.forget("uid-of-a") }, want: status.Changed},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRepairs(func() time.Time { return time.Unix(0, 0) })
			if tc.worked != nil {
				tc.worked(r)
			}
			if got := r.occasion(tc.p, in(labels), tc.writes); got != tc.want {
				t.Errorf("occasion is %s, want %s", got, tc.want)
			}
		})
	}
}

func TestRepairs_pause(t *testing.T) {
	now := time.Unix(1000, 0)
	r := newRepairs(func() time.Time { return now })
	p, in := testkit.Profile("a"), render.Input{}
	ask := func() time.Duration { return r.pause(p, in, status.Drift, 1) }
	for range 2 * repairBurst {
		if pause := ask(); pause != 0 {
			t.Fatalf("what was never worked on waits for %s", pause)
		}
	}
	r.worked(p, in, true)
	for i := range repairBurst {
		if pause := ask(); pause != 0 {
			t.Fatalf("repair %d waits for %s", i, pause)
		}
	}
	for range 3 { // asking costs nothing
		if pause := ask(); pause <= 0 || pause > repairEvery {
			t.Fatalf("one repair too many waits for %s", pause)
		}
	}
	if pause := r.pause(p, in, status.Drift, 0); pause != 0 {
		t.Errorf("nothing to write waits for %s", pause)
	}
	if pause := r.pause(p, in, status.New, 1); pause != 0 {
		t.Errorf("a new profile waits for %s", pause)
	}
	p.Generation++
	if pause := ask(); pause != 0 {
		t.Errorf("a new spec waits for %s", pause)
	}
	p.Generation--
	now = now.Add(repairEvery)
	if pause := ask(); pause != 0 {
		t.Errorf("after %s, a repair waits for %s", repairEvery, pause)
	}
	if pause := ask(); pause <= 0 {
		t.Error("two repairs are made after the time of one")
	}
}
