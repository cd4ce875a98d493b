// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// YAML is all objects of t as documents, in the order in which they are applied.
func (t Tenant) YAML() ([]byte, error) { return YAML(t.Objects()) }

// YAML is objects as documents.
func YAML(objects []Object) ([]byte, error) {
	var documents []byte
	for _, object := range objects {
		document, err := document(object)
		if err != nil {
			return nil, fmt.Errorf("write %q as YAML: %w", object.GetName(), err)
		}
		documents = append(append(documents, "---\n"...), document...)
	}
	return documents, nil
}

// Documents are all objects of t as YAML, by kind and name.
func (t Tenant) Documents() (map[string][]byte, error) {
	documents := map[string][]byte{}
	for _, object := range t.Objects() {
		document, err := document(object)
		if err != nil {
			return nil, fmt.Errorf("write %q as YAML: %w", object.GetName(), err)
		}
		documents[object.GetObjectKind().GroupVersionKind().Kind+" "+object.GetName()] = document
	}
	return documents, nil
}

// Problems say what of t can't be had as asked for, each once.
func (t Tenant) Problems() []Problem {
	var problems []Problem
	if t.Claim.Problem != nil {
		problems = append(problems, *t.Claim.Problem)
	}
	for _, part := range t.Parts {
		if part.Problem != nil && !slices.Contains(problems, *part.Problem) {
			problems = append(problems, *part.Problem)
		}
	}
	return problems
}

// document is object as YAML, without the fields that only a server fills in.
func document(object Object) ([]byte, error) {
	// Of an object that is generic already, what comes back is the object itself: a copy may be cut.
	tree, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object.DeepCopyObject())
	if err != nil {
		return nil, err
	}
	delete(tree, "status")
	if spec, isMap := tree["spec"].(map[string]any); isMap && len(spec) == 0 && !slices.Contains(object.Exact, "spec") {
		delete(tree, "spec")
	}
	if metadata, isMap := tree["metadata"].(map[string]any); isMap {
		delete(metadata, "creationTimestamp")
	}
	return yaml.Marshal(tree)
}
