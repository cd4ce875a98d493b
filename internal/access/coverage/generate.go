// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/snapshot"
)

const (
	// GeneratedLabel with the value GeneratedValue is on each role that Generate writes, and on no other.
	GeneratedLabel = "berth.dev/generated-roles"
	// GeneratedValue is its only value.
	GeneratedValue = "true"

	prefix = "berth-"
)

// Generated says whether a ClusterRole is one that Generate wrote.
func Generated(role *rbacv1.ClusterRole) bool {
	return role.Labels[GeneratedLabel] == GeneratedValue && strings.HasPrefix(role.Name, prefix)
}

// WithoutGenerated are roles as they would be if Generate had never written any. Where it has, what Kubernetes filled into
// roles that are put together from others may be from its own, and is left out.
func WithoutGenerated(roles []*rbacv1.ClusterRole) []*rbacv1.ClusterRole {
	if !slices.ContainsFunc(roles, Generated) {
		return slices.Clone(roles)
	}
	others := make([]*rbacv1.ClusterRole, 0, len(roles))
	for _, role := range roles {
		if Generated(role) {
			continue
		}
		if role.AggregationRule != nil {
			role = role.DeepCopy()
			role.Rules = nil
		}
		others = append(others, role)
	}
	return others
}

// Generate writes the ClusterRoles by which the roles of tenants get what p says and they lack: for each kind, one for each
// level that lacks something, in the order of kinds. They have labels by which they become part of the roles of tenants.
// There is no wildcard in them, and nothing on kinds without a namespace. What roles gave that Generate wrote earlier does
// not count; what others wrote is left as it is, and so is a role of one of the names that somebody else made.
func Generate(p Policy, s *snapshot.Snapshot) []*rbacv1.ClusterRole {
	others := WithoutGenerated(s.ClusterRoles)
	var generated []*rbacv1.ClusterRole
	for _, level := range levels {
		// What a lower level gets, this one has, if it is put together so.
		t := resolve(slices.Concat(others, generated))
		if !t.has(level) {
			continue // there is nothing to become a part of
		}
		for _, r := range servedBy(s).list {
			if !r.Namespaced || !p.covers(r) {
				continue
			}
			if role := supplement(t, p, r, level); role != nil && !isTaken(others, role.Name) {
				generated = append(generated, role)
			}
		}
	}
	slices.SortStableFunc(generated, func(a, b *rbacv1.ClusterRole) int { return strings.Compare(kindIn(a), kindIn(b)) })
	return generated
}

// Name is that of the role that supplies a level with what it lacks on a kind.
func Name(group, resource string, level Level) string {
	return prefix + resource + "." + group + "-" + string(level)
}

// supplement is the role that a level lacks for a kind; nil where it lacks nothing.
func supplement(t tenants, p Policy, r snapshot.Resource, level Level) *rbacv1.ClusterRole {
	var rules []rbacv1.PolicyRule
	if verbs := t.lacking(level, r.Group, r.Name, p.wants(r, level)); len(verbs) > 0 {
		rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{r.Group}, Resources: []string{r.Name}, Verbs: verbs})
	}
	if verbs := lackingStatus(t, p, r, level); len(verbs) > 0 {
		rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{r.Group}, Resources: []string{r.Name + "/status"}, Verbs: verbs})
	}
	if len(rules) == 0 {
		return nil
	}
	return &rbacv1.ClusterRole{
		TypeMeta: metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"},
		ObjectMeta: metav1.ObjectMeta{Name: Name(r.Group, r.Name, level), Labels: map[string]string{
			kubeflowv1.ManagedByLabel: kubeflowv1.ManagedByValue,
			GeneratedLabel:            GeneratedValue,
			level.Label():             "true",
		}},
		Rules: rules,
	}
}

func isTaken(others []*rbacv1.ClusterRole, name string) bool {
	return slices.ContainsFunc(others, func(r *rbacv1.ClusterRole) bool { return r.Name == name })
}

// kindIn is the group and the resource that a generated role is about.
func kindIn(role *rbacv1.ClusterRole) string {
	resource, _, _ := strings.Cut(role.Rules[0].Resources[0], "/")
	return role.Rules[0].APIGroups[0] + "/" + resource
}

// selectsAny says whether the aggregation of a role, which can be read, selects any other.
func selectsAny(role *rbacv1.ClusterRole, roles []*rbacv1.ClusterRole) bool {
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			continue
		}
		if slices.ContainsFunc(roles, func(r *rbacv1.ClusterRole) bool { return r.Name != role.Name && selector.Matches(labels.Set(r.Labels)) }) {
			return true
		}
	}
	return false
}
