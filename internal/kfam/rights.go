// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"context"
	"fmt"
	"sync"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"

	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/identity"
	"berth.dev/berth/internal/kube/slim"
	"berth.dev/berth/internal/snapshot"
)

// toBind is the question of who may manage contributors by RBAC.
func toBind(namespace string) rbac.Question {
	return rbac.Question{Verb: "create", Group: rbacv1.GroupName, Resource: "rolebindings", Namespace: namespace}
}

// mayBind says whether user may create RoleBindings in the namespace. What RBAC allows is known here. Whoever it does not
// allow may still be allowed by another authorizer of the API server, which therefore is asked.
func (s *Server) mayBind(ctx context.Context, user identity.User, namespace string) (bool, error) {
	groups := append([]string{rbac.GroupAuthenticated}, user.Groups...)
	if !s.AlwaysReview && !s.behind() && s.index.mayBind(rbac.User{Name: user.Name, Groups: groups}, namespace) {
		return true, nil
	}
	q := toBind(namespace)
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Name, Groups: groups,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: q.Verb, Group: q.Group, Resource: q.Resource},
	}}
	if err := s.Client.Create(ctx, review); err != nil {
		return false, fmt.Errorf("ask whether the caller may create RoleBindings in namespace %q: %w", namespace, err)
	}
	return review.Status.Allowed && !review.Status.Denied, nil
}

func (s *Server) behind() bool { return s.Behind != nil && s.Behind() }

// rights are what gives anybody the right to create RoleBindings, besides the RoleBindings in each namespace.
type rights struct {
	// roles are by namespace, then name; of them and the clusterRoles, only those that allow it are there, with nothing
	// but the rules that do.
	roles        map[string]map[string]*rbacv1.Role
	clusterRoles map[string]*rbacv1.ClusterRole
	bindings     map[string]*rbacv1.ClusterRoleBinding
}

func newRights() rights {
	return rights{
		roles:        map[string]map[string]*rbacv1.Role{},
		clusterRoles: map[string]*rbacv1.ClusterRole{},
		bindings:     map[string]*rbacv1.ClusterRoleBinding{},
	}
}

// mayBind says whether RBAC lets user create RoleBindings in the namespace, as far as the watches have told.
func (x *index) mayBind(user rbac.User, namespace string) bool {
	return rbac.New(x.rightsIn(namespace)).Allowed(user, toBind(namespace))
}

// rightsIn are the few bindings that give somebody the right in the namespace, and their roles. They are looked up anew for
// each question: there is nothing that could be out of date.
func (x *index) rightsIn(namespace string) *snapshot.Snapshot {
	x.mu.RLock()
	defer x.mu.RUnlock()
	s := &snapshot.Snapshot{}
	for _, role := range x.rights.clusterRoles {
		s.ClusterRoles = append(s.ClusterRoles, role)
	}
	for _, role := range x.rights.roles[namespace] {
		s.Roles = append(s.Roles, role)
	}
	for _, binding := range x.rights.bindings {
		if x.gives(binding.RoleRef, "") {
			s.ClusterRoleBindings = append(s.ClusterRoleBindings, binding)
		}
	}
	if space := x.spaces[namespace]; space != nil {
		for _, binding := range space.bindings {
			if x.gives(binding.RoleRef, namespace) {
				s.RoleBindings = append(s.RoleBindings, binding)
			}
		}
	}
	return s
}

// gives says whether a role allows it. It is called with the lock held.
func (x *index) gives(role rbacv1.RoleRef, namespace string) bool {
	if role.Kind == rbac.KindRole {
		return x.rights.roles[namespace][role.Name] != nil
	}
	return x.rights.clusterRoles[role.Name] != nil
}

func (x *index) setRole(role *rbacv1.Role) {
	rules := rulesToBind(role.Rules)
	if len(rules) == 0 {
		x.deleteRole(role)
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.rights.roles[role.Namespace] == nil {
		x.rights.roles[role.Namespace] = map[string]*rbacv1.Role{}
	}
	x.rights.roles[role.Namespace][role.Name] = &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: role.Namespace, Name: role.Name}, Rules: rules}
}

func (x *index) deleteRole(gone *rbacv1.Role) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.rights.roles[gone.Namespace], gone.Name)
	if len(x.rights.roles[gone.Namespace]) == 0 {
		delete(x.rights.roles, gone.Namespace)
	}
}

// setClusterRole takes in a ClusterRole with the rules that it has now. Those of an aggregating role count once Kubernetes
// has filled them in, as they do for the API server.
func (x *index) setClusterRole(role *rbacv1.ClusterRole) {
	rules := rulesToBind(role.Rules)
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(rules) == 0 {
		delete(x.rights.clusterRoles, role.Name)
		return
	}
	x.rights.clusterRoles[role.Name] = &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: role.Name}, Rules: rules}
}

func (x *index) deleteClusterRole(gone *rbacv1.ClusterRole) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.rights.clusterRoles, gone.Name)
}

func (x *index) setClusterBinding(binding *rbacv1.ClusterRoleBinding) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.rights.bindings[binding.Name] = binding
}

func (x *index) deleteClusterBinding(gone *rbacv1.ClusterRoleBinding) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.rights.bindings, gone.Name)
}

// rulesToBind are those that let whoever has them create RoleBindings.
func rulesToBind(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	var those []rbacv1.PolicyRule
	for _, rule := range rules {
		if rbac.Allow([]rbacv1.PolicyRule{rule}, toBind("")) {
			those = append(those, rule)
		}
	}
	return those
}

// transform takes out of an object, before it is cached, what is not needed: of roles, all that mayBind does not ask for.
func transform(in any) (any, error) {
	switch obj := in.(type) {
	case *rbacv1.Role:
		return &rbacv1.Role{TypeMeta: obj.TypeMeta, ObjectMeta: identified(obj.ObjectMeta), Rules: rulesToBind(obj.Rules)}, nil
	case *rbacv1.ClusterRole:
		return &rbacv1.ClusterRole{TypeMeta: obj.TypeMeta, ObjectMeta: identified(obj.ObjectMeta), Rules: rulesToBind(obj.Rules)}, nil
	case *rbacv1.ClusterRoleBinding:
		return &rbacv1.ClusterRoleBinding{TypeMeta: obj.TypeMeta, ObjectMeta: identified(obj.ObjectMeta), RoleRef: obj.RoleRef, Subjects: obj.Subjects}, nil
	}
	return slim.Transform(in)
}

// identified is what tells an object and its version.
func identified(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion}
}

// trouble is which watches have failed: what they told may be out of date. The zero value has none.
type trouble struct {
	mu   sync.Mutex
	last map[*toolscache.Reflector]string
}

// add notes that a watch failed, and how far it had come.
func (t *trouble) add(ctx context.Context, r *toolscache.Reflector, err error) {
	toolscache.DefaultWatchErrorHandler(ctx, r, err)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == nil {
		t.last = map[*toolscache.Reflector]string{}
	}
	t.last[r] = r.LastSyncResourceVersion()
}

// lasts says whether one of them has not come any further since.
func (t *trouble) lasts() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for r, version := range t.last {
		if r.LastSyncResourceVersion() == version {
			return true
		}
		delete(t.last, r)
	}
	return false
}
