// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/testkit"
)

var (
	then = metav1.NewTime(time.Unix(1000, 0))
	now  = metav1.NewTime(time.Unix(2000, 0))
)

func condition(conditionType, value, message string, since metav1.Time, generation int64) metav1.Condition {
	return metav1.Condition{
		Type: conditionType, Status: metav1.ConditionStatus(value), Reason: "R", Message: message,
		LastTransitionTime: since, ObservedGeneration: generation,
	}
}

func TestMerge(t *testing.T) {
	const ready, quota, foreign = kubeflowv1.ConditionReady, kubeflowv1.ConditionQuotaReady, "example.com/Billed"
	decided := func(conditionType, value, message string) Condition {
		return Condition{Type: conditionType, Status: metav1.ConditionStatus(value), Reason: "R", Message: message}
	}
	cases := map[string]struct {
		have []metav1.Condition
		want []Condition
		gone []string
		// wantConditions are the conditions at generation 2.
		wantConditions []metav1.Condition
	}{
		"the first time": {
			want:           []Condition{decided(ready, "True", "m")},
			wantConditions: []metav1.Condition{condition(ready, "True", "m", now, 2)},
		},
		"unchanged but for the generation": {
			have:           []metav1.Condition{condition(ready, "True", "m", then, 1)},
			want:           []Condition{decided(ready, "True", "m")},
			wantConditions: []metav1.Condition{condition(ready, "True", "m", then, 2)},
		},
		"another message moves no time": {
			have:           []metav1.Condition{condition(ready, "False", "a", then, 1)},
			want:           []Condition{decided(ready, "False", "b")},
			wantConditions: []metav1.Condition{condition(ready, "False", "b", then, 2)},
		},
		"another status moves the time": {
			have:           []metav1.Condition{condition(ready, "False", "a", then, 1)},
			want:           []Condition{decided(ready, "True", "b")},
			wantConditions: []metav1.Condition{condition(ready, "True", "b", now, 2)},
		},
		"conditions of others stay as they are, after ours": {
			have: []metav1.Condition{condition(foreign, "Unknown", "f", then, 1), condition(quota, "True", "q", then, 1)},
			want: []Condition{decided(ready, "True", "m")},
			wantConditions: []metav1.Condition{
				condition(ready, "True", "m", now, 2), condition(quota, "True", "q", then, 1), condition(foreign, "Unknown", "f", then, 1),
			},
		},
		"the summary comes first, whatever is decided first": {
			want:           []Condition{decided(quota, "True", "q"), decided(ready, "True", "m")},
			wantConditions: []metav1.Condition{condition(ready, "True", "m", now, 2), condition(quota, "True", "q", now, 2)},
		},
		"what says nothing any more goes": {
			have:           []metav1.Condition{condition(ready, "True", "m", then, 2), condition(quota, "True", "q", then, 1)},
			want:           []Condition{decided(ready, "True", "m")},
			gone:           []string{quota, "NeverThere"},
			wantConditions: []metav1.Condition{condition(ready, "True", "m", then, 2)},
		},
		"conditions of the incumbent, without reason or time": {
			have:           []metav1.Condition{{Type: "Failed", Status: "True", Message: "m"}},
			want:           []Condition{decided(ready, "True", "m")},
			wantConditions: []metav1.Condition{condition(ready, "True", "m", now, 2), {Type: "Failed", Status: "True", Message: "m"}},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := kubeflowv1.ProfileStatus{Conditions: tc.have}
			Merge(&got, 2, now, tc.want, tc.gone...)
			if diff := cmp.Diff(tc.wantConditions, got.Conditions); diff != "" {
				t.Errorf("-want, +got:\n%s", diff)
			}
			again := *got.DeepCopy()
			Merge(&again, 2, metav1.NewTime(now.Add(time.Hour)), tc.want, tc.gone...)
			if diff := cmp.Diff(got, again); diff != "" {
				t.Errorf("the same decision an hour later changed something:\n%s", diff)
			}
		})
	}
}

// A message is stored as it was decided, or it would differ at the next look, and be written again for ever.
func TestMerge_messagesAreStorable(t *testing.T) {
	for name, message := range map[string]string{
		"long":                      strings.Repeat("x", 40_000),
		"long, of wide letters":     strings.Repeat("ü", 40_000),
		"cut within a letter":       "x" + strings.Repeat("日本", 20_000),
		"not UTF-8":                 "caf\xe9",
		"not UTF-8 at the very end": strings.Repeat("x", 100) + "\xc3",
	} {
		t.Run(name, func(t *testing.T) {
			status := kubeflowv1.ProfileStatus{}
			want := []Condition{{Type: kubeflowv1.ConditionReady, Status: metav1.ConditionFalse, Reason: "R", Message: message}}
			Merge(&status, 1, now, want)
			stored := kubeflowv1.ProfileStatus{}
			if data, err := json.Marshal(status); err != nil || json.Unmarshal(data, &stored) != nil {
				t.Fatalf("store the status: %v", err)
			}
			if got := stored.Conditions[0].Message; len(got) > 32<<10 || !utf8.ValidString(got) {
				t.Errorf("the message has %d bytes, valid %t", len(got), utf8.ValidString(got))
			}
			if stored.Conditions[0].Message != status.Conditions[0].Message {
				t.Error("the stored message is another one than the decided one")
			}
		})
	}
}

// writer takes patches of the status.
type writer struct {
	client.Client

	patches [][]byte
}

func (w *writer) Status() client.SubResourceWriter { return statusWriter{writer: w} }

type statusWriter struct {
	client.SubResourceWriter

	writer *writer
}

func (s statusWriter) Patch(_ context.Context, obj client.Object, patch client.Patch, _ ...client.SubResourcePatchOption) error {
	data, err := patch.Data(obj)
	s.writer.patches = append(s.writer.patches, data)
	return err
}

func TestPatch(t *testing.T) {
	had := condition(kubeflowv1.ConditionReady, "True", "m", then, 1)
	records := []kubeflowv1.PluginStatus{{Kind: "k", Identity: "i", Phase: kubeflowv1.PluginApplied}}
	cases := map[string]struct {
		want       kubeflowv1.ProfileStatus
		wantWrites int
	}{
		"nothing changed, nothing written": {want: kubeflowv1.ProfileStatus{Conditions: []metav1.Condition{had}, Plugins: records}},
		"a message changed":                {want: kubeflowv1.ProfileStatus{Conditions: []metav1.Condition{condition(had.Type, "True", "n", then, 1)}, Plugins: records}, wantWrites: 1},
		"a generation was seen":            {want: kubeflowv1.ProfileStatus{Conditions: []metav1.Condition{condition(had.Type, "True", "m", then, 2)}, Plugins: records}, wantWrites: 1},
		"a record went":                    {want: kubeflowv1.ProfileStatus{Conditions: []metav1.Condition{had}}, wantWrites: 1},
		"everything went":                  {want: kubeflowv1.ProfileStatus{}, wantWrites: 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p := testkit.Profile("a", testkit.Told(had))
			p.Status.Plugins = records
			w := &writer{}
			if err := Patch(t.Context(), w, p, tc.want); err != nil {
				t.Fatal(err)
			}
			if len(w.patches) != tc.wantWrites {
				t.Fatalf("written %d times, want %d: %s", len(w.patches), tc.wantWrites, w.patches)
			}
			if tc.wantWrites == 0 {
				return
			}
			var body struct {
				Metadata map[string]string         `json:"metadata"`
				Status   *kubeflowv1.ProfileStatus `json:"status"`
				Spec     any                       `json:"spec"`
			}
			if err := json.Unmarshal(w.patches[0], &body); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]string{"resourceVersion": "1", "uid": string(p.UID)}, body.Metadata); diff != "" {
				t.Errorf("the patch is not bound to what was read, -want, +got:\n%s", diff)
			}
			if diff := cmp.Diff(&tc.want, body.Status, cmpopts.EquateEmpty()); diff != "" || body.Spec != nil {
				t.Errorf("spec %v, status -want, +got:\n%s", body.Spec, diff)
			}
		})
	}
}
