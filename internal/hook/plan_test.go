// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package hook_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/hook"
)

// wanted is a ConfigMap that the hook asks for.
func wanted(t *testing.T, name, value string) *unstructured.Unstructured {
	t.Helper()
	return read(t, `{"attachments":[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"`+name+`"},"data":{"k":"`+value+`"}}]}`).Attachments[0]
}

type change func(*unstructured.Unstructured)

// live is the ConfigMap as it would be in the cluster.
func live(t *testing.T, name, value string, changes ...change) *unstructured.Unstructured {
	t.Helper()
	o := wanted(t, name, value)
	o.SetUID("uid-of-it")
	o.SetResourceVersion("7")
	for _, change := range changes {
		change(o)
	}
	return o
}

func going(o *unstructured.Unstructured) { o.SetDeletionTimestamp(&metav1.Time{Time: time.Unix(1, 0)}) }

func tampered(o *unstructured.Unstructured) { o.Object["data"].(map[string]any)["k"] = "tampered" }

func extended(o *unstructured.Unstructured) { o.Object["data"].(map[string]any)["more"] = "theirs" }

func labelled(value string) change {
	return func(o *unstructured.Unstructured) { o.SetLabels(map[string]string{berthv1alpha1.HookLabel: value}) }
}

func unlabelled(o *unstructured.Unstructured) { o.SetLabels(nil) }

func unowned(o *unstructured.Unstructured) { o.SetOwnerReferences(nil) }

func coOwned(o *unstructured.Unstructured) {
	o.SetOwnerReferences(append(o.GetOwnerReferences(), metav1.OwnerReference{UID: "another"}))
}

func unhashed(o *unstructured.Unstructured) { o.SetAnnotations(nil) }

func TestDecide(t *testing.T) {
	type list []*unstructured.Unstructured
	one := list{wanted(t, "a", "1")}
	two := list{wanted(t, "a", "2"), wanted(t, "b", "2")}
	old := list{live(t, "a", "1"), live(t, "b", "1")}
	cases := map[string]struct {
		method         berthv1alpha1.UpdateMethod
		want, live     list
		steps, refused []string
		unfinished     bool
	}{
		"nothing there":                   {want: two, steps: []string{"create a", "create b"}},
		"as it should be":                 {method: berthv1alpha1.InPlace, want: one, live: list{live(t, "a", "1")}},
		"more than was asked for":         {method: berthv1alpha1.InPlace, want: one, live: list{live(t, "a", "1", extended)}},
		"an owner besides":                {method: berthv1alpha1.InPlace, want: one, live: list{live(t, "a", "1", coOwned)}},
		"another value":                   {method: berthv1alpha1.InPlace, want: two, live: old, steps: []string{"update a", "update b"}},
		"drift":                           {method: berthv1alpha1.InPlace, want: one, live: list{live(t, "a", "1", tampered)}, steps: []string{"update a"}},
		"an owner that is lost":           {method: berthv1alpha1.InPlace, want: one, live: list{live(t, "a", "1", unowned)}, steps: []string{"update a"}},
		"a label that is lost":            {method: berthv1alpha1.InPlace, want: one, live: list{live(t, "a", "1", unlabelled)}, steps: []string{"update a"}},
		"a hash that is lost, unowned":    {method: berthv1alpha1.InPlace, want: one, live: list{live(t, "a", "1", unhashed, unowned)}, steps: []string{"update a"}},
		"not asked for any more":          {live: old, steps: []string{"delete a", "delete b"}},
		"going already":                   {live: list{live(t, "a", "1", going)}},
		"going, and asked for":            {want: one, live: list{live(t, "a", "1", going)}, unfinished: true},
		"left until it is deleted":        {method: berthv1alpha1.OnDelete, want: two, live: old},
		"made anew":                       {method: berthv1alpha1.Recreate, want: two, live: old, steps: []string{"recreate a", "recreate b"}, unfinished: true},
		"rolled":                          {method: berthv1alpha1.RollingInPlace, want: two, live: old, steps: []string{"update a"}, unfinished: true},
		"rolled, the last":                {method: berthv1alpha1.RollingInPlace, want: two, live: list{live(t, "a", "2"), live(t, "b", "1")}, steps: []string{"update b"}},
		"rolled anew":                     {method: berthv1alpha1.RollingRecreate, want: two, live: old, steps: []string{"recreate a"}, unfinished: true},
		"rolled anew, one on its way":     {method: berthv1alpha1.RollingRecreate, want: two, live: list{live(t, "a", "1", going), live(t, "b", "1")}, unfinished: true},
		"rolled anew, one to be made":     {method: berthv1alpha1.RollingRecreate, want: two, live: list{live(t, "b", "1")}, steps: []string{"create a"}, unfinished: true},
		"somebody else's":                 {want: one, live: list{live(t, "a", "1", unlabelled, unowned)}, refused: []string{`ConfigMap.v1 "a" exists already and is not the hook's`}},
		"another hook's":                  {want: one, live: list{live(t, "a", "1", labelled("other"))}, refused: []string{`ConfigMap.v1 "a" belongs to hook "other"`}},
		"the profile's own":               {want: one, live: list{live(t, "a", "1", unlabelled, unhashed)}, refused: []string{`ConfigMap.v1 "a" is a part of the profile itself`}},
		"the profile's own, with a label": {live: list{live(t, "a", "1", unhashed)}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			plan := hook.Decide(tc.want, tc.live, terms(tc.method))
			var steps []string
			for _, s := range plan.Steps {
				o := s.Want
				if s.Verb == hook.Delete {
					o = s.Live
				}
				steps = append(steps, string(s.Verb)+" "+o.GetName())
			}
			if diff := cmp.Diff(tc.steps, steps); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.refused, plan.Refused); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
			if plan.Unfinished != tc.unfinished {
				t.Errorf("unfinished is %t", plan.Unfinished)
			}
		})
	}
}

// What the API server stores in other words is no difference, until somebody changes it.
func TestStored(t *testing.T) {
	want := read(t, `{"attachments":[{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},
		"spec":{"cpu":"1000m","list":[{"a":1}],"gone":{}}}]}`).Attachments[0]
	stored := want.DeepCopy()
	stored.Object["spec"] = map[string]any{"cpu": "1", "list": []any{map[string]any{"a": int64(1), "default": true}}, "more": "x"}
	noted := hook.Stored(want, stored)
	if noted == nil || hook.Same(want, stored) {
		t.Fatal("the difference is not noticed")
	}
	stored.SetAnnotations(noted.GetAnnotations())
	if !hook.Same(want, stored) {
		t.Error("what was noted is a difference")
	}
	stored.Object["spec"].(map[string]any)["more"] = "y"
	if !hook.Same(want, stored) {
		t.Error("what was not asked for is a difference")
	}
	stored.Object["spec"].(map[string]any)["cpu"] = "2"
	if hook.Same(want, stored) {
		t.Error("drift is not noticed")
	}
	if hook.Stored(want, want) != nil {
		t.Error("there is a note about nothing")
	}
}
