// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/identity"
)

// Contributor is somebody whom an owner invites.
type Contributor struct {
	// Subject is a user, a group or a service account.
	Subject rbacv1.Subject
	// Role is one of Roles, or of those of the profile's class.
	Role string
}

// Roles are the roles of contributors in every class, the most powerful first. Each is bound to the ClusterRole
// kubeflow-ROLE.
var Roles = []string{"admin", "edit", "view"}

const rolePrefix = "kubeflow-"

// RoleOf is the role that a binding gives: one of Roles, or empty for a binding to anything else.
func RoleOf(ref rbacv1.RoleRef) string {
	role, found := strings.CutPrefix(ref.Name, rolePrefix)
	if !found || ref.Kind != "ClusterRole" || !slices.Contains(Roles, role) {
		return ""
	}
	return role
}

// RoleNamed is the ClusterRole of a role in profiles of c's class, and false where there is no such role.
func (c Config) RoleNamed(name string) (clusterRole string, found bool) {
	if slices.Contains(Roles, name) {
		return rolePrefix + name, true
	}
	for _, role := range c.Roles {
		if role.Name == name {
			return role.ClusterRole, true
		}
	}
	return "", false
}

// RoleNames are the names of the roles in profiles of c's class.
func (c Config) RoleNames() []string {
	names := slices.Clone(Roles)
	for _, role := range c.Roles {
		names = append(names, role.Name)
	}
	return names
}

// RoleShown is the role that clients are told of a binding: one of Roles, or what its annotation says where we made it
// for a role of a class; empty for a binding to anything else.
func RoleShown(binding *rbacv1.RoleBinding) string {
	if role := roleOfClass(binding); role != "" {
		return role
	}
	if role := RoleOf(binding.RoleRef); role != "" {
		return role
	}
	if binding.Labels[kubeflowv1.ManagedByLabel] == kubeflowv1.ManagedByValue && IsContributorBinding(binding) {
		return binding.Annotations[kubeflowv1.RoleAnnotation]
	}
	return ""
}

// roleOfClass is the role of a class for which we made binding; empty for any other. It may be bound to the ClusterRole
// of one of Roles, and allow less through the mesh.
func roleOfClass(binding *rbacv1.RoleBinding) string {
	role := binding.Annotations[kubeflowv1.RoleAnnotation]
	if binding.Labels[kubeflowv1.ManagedByLabel] != kubeflowv1.ManagedByValue || !IsContributorBinding(binding) || slices.Contains(Roles, role) {
		return ""
	}
	return role
}

// ContributorBinding is the RoleBinding of c in p's namespace. The name is one of BindingNames, the role one that
// config has.
func ContributorBinding(p *kubeflowv1.Profile, config Config, c Contributor, name string) Object {
	role, _ := config.RoleNamed(c.Role)
	meta := objectMeta(p, name)
	meta.Annotations = map[string]string{kubeflowv1.UserAnnotation: c.Subject.Name, kubeflowv1.RoleAnnotation: c.Role}
	return Object{
		Resource: &rbacv1.RoleBinding{
			TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBinding"},
			ObjectMeta: meta,
			RoleRef:    clusterRole(role),
			Subjects:   []rbacv1.Subject{ownerSubject(c.Subject)},
		},
		Purpose: "gives a contributor the role " + role,
		Exact:   []string{"subjects", "roleRef"},
	}
}

// IsContributorBinding says whether clients list binding as a contributor's: by its two annotations, whoever made it.
func IsContributorBinding(binding *rbacv1.RoleBinding) bool {
	return annotated(binding) && binding.Name != OwnerBindingName
}

func annotated(obj metav1.Object) bool {
	_, user := obj.GetAnnotations()[kubeflowv1.UserAnnotation]
	_, role := obj.GetAnnotations()[kubeflowv1.RoleAnnotation]
	return user && role
}

// outsideNames is what the access-management API of Kubeflow takes out of names.
var outsideNames = regexp.MustCompile(`[^a-zA-Z0-9]+`)

// BindingNames are the names that the RoleBinding and the policy of c may have, the first that is free: the one that
// Kubeflow's access-management API gives them, which different people may share, and one that nobody else's can have.
// The names of people too long for the first have the second only.
func BindingNames(c Contributor) []string {
	suffix := shortHash(identity.Key(c.Subject) + "\x00" + c.Role)
	plain := bindingName(c.Subject.Kind, c.Subject.Name, c.Role)
	if len(plain)+len(suffix)+1 <= validation.DNS1123SubdomainMaxLength {
		return []string{plain, plain + "-" + suffix}
	}
	// The name gives way, never the role.
	room := validation.DNS1123SubdomainMaxLength - len(bindingName(c.Subject.Kind, "", c.Role)) - len(suffix) - len("--")
	name := outsideNames.ReplaceAllString(c.Subject.Name, "-")
	return []string{bindingName(c.Subject.Kind, name[:min(len(name), room)]+"-"+suffix, c.Role)}
}

// outsideLabels is what github-profiles-automator takes out of names, one dash for each character.
var outsideLabels = regexp.MustCompile(`[^a-z0-9-]`)

// CharmNames are the names that github-profiles-automator gives the RoleBinding and the policy of c, like BindingNames:
// the first that is free. What it would cut off, or what no object can be called, has a name of ours.
func CharmNames(c Contributor) []string {
	suffix := shortHash(identity.Key(c.Subject) + "\x00" + c.Role)
	// Python lower-cases this one letter to two.
	lower := strings.ToLower(strings.ReplaceAll(c.Subject.Name+"-"+c.Role, "İ", "i̇"))
	plain := strings.Trim(outsideLabels.ReplaceAllString(lower, "-"), "-")
	if len(plain) > validation.DNS1123LabelMaxLength {
		return BindingNames(c)
	}
	return []string{plain, plain + "-" + suffix}
}

func bindingName(kind, name, role string) string {
	name = outsideNames.ReplaceAllString(name, "-")
	joined := strings.ToLower(strings.Join([]string{kind, name, "ClusterRole", role}, "-"))
	return outsideNames.ReplaceAllString(joined, "-")
}

// shortHash is short enough for a name and long enough that two names in one namespace do not share it by chance.
func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}
