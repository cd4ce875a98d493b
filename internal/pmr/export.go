// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
	rbacv1 "k8s.io/api/rbac/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/identity"
	"berth.dev/berth/internal/render"
)

// Unmanaged is have as if no sync had anything to do with it.
func Unmanaged(have Have) Have {
	free := Have{Profiles: make(map[string]*HaveProfile, len(have.Profiles)), Namespaces: have.Namespaces}
	for name, h := range have.Profiles {
		other := *h
		other.Profile = h.Profile.DeepCopy()
		delete(other.Profile.Labels, berthv1alpha1.SyncLabel)
		delete(other.Profile.Annotations, berthv1alpha1.SyncStateAnnotation)
		free.Profiles[name] = &other
	}
	return free
}

// Export is the list that a cluster is equal to, as YAML. What a list can't say is in comments.
func Export(have Have) []byte {
	var e exporter
	e.line("apiVersion: %s\nkind: %s", APIVersion, Kind)
	head := e.Len()
	for _, name := range slices.Sorted(maps.Keys(have.Profiles)) {
		e.profile(have.Profiles[name])
	}
	profiles := "profiles:\n"
	if e.listed == 0 {
		profiles = "profiles: []\n"
	}
	return slices.Concat(e.Bytes()[:head], []byte(profiles), e.Bytes()[head:])
}

// exporter collects the text of a list.
type exporter struct {
	bytes.Buffer

	// listed counts the profiles that are in it.
	listed int
}

func (e *exporter) line(format string, args ...any) { fmt.Fprintf(e, format+"\n", args...) }

func (e *exporter) profile(h *HaveProfile) {
	p := h.Profile
	if !p.DeletionTimestamp.IsZero() {
		e.line("# Not listed: the profile %s is being deleted.", text(p.Name))
		return
	}
	if _, stale := p.Annotations[berthv1alpha1.StaleAnnotation]; stale {
		e.line("# Not listed: the profile %s is stale. Being listed restores it.", text(p.Name))
		return
	}
	e.listed++
	e.line("- name: %s", text(p.Name))
	owner := ""
	if p.Spec.Owner.Kind == rbacv1.ServiceAccountKind && p.Spec.Owner.Namespace != p.Name {
		owner = ", namespace: " + text(p.Spec.Owner.Namespace)
	}
	e.line("  owner: {kind: %s, name: %s%s}", text(p.Spec.Owner.Kind), text(p.Spec.Owner.Name), owner)
	if class := p.Labels[berthv1alpha1.ClassLabel]; class != "" {
		e.line("  class: %s", text(class))
	}
	e.quota(p.Spec.ResourceQuotaSpec)
	for i, plugin := range p.Spec.Plugins {
		if i == 0 {
			e.line("  plugins:")
		}
		e.line("  - {kind: %s, spec: %s}", text(plugin.Kind), specOf(plugin))
	}
	e.access(h)
}

func (e *exporter) quota(spec kubeflowv1.ResourceQuotaSpec) {
	if len(spec.Hard)+len(spec.Scopes) == 0 && spec.ScopeSelector == nil {
		return
	}
	e.line("  resources:")
	for i, name := range slices.Sorted(maps.Keys(spec.Hard)) {
		if i == 0 {
			e.line("    hard:")
		}
		e.line("      %s: %s", text(string(name)), quoted(string(spec.Hard[name])))
	}
	if len(spec.Scopes) > 0 {
		e.line("    scopes: %s", asJSON(spec.Scopes))
	}
	if spec.ScopeSelector == nil {
		return
	}
	e.line("    scopeSelector:\n      matchExpressions:%s", map[bool]string{true: " []"}[len(spec.ScopeSelector.MatchExpressions) == 0])
	for _, x := range spec.ScopeSelector.MatchExpressions {
		values := ""
		if len(x.Values) > 0 {
			values = ", values: " + asJSON(x.Values)
		}
		e.line("      - {operator: %s, scopeName: %s%s}", x.Operator, text(string(x.ScopeName)), values)
	}
}

// access writes who has access to a profile besides its owner.
func (e *exporter) access(h *HaveProfile) {
	w := &WantProfile{Name: h.Profile.Name, Owner: h.Profile.Spec.Owner}
	has, crooked := bound(w, h)
	var people, groups []held
	for _, key := range slices.SortedFunc(maps.Keys(has), compareKeys) {
		if b := has[key]; b.subject.Kind == rbacv1.GroupKind {
			groups = append(groups, b)
		} else {
			people = append(people, b)
		}
	}
	policies := map[string]bool{}
	for _, policy := range h.Policies {
		policies[policy.GetName()] = true
	}
	for i, b := range people {
		if i == 0 {
			e.line("  contributors:")
		}
		e.line("  - {name: %s, %s%s}%s", text(username(b.subject)), roleText(b.role), noted(b), lacks(b, policies))
	}
	for i, b := range groups {
		if i == 0 {
			e.line("  groups:")
		}
		e.line("  - {name: %s, role: %s%s}%s", text(b.subject.Name), text(b.role), noted(b), lacks(b, policies))
	}
	for _, binding := range crooked {
		e.line("  # Not listed: the RoleBinding %s gives %s to %s, and says that %s is %s. The first sync removes it.", text(binding.Name),
			text(binding.RoleRef.Kind+" "+binding.RoleRef.Name), asJSON(subjectNames(binding)),
			text(binding.Annotations[kubeflowv1.UserAnnotation]), text(binding.Annotations[kubeflowv1.RoleAnnotation]))
	}
	for _, binding := range slices.SortedFunc(slices.Values(h.Bindings), byName) {
		if !render.IsContributorBinding(binding) && Concerns(binding) {
			e.line("  # Not listed: the RoleBinding %s gives %s to %s, without the annotations user and role of a contributor. Syncs leave it alone.",
				text(binding.Name), text(render.RoleShown(binding)), asJSON(subjectNames(binding)))
		}
	}
	e.strays(w, h, has)
}

// strays tells of AuthorizationPolicies without a RoleBinding.
func (e *exporter) strays(w *WantProfile, h *HaveProfile, has map[grantKey]held) {
	d := differ{}
	wanted := make(map[grantKey]Grant, len(has))
	for key := range has {
		wanted[key] = Grant{}
	}
	d.strayPolicies(w, h, wanted, pairedPolicies(h, nil))
	for _, a := range d.plan.Actions {
		e.line("  # Not listed: the AuthorizationPolicy %s lets %s in as %s, and no RoleBinding does. The first sync removes it.",
			text(a.Policies[0]), text(a.Subject.Name), text(a.Role))
	}
}

// username is the name of a user, or the one that a service account has as a user.
func username(subject rbacv1.Subject) string {
	_, name, _ := strings.Cut(identity.Key(subject), "\x00")
	return name
}

// roleText is a role as a contributor has it.
func roleText(role string) string {
	if slices.Contains(render.Roles, role) {
		return "role: " + role
	}
	return "role: view, classRole: " + text(role)
}

// noted is what a binding says of the access besides whose it is.
func noted(b held) string {
	annotations := b.bindings[0].Annotations
	out := ""
	if id := annotations[berthv1alpha1.ContributorIDAnnotation]; id != "" && b.subject.Kind != rbacv1.GroupKind {
		out += ", id: " + text(id)
	}
	if expires := annotations[berthv1alpha1.ExpiresAnnotation]; expires != "" {
		if _, err := parseExpiry(expires); err == nil {
			out += ", expires: " + quoted(expires)
		}
	}
	return out
}

// lacks is a comment where policies let others in and not whom b is of.
func lacks(b held, policies map[string]bool) string {
	if len(policies) == 0 || slices.ContainsFunc(b.bindings, func(binding *rbacv1.RoleBinding) bool {
		return policies[render.ContributorPolicyName(binding.Name)]
	}) {
		return ""
	}
	return " # no AuthorizationPolicy lets this one in: Berth makes one"
}

// plain are texts that mean the same without quotes, in lists and mappings, too.
var plain = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@/+-]*$`)

// text is a text in YAML.
func text(value string) string {
	if plain.MatchString(value) && kindOf(&yaml.Node{Kind: yaml.ScalarNode, Value: value}) == textScalar {
		return value
	}
	return quoted(value)
}

func quoted(value string) string { return asJSON(value) }

// asJSON is JSON, which is YAML, too.
func asJSON(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err) // they are texts
	}
	return string(data)
}
