// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package identity reads who somebody is from what a request carries, and compares it with the subjects of Kubernetes.
// It decides nothing about trust: whether a header may be believed is the caller's to know.
package identity

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// User is somebody who asks for something. Without a name it is nobody.
type User struct {
	// Name is the name that Kubernetes knows: an e-mail address, as a rule, or system:serviceaccount:NAMESPACE:NAME.
	Name string
	// Groups are the groups that a verified token named.
	Groups []string
}

// IsNobody says whether u is nobody. Nobody owns nothing and manages nothing, whatever else is empty, too.
func (u User) IsNobody() bool { return u.Name == "" }

// Is says whether subject means u, as RBAC would: by kind and name, or by one of the groups.
func (u User) Is(subject rbacv1.Subject) bool {
	if u.IsNobody() || subject.Name == "" {
		return false
	}
	switch subject.Kind {
	case rbacv1.UserKind:
		return subject.Name == u.Name
	case rbacv1.GroupKind:
		return slices.Contains(u.Groups, subject.Name)
	case rbacv1.ServiceAccountKind:
		namespace, name, ok := ServiceAccount(subject)
		return ok && u.Name == serviceAccountPrefix+namespace+":"+name
	}
	return false
}

const serviceAccountPrefix = "system:serviceaccount:"

// ServiceAccount returns the namespace and name of the ServiceAccount that subject means, which may be written as a
// user called system:serviceaccount:NAMESPACE:NAME.
func ServiceAccount(subject rbacv1.Subject) (namespace, name string, ok bool) {
	namespace, name = subject.Namespace, subject.Name
	if rest, prefixed := strings.CutPrefix(subject.Name, serviceAccountPrefix); prefixed && (subject.Kind == rbacv1.UserKind || subject.Kind == rbacv1.ServiceAccountKind) {
		if namespace, name, ok = strings.Cut(rest, ":"); !ok {
			return "", "", false
		}
	} else if subject.Kind != rbacv1.ServiceAccountKind {
		return "", "", false
	}
	if len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return "", "", false
	}
	return namespace, name, true
}

// Key tells subjects apart: two of them have the same key if and only if they mean the same.
func Key(subject rbacv1.Subject) string {
	if namespace, name, ok := ServiceAccount(subject); ok {
		return rbacv1.UserKind + "\x00" + serviceAccountPrefix + namespace + ":" + name
	}
	if subject.Kind == rbacv1.ServiceAccountKind {
		return subject.Kind + "\x00" + subject.Namespace + "\x00" + subject.Name
	}
	return subject.Kind + "\x00" + subject.Name
}

// Keys are the keys of the subjects that mean u.
func (u User) Keys() []string {
	if u.IsNobody() {
		return nil
	}
	keys := []string{Key(rbacv1.Subject{Kind: rbacv1.UserKind, Name: u.Name})}
	for _, group := range u.Groups {
		keys = append(keys, Key(rbacv1.Subject{Kind: rbacv1.GroupKind, Name: group}))
	}
	return keys
}

// maxName is the longest name of a user or group, in bytes.
const maxName = 253

// CheckName says why name can't be that of a user or group. The mesh reads a star as a wildcard, which would let others
// in; the rest no identity provider hands out, and somebody is up to something.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the name is empty")
	case len(name) > maxName:
		return fmt.Errorf("the name has %d bytes: at most %d are allowed", len(name), maxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("the name %q is not UTF-8", name)
	case strings.Contains(name, "*"):
		return fmt.Errorf("the name %q contains '*', which the mesh reads as a wildcard: name one user or group", name)
	}
	for _, r := range name {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return fmt.Errorf("the name %q contains a space or a character that can't be seen", name)
		}
	}
	return nil
}

// CheckSubject says why subject can't be given access.
func CheckSubject(subject rbacv1.Subject) error {
	switch subject.Kind {
	case rbacv1.UserKind, rbacv1.GroupKind:
	case rbacv1.ServiceAccountKind:
		if _, _, ok := ServiceAccount(subject); !ok {
			return fmt.Errorf("the ServiceAccount %q in namespace %q can't be: name one as system:serviceaccount:NAMESPACE:NAME",
				subject.Name, subject.Namespace)
		}
	case "":
		return fmt.Errorf("the kind is missing: use User, Group or ServiceAccount")
	default:
		return fmt.Errorf("the kind %q is unknown: use User, Group or ServiceAccount", subject.Kind)
	}
	if err := CheckName(subject.Name); err != nil {
		return err
	}
	if strings.HasPrefix(subject.Name, serviceAccountPrefix) && subject.Kind == rbacv1.UserKind {
		if _, _, ok := ServiceAccount(subject); !ok {
			return fmt.Errorf("the name %q is not system:serviceaccount:NAMESPACE:NAME", subject.Name)
		}
	}
	return nil
}
