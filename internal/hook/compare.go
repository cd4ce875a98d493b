// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
)

// Same says whether live is what want asks for already.
//
// The annotation holds a hash of what was asked for: another one means that something else is asked for now, perhaps
// less. Beyond that, live has to have every field of want as want has it. Where the API server stores a field in other
// words, such as the quantity 1000m as 1, the annotation holds a second hash, of how live was right after the write.
func Same(want, live *unstructured.Unstructured) bool {
	asked, _, _ := strings.Cut(want.GetAnnotations()[berthv1alpha1.HookAppliedAnnotation], "-")
	applied, stored, _ := strings.Cut(live.GetAnnotations()[berthv1alpha1.HookAppliedAnnotation], "-")
	if asked != applied || !owned(want.GetOwnerReferences(), live) {
		return false
	}
	compared := fieldsOf(want)
	if covers(live.Object, compared) {
		return true
	}
	if stored == "" {
		return false
	}
	hash, err := digest(projection(live.Object, compared))
	return err == nil && hash == stored
}

// Stored returns want with a note of how the API server stores it; nil where that is as it was asked for. stored is the
// answer to the write of want.
func Stored(want, stored *unstructured.Unstructured) *unstructured.Unstructured {
	compared := fieldsOf(want)
	if covers(stored.Object, compared) {
		return nil
	}
	hash, err := digest(projection(stored.Object, compared))
	if err != nil {
		return nil
	}
	noted := want.DeepCopy()
	annotations := noted.GetAnnotations()
	annotations[berthv1alpha1.HookAppliedAnnotation] += "-" + hash
	noted.SetAnnotations(annotations)
	return noted
}

// owned says whether live has the references, among those of others.
func owned(references []metav1.OwnerReference, live *unstructured.Unstructured) bool {
	have := live.GetOwnerReferences()
	for _, want := range references {
		if !slices.ContainsFunc(have, func(ref metav1.OwnerReference) bool { return reflect.DeepEqual(ref, want) }) {
			return false
		}
	}
	return true
}

// fieldsOf is what of want is compared field by field: all but what identifies it, its hash and its owner.
func fieldsOf(want *unstructured.Unstructured) map[string]any {
	compared := maps.Clone(want.Object)
	metadata := map[string]any{}
	if labels, ok, _ := unstructured.NestedMap(want.Object, "metadata", "labels"); ok {
		metadata["labels"] = labels
	}
	if annotations, ok, _ := unstructured.NestedMap(want.Object, "metadata", "annotations"); ok {
		delete(annotations, berthv1alpha1.HookAppliedAnnotation)
		if len(annotations) > 0 {
			metadata["annotations"] = annotations
		}
	}
	compared["metadata"] = metadata
	return compared
}

// covers says whether live has all that want has. Lists have to have as many elements, in which the server fills in
// defaults.
func covers(live, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		live, isMap := live.(map[string]any)
		for key, value := range want {
			if have, found := live[key]; !found || !covers(have, value) {
				return false
			}
		}
		return isMap
	case []any:
		live, isList := live.([]any)
		return isList && slices.EqualFunc(live, want, covers)
	}
	return reflect.DeepEqual(live, want)
}

// projection is the part of live that stands where want has something.
func projection(live, want any) any {
	switch want := want.(type) {
	case map[string]any:
		live, isMap := live.(map[string]any)
		if !isMap {
			break
		}
		part := map[string]any{}
		for key, value := range want {
			if have, found := live[key]; found {
				part[key] = projection(have, value)
			}
		}
		return part
	case []any:
		live, isList := live.([]any)
		if !isList {
			break
		}
		part := slices.Clone(live)
		for i := range min(len(live), len(want)) {
			part[i] = projection(live[i], want[i])
		}
		return part
	}
	return live
}

// digest is a short hash of value as JSON, which has the keys in order.
func digest(value any) (string, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])[:16], nil
}
