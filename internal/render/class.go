// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// Class is the class that a profile has, as far as rendering needs it. The zero value is the built-in one.
type Class struct {
	// Name is empty for the built-in class.
	Name       string
	Generation int64
	Spec       berthv1alpha1.ProfileClassSpec
	// Problem is set where the profile names a class that is not there. What is rendered is the class that it had before.
	Problem *Problem
	// Unknown means that nobody knows which class the profile had before, either: what a class decides is left as it is.
	Unknown bool
}

// ClassOf chooses the class of p: the one that its label names, else the default among classes, else the built-in one.
func ClassOf(p *kubeflowv1.Profile, classes []berthv1alpha1.ProfileClass) Class {
	name := ClassName(p.Labels, classes)
	if class, found := classNamed(name, classes); found {
		return class
	}
	missing := &Problem{
		Reason: kubeflowv1.ReasonClassNotFound,
		Message: fmt.Sprintf("there is no ProfileClass %q: create it, or name another in the label %s",
			name, berthv1alpha1.ClassLabel),
	}
	if before := p.Status.Class; before != nil {
		if class, found := classNamed(before.Name, classes); found {
			missing.Message += fmt.Sprintf("; until then, all stays as the class %q has it", before.Name)
			class.Problem = missing
			return class
		}
	}
	missing.Message += "; until then, what a class decides stays as it is"
	return Class{Name: name, Problem: missing, Unknown: true}
}

// ClassName is the name of the class that a profile with those labels has.
func ClassName(labels map[string]string, classes []berthv1alpha1.ProfileClass) string {
	if name := labels[berthv1alpha1.ClassLabel]; name != "" {
		return name
	}
	if fallback := DefaultClass(classes); fallback != "" {
		return fallback
	}
	return berthv1alpha1.BuiltInClass
}

// DefaultClass is the name of the class of profiles that name none; empty where that is the built-in one. Of several,
// the newest counts, as with StorageClasses. One that is being deleted counts as long as it is there: its profiles must
// not lose their walls to a mistake.
func DefaultClass(classes []berthv1alpha1.ProfileClass) string {
	var newest *berthv1alpha1.ProfileClass
	for i := range classes {
		class := &classes[i]
		if class.Annotations[berthv1alpha1.DefaultClassAnnotation] != "true" {
			continue
		}
		if newest == nil || newest.CreationTimestamp.Before(&class.CreationTimestamp) ||
			newest.CreationTimestamp.Equal(&class.CreationTimestamp) && class.Name < newest.Name {
			newest = class
		}
	}
	if newest == nil {
		return ""
	}
	return newest.Name
}

func classNamed(name string, classes []berthv1alpha1.ProfileClass) (Class, bool) {
	if name == berthv1alpha1.BuiltInClass {
		return Class{}, true
	}
	for i := range classes {
		if classes[i].Name == name {
			return Class{Name: name, Generation: classes[i].Generation, Spec: classes[i].Spec}, true
		}
	}
	return Class{}, false
}

// Status is what the status of a profile says about its class; nil for the built-in one.
func (c Class) Status() *kubeflowv1.ClassStatus {
	if c.Name == "" || c.Unknown {
		return nil
	}
	return &kubeflowv1.ClassStatus{Name: c.Name, Generation: c.Generation}
}

// part is the condition that says which class a profile has.
func (c Class) part() Part {
	return Part{
		Condition: kubeflowv1.ConditionClassReady,
		Problem:   c.Problem,
		Reason:    kubeflowv1.ReasonReady,
		Message:   fmt.Sprintf("the profile has the class %s", c.Name),
	}
}

// whereabouts are the namespaces of the platform.
func (c Class) whereabouts() berthv1alpha1.PlatformNamespaces {
	if network := c.isolation().Network; network != nil {
		return whereabouts(network.Namespaces)
	}
	return whereabouts(berthv1alpha1.PlatformNamespaces{})
}

func (c Class) isolation() berthv1alpha1.Isolation {
	if c.Spec.Isolation == nil {
		return berthv1alpha1.Isolation{}
	}
	return *c.Spec.Isolation
}

// Names of the parts that a class adds, as values of the label berth.dev/part. Objects with that label are taken away
// when they are not asked for any more.
const (
	partNetwork     = "network"
	partMTLS        = "mtls"
	partUserToken   = "user-token"
	partLimitRange  = "limit-range"
	partInference   = "inference-access"
	partAccounts    = "service-accounts"
	partCredentials = "credentials"
)

// classParts are the parts that a class may add, in the order in which they are applied: what keeps others out comes
// first.
var classParts = []struct {
	name      string
	condition string
	// guarded is what break-glass leaves to the tenant.
	guarded bool
	render  func(*kubeflowv1.Profile, Input) Part
}{
	{partNetwork, kubeflowv1.ConditionNetworkReady, true, network},
	{partMTLS, kubeflowv1.ConditionMTLSReady, true, mtls},
	{partUserToken, kubeflowv1.ConditionUserTokenReady, true, userToken},
	{partLimitRange, kubeflowv1.ConditionLimitRangeReady, true, limitRange},
	{partInference, kubeflowv1.ConditionInferenceAccessReady, true, inferenceAccess},
	{partCredentials, kubeflowv1.ConditionCredentialsReady, false, credentials},
	{partAccounts, kubeflowv1.ConditionServiceAccountsReady, false, serviceAccounts},
}

// ClassConditions are the conditions that only profiles of some classes have.
func ClassConditions() []string {
	conditions := []string{kubeflowv1.ConditionClassReady, kubeflowv1.ConditionGuardRailsReady}
	for _, part := range classParts {
		conditions = append(conditions, part.condition)
	}
	return conditions
}

// ofClass renders the parts that p's class adds. A part that is not asked for takes away what was made for it.
func ofClass(p *kubeflowv1.Profile, in Input, held bool) []Part {
	var parts []Part
	for _, add := range classParts {
		if held && add.guarded {
			continue
		}
		part := add.render(p, in)
		part.Condition = add.condition
		part.Retired = part.Problem == nil && part.Message == ""
		if !part.Keep {
			part.Absent = stale(add.name, part.Objects, in.Placed)
		}
		if !part.Retired || len(part.Absent) > 0 {
			parts = append(parts, part)
		}
	}
	return parts
}

// stale are those of placed that were made for the part and are not among objects.
func stale(part string, objects []Object, placed []Resource) []Object {
	var gone []Object
	for _, there := range placed {
		if there.GetLabels()[berthv1alpha1.PartLabel] != part {
			continue
		}
		if among(objects, there) {
			continue
		}
		gone = append(gone, Object{Resource: there, Purpose: "is not asked for any more"})
	}
	return gone
}

// keepWanted takes out of what parts have go whatever any of them wants: where somebody changed the label that says what
// an object was made for, one part must not take away what another puts there.
func keepWanted(parts []Part) []Part {
	var wanted []Object
	for _, part := range parts {
		wanted = append(wanted, part.Objects...)
	}
	for i := range parts {
		parts[i].Absent = slices.DeleteFunc(parts[i].Absent, func(gone Object) bool { return among(wanted, gone.Resource) })
	}
	return parts
}

func among(objects []Object, there Resource) bool {
	kind := there.GetObjectKind().GroupVersionKind().GroupKind()
	return slices.ContainsFunc(objects, func(o Object) bool {
		return o.GetName() == there.GetName() && o.GetObjectKind().GroupVersionKind().GroupKind() == kind
	})
}

// partMeta is the metadata of an object of a class's part.
func partMeta(p *kubeflowv1.Profile, part, name string) metav1.ObjectMeta {
	meta := objectMeta(p, name)
	meta.Labels[berthv1alpha1.PartLabel] = part
	return meta
}

// BreakGlass says why the guard rails of p are off; empty where they are on.
func BreakGlass(p *kubeflowv1.Profile) string {
	return strings.TrimSpace(p.Annotations[berthv1alpha1.BreakGlassAnnotation])
}

// guardRails is the part that says that the guard rails are off.
func guardRails(p *kubeflowv1.Profile) Part {
	return Part{
		Condition: kubeflowv1.ConditionGuardRailsReady,
		Problem: &Problem{Reason: kubeflowv1.ReasonBreakGlass, Message: fmt.Sprintf(
			"the guard rails are off, and what the tenant changes is left as it is; to end that, run: kubectl annotate profile %s %s-",
			p.Name, berthv1alpha1.BreakGlassAnnotation)},
	}
}

// on is the value of a switch, which is on where it is left out.
func on(value *bool) bool { return value == nil || *value }
