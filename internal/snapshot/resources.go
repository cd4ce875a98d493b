// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// putServed adds what an API server says that it serves in one version of a group.
func (s *Snapshot) putServed(list *metav1.APIResourceList) error {
	version, err := schema.ParseGroupVersion(list.GroupVersion)
	if err != nil {
		return fmt.Errorf("groupVersion: %w", err)
	}
	for _, served := range list.APIResources {
		name, sub, isSub := strings.Cut(served.Name, "/")
		r := Resource{Group: version.Group, Name: name, Namespaced: served.Namespaced}
		if isSub {
			r.Subresources = []string{sub}
		} else {
			r.Kind, r.Singular, r.ShortNames, r.Verbs = served.Kind, served.SingularName, served.ShortNames, slices.Clone([]string(served.Verbs))
		}
		s.putResource(r)
	}
	return nil
}

// definedBy is what a custom resource definition has served.
func definedBy(crd *apiextensionsv1.CustomResourceDefinition) Resource {
	names := crd.Spec.Names
	r := Resource{
		Group: crd.Spec.Group, Name: names.Plural, Kind: names.Kind, Singular: names.Singular, ShortNames: names.ShortNames,
		Namespaced: crd.Spec.Scope == apiextensionsv1.NamespaceScoped,
	}
	for _, version := range crd.Spec.Versions {
		if !version.Served || version.Subresources == nil {
			continue
		}
		if version.Subresources.Status != nil {
			r.Subresources = append(r.Subresources, "status")
		}
		if version.Subresources.Scale != nil {
			r.Subresources = append(r.Subresources, "scale")
		}
	}
	return r
}

// putResource adds r, or what it knows to what is there: versions of a group differ.
func (s *Snapshot) putResource(r Resource) {
	at, found := s.resources[schema.GroupResource{Group: r.Group, Resource: r.Name}]
	if !found {
		if s.resources == nil {
			s.resources = map[schema.GroupResource]int{}
		}
		at = len(s.Resources)
		s.resources[schema.GroupResource{Group: r.Group, Resource: r.Name}] = at
		s.Resources = append(s.Resources, Resource{Group: r.Group, Name: r.Name, Namespaced: r.Namespaced})
	}
	known := &s.Resources[at]
	if r.Kind != "" {
		known.Kind, known.Namespaced = r.Kind, r.Namespaced
	}
	if r.Singular != "" {
		known.Singular = r.Singular
	}
	known.ShortNames = union(known.ShortNames, r.ShortNames)
	known.Subresources = union(known.Subresources, r.Subresources)
	known.Verbs = union(known.Verbs, r.Verbs)
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// ErrAmbiguous says that more than one group has a resource of that name.
type ErrAmbiguous struct {
	Name   string
	Groups []string
}

func (e *ErrAmbiguous) Error() string {
	return fmt.Sprintf("several API groups have %q: write one of %s.{%s}", e.Name, e.Name, strings.Join(e.Groups, ", "))
}

// Resource finds what somebody calls name: the plural, the singular, the kind or a short name, in lower or upper case, and
// the same with .GROUP behind it. False means that nothing is known of it; the group is then what stands behind the dot.
func (s *Snapshot) Resource(name string) (Resource, bool, error) {
	plain, group, qualified := strings.Cut(name, ".")
	var found []Resource
	for _, r := range s.Resources {
		if r.called(plain) && (!qualified || r.Group == group) {
			found = append(found, r)
		}
	}
	for _, r := range builtIn {
		known := slices.ContainsFunc(found, func(other Resource) bool { return other.Group == r.Group && other.Name == r.Name })
		if !known && r.called(plain) && (!qualified || r.Group == group) {
			found = append(found, r)
		}
	}
	// Kubernetes' own come first, as kubectl has it.
	slices.SortStableFunc(found, func(a, b Resource) int { return rank(a) - rank(b) })
	if len(found) == 0 && !qualified {
		found = s.ruled(strings.ToLower(plain))
	}
	switch {
	case len(found) == 0:
		return Resource{Group: group, Name: strings.ToLower(plain), Namespaced: true}, false, nil
	case len(found) == 1 || rank(found[0]) < rank(found[1]):
		return found[0], true, nil
	}
	e := &ErrAmbiguous{Name: plain}
	for _, r := range found {
		e.Groups = append(e.Groups, r.Group)
	}
	return Resource{}, false, e
}

// ruled are resources of that name in the groups that roles name it in, for snapshots that do not say what is served.
func (s *Snapshot) ruled(name string) []Resource {
	var groups []string
	collect := func(rules []rbacv1.PolicyRule) {
		for _, rule := range rules {
			if slices.Contains(rule.Resources, name) {
				groups = append(groups, rule.APIGroups...)
			}
		}
	}
	for _, role := range s.ClusterRoles {
		collect(role.Rules)
	}
	for _, role := range s.Roles {
		collect(role.Rules)
	}
	var found []Resource
	for _, group := range union(groups, nil) {
		if group != rbacv1.APIGroupAll {
			found = append(found, Resource{Group: group, Name: name, Namespaced: true})
		}
	}
	return found
}

// rank tells Kubernetes' own groups from others: they have no dot, or are below k8s.io.
func rank(r Resource) int {
	switch {
	case r.Group == "":
		return 0
	case !strings.Contains(r.Group, "."):
		return 1
	case strings.HasSuffix(r.Group, ".k8s.io"):
		return 2 //nolint:mnd // an order
	}
	return 3 //nolint:mnd // an order
}

// called says whether somebody means r by name.
func (r Resource) called(name string) bool {
	return strings.EqualFold(name, r.Name) || strings.EqualFold(name, r.Kind) || strings.EqualFold(name, r.Singular) ||
		slices.ContainsFunc(r.ShortNames, func(short string) bool { return strings.EqualFold(name, short) })
}

// builtIn are resources that every cluster serves and people ask about, for snapshots that say nothing of them.
var builtIn = []Resource{
	{Name: "pods", Kind: "Pod", Singular: "pod", ShortNames: []string{"po"}, Namespaced: true, Subresources: []string{"exec", "log", "portforward", "status"}},
	{Name: "secrets", Kind: "Secret", Singular: "secret", Namespaced: true},
	{Name: "configmaps", Kind: "ConfigMap", Singular: "configmap", ShortNames: []string{"cm"}, Namespaced: true},
	{Name: "services", Kind: "Service", Singular: "service", ShortNames: []string{"svc"}, Namespaced: true},
	{Name: "serviceaccounts", Kind: "ServiceAccount", Singular: "serviceaccount", ShortNames: []string{"sa"}, Namespaced: true, Subresources: []string{"token"}},
	{Name: "persistentvolumeclaims", Kind: "PersistentVolumeClaim", Singular: "persistentvolumeclaim", ShortNames: []string{"pvc"}, Namespaced: true},
	{Name: "events", Kind: "Event", Singular: "event", ShortNames: []string{"ev"}, Namespaced: true},
	{Name: "namespaces", Kind: "Namespace", Singular: "namespace", ShortNames: []string{"ns"}},
	{Name: "nodes", Kind: "Node", Singular: "node", ShortNames: []string{"no"}},
	{Name: "persistentvolumes", Kind: "PersistentVolume", Singular: "persistentvolume", ShortNames: []string{"pv"}},
	{Name: "resourcequotas", Kind: "ResourceQuota", Singular: "resourcequota", ShortNames: []string{"quota"}, Namespaced: true},
	{Name: "limitranges", Kind: "LimitRange", Singular: "limitrange", ShortNames: []string{"limits"}, Namespaced: true},
	{Group: "apps", Name: "deployments", Kind: "Deployment", Singular: "deployment", ShortNames: []string{"deploy"}, Namespaced: true},
	{Group: "apps", Name: "statefulsets", Kind: "StatefulSet", Singular: "statefulset", ShortNames: []string{"sts"}, Namespaced: true},
	{Group: "apps", Name: "daemonsets", Kind: "DaemonSet", Singular: "daemonset", ShortNames: []string{"ds"}, Namespaced: true},
	{Group: "batch", Name: "jobs", Kind: "Job", Singular: "job", Namespaced: true},
	{Group: "batch", Name: "cronjobs", Kind: "CronJob", Singular: "cronjob", ShortNames: []string{"cj"}, Namespaced: true},
	{Group: "networking.k8s.io", Name: "networkpolicies", Kind: "NetworkPolicy", Singular: "networkpolicy", ShortNames: []string{"netpol"}, Namespaced: true},
	{Group: "rbac.authorization.k8s.io", Name: "roles", Kind: "Role", Singular: "role", Namespaced: true},
	{Group: "rbac.authorization.k8s.io", Name: "rolebindings", Kind: "RoleBinding", Singular: "rolebinding", Namespaced: true},
	{Group: "rbac.authorization.k8s.io", Name: "clusterroles", Kind: "ClusterRole", Singular: "clusterrole"},
	{Group: "rbac.authorization.k8s.io", Name: "clusterrolebindings", Kind: "ClusterRoleBinding", Singular: "clusterrolebinding"},
}
