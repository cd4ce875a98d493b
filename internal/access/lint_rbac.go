// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"berth.dev/berth/internal/access/rbac"
)

// bindings looks for bindings to nothing, to everybody, and of everything.
func (l *linter) bindings(namespace string) {
	for _, b := range l.rbac.Bindings() {
		if namespace != "" && b.Binding.Namespace != namespace {
			continue
		}
		object := b.Binding.String()
		if b.Missing && !strings.HasPrefix(b.Binding.Name, "system:") {
			l.add(CodeRoleMissing, Error, object, "make the role, or delete the binding: whoever makes a role of that name decides what it gives",
				"there is no %s: the binding gives nothing now", b.Role)
		}
		if !l.isTenant(b.Binding.Namespace) {
			continue
		}
		for _, s := range b.Subjects {
			if slices.Contains([]string{rbac.GroupAuthenticated, rbac.GroupUnauthenticated, rbac.GroupServiceAccounts, "system:anonymous"}, s.Name) {
				l.add(CodeEverybody, Error, object, "name those who are meant", "it gives %s to %s, who are all of the cluster", b.Role, s.Name)
			}
		}
		if rules, _ := l.rbac.Rules(b.Role); slices.ContainsFunc(rules, isEverything) {
			l.add(CodeWildcardRole, Warning, object, "bind a role that says what is needed",
				"%s gives all verbs on all resources: that of kinds, too, that are installed later", b.Role)
		}
	}
}

func isEverything(r rbac.Rule) bool {
	p := r.Policy
	return slices.Contains(p.Verbs, rbacv1.VerbAll) && slices.Contains(p.Resources, rbacv1.ResourceAll) && slices.Contains(p.APIGroups, rbacv1.APIGroupAll)
}

// way is a way to more rights than a role seems to give.
type way struct {
	question rbac.Question
	// beyond are the tenant roles for which it is one.
	beyond []string
	why    string
}

// ways are those known. Source: the sources of KFP's viewer controller, and Kubernetes' page on RBAC good practices.
var ways = []way{
	{
		rbac.Question{Verb: "create", Group: "kubeflow.org", Resource: "viewers"},
		[]string{"view"},
		"a Viewer's pod template becomes a Deployment: who may create one runs any image, as any service account of the namespace",
	},
	{rbac.Question{Verb: "create", Resource: "pods"}, []string{"view"}, "pods run as any service account of the namespace, and mount all of its secrets"},
	{rbac.Question{Verb: "create", Resource: "pods", Subresource: "exec"}, []string{"view"}, "commands in pods run as their service accounts"},
	{rbac.Question{Verb: "get", Resource: "secrets"}, []string{"view"}, "secrets hold the credentials of service accounts and of other systems"},
	{rbac.Question{Verb: "create", Resource: "serviceaccounts", Subresource: "token"}, []string{"view"}, "a token makes one the service account"},
	{
		rbac.Question{Verb: "create", Group: "rbac.authorization.k8s.io", Resource: "rolebindings"},
		[]string{"view", "edit"},
		"who makes RoleBindings hands on all that they have themselves",
	},
	{rbac.Question{Verb: "escalate", Group: "rbac.authorization.k8s.io", Resource: "roles"}, []string{"view", "edit", "admin"}, "escalate gives roles more than their writer has"},
	{rbac.Question{Verb: "bind", Group: "rbac.authorization.k8s.io", Resource: "clusterroles"}, []string{"view", "edit", "admin"}, "bind hands out roles that their giver does not have"},
	{rbac.Question{Verb: "create", Group: "security.istio.io", Resource: "authorizationpolicies"}, []string{"view", "edit", "admin"}, "an AuthorizationPolicy lets anybody into the namespace"},
	{rbac.Question{Verb: "delete", Group: "security.istio.io", Resource: "authorizationpolicies"}, []string{"view", "edit", "admin"}, "without its AuthorizationPolicies the namespace may be open to all"},
	{rbac.Question{Verb: "patch", Resource: "namespaces"}, []string{"view", "edit", "admin"}, "labels of the namespace switch its isolation off"},
	{rbac.Question{Verb: "impersonate", Resource: "users"}, []string{"view", "edit", "admin"}, "who impersonates others has all that they have"},
}

// tenantRoles looks for ways to more rights in the roles that all tenants have.
func (l *linter) tenantRoles(namespace string) {
	if namespace != "" {
		return // they are the cluster's
	}
	for _, name := range []string{"admin", "edit", "view"} {
		role := rbac.Ref{Kind: rbac.KindClusterRole, Name: "kubeflow-" + name}
		rules, found := l.rbac.Rules(role)
		if !found {
			continue
		}
		for _, w := range ways {
			if !slices.Contains(w.beyond, name) {
				continue
			}
			for _, rule := range rules {
				missing, err := rbac.Covers([]rbacv1.PolicyRule{rule.Policy}, []rbacv1.PolicyRule{asRule(w.question)})
				if err == nil && len(missing) == 0 {
					l.add(CodeEscalation, Error, role.String(), "take the rule out of "+rule.From.String()+", or give that role to no tenant",
						"%s may %s, by rule %d of %s: %s", name, w.question, rule.Index, rule.From, w.why)
					break
				}
			}
		}
	}
}

// asRule is the rule that gives just q.
func asRule(q rbac.Question) rbacv1.PolicyRule {
	resource := q.Resource
	if q.Subresource != "" {
		resource += "/" + q.Subresource
	}
	return rbacv1.PolicyRule{Verbs: []string{q.Verb}, APIGroups: []string{q.Group}, Resources: []string{resource}}
}
