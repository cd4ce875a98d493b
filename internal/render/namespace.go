// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

const (
	labelInjection = "istio-injection"
	labelDataplane = "istio.io/dataplane-mode"
	labelWaypoint  = "istio.io/use-waypoint"

	// waypointName is the waypoint of a namespace in ambient mode. Policies are attached to it by this name.
	waypointName = "waypoint"
)

func namespace(p *kubeflowv1.Profile, in Input, claim Claim) Object {
	rules := namespaceLabels(in)
	ns := &corev1.Namespace{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{
			Name:        p.Name,
			Labels:      rules.set,
			Annotations: map[string]string{kubeflowv1.OwnerAnnotation: p.Spec.Owner.Name},
		},
	}
	if len(rules.applied) > 0 {
		ns.Annotations[kubeflowv1.AppliedLabelsAnnotation] = labels.Set(rules.applied).String()
	}
	if claim.Kind == ClaimAdopted {
		// No owner reference: the garbage collector would take the namespace along with the profile.
		ns.Annotations[kubeflowv1.AdoptedByAnnotation] = string(p.UID)
	} else {
		ns.Annotations[kubeflowv1.MadeForAnnotation] = string(p.UID)
		ns.OwnerReferences = []metav1.OwnerReference{OwnerReference(p)}
	}
	object := Object{Resource: ns, Purpose: "the team's namespace", AbsentLabels: rules.absent}
	if len(rules.applied) == 0 {
		object.AbsentAnnotations = []string{kubeflowv1.AppliedLabelsAnnotation}
	}
	classAnnotations(&object, in)
	if reason := BreakGlass(p); reason != "" {
		ns.Annotations[berthv1alpha1.BreakGlassAnnotation] = reason
	} else {
		object.AbsentAnnotations = append(object.AbsentAnnotations, berthv1alpha1.BreakGlassAnnotation)
	}
	return object
}

// labelChanges is what the label rules make of a namespace: the labels to be there, the ones to be gone, and the
// record of the ones that are ours.
type labelChanges struct {
	set     map[string]string
	absent  []string
	applied map[string]string
}

// namespaceLabels applies the rule of the namespace labels file, which is that of Kubeflow's profile controller: an
// empty value removes a label, any other is added where the label is absent, and nothing is overwritten. Beyond that
// rule, a label that we set and that is no longer asked for is taken back, as long as it still has the value that we
// gave it.
func namespaceLabels(in Input) labelChanges {
	var live, recorded map[string]string
	if in.Namespace != nil {
		live = in.Namespace.Labels
		recorded = decodeRecord(in.Namespace.Annotations[kubeflowv1.AppliedLabelsAnnotation])
	}
	if in.Class.Unknown {
		return manage(in, labelChanges{set: map[string]string{}, applied: recorded})
	}
	decided := classLabels(in.Class)
	if in.LabelsUnknown {
		return manage(in, keepLabels(live, recorded, decided))
	}
	want := wantedLabels(in, recorded)
	for key, setting := range decided {
		want[key] = setting.Value
	}

	changes := labelChanges{set: map[string]string{}, applied: map[string]string{}}
	for _, key := range sortedKeys(want) {
		value := want[key]
		have, found := live[key]
		was, ours := recorded[key]
		setting, byClass := decided[key]
		switch {
		case byClass && setting.Policy != berthv1alpha1.IfAbsent:
			changes.set[key], changes.applied[key] = value, value
		case value == "" && !byClass:
			changes.absent = append(changes.absent, key)
		case !found:
			changes.set[key], changes.applied[key] = value, value
		case ours && was == have:
			changes.set[key], changes.applied[key] = have, have
		}
	}
	for _, key := range sortedKeys(recorded) {
		if _, wanted := want[key]; !wanted && live[key] == recorded[key] {
			changes.absent = append(changes.absent, key)
		}
	}
	return manage(in, changes)
}

// keepLabels leaves labels as they are, but for those that the class has and nothing else may be in place of.
func keepLabels(live, recorded map[string]string, decided map[string]berthv1alpha1.Setting) labelChanges {
	changes := labelChanges{set: map[string]string{}, applied: maps.Clone(recorded)}
	for key, setting := range decided {
		if _, found := live[key]; found && setting.Policy == berthv1alpha1.IfAbsent {
			continue
		}
		if changes.applied == nil {
			changes.applied = map[string]string{}
		}
		changes.set[key], changes.applied[key] = setting.Value, setting.Value
	}
	return changes
}

// manage adds the label that says whose the namespace is to look after. Whoever deploys an adopted namespace may have
// put its own name there, and the file may want another or none.
func manage(in Input, changes labelChanges) labelChanges {
	const key = kubeflowv1.ManagedByLabel
	if _, decided := in.Config.NamespaceLabels[key]; decided {
		return changes
	}
	if _, decided := changes.set[key]; decided {
		return changes // by the class
	}
	dropped := slices.Index(changes.absent, key) // it was the file's
	if in.Namespace == nil || in.Namespace.Labels[key] == "" || dropped >= 0 {
		changes.set[key] = kubeflowv1.ManagedByValue
	}
	if dropped >= 0 {
		changes.absent = slices.Delete(changes.absent, dropped, dropped+1)
	}
	return changes
}

// wantedLabels are the mesh's own labels with the file's over them.
func wantedLabels(in Input, recorded map[string]string) map[string]string {
	want := map[string]string{}
	if in.Config.MeshMode == MeshAmbient {
		want[labelInjection] = ""
		want[labelDataplane] = "ambient"
		want[labelWaypoint] = waypointName
	} else if in.Namespace == nil || recorded[labelInjection] != "" || leftAmbient(in, recorded) {
		// On a namespace that is there already, the label is restored only where it was ours: somebody may have
		// taken it off on purpose.
		want[labelInjection] = "enabled"
	}
	for key, value := range in.Config.NamespaceLabels {
		if _, fixed := want[key]; fixed && value != "" {
			continue
		}
		want[key] = value
	}
	delete(want, corev1.LabelMetadataName) // the API server's own: it would be put back for ever
	return want
}

// leftAmbient says whether the namespace was in ambient mode by our doing and is not to be any more. With the mode of
// sidecars, the file can ask for ambient all the same.
func leftAmbient(in Input, recorded map[string]string) bool {
	return recorded[labelDataplane] != "" && in.Config.NamespaceLabels[labelDataplane] == ""
}

// decodeRecord reads a record of labels; one that was tampered with counts as empty, so that nothing is taken back by
// mistake.
func decodeRecord(text string) map[string]string {
	record, err := labels.ConvertSelectorToLabelsMap(text)
	if err != nil {
		return nil
	}
	return record
}
