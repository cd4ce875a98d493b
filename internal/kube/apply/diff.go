// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/render"
)

// difference is what has to change for a live object to be as wanted.
type difference struct {
	// patch is a JSON merge patch; nil when nothing has to change.
	patch map[string]any
	// recreate is set when the API server refuses to change the field in place.
	recreate bool
	// fields are the changed fields, for people: "subjects", "metadata.labels".
	fields []string
}

// diff compares what is wanted with what is there. Labels, annotations, owner references and fields that are not
// exact are shared with others, who keep what they added.
func diff(want render.Object, live render.Resource) (difference, error) {
	d, patch, err := diffContent(want, live)
	if err != nil || d.recreate {
		return d, err
	}
	metadata := map[string]any{}
	record := func(field string, value any) {
		metadata[field] = value
		d.fields = append(d.fields, "metadata."+field)
	}
	if labels := mapPatch(want.GetLabels(), want.AbsentLabels, live.GetLabels()); labels != nil {
		record("labels", labels)
	}
	if annotations := mapPatch(want.GetAnnotations(), want.AbsentAnnotations, live.GetAnnotations()); annotations != nil {
		record("annotations", annotations)
	}
	if owners, changed := mergeOwners(want.GetOwnerReferences(), live.GetOwnerReferences()); changed {
		record("ownerReferences", owners)
	}

	if len(d.fields) == 0 {
		return d, nil
	}
	// The patch was made from this version: whoever wrote since then is not overwritten, we look again instead.
	metadata["resourceVersion"] = live.GetResourceVersion()
	metadata["uid"] = string(live.GetUID())
	patch["metadata"] = metadata
	d.patch = patch
	return d, nil
}

// diffContent compares everything but metadata.
func diffContent(want render.Object, live render.Resource) (d difference, patch map[string]any, err error) {
	patch = map[string]any{}
	if sameContent(want.Resource, live) {
		return d, patch, nil
	}
	if field := immutable(want.Resource, live); field != "" {
		return difference{recreate: true, fields: []string{field}}, nil, nil
	}
	wantTree, err := tree(want.Resource)
	if err != nil {
		return d, nil, err
	}
	liveTree, err := tree(live)
	if err != nil {
		return d, nil, err
	}
	// Where it was rendered otherwise before, what is not wanted any more goes; else the server's defaults stay.
	rendered, marked := want.GetAnnotations()[berthv1alpha1.RenderedAnnotation]
	exact := marked && live.GetAnnotations()[berthv1alpha1.RenderedAnnotation] != rendered
	for _, field := range fields(want, wantTree) {
		value, changed := patchValue(wantTree[field], liveTree[field], exact || slices.Contains(want.Exact, field))
		if changed {
			patch[field] = value
			d.fields = append(d.fields, field)
		}
	}
	return d, patch, nil
}

// sameContent recognises the usual case, that nothing but perhaps metadata differs, without turning both objects into
// generic JSON, which is most of the cost of looking at a profile. It may say no where the answer is yes.
func sameContent(want, live render.Resource) bool {
	switch want := want.(type) {
	case *rbacv1.RoleBinding:
		live, ok := live.(*rbacv1.RoleBinding)
		return ok && want.RoleRef == live.RoleRef && slices.Equal(want.Subjects, live.Subjects)
	case *corev1.ResourceQuota:
		live, ok := live.(*corev1.ResourceQuota)
		return ok && equality.Semantic.DeepEqual(want.Spec, live.Spec)
	case *securityv1beta1.AuthorizationPolicy:
		live, ok := live.(*securityv1beta1.AuthorizationPolicy)
		return ok && proto.Equal(&want.Spec, &live.Spec)
	case *securityv1beta1.PeerAuthentication:
		live, ok := live.(*securityv1beta1.PeerAuthentication)
		return ok && proto.Equal(&want.Spec, &live.Spec)
	case *securityv1beta1.RequestAuthentication:
		live, ok := live.(*securityv1beta1.RequestAuthentication)
		return ok && proto.Equal(&want.Spec, &live.Spec)
	case *networkingv1.NetworkPolicy:
		live, ok := live.(*networkingv1.NetworkPolicy)
		return ok && equality.Semantic.DeepEqual(want.Spec, live.Spec)
	}
	return false
}

// immutable is the field that differs and that the API server refuses to change in place; empty if there is none.
func immutable(want, live render.Resource) string {
	switch want := want.(type) {
	case *rbacv1.RoleBinding:
		if live, ok := live.(*rbacv1.RoleBinding); ok && want.RoleRef != live.RoleRef {
			return "roleRef"
		}
	case *corev1.ResourceQuota:
		if live, ok := live.(*corev1.ResourceQuota); ok && !sets.New(want.Spec.Scopes...).Equal(sets.New(live.Spec.Scopes...)) {
			return "spec.scopes"
		}
	case *rbacv1.ClusterRole:
		// It can't be taken back, and a role that has one does not keep rules of its own.
		if live, ok := live.(*rbacv1.ClusterRole); ok && want.AggregationRule == nil && live.AggregationRule != nil {
			return "aggregationRule"
		}
	}
	return ""
}

// fields are the top-level fields to compare, besides metadata.
func fields(want render.Object, wantTree map[string]any) []string {
	names := slices.Clone(want.Exact)
	for name, value := range wantTree {
		if m, isMap := value.(map[string]any); isMap && len(m) == 0 {
			continue // how an unset struct comes out
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// tree is obj as generic JSON, without what identifies it and what the server alone writes.
func tree(obj render.Resource) (map[string]any, error) {
	t, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, fmt.Errorf("convert %T %q: %w", obj, obj.GetName(), err)
	}
	t = maps.Clone(t) // of an object that is generic itself, t is the object
	for _, field := range []string{"apiVersion", "kind", "metadata", "status"} {
		delete(t, field)
	}
	return t, nil
}

// mapPatch sets the keys of want and removes those of absent. It is nil when nothing has to change.
func mapPatch(want map[string]string, absent []string, live map[string]string) map[string]any {
	patch := map[string]any{}
	for key, value := range want {
		if have, found := live[key]; !found || have != value {
			patch[key] = value
		}
	}
	for _, key := range absent {
		_, found := live[key]
		if _, wanted := want[key]; found && !wanted {
			patch[key] = nil
		}
	}
	if len(patch) == 0 {
		return nil
	}
	return patch
}

// patchValue is the merge patch that turns live into want, and whether one is needed. Where the field is exact, what
// want does not have goes.
func patchValue(want, live any, exact bool) (any, bool) {
	wantMap, wantIsMap := want.(map[string]any)
	liveMap, liveIsMap := live.(map[string]any)
	if (wantIsMap || want == nil) && liveIsMap {
		patch := map[string]any{}
		for key, value := range wantMap {
			if v, changed := patchValue(value, liveMap[key], exact); changed {
				patch[key] = v
			}
		}
		for key := range liveMap {
			if _, wanted := wantMap[key]; exact && !wanted {
				patch[key] = nil
			}
		}
		return patch, len(patch) > 0
	}
	if wantIsMap && live == nil && len(wantMap) == 0 {
		return nil, false
	}
	if exact {
		return want, !reflect.DeepEqual(want, live)
	}
	return want, !covers(live, want)
}

// covers says whether live has all that want has. Lists are replaced as a whole, but the server fills in defaults
// inside their elements too.
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

// mergeOwners puts our owner references among those of others. There can be one controller only, and it is ours;
// references to an earlier owner of the same name, as after a restore from a backup, would let the garbage collector
// take the object and go.
func mergeOwners(want, live []metav1.OwnerReference) ([]metav1.OwnerReference, bool) {
	if len(want) == 0 {
		return nil, false
	}
	merged := slices.Clone(want)
	for _, ref := range live {
		if slices.ContainsFunc(want, func(w metav1.OwnerReference) bool {
			return w.UID == ref.UID || (w.Kind == ref.Kind && w.Name == ref.Name && group(w) == group(ref))
		}) {
			continue
		}
		ref.Controller = nil
		merged = append(merged, ref)
	}
	same := len(merged) == len(live)
	for _, ref := range merged {
		same = same && slices.ContainsFunc(live, func(l metav1.OwnerReference) bool { return reflect.DeepEqual(l, ref) })
	}
	return merged, !same
}

func group(ref metav1.OwnerReference) string {
	group, _, grouped := strings.Cut(ref.APIVersion, "/")
	if !grouped {
		return "" // the core group, whose name is left out
	}
	return group
}
