// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/identity"
	"berth.dev/berth/internal/render"
)

// Want is what a list asks for, with its defaults, groups and users worked in.
type Want struct {
	// Profiles by name.
	Profiles map[string]*WantProfile
}

// WantProfile is a profile that is to be there.
type WantProfile struct {
	Name   string
	Source Position
	Owner  rbacv1.Subject
	// Quota is nil where the one that is there stays.
	Quota *kubeflowv1.ResourceQuotaSpec
	// Labels and Annotations of the Profile; the class is among the labels.
	Labels, Annotations map[string]string
	// Plugins are nil where those that are there stay.
	Plugins []kubeflowv1.Plugin
	// Policy is empty where the list does not say.
	Policy ContributorPolicy
	// Grants by subject and role.
	Grants []Grant
}

// Grant is somebody's access to a profile.
type Grant struct {
	render.Contributor

	// ID tells the person behind the subject's name, or is empty.
	ID string
	// Expires is when the access ends; zero for never.
	Expires time.Time
	Reason  string
	// Group is the group of the list through which it came, or empty.
	Group string
	// Restored is set where others gave it, before the profile was stale: it is theirs again, not the list's.
	Restored bool `json:",omitempty"`
}

// key tells grants of one profile apart.
func (g Grant) key() grantKey { return grantKey{identity.Key(g.Subject), g.Role} }

// grantKey is a subject and a role.
type grantKey struct{ subject, role string }

// expired says whether g is over.
func (g Grant) expired(now time.Time) bool { return !g.Expires.IsZero() && !g.Expires.After(now) }

// Resolve works out what doc asks for.
func Resolve(doc Document) Want {
	ids := make(map[string]string, len(doc.Users))
	for _, user := range doc.Users {
		ids[user.Name] = user.ID
	}
	members := make(map[string][]string, len(doc.Groups))
	for _, group := range doc.Groups {
		members[group.Name] = group.Members
	}
	defaults := doc.Defaults
	if defaults == nil {
		defaults = &Defaults{}
	}
	want := Want{Profiles: make(map[string]*WantProfile, len(doc.Profiles))}
	for i := range doc.Profiles {
		p := &doc.Profiles[i]
		want.Profiles[p.Name] = resolve(p, defaults, ids, members)
	}
	return want
}

func resolve(p *Profile, defaults *Defaults, ids map[string]string, members map[string][]string) *WantProfile {
	w := &WantProfile{Name: p.Name, Source: p.Source, Policy: cmp.Or(p.ContributorPolicy, defaults.ContributorPolicy)}
	if p.Owner != nil {
		w.Owner = p.Owner.subject(p.Name)
	}
	if resources := cmp.Or(p.Resources, defaults.Resources); resources != nil {
		w.Quota = resources.quota()
	}
	w.Labels, w.Annotations = united(defaults.Labels, p.Labels), united(defaults.Annotations, p.Annotations)
	if class := cmp.Or(p.Class, defaults.Class); class != "" {
		w.Labels = united(w.Labels, map[string]string{berthv1alpha1.ClassLabel: class})
	}
	for _, plugin := range p.Plugins {
		spec, _ := json.Marshal(plugin.Spec) // of texts, lists and mappings, which there is JSON for
		made := kubeflowv1.Plugin{Kind: plugin.Kind}
		if plugin.Spec != nil {
			made.Spec = &runtime.RawExtension{Raw: spec}
		}
		w.Plugins = append(w.Plugins, made)
	}
	if p.Plugins != nil && w.Plugins == nil {
		w.Plugins = []kubeflowv1.Plugin{}
	}
	w.Grants = grants(p, defaults, ids, members)
	return w
}

// grants are the contributors of p and the members of its groups. Somebody listed by name has what is said there, and
// nothing through groups; of several groups, the most powerful role counts.
func grants(p *Profile, defaults *Defaults, ids map[string]string, members map[string][]string) []Grant {
	granted := make(map[grantKey]Grant, len(p.Contributors))
	named := map[string]bool{}
	for _, c := range p.Contributors {
		subject := user(c.Name)
		g := Grant{
			Contributor: render.Contributor{Subject: subject, Role: cmp.Or(c.ClassRole, string(c.Role))},
			ID:          cmp.Or(c.ID, ids[c.Name]), Expires: c.Expires.Time(), Reason: c.Reason,
		}
		keepLonger(granted, g)
		named[identity.Key(subject)] = true
	}
	through := map[string]Grant{}
	for _, group := range slices.Concat(p.Groups, defaults.Groups) {
		people, local := members[group.Name]
		if !local {
			subject := rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: group.Name}
			keepLonger(granted, Grant{
				Contributor: render.Contributor{Subject: subject, Role: group.Role}, Expires: group.Expires.Time(), Reason: group.Reason,
			})
			continue
		}
		for _, name := range people {
			subject := user(name)
			key := identity.Key(subject)
			g := Grant{
				Contributor: render.Contributor{Subject: subject, Role: group.Role},
				ID:          ids[name], Expires: group.Expires.Time(), Reason: group.Reason, Group: group.Name,
			}
			if had, there := through[key]; !named[key] && (!there || power(group.Role) > power(had.Role) || group.Role == had.Role && longer(g, had)) {
				through[key] = g
			}
		}
	}
	for _, g := range through {
		granted[g.key()] = g
	}
	return slices.SortedFunc(maps.Values(granted), func(a, b Grant) int {
		return cmp.Or(cmp.Compare(identity.Key(a.Subject), identity.Key(b.Subject)), cmp.Compare(a.Role, b.Role))
	})
}

// keepLonger has the longer of two grants of the same role count.
func keepLonger(granted map[grantKey]Grant, g Grant) {
	if had, there := granted[g.key()]; !there || longer(g, had) {
		granted[g.key()] = g
	}
}

// longer says whether a ends after b.
func longer(a, b Grant) bool {
	return !b.Expires.IsZero() && (a.Expires.IsZero() || a.Expires.After(b.Expires))
}

// power orders roles: those of a class, which nothing is known of, come last.
func power(role string) int {
	return len(render.Roles) - slices.Index(append(slices.Clone(render.Roles), role), role)
}

func user(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
}

// subject is the owner as a Profile has it.
func (o *Owner) subject(profile string) rbacv1.Subject {
	subject := rbacv1.Subject{Kind: string(o.Kind), Name: o.Name}
	if o.Kind == rbacv1.ServiceAccountKind {
		subject.Namespace = cmp.Or(o.Namespace, profile)
	}
	return subject
}

func (r *Resources) quota() *kubeflowv1.ResourceQuotaSpec {
	spec := &kubeflowv1.ResourceQuotaSpec{}
	for name, quantity := range r.Hard {
		if spec.Hard == nil {
			spec.Hard = make(map[corev1.ResourceName]kubeflowv1.Quantity, len(r.Hard))
		}
		spec.Hard[corev1.ResourceName(name)] = kubeflowv1.Quantity(quantity)
	}
	for _, scope := range r.Scopes {
		spec.Scopes = append(spec.Scopes, corev1.ResourceQuotaScope(scope))
	}
	if r.ScopeSelector != nil {
		spec.ScopeSelector = &corev1.ScopeSelector{}
		for _, e := range r.ScopeSelector.MatchExpressions {
			spec.ScopeSelector.MatchExpressions = append(spec.ScopeSelector.MatchExpressions, corev1.ScopedResourceSelectorRequirement{
				ScopeName: corev1.ResourceQuotaScope(e.ScopeName), Operator: corev1.ScopeSelectorOperator(e.Operator), Values: e.Values,
			})
		}
	}
	return spec
}

// Hash names what is asked for, wherever it is written.
func (w Want) Hash() string {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(w.Profiles)) {
		sum.Write([]byte(w.Profiles[name].hash()))
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil))
}
