// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package rbac_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/snapshot"
)

// A world makes random roles, bindings and questions that an API server takes. They are drawn from so few words that
// they meet.
type world struct{ *rand.Rand }

func newWorld(seed uint64) world { return world{rand.New(rand.NewPCG(seed, 6))} }

const worldNamespaces = 8

var (
	someVerbs     = list("get", "list", "watch", "create", "update", "patch", "delete", "bind", "escalate", "impersonate", "use")
	someGroups    = list("", "apps", "kubeflow.org", "serving.kserve.io", "rbac.authorization.k8s.io")
	someResources = list("pods", "secrets", "deployments", "notebooks", "inferenceservices", "rolebindings", "nodes", "log")
	someSubs      = list("log", "status", "scale", "exec", "log/x")
	someNames     = list("a", "b", "c", "pods")
	somePaths     = list("/", "/metrics", "/metrics/slis", "/healthz", "/healthz/etcd", "/api", "/apis/apps", "/version", "/metricsx", "/x/../metrics")
	somePatterns  = list("*", "/metrics", "/metrics*", "/metrics/*", "/healthz/*", "/apis/**", "/", "/version", "/a*c")
	someUsers     = list("alice@example.com", "bob@example.com", "carol", "dan", "Alice@example.com", "ml")
	someMembers   = list("ml", "research", "alice@example.com", "platform:ops", "system:authenticated", "system:serviceaccounts",
		"system:serviceaccounts:world-1", "system:serviceaccounts:world-2", "system:unauthenticated")
	someAccounts = list("default", "bot", "default-editor")
)

// pick is one of the words.
func (w world) pick(words []string) string { return words[w.IntN(len(words))] }

func (w world) chance(percent int) bool { return w.IntN(100) < percent }

// some are one to most of the words, and sometimes a star.
func (w world) some(words []string, most, percentStar int) []string {
	var chosen []string
	for range 1 + w.IntN(most) {
		chosen = append(chosen, w.pick(words))
	}
	if w.chance(percentStar) {
		chosen[w.IntN(len(chosen))] = "*"
	}
	return chosen
}

func (w world) namespace() string { return fmt.Sprintf("world-%d", w.IntN(worldNamespaces)) }

func (w world) rule(paths bool) rbacv1.PolicyRule {
	if paths && w.chance(30) {
		return rbacv1.PolicyRule{Verbs: w.some(someVerbs, 3, 10), NonResourceURLs: w.some(somePatterns[1:], 2, 3)}
	}
	rule := rbacv1.PolicyRule{Verbs: w.some(someVerbs, 4, 10), APIGroups: w.some(someGroups, 2, 10)}
	for range 1 + w.IntN(3) {
		resource := w.pick(someResources)
		switch w.IntN(20) {
		case 0:
			resource = "*"
		case 1, 2:
			resource = "*/" + w.pick(someSubs)
		case 3:
			resource += "/*"
		case 4, 5, 6, 7:
			resource += "/" + w.pick(someSubs)
		}
		rule.Resources = append(rule.Resources, resource)
	}
	if w.chance(25) {
		rule.ResourceNames = w.some(someNames, 2, 5)
	}
	return rule
}

func (w world) rules(paths bool) []rbacv1.PolicyRule {
	var rules []rbacv1.PolicyRule
	for range w.IntN(4) {
		rules = append(rules, w.rule(paths))
	}
	return rules
}

func (w world) subjects(cluster bool) []rbacv1.Subject {
	var subjects []rbacv1.Subject
	for range 1 + w.IntN(2) {
		switch w.IntN(4) {
		case 0, 1:
			name := w.pick(someUsers)
			if w.chance(15) {
				name = "system:serviceaccount:" + w.namespace() + ":" + w.pick(someAccounts)
			}
			subjects = append(subjects, user(name))
		case 2:
			subjects = append(subjects, account(w.namespace(), w.pick(someAccounts)))
		case 3:
			member := w.pick(someMembers)
			if cluster && w.chance(70) { // or nearly all may do nearly everything
				member = w.pick(someMembers[:4])
			}
			subjects = append(subjects, group(member))
		}
	}
	return subjects
}

// clusterRoles has some that aggregate others, through several steps and in circles, too.
func (w world) clusterRoles(n int) []*rbacv1.ClusterRole {
	var roles []*rbacv1.ClusterRole
	for i := range n {
		r := clusterRole(fmt.Sprintf("world-%d", i), w.rules(true)...)
		if w.chance(60) {
			r = labelled(r, fmt.Sprintf("world/%d", w.IntN(8)))
		}
		if w.chance(25) {
			if w.chance(80) {
				r.Rules = nil
			}
			r = aggregating(r, fmt.Sprintf("world/%d", w.IntN(8)))
			if w.chance(30) {
				r.AggregationRule.ClusterRoleSelectors = append(r.AggregationRule.ClusterRoleSelectors, metav1.LabelSelector{
					MatchExpressions: []metav1.LabelSelectorRequirement{{Key: fmt.Sprintf("world/%d", w.IntN(8)), Operator: metav1.LabelSelectorOpExists}},
				})
			}
		}
		roles = append(roles, r)
	}
	return roles
}

// roleRef is to a role that may not be there.
func (w world) roleRef(cluster bool) rbacv1.RoleRef {
	if !cluster && w.chance(50) {
		return toRole(fmt.Sprintf("world-%d", w.IntN(5)))
	}
	return toClusterRole(fmt.Sprintf("world-%d", w.IntN(42)))
}

// snapshot has forty ClusterRoles and what binds them.
func (w world) snapshot() *snapshot.Snapshot {
	s := &snapshot.Snapshot{ClusterRoles: w.clusterRoles(40)}
	for n := range worldNamespaces {
		namespace := fmt.Sprintf("world-%d", n)
		s.Namespaces = append(s.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
		for i := range 4 {
			s.Roles = append(s.Roles, role(namespace, fmt.Sprintf("world-%d", i), w.rules(false)...))
		}
		for i := range 12 {
			s.RoleBindings = append(s.RoleBindings, roleBinding(namespace, fmt.Sprintf("world-%d", i), w.roleRef(false), w.subjects(false)...))
		}
	}
	for i := range 8 {
		s.ClusterRoleBindings = append(s.ClusterRoleBindings, clusterRoleBinding(fmt.Sprintf("world-%d", i), w.roleRef(true), w.subjects(true)...))
	}
	return s
}

func (w world) user() rbac.User {
	switch w.IntN(10) {
	case 0:
		return rbac.SignedIn("")
	case 1, 2, 3:
		return rbac.SignedIn("system:serviceaccount:" + w.namespace() + ":" + w.pick(someAccounts))
	case 4:
		return rbac.User{Name: w.pick(someUsers), Groups: []string{w.pick(someMembers)}} // who has not even signed in
	}
	var groups []string
	for range w.IntN(3) {
		groups = append(groups, w.pick(someMembers[:4]))
	}
	return rbac.SignedIn(w.pick(someUsers), groups...)
}

func (w world) question() rbac.Question {
	if w.chance(15) {
		path := w.pick(somePaths)
		if w.chance(10) {
			path = w.pick(somePatterns)
		}
		return rbac.Question{Verb: w.some(someVerbs, 1, 5)[0], Path: path}
	}
	q := rbac.Question{Verb: w.some(someVerbs, 1, 3)[0], Group: w.some(someGroups, 1, 2)[0], Resource: w.some(someResources, 1, 2)[0]}
	if w.chance(30) {
		q.Subresource = w.some(someSubs, 1, 3)[0]
	}
	if w.chance(40) {
		q.Name = w.some(someNames, 1, 3)[0]
	}
	if w.chance(85) {
		q.Namespace = w.namespace()
	}
	return q
}

// ask is somebody and a question; often somebody whom a binding of s names, and nearly what a role of s allows.
func (w world) ask(s *snapshot.Snapshot) (rbac.User, rbac.Question) {
	if w.chance(40) {
		return w.user(), w.question()
	}
	b := s.RoleBindings[w.IntN(len(s.RoleBindings))]
	u := w.user()
	if subject := b.Subjects[w.IntN(len(b.Subjects))]; subject.Kind == rbacv1.GroupKind {
		u.Groups = append(slices.Clone(u.Groups), subject.Name)
	} else {
		u = rbac.Of(subject)
	}
	q := w.question()
	q.Path, q.Namespace = "", b.Namespace
	rules := s.ClusterRoles[w.IntN(len(s.ClusterRoles))].Rules
	for _, r := range s.ClusterRoles {
		if r.Name == b.RoleRef.Name && b.RoleRef.Kind == rbac.KindClusterRole && r.AggregationRule == nil {
			rules = r.Rules
		}
	}
	for _, r := range s.Roles {
		if r.Name == b.RoleRef.Name && b.RoleRef.Kind == rbac.KindRole && r.Namespace == b.Namespace {
			rules = r.Rules
		}
	}
	if len(rules) == 0 {
		return u, q
	}
	rule := rules[w.IntN(len(rules))]
	if len(rule.Resources) == 0 {
		return u, rbac.Question{Verb: w.pick(rule.Verbs), Path: w.pick(rule.NonResourceURLs)}
	}
	near := rbac.Question{Verb: w.pick(rule.Verbs), Group: w.pick(rule.APIGroups), Namespace: b.Namespace}
	near.Resource, near.Subresource, _ = strings.Cut(w.pick(rule.Resources), "/")
	if len(rule.ResourceNames) > 0 {
		near.Name = w.pick(rule.ResourceNames)
	}
	switch w.IntN(12) { // and miss by one word
	case 0:
		near.Verb = q.Verb
	case 1:
		near.Group = q.Group
	case 2:
		near.Resource = cmp.Or(q.Resource, near.Resource)
	case 3:
		near.Subresource = q.Subresource
	case 4:
		near.Name = q.Name
	case 5:
		near.Namespace = w.namespace()
	}
	return u, near
}
