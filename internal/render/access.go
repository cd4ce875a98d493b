// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// EditorName and ViewerName are the service accounts of every profile; pods of the team run as the first.
const (
	EditorName = "default-editor"
	ViewerName = "default-viewer"

	// OwnerBindingName is the RoleBinding of the owner.
	OwnerBindingName = "namespaceAdmin"

	// appliedAnnotations on a ServiceAccount lists the annotations that we set there for plugins.
	appliedAnnotations = "berth.dev/applied-annotations"
)

// access renders the service accounts and role bindings.
func access(p *kubeflowv1.Profile, in Input, claim Claim) Part {
	part := Part{
		Condition: kubeflowv1.ConditionAccessReady,
		Reason:    kubeflowv1.ReasonReady,
		Message:   "service accounts and role bindings are in place",
		Objects: []Object{
			editor(p, in, claim),
			serviceAccountBinding(p, EditorName, "kubeflow-edit"),
			viewer(p, in, claim),
			serviceAccountBinding(p, ViewerName, "kubeflow-view"),
		},
	}
	if problem := OwnerProblem(p.Spec.Owner); problem != nil {
		part.Problem = problem
		return part
	}
	part.Objects = append(part.Objects, ownerBinding(p))
	return part
}

// serviceAccount is the one of that name; live is it as it is, or nil. One that was in an adopted namespace before us
// stays somebody else's, to outlive the profile like the namespace itself.
func serviceAccount(p *kubeflowv1.Profile, name string, live *corev1.ServiceAccount, claim Claim) *corev1.ServiceAccount {
	account := &corev1.ServiceAccount{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta: objectMeta(p, name),
	}
	if claim.Kind == ClaimAdopted && live != nil && !slices.ContainsFunc(live.OwnerReferences,
		func(ref metav1.OwnerReference) bool { return ref.UID == p.UID }) {
		account.Labels, account.OwnerReferences = nil, nil
	}
	return account
}

// editor carries the annotations by which the cloud providers know the plugins' identities.
func editor(p *kubeflowv1.Profile, in Input, claim Claim) Object {
	account := serviceAccount(p, EditorName, in.Editor, claim)
	object := Object{Resource: account, Purpose: "runs the team's notebooks, pipelines and models"}

	var recorded string
	var live map[string]string
	if in.Editor != nil {
		live = in.Editor.Annotations
		recorded = live[appliedAnnotations]
	}
	want := map[string]string{}
	for _, plugin := range Plugins(p, in.Config) {
		key := plugin.annotation()
		switch have, found := live[key]; {
		case plugin.Problem == nil:
			want[key] = plugin.Identity
		case want[key] == "" && found && key != "" && slices.Contains(strings.Split(recorded, ","), key):
			want[key] = have // until somebody writes down a usable one
		}
	}
	for key := range strings.SplitSeq(recorded, ",") {
		if _, wanted := want[key]; key != "" && !wanted && slices.Contains(pluginAnnotations, key) {
			object.AbsentAnnotations = append(object.AbsentAnnotations, key)
		}
	}
	if len(want) == 0 {
		object.AbsentAnnotations = append(object.AbsentAnnotations, appliedAnnotations)
	} else {
		account.Annotations = want
		account.Annotations[appliedAnnotations] = strings.Join(sortedKeys(want), ",")
	}
	in.settle(&object, in.Editor, accountSettings(in, EditorName))
	return object
}

func viewer(p *kubeflowv1.Profile, in Input, claim Claim) Object {
	object := Object{Resource: serviceAccount(p, ViewerName, in.Viewer, claim), Purpose: "runs what may only read"}
	in.settle(&object, in.Viewer, accountSettings(in, ViewerName))
	return object
}

func serviceAccountBinding(p *kubeflowv1.Profile, name, role string) Object {
	return Object{
		Resource: &rbacv1.RoleBinding{
			TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBinding"},
			ObjectMeta: objectMeta(p, name),
			RoleRef:    clusterRole(role),
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: name, Namespace: p.Name}},
		},
		Purpose: fmt.Sprintf("gives %s the role %s", name, role),
		Exact:   []string{"subjects", "roleRef"},
	}
}

// ownerBinding carries the annotations by which clients list the owner.
func ownerBinding(p *kubeflowv1.Profile) Object {
	meta := objectMeta(p, OwnerBindingName)
	meta.Annotations = ownerAnnotations(p)
	return Object{
		Resource: &rbacv1.RoleBinding{
			TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBinding"},
			ObjectMeta: meta,
			RoleRef:    clusterRole("kubeflow-admin"),
			Subjects:   []rbacv1.Subject{ownerSubject(p.Spec.Owner)},
		},
		Purpose: "gives the owner the role kubeflow-admin",
		Exact:   []string{"subjects", "roleRef"},
	}
}

func ownerAnnotations(p *kubeflowv1.Profile) map[string]string {
	return map[string]string{kubeflowv1.UserAnnotation: p.Spec.Owner.Name, kubeflowv1.RoleAnnotation: "admin"}
}

func clusterRole(name string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
}
