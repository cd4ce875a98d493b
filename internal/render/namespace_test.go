// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/testkit"
)

const (
	injection = "istio-injection"
	dataplane = "istio.io/dataplane-mode"
	waypointL = "istio.io/use-waypoint"
)

type labelMap = map[string]string

// passes lets n passes over a's namespace happen, each on what the one before left, and returns the namespace.
func passes(t *testing.T, n int, in Input) *corev1.Namespace {
	t.Helper()
	for range n {
		object := Profile(testkit.Profile("a"), in).Namespace
		want, ok := object.Resource.(*corev1.Namespace)
		if !ok {
			t.Fatalf("no namespace was rendered: %v", object)
		}
		live := in.Namespace.DeepCopy()
		if live == nil {
			live = testkit.Namespace("a")
		}
		// As apply does: what is wanted is put there, what must not be there goes, what others added stays.
		maps.Copy(live.Labels, want.Labels)
		maps.Copy(live.Annotations, want.Annotations)
		live.OwnerReferences = want.OwnerReferences
		for _, key := range object.AbsentLabels {
			delete(live.Labels, key)
		}
		for _, key := range object.AbsentAnnotations {
			delete(live.Annotations, key)
		}
		in.Namespace = live
	}
	return in.Namespace
}

func TestNamespaceLabels(t *testing.T) {
	const record = kubeflowv1.AppliedLabelsAnnotation
	mine := testkit.Annotation(kubeflowv1.MadeForAnnotation, uidOfA)
	managed := testkit.Label(kubeflowv1.ManagedByLabel, kubeflowv1.ManagedByValue)
	live := func(options ...func(*corev1.Namespace)) *corev1.Namespace {
		return testkit.Namespace("a", append(options, mine, managed)...)
	}
	cases := map[string]struct {
		file    labelMap
		ambient bool
		unknown bool
		ns      *corev1.Namespace
		// want are the labels besides the ones that every namespace has.
		want       labelMap
		wantRecord labelMap
	}{
		"a new namespace is injected": {
			want: labelMap{injection: "enabled"}, wantRecord: labelMap{injection: "enabled"},
		},
		"a new namespace has the file's labels, without the empty ones": {
			file: labelMap{"k": "v", "gone": ""},
			want: labelMap{injection: "enabled", "k": "v"}, wantRecord: labelMap{injection: "enabled", "k": "v"},
		},
		"an empty value keeps the injection off a new namespace": {
			file: labelMap{injection: ""}, want: labelMap{},
		},
		"another value for the injection is ignored on a new namespace": {
			file: labelMap{injection: "disabled"},
			want: labelMap{injection: "enabled"}, wantRecord: labelMap{injection: "enabled"},
		},
		"an empty value takes the injection off": {
			file: labelMap{injection: ""}, ns: live(testkit.Label(injection, "enabled")), want: labelMap{},
		},
		"an injection taken off by hand is not restored where the label was not ours": {
			ns: live(), want: labelMap{},
		},
		"an injection taken off by hand is restored where the label was ours": {
			ns:   live(testkit.Annotation(record, injection+"=enabled")),
			want: labelMap{injection: "enabled"}, wantRecord: labelMap{injection: "enabled"},
		},
		"an empty value removes a foreign label": {
			file: labelMap{"k": ""}, ns: live(testkit.Label("k", "theirs")), want: labelMap{},
		},
		"a label is added where it is absent": {
			file: labelMap{"k": "v"}, ns: live(), want: labelMap{"k": "v"}, wantRecord: labelMap{"k": "v"},
		},
		"nothing is overwritten": {
			file: labelMap{"k": "v"}, ns: live(testkit.Label("k", "theirs")), want: labelMap{"k": "theirs"},
		},
		"an empty label counts as there": {
			file: labelMap{"k": "v"}, ns: live(testkit.Label("k", "")), want: labelMap{"k": ""},
		},
		"a new value in the file changes nothing, as ever": {
			file: labelMap{"k": "new"}, ns: live(testkit.Label("k", "old"), testkit.Annotation(record, "k=old")),
			want: labelMap{"k": "old"}, wantRecord: labelMap{"k": "old"},
		},
		"a label of ours that was changed is theirs from then on": {
			file: labelMap{"k": "v"}, ns: live(testkit.Label("k", "theirs"), testkit.Annotation(record, "k=v")),
			want: labelMap{"k": "theirs"},
		},
		"a key dropped from the file goes where it was ours": {
			ns: live(testkit.Label("k", "v"), testkit.Annotation(record, "k=v")), want: labelMap{},
		},
		"a key dropped from the file stays where somebody changed it": {
			ns: live(testkit.Label("k", "theirs"), testkit.Annotation(record, "k=v")), want: labelMap{"k": "theirs"},
		},
		"a label that was never ours stays": {
			ns: live(testkit.Label("k", "v")), want: labelMap{"k": "v"},
		},
		"a record that was tampered with takes nothing back": {
			ns: live(testkit.Label("k", "v"), testkit.Annotation(record, "k=v,!!")), want: labelMap{"k": "v"},
		},
		"labels that can't be read leave everything as it is": {
			unknown: true, file: labelMap{"k": "other"},
			ns:   live(testkit.Label("k", "v"), testkit.Annotation(record, "k=v"), testkit.Label("f", "theirs")),
			want: labelMap{"k": "v", "f": "theirs"}, wantRecord: labelMap{"k": "v"},
		},
		"a new namespace in ambient mode": {
			ambient:    true,
			want:       labelMap{dataplane: "ambient", waypointL: "waypoint"},
			wantRecord: labelMap{dataplane: "ambient", waypointL: "waypoint"},
		},
		"from sidecars to ambient": {
			ambient: true, ns: live(testkit.Label(injection, "enabled"), testkit.Annotation(record, injection+"=enabled")),
			want:       labelMap{dataplane: "ambient", waypointL: "waypoint"},
			wantRecord: labelMap{dataplane: "ambient", waypointL: "waypoint"},
		},
		"from the incumbent's sidecars to ambient": {
			ambient: true, ns: live(testkit.Label(injection, "enabled")),
			want:       labelMap{dataplane: "ambient", waypointL: "waypoint"},
			wantRecord: labelMap{dataplane: "ambient", waypointL: "waypoint"},
		},
		"from ambient to sidecars": {
			ns: live(testkit.Label(dataplane, "ambient"), testkit.Label(waypointL, "waypoint"),
				testkit.Annotation(record, dataplane+"=ambient,"+waypointL+"=waypoint")),
			want: labelMap{injection: "enabled"}, wantRecord: labelMap{injection: "enabled"},
		},
		"ambient without a waypoint, by the file": {
			ambient: true, file: labelMap{waypointL: ""},
			want: labelMap{dataplane: "ambient"}, wantRecord: labelMap{dataplane: "ambient"},
		},
		"ambient by labels alone, as with the incumbent": {
			file: labelMap{injection: "", dataplane: "ambient"},
			want: labelMap{dataplane: "ambient"}, wantRecord: labelMap{dataplane: "ambient"},
		},
		"the server's own label is nobody's to change": {
			file: labelMap{corev1.LabelMetadataName: ""}, ns: live(), want: labelMap{},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			in := Input{Config: DefaultConfig(), Namespace: tc.ns, LabelsUnknown: tc.unknown}
			in.Config.NamespaceLabels = tc.file
			if tc.ambient {
				in.Config.MeshMode = MeshAmbient
			}
			want := labelMap{corev1.LabelMetadataName: "a", kubeflowv1.ManagedByLabel: kubeflowv1.ManagedByValue}
			maps.Copy(want, tc.want)
			for n := 1; n <= 3; n++ { // the same after one pass, and from then on
				got := passes(t, n, in)
				if diff := cmp.Diff(want, got.Labels); diff != "" {
					t.Errorf("labels after %d passes, -want, +got:\n%s", n, diff)
				}
				_, recorded := got.Annotations[record]
				gotRecord := decodeRecord(got.Annotations[record])
				if diff := cmp.Diff(tc.wantRecord, gotRecord, cmpopts.EquateEmpty()); diff != "" || recorded != (len(tc.wantRecord) > 0) {
					t.Errorf("record after %d passes is there: %t, -want, +got:\n%s", n, recorded, diff)
				}
			}
		})
	}
}

func TestNamespaceLabels_managedBy(t *testing.T) {
	cases := map[string]struct {
		file labelMap
		ns   *corev1.Namespace
		want labelMap
	}{
		"ours on a new namespace":       {want: labelMap{kubeflowv1.ManagedByLabel: "berth"}},
		"ours where there is none":      {ns: testkit.Namespace("a"), want: labelMap{kubeflowv1.ManagedByLabel: "berth"}},
		"another's stays":               {ns: testkit.Namespace("a", testkit.Label(kubeflowv1.ManagedByLabel, "Helm")), want: labelMap{kubeflowv1.ManagedByLabel: "Helm"}},
		"the file's wins":               {file: labelMap{kubeflowv1.ManagedByLabel: "platform"}, want: labelMap{kubeflowv1.ManagedByLabel: "platform"}},
		"the file may want none":        {file: labelMap{kubeflowv1.ManagedByLabel: ""}, want: labelMap{}},
		"the file may want none, later": {file: labelMap{kubeflowv1.ManagedByLabel: ""}, ns: testkit.Namespace("a", testkit.Label(kubeflowv1.ManagedByLabel, "berth")), want: labelMap{}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			in := Input{Config: DefaultConfig(), Namespace: tc.ns}
			in.Config.NamespaceLabels = tc.file
			if tc.ns != nil {
				tc.ns.Annotations[kubeflowv1.MadeForAnnotation] = uidOfA
			}
			for n := 1; n <= 4; n++ {
				got := passes(t, n, in).Labels
				delete(got, corev1.LabelMetadataName)
				delete(got, injection)
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("after %d passes, -want, +got:\n%s", n, diff)
				}
			}
		})
	}
}

// Whatever file follows whatever file, the second pass has nothing left to do, and what others set stays theirs.
func TestNamespaceLabels_settleAtOnce(t *testing.T) {
	values := []string{"-", "", "x", "y"} // "-": the key is not in the file
	keys := []string{"k", injection, dataplane, waypointL, kubeflowv1.ManagedByLabel, corev1.LabelMetadataName}
	for i := range 2 * 4 * 4 * 4 * len(keys) {
		key := keys[i%len(keys)]
		n := i / len(keys)
		first, second, foreign, ambient := values[n%4], values[n/4%4], values[n/16%4], n/64 == 1
		t.Run(fmt.Sprintf("%s: %q then %q over %q, ambient %t", key, first, second, foreign, ambient), func(t *testing.T) {
			in := Input{Config: DefaultConfig()}
			if foreign != "-" && key != corev1.LabelMetadataName {
				in.Namespace = testkit.Namespace("a", testkit.Label(key, foreign), testkit.Annotation(kubeflowv1.OwnerAnnotation, "ann"))
			}
			for _, value := range []string{first, second} {
				in.Config.NamespaceLabels = labelMap{key: value}
				if value == "-" {
					in.Config.NamespaceLabels = nil
				}
				once, twice := passes(t, 1, in), passes(t, 2, in)
				if diff := cmp.Diff(once, twice); diff != "" {
					t.Fatalf("the second pass changed something:\n%s", diff)
				}
				in.Namespace = once
				if ambient {
					in.Config.MeshMode = MeshAmbient // the switch comes with the second file
				}
			}
		})
	}
}

func TestNamespaceLabels_inOrder(t *testing.T) {
	in := Input{Config: DefaultConfig(), Namespace: testkit.Namespace("a", testkit.Label("b", "1"), testkit.Label("a", "1"),
		testkit.Annotation(kubeflowv1.AppliedLabelsAnnotation, "a=1,b=1"))}
	in.Config.NamespaceLabels = labelMap{"z": "", "y": "", "x": "1", "w": "1"}
	got := namespaceLabels(in)
	if want := []string{"y", "z", "a", "b"}; !slices.Equal(got.absent, want) {
		t.Errorf("absent labels are %v, want %v", got.absent, want)
	}
}

func TestProfile_makesNoNamespaceWithoutItsLabels(t *testing.T) {
	in := Input{Config: DefaultConfig(), LabelsUnknown: true}
	tenant := Profile(testkit.Profile("a"), in)
	if tenant.Claim.Allowed() || tenant.Claim.Problem.Reason != kubeflowv1.ReasonNamespaceLabelsUnreadable || len(tenant.Objects()) != 0 {
		t.Errorf("claim is %+v, with %d objects", tenant.Claim, len(tenant.Objects()))
	}
	in.Namespace = testkit.Namespace("a", testkit.Annotation(kubeflowv1.MadeForAnnotation, uidOfA))
	if tenant := Profile(testkit.Profile("a"), in); !tenant.Claim.Allowed() {
		t.Errorf("a namespace that exists is held up: %+v", tenant.Claim.Problem)
	}
}
