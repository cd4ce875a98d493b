// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// ownerSubject is owner as the API server stores it, so that comparing finds no difference where there is none.
func ownerSubject(owner rbacv1.Subject) rbacv1.Subject {
	switch owner.Kind {
	case rbacv1.UserKind, rbacv1.GroupKind:
		return rbacv1.Subject{Kind: owner.Kind, Name: owner.Name, APIGroup: rbacv1.GroupName}
	default:
		return rbacv1.Subject{Kind: owner.Kind, Name: owner.Name, Namespace: owner.Namespace}
	}
}

// OwnerProblem says why nobody can be given access under owner as written. Profiles stored before their validation
// rules existed may have such owners.
func OwnerProblem(owner rbacv1.Subject) *Problem {
	problem := func(format string, args ...any) *Problem {
		return &Problem{Reason: kubeflowv1.ReasonOwnerInvalid, Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case owner.Kind != rbacv1.UserKind && owner.Kind != rbacv1.GroupKind && owner.Kind != rbacv1.ServiceAccountKind:
		return problem("spec.owner.kind is %q: use User, Group or ServiceAccount", owner.Kind)
	case owner.Name == "":
		return problem("spec.owner.name is empty: name the %s that owns the profile", owner.Kind)
	case strings.Contains(owner.Name, "*"):
		return problem("spec.owner.name is %q: the mesh would read '*' as a wildcard and let others in; name one %s",
			owner.Name, owner.Kind)
	case owner.Kind == rbacv1.ServiceAccountKind && owner.Namespace == "":
		return problem("spec.owner.namespace is empty: name the namespace of service account %q", owner.Name)
	case owner.Kind == rbacv1.ServiceAccountKind && len(validation.IsDNS1123Subdomain(owner.Name)) > 0:
		return problem("spec.owner.name is %q, which no service account can be called: for a person, use kind User", owner.Name)
	case owner.Kind == rbacv1.ServiceAccountKind && len(validation.IsDNS1123Label(owner.Namespace)) > 0:
		return problem("spec.owner.namespace is %q: it must name one namespace", owner.Namespace)
	}
	return nil
}
