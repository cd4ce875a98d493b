// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// ClaimKind says how a profile stands to the namespace of its name.
type ClaimKind string

const (
	// ClaimNew: there is no such namespace yet; it will be made and goes with the profile.
	ClaimNew ClaimKind = "New"
	// ClaimOwned: the namespace was made for this profile and goes with it.
	ClaimOwned ClaimKind = "Owned"
	// ClaimAdopted: the namespace was there before, was given to this profile, and outlives it.
	ClaimAdopted ClaimKind = "Adopted"
	// ClaimRefused: the profile may not have the namespace.
	ClaimRefused ClaimKind = "Refused"
)

// Claim is the answer to "may this profile have that namespace?".
type Claim struct {
	Kind ClaimKind
	// Held is set where the namespace says already that it is the profile's.
	Held bool
	// Problem says why not, where the claim is refused.
	Problem *Problem
}

// Allowed says whether the profile may have the namespace.
func (c Claim) Allowed() bool { return c.Kind != ClaimRefused }

// reserved are namespaces of the platform. The validation rule of the CustomResourceDefinition holds the same list.
var reserved = []string{
	"auth", "berth-system", "cert-manager", "default", "istio-system", "knative-eventing", "knative-serving",
	"kubeflow", "kubeflow-system", "oauth2-proxy", "profiles-system",
}

// Reserved says whether no profile may ever have the namespace.
func Reserved(name string) bool {
	return strings.HasPrefix(name, "kube-") || slices.Contains(reserved, name)
}

// ClaimNamespace decides whether p may have the namespace ns, nil if there is none. A namespace that nobody owns is
// never free: only what an administrator wrote on it gives it away.
func ClaimNamespace(p *kubeflowv1.Profile, ns *corev1.Namespace, alsoReserved []string) Claim {
	if problems := validation.IsDNS1123Label(p.Name); len(problems) > 0 {
		return refused(kubeflowv1.ReasonNameInvalid, fmt.Sprintf(
			"no namespace can be called %q: %s; create a profile with another name", p.Name, problems[0]))
	}
	if ns != nil && madeFor(p, ns) {
		return Claim{Kind: ClaimOwned, Held: true}
	}
	if Reserved(p.Name) || slices.Contains(alsoReserved, p.Name) {
		return refused(kubeflowv1.ReasonNamespaceReserved, fmt.Sprintf(
			"%q is a namespace of the platform and never becomes a profile's: create a profile with another name", p.Name))
	}
	if ns == nil {
		return Claim{Kind: ClaimNew}
	}
	if Holds(p, ns) {
		return Claim{Kind: ClaimAdopted, Held: true}
	}
	if owner := givenTo(ns); owner == "" || owner != p.Spec.Owner.Name {
		return refused(kubeflowv1.ReasonNamespaceNotOwned, notOwnedMessage(p, ns))
	}
	if madeForNamesake(p, ns) {
		return Claim{Kind: ClaimOwned}
	}
	return Claim{Kind: ClaimAdopted}
}

// Adopted says whether ns outlives the profile p whose namespace it is.
func Adopted(p *kubeflowv1.Profile, ns *corev1.Namespace) bool { return !madeFor(p, ns) }

// Holds says whether ns is p's namespace already, made for it or adopted by it: what deleting p may touch.
func Holds(p *kubeflowv1.Profile, ns *corev1.Namespace) bool {
	return madeFor(p, ns) || (p.UID != "" && ns.Annotations[kubeflowv1.AdoptedByAnnotation] == string(p.UID))
}

// previousOwner is the owner in ns's annotation where it is another one than p's and ns is p's already.
func previousOwner(p *kubeflowv1.Profile, ns *corev1.Namespace) string {
	if ns == nil || !Holds(p, ns) || ns.Annotations[kubeflowv1.OwnerAnnotation] == p.Spec.Owner.Name {
		return ""
	}
	return ns.Annotations[kubeflowv1.OwnerAnnotation]
}

// Release takes out of ns what a profile put on it: the labels that are ours as long as they have our values, and the
// annotations, the one included that gave ns away, as what it allowed is over.
func Release(ns *corev1.Namespace) {
	for key, value := range decodeRecord(ns.Annotations[kubeflowv1.AppliedLabelsAnnotation]) {
		if ns.Labels[key] == value {
			delete(ns.Labels, key)
		}
	}
	if ns.Labels[kubeflowv1.ManagedByLabel] == kubeflowv1.ManagedByValue {
		delete(ns.Labels, kubeflowv1.ManagedByLabel)
	}
	for key, value := range recordOf(ns.Annotations).Annotations {
		if ns.Annotations[key] == value {
			delete(ns.Annotations, key)
		}
	}
	for _, key := range []string{
		kubeflowv1.OwnerAnnotation, kubeflowv1.AdoptAnnotation, kubeflowv1.AdoptedByAnnotation,
		kubeflowv1.MadeForAnnotation, kubeflowv1.AppliedLabelsAnnotation,
		berthv1alpha1.AppliedClassAnnotation, berthv1alpha1.BreakGlassAnnotation,
	} {
		delete(ns.Annotations, key)
	}
}

// madeFor says whether ns was made for p. Kubeflow's profile controller left only the owner reference.
func madeFor(p *kubeflowv1.Profile, ns *corev1.Namespace) bool {
	if p.UID == "" {
		return false
	}
	return ns.Annotations[kubeflowv1.MadeForAnnotation] == string(p.UID) ||
		slices.ContainsFunc(ns.OwnerReferences, func(ref metav1.OwnerReference) bool { return ref.UID == p.UID })
}

// madeForNamesake says whether ns was made for an earlier profile of the same name, as after a restore from a backup.
func madeForNamesake(p *kubeflowv1.Profile, ns *corev1.Namespace) bool {
	return slices.ContainsFunc(ns.OwnerReferences, func(ref metav1.OwnerReference) bool {
		return ref.Kind == "Profile" && ref.Name == p.Name && strings.HasPrefix(ref.APIVersion, kubeflowv1.GroupVersion.Group+"/")
	})
}

// givenTo is the owner that an administrator gave ns to. The most explicit annotation wins.
func givenTo(ns *corev1.Namespace) string {
	for _, key := range []string{
		kubeflowv1.AdoptAnnotation, kubeflowv1.OwnerAnnotation, kubeflowv1.ResourceManagementOwnerAnnotation,
	} {
		if owner, found := ns.Annotations[key]; found {
			return owner
		}
	}
	return ""
}

func notOwnedMessage(p *kubeflowv1.Profile, ns *corev1.Namespace) string {
	was := "belongs to nobody that Berth knows of"
	if owner := givenTo(ns); owner != "" {
		was = fmt.Sprintf("is annotated for %q", owner)
	}
	return fmt.Sprintf("namespace %q exists already and %s, not for %q; if this profile is to have it, run: "+
		"kubectl annotate namespace %s --overwrite %s=%s",
		p.Name, was, p.Spec.Owner.Name, p.Name, kubeflowv1.AdoptAnnotation, shellWord(p.Spec.Owner.Name))
}

// shellWord quotes s for a shell, unless it is plain: the message is meant to be pasted, and the name was chosen by
// whoever wrote the profile. What a terminal would take as a key, such as an interrupt or a new line, is escaped, as a
// terminal acts on it before the shell sees the quotes.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@._-:/+", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	var quoted strings.Builder
	for _, r := range s {
		switch {
		case !unicode.IsPrint(r):
			for _, b := range []byte(string(r)) {
				fmt.Fprintf(&quoted, `\%03o`, b)
			}
		case r == '\'' || r == '\\':
			quoted.WriteString(`\` + string(r))
		default:
			quoted.WriteRune(r)
		}
	}
	return "$'" + quoted.String() + "'"
}

func refused(reason, message string) Claim {
	return Claim{Kind: ClaimRefused, Problem: &Problem{Reason: reason, Message: message}}
}
