// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// Answer is what a hook asked for, checked, and with our marks on it.
type Answer struct {
	// Attachments are the objects to be there, by kind and name.
	Attachments []*unstructured.Unstructured
	// Labels and Annotations are to be on the Namespace.
	Labels, Annotations map[string]string
	// Resync is when the hook wants to be asked again although nothing changed; zero for never.
	Resync time.Duration
	// Finalized means that the hook has let go.
	Finalized bool
}

// Terms are what an answer is checked against.
type Terms struct {
	// Hook is the hook's name.
	Hook string
	// Namespace is the only namespace that the hook may have objects in.
	Namespace string
	// Owner is the reference to the profile, for the objects.
	Owner metav1.OwnerReference
	// Kinds are the ones that the hook may ask for.
	Kinds []Kind
	// Reserved are labels and annotations of the Namespace that somebody else has the say on.
	Reserved []string
}

// longestResync is where a wait stops meaning anything.
const longestResync = 24 * time.Hour

// Read reads the answer of a hook. An answer that asks for anything it can't have is refused as a whole; the error says
// all that is wrong, and nothing of what is in an attachment besides its kind and name.
func Read(body []byte, t Terms) (Answer, error) {
	tree := map[string]any{}
	if err := json.Unmarshal(body, &tree); err != nil || tree == nil {
		return Answer{}, errors.New("the answer is not a JSON object") // the decoder's error may repeat what is in it
	}
	var a Answer
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if _, ok := object(tree, "status"); !ok {
		note(errors.New("status is not an object"))
	}
	var err error
	a.Labels, err = words(tree, "labels", t.Reserved, validation.IsValidLabelValue)
	note(err)
	a.Annotations, err = words(tree, "annotations", t.Reserved, nil)
	note(err)
	a.Resync, err = seconds(tree["resyncAfterSeconds"])
	note(err)
	if finalized := tree["finalized"]; finalized != nil {
		yes, ok := finalized.(bool)
		if a.Finalized = yes; !ok {
			note(errors.New("finalized is neither true nor false"))
		}
	}
	a.Attachments, err = attachments(tree["attachments"], t)
	note(err)
	if len(errs) > 0 {
		return Answer{}, joined(errs)
	}
	return a, nil
}

// joined is all errors on one line.
func joined(errs []error) error {
	var texts []string
	for _, err := range errs {
		texts = append(texts, err.Error())
	}
	return errors.New(strings.Join(texts, ", "))
}

// object is the object at key, nil where there is none; not ok where something else is.
func object(tree map[string]any, key string) (map[string]any, bool) {
	if tree[key] == nil {
		return nil, true
	}
	o, ok := tree[key].(map[string]any)
	return o, ok
}

// seconds is a wait.
func seconds(value any) (time.Duration, error) {
	var s float64
	switch value := value.(type) {
	case nil:
		return 0, nil
	case int64:
		s = float64(value)
	case float64:
		s = value
	default:
		return 0, errors.New("resyncAfterSeconds is not a number")
	}
	if s < 0 || math.IsNaN(s) {
		return 0, errors.New("resyncAfterSeconds is negative")
	}
	if s > longestResync.Seconds() {
		return longestResync, nil
	}
	return time.Duration(s * float64(time.Second)), nil
}

// words are labels or annotations for the Namespace. What is null is not to be there.
func words(tree map[string]any, field string, reserved []string, check func(string) []string) (map[string]string, error) {
	asked, ok := object(tree, field)
	if !ok {
		return nil, fmt.Errorf("%s is not an object", field)
	}
	found := map[string]string{}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(asked)) {
		value, isText := asked[key].(string)
		switch {
		case len(validation.IsQualifiedName(key)) > 0:
			errs = append(errs, fmt.Errorf("%s has the key %q: it is not a valid key", field, key))
		case Protected(key) || slices.Contains(reserved, key):
			errs = append(errs, fmt.Errorf("%s has the key %q: hooks may not set it", field, key))
		case asked[key] == nil:
		case !isText:
			errs = append(errs, fmt.Errorf("%s has the key %q: its value is not text", field, key))
		case check != nil && len(check(value)) > 0:
			errs = append(errs, fmt.Errorf("%s has the key %q: its value is not a valid one", field, key))
		default:
			found[key] = value
		}
	}
	if len(errs) > 0 {
		return nil, joined(errs)
	}
	return found, nil
}

// protectedDomains and protectedKeys are of labels and annotations of a Namespace that decide on its security or on whose
// it is.
var (
	protectedDomains = []string{"berth.dev", "pod-security.kubernetes.io", "istio.io", "kubernetes.io", "kubectl.kubernetes.io"}
	protectedKeys    = []string{
		"istio-injection", kubeflowv1.ManagedByLabel, "owner", kubeflowv1.ResourceManagementOwnerAnnotation,
	}
)

// Protected says whether a label or annotation of a Namespace is none that hooks may set.
func Protected(key string) bool {
	domain, _, _ := strings.Cut(key, "/")
	return slices.Contains(protectedDomains, domain) || slices.Contains(protectedKeys, key) ||
		strings.HasSuffix(domain, ".berth.dev") || strings.HasSuffix(domain, ".istio.io")
}

// attachments checks the objects that a hook asks for, and marks them as its own.
func attachments(value any, t Terms) ([]*unstructured.Unstructured, error) {
	if value == nil {
		return nil, nil
	}
	list, ok := value.([]any)
	if !ok {
		return nil, errors.New("attachments is not a list")
	}
	var all []*unstructured.Unstructured
	var errs []error
	seen := map[place]bool{}
	for i, item := range list {
		tree, ok := item.(map[string]any)
		if !ok {
			errs = append(errs, fmt.Errorf("attachment %d is not an object", i))
			continue
		}
		asked := &unstructured.Unstructured{Object: tree}
		if err := check(asked, t); err != nil {
			errs = append(errs, fmt.Errorf("attachment %d (%s): %w", i, title(asked), err))
			continue
		}
		if seen[placeOf(asked)] {
			errs = append(errs, fmt.Errorf("attachment %d (%s): there is one of that name before it", i, title(asked)))
			continue
		}
		seen[placeOf(asked)] = true
		marked, err := mark(asked, t)
		if err != nil {
			return nil, err
		}
		all = append(all, marked)
	}
	if len(errs) > 0 {
		return nil, joined(errs)
	}
	slices.SortFunc(all, inOrder)
	return all, nil
}

// check says what keeps an object from being had. Whatever is of the wrong type reads as empty.
func check(asked *unstructured.Unstructured, t Terms) error {
	metadata, ok := asked.Object["metadata"].(map[string]any)
	if !ok {
		return errors.New("it has no metadata")
	}
	name, _ := metadata["name"].(string)
	namespace, isText := metadata["namespace"].(string)
	switch {
	case !slices.ContainsFunc(t.Kinds, func(k Kind) bool { return k.GVK == asked.GroupVersionKind() }):
		return errors.New("its kind is not among the attachments of the hook")
	case metadata["namespace"] != nil && !isText, namespace != "" && namespace != t.Namespace:
		return fmt.Errorf("it is not in namespace %q", t.Namespace)
	case metadata["generateName"] != nil && metadata["generateName"] != "":
		return errors.New("it has a generateName: give it a name")
	case name == "" || len(name) > 253 || len(content.IsPathSegmentName(name)) > 0:
		return errors.New("its name is not a valid one")
	}
	for _, field := range []string{"labels", "annotations"} {
		if _, _, err := unstructured.NestedStringMap(asked.Object, "metadata", field); metadata[field] != nil && err != nil {
			return fmt.Errorf("its %s are not texts", field)
		}
		words, _, _ := unstructured.NestedStringMap(asked.Object, "metadata", field)
		for _, key := range slices.Sorted(maps.Keys(words)) {
			if strings.HasPrefix(key, "berth.dev/") && !slices.Contains(marks, key) {
				return fmt.Errorf("its %s have the key %q: hooks may not set it", field, key)
			}
		}
	}
	return nil
}

// marks are ours; hooks that send back what they were sent may have them in it.
var marks = []string{berthv1alpha1.HookLabel, berthv1alpha1.HookAppliedAnnotation}

// title names an object for people.
func title(o *unstructured.Unstructured) string {
	name := o.GetName()
	if len(name) > 253 {
		name = name[:253] + "..."
	}
	return fmt.Sprintf("%s %q", clipped(Key(o.GroupVersionKind())), name)
}

func clipped(text string) string {
	if len(text) > 400 {
		return text[:400] + "..."
	}
	return text
}

// mark returns asked with what hooks have no say on taken out, and our marks put in.
func mark(asked *unstructured.Unstructured, t Terms) (*unstructured.Unstructured, error) {
	tree, _ := withoutNulls(asked.Object).(map[string]any)
	delete(tree, "status")
	o := &unstructured.Unstructured{Object: tree}
	labels, annotations := o.GetLabels(), o.GetAnnotations()
	tree["metadata"] = map[string]any{"name": o.GetName(), "namespace": t.Namespace}
	if labels == nil {
		labels = map[string]string{}
	}
	labels[berthv1alpha1.HookLabel] = t.Hook
	labels[kubeflowv1.ManagedByLabel] = kubeflowv1.ManagedByValue
	o.SetLabels(labels)
	delete(annotations, berthv1alpha1.HookAppliedAnnotation)
	if len(annotations) > 0 {
		o.SetAnnotations(annotations)
	}
	hash, err := digest(tree)
	if err != nil {
		return nil, fmt.Errorf("hash %s: %w", title(o), err)
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[berthv1alpha1.HookAppliedAnnotation] = hash
	o.SetAnnotations(annotations)
	o.SetOwnerReferences([]metav1.OwnerReference{t.Owner})
	return o, nil
}

// withoutNulls is value without the fields that are null, which the API server would not store.
func withoutNulls(value any) any {
	switch value := value.(type) {
	case map[string]any:
		kept := make(map[string]any, len(value))
		for key, v := range value {
			if v != nil {
				kept[key] = withoutNulls(v)
			}
		}
		return kept
	case []any:
		kept := make([]any, len(value))
		for i, v := range value {
			kept[i] = withoutNulls(v)
		}
		return kept
	}
	return value
}
