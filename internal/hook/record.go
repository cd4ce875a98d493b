// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
)

// Record is what hooks have in a namespace, by hook. It is kept on the Namespace.
type Record map[string]Applied

// Applied is what one hook has in a namespace.
type Applied struct {
	// Labels and Annotations of the Namespace that it set.
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// Kinds that it may have objects of, as Key writes them.
	Kinds []string `json:"kinds,omitempty"`
}

func (a Applied) isEmpty() bool { return len(a.Labels)+len(a.Annotations)+len(a.Kinds) == 0 }

// RecordOf is the record on ns. One that can't be read is as good as none.
func RecordOf(ns *corev1.Namespace) Record {
	record := Record{}
	if err := json.Unmarshal([]byte(ns.Annotations[berthv1alpha1.AppliedHooksAnnotation]), &record); err != nil || record == nil {
		return Record{}
	}
	return record
}

// KindsOf are the kinds that a hook may have objects of according to the record.
func (r Record) KindsOf(hook string) (kinds []schema.GroupVersionKind) {
	for _, key := range r[hook].Kinds {
		kind, version, _ := strings.Cut(key, ".")
		if gv, err := schema.ParseGroupVersion(version); err == nil && kind != "" {
			kinds = append(kinds, gv.WithKind(kind))
		}
	}
	return kinds
}

// Amend puts the labels and annotations that a hook asks for on ns, takes back what it asked for earlier, and records
// that with the kinds. What somebody else set to another value stays, and is refused.
func Amend(ns *corev1.Namespace, hook string, labels, annotations map[string]string, kinds []string) (refused []string) {
	record := RecordOf(ns)
	others := Applied{Labels: map[string]string{}, Annotations: map[string]string{}}
	for name, applied := range record {
		if name != hook {
			maps.Copy(others.Labels, applied.Labels)
			maps.Copy(others.Annotations, applied.Annotations)
		}
	}
	was := record[hook]
	now := Applied{Kinds: slices.Compact(slices.Sorted(slices.Values(kinds)))}
	var refusedToo []string
	ns.Labels, now.Labels, refused = amended(ns.Labels, was.Labels, labels, others.Labels, "label")
	ns.Annotations, now.Annotations, refusedToo = amended(ns.Annotations, was.Annotations, annotations, others.Annotations, "annotation")
	if record[hook] = now; now.isEmpty() {
		delete(record, hook)
	}
	if ns.Annotations == nil {
		ns.Annotations = map[string]string{}
	}
	if data, err := json.Marshal(record); err == nil && len(record) > 0 { // maps of text can always be encoded
		ns.Annotations[berthv1alpha1.AppliedHooksAnnotation] = string(data)
	} else {
		delete(ns.Annotations, berthv1alpha1.AppliedHooksAnnotation)
	}
	return append(refused, refusedToo...)
}

// amended is live with the words of want instead of those of was, and which of them are ours now.
func amended(live, was, want, others map[string]string, what string) (after, ours map[string]string, refused []string) {
	after, ours = maps.Clone(live), map[string]string{}
	if after == nil {
		after = map[string]string{}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		_, had := was[key]
		have, there := live[key]
		_, others := others[key]
		switch {
		case others:
			refused = append(refused, fmt.Sprintf("%s %q is that of another hook", what, key))
		case !had && there && have != want[key]:
			refused = append(refused, fmt.Sprintf("%s %q is there already with another value", what, key))
		case !had && there: // as asked for, and not ours to take back
		default:
			after[key], ours[key] = want[key], want[key]
		}
	}
	for key, value := range was {
		// A word can't be another hook's and in was, so what is not wanted any more was ours alone.
		if _, wanted := want[key]; !wanted && after[key] == value {
			delete(after, key)
		}
	}
	return after, ours, refused
}

// Release takes all that hooks put on ns off it.
func Release(ns *corev1.Namespace) {
	for _, name := range slices.Sorted(maps.Keys(RecordOf(ns))) {
		Amend(ns, name, nil, nil, nil)
	}
	delete(ns.Annotations, berthv1alpha1.AppliedHooksAnnotation)
}
