// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// Input is what rendering depends on besides the Profile itself.
type Input struct {
	Config Config
	// Namespace is the profile's namespace as it is, or nil.
	Namespace *corev1.Namespace
	// Editor and Viewer are the service accounts default-editor and default-viewer as they are, or nil.
	Editor, Viewer *corev1.ServiceAccount
	// Accounts are the further ServiceAccounts of the class as they are, by name.
	Accounts map[string]*corev1.ServiceAccount
	// Class is the class that the profile has.
	Class Class
	// Placed are the objects in the namespace that were made for parts of a class.
	Placed []Resource
	// InferenceServices are the names of those in the namespace.
	InferenceServices []string
	// Mesh says which kinds the cluster serves, of those that it may lack.
	Mesh MeshKinds
	// Reserved are namespaces that no profile may take, besides the ones that never may (see Reserved).
	Reserved []string
	// LabelsUnknown means that the namespace labels file could not be read since the start. Namespaces that exist
	// keep their labels, and none is made: it might lack the labels that make it safe.
	LabelsUnknown bool
}

// MeshKinds says which kinds the cluster serves, of those that it may lack: the mesh's, and those that classes ask for.
type MeshKinds struct {
	AuthorizationPolicy   bool
	Gateway               bool
	PeerAuthentication    bool
	RequestAuthentication bool
	InferenceService      bool
	ProfileClass          bool
	ProfileSync           bool
	// ExternalSecrets is the version in which the kinds of External Secrets are served; empty where they are not.
	ExternalSecrets string
}

// Tenant is everything that one Profile asks for.
type Tenant struct {
	// Claim says whether the profile may have its namespace. Where it may not, the rest is empty.
	Claim Claim
	// PreviousOwner is the owner whom the namespace still belongs to, where that is another one.
	PreviousOwner string
	// Class is the class that was rendered.
	Class Class
	// GlassBroken means that the guard rails are to go off, GlassMended that they are to be on again.
	GlassBroken, GlassMended bool
	// Namespace is the namespace itself.
	Namespace Object
	// Parts are applied in order, after the namespace exists. Their problems are their own: one that can't be
	// rendered keeps none of the others back.
	Parts []Part
}

// Part is a group of objects that stand or fall together, with one condition on the Profile.
type Part struct {
	// Condition is the type of the condition.
	Condition string
	// Objects are to be there, in this order.
	Objects []Object
	// Absent are to be gone, where they are the profile's own.
	Absent []Object
	// Problem is set where (some of) the part can't be had as asked for.
	Problem *Problem
	// Reason and Message are those of the condition when the part is in place.
	Reason, Message string
	// Retired means that the part is not asked for any more: when Absent are gone, there is no condition.
	Retired bool
	// Keep leaves what was made for the part before, as nobody can say what it should be.
	Keep bool
}

// Profile renders everything that p asks for. Policies and budget come before access, so that nobody gets in while
// the namespace is still open or without limits.
func Profile(p *kubeflowv1.Profile, in Input) Tenant {
	claim := ClaimNamespace(p, in.Namespace, in.Reserved)
	if claim.Kind == ClaimNew && in.LabelsUnknown {
		claim = refused(kubeflowv1.ReasonNamespaceLabelsUnreadable,
			"the namespace labels file can't be read, and a namespace without its labels may be unsafe: mend the file")
	}
	if claim.Kind == ClaimNew && in.Class.Unknown {
		claim = refused(in.Class.Problem.Reason, in.Class.Problem.Message+"; a namespace without the class's limits may be unsafe, so none is made")
	}
	if !claim.Allowed() {
		return Tenant{Claim: claim, Class: in.Class}
	}
	var was string
	if in.Namespace != nil {
		was = in.Namespace.Annotations[berthv1alpha1.BreakGlassAnnotation]
	}
	return Tenant{
		GlassBroken:   was == "" && BreakGlass(p) != "",
		GlassMended:   was != "" && BreakGlass(p) == "",
		Claim:         claim,
		PreviousOwner: previousOwner(p, in.Namespace),
		Class:         in.Class,
		Namespace:     namespace(p, in, claim),
		Parts:         parts(p, in, claim),
	}
}

// parts are those of p, in the order in which they are applied.
func parts(p *kubeflowv1.Profile, in Input, claim Claim) []Part {
	if in.Class.Unknown {
		known := []Part{in.Class.part(), access(p, in, claim)}
		if previousOwner(p, in.Namespace) != "" {
			known = append(known, mesh(p, in)) // the one before must not keep what was theirs
		}
		return known
	}
	held := BreakGlass(p) != "" && claim.Held
	all := ofClass(p, in, held)
	all = append(all, mesh(p, in))
	if !held {
		all = append(all, quota(p, in))
	}
	all = append(all, access(p, in, claim))
	if held {
		all = append(all, guardRails(p))
	}
	if in.Class.Name != "" || in.Class.Problem != nil {
		all = append(all, in.Class.part())
	}
	return keepWanted(all)
}

// Names are the names of the objects that render makes inside a namespace.
var Names = []string{
	EditorName, ViewerName, OwnerBindingName, OwnerPolicyName, InviteesPolicyName, quotaName, waypointName,
}

// Objects are all objects of t, the namespace first.
func (t Tenant) Objects() []Object {
	if t.Namespace.Resource == nil {
		return nil
	}
	all := []Object{t.Namespace}
	for _, part := range t.Parts {
		all = append(all, part.Objects...)
	}
	return all
}

// objectMeta is the metadata that all objects in a profile's namespace have.
func objectMeta(p *kubeflowv1.Profile, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:            name,
		Namespace:       p.Name,
		Labels:          map[string]string{kubeflowv1.ManagedByLabel: kubeflowv1.ManagedByValue},
		OwnerReferences: []metav1.OwnerReference{OwnerReference(p)},
	}
}

// OwnerReference makes p the controller of an object.
func OwnerReference(p *kubeflowv1.Profile) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{
		APIVersion:         kubeflowv1.GroupVersion.String(),
		Kind:               "Profile",
		Name:               p.Name,
		UID:                p.UID,
		Controller:         &yes,
		BlockOwnerDeletion: &yes,
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
