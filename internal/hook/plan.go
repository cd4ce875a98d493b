// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
)

// Verb is what is done to an object.
type Verb string

const (
	// Create makes an object that is not there.
	Create Verb = "create"
	// Update changes an object.
	Update Verb = "update"
	// Recreate deletes an object that is to be made anew once it is gone.
	Recreate Verb = "recreate"
	// Delete deletes an object that is not asked for any more.
	Delete Verb = "delete"
)

// Step is one thing to do.
type Step struct {
	Verb Verb
	// Want is the object as it is to be; nil for Delete.
	Want *unstructured.Unstructured
	// Live is the object as it is; nil for Create.
	Live *unstructured.Unstructured
}

// Plan is what has to be done for the answer of a hook to be in place.
type Plan struct {
	Steps []Step
	// Refused says which objects can't be had, as they are somebody else's.
	Refused []string
	// Unfinished means that there is more to do when the steps are done and what is being deleted is gone.
	Unfinished bool
}

// place is where an object is, in its namespace.
type place struct{ kind, name string }

func placeOf(o *unstructured.Unstructured) place {
	return place{Key(o.GroupVersionKind()), o.GetName()}
}

func inOrder(a, b *unstructured.Unstructured) int {
	x, y := placeOf(a), placeOf(b)
	return cmp.Or(cmp.Compare(x.kind, y.kind), cmp.Compare(x.name, y.name))
}

// Decide compares the answer of a hook with the cluster. live are the objects that have the hook's label, and those of
// others in the places that want asks for.
func Decide(want, live []*unstructured.Unstructured, t Terms) Plan {
	there, wanted, methods := map[place]*unstructured.Unstructured{}, map[place]bool{}, map[string]berthv1alpha1.UpdateMethod{}
	for _, o := range live {
		there[placeOf(o)] = o
	}
	for _, kind := range t.Kinds {
		methods[kind.Key()] = kind.Method
	}
	var p Plan
	var rolling []Step
	moving := false // an object of the hook is on its way, so that no other is rolled
	for _, o := range want {
		wanted[placeOf(o)] = true
		have := there[placeOf(o)]
		if have == nil {
			p.Steps, moving = append(p.Steps, Step{Verb: Create, Want: o}), true
			continue
		}
		if why := foreign(have, t); why != "" {
			p.Refused = append(p.Refused, fmt.Sprintf("%s %s", title(o), why))
			continue
		}
		if have.GetDeletionTimestamp() != nil {
			p.Unfinished, moving = true, true
			continue
		}
		if Same(o, have) {
			continue
		}
		switch methods[placeOf(o).kind] {
		case berthv1alpha1.InPlace:
			p.Steps = append(p.Steps, Step{Verb: Update, Want: o, Live: have})
		case berthv1alpha1.Recreate:
			p.Steps, p.Unfinished = append(p.Steps, Step{Verb: Recreate, Want: o, Live: have}), true
		case berthv1alpha1.RollingInPlace:
			rolling = append(rolling, Step{Verb: Update, Want: o, Live: have})
		case berthv1alpha1.RollingRecreate:
			rolling = append(rolling, Step{Verb: Recreate, Want: o, Live: have})
		case berthv1alpha1.OnDelete: // left until somebody deletes it
		}
	}
	if len(rolling) > 0 {
		p.Unfinished = p.Unfinished || moving || len(rolling) > 1 || rolling[0].Verb == Recreate
		if !moving {
			p.Steps = append(p.Steps, rolling[0])
		}
	}
	p.Steps = append(p.Steps, Leftovers(live, wanted, t)...)
	return p
}

// Leftovers are the deletions of those objects of a hook that nobody asks for.
func Leftovers(live []*unstructured.Unstructured, wanted map[place]bool, t Terms) (steps []Step) {
	for _, o := range slices.SortedFunc(slices.Values(live), inOrder) {
		if !wanted[placeOf(o)] && o.GetDeletionTimestamp() == nil && foreign(o, t) == "" {
			steps = append(steps, Step{Verb: Delete, Live: o})
		}
	}
	return steps
}

// foreign says why an object is not the hook's; empty where it is. Objects of the profile's without our hash are those
// that every profile has: nobody's label makes them a hook's.
func foreign(o *unstructured.Unstructured, t Terms) string {
	ours := slices.ContainsFunc(o.GetOwnerReferences(), func(ref metav1.OwnerReference) bool { return ref.UID == t.Owner.UID })
	_, applied := o.GetAnnotations()[berthv1alpha1.HookAppliedAnnotation]
	switch label := o.GetLabels()[berthv1alpha1.HookLabel]; {
	case ours && !applied:
		return "is a part of the profile itself"
	case label != "" && label != t.Hook:
		return fmt.Sprintf("belongs to hook %q", label)
	case label == "" && !ours:
		return "exists already and is not the hook's"
	}
	return ""
}
