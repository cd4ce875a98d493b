// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/identity"
	"berth.dev/berth/internal/render"
)

// LintRules are what a list is checked against besides its own form.
type LintRules struct {
	// Validation is Strict where it is empty.
	Validation Validation
	// Now decides what is over.
	Now time.Time
	// Reserved are names that no profile may have, besides those of the platform.
	Reserved []string
	// Domains are those that owners and contributors who are e-mail addresses may have; all where there are none.
	Domains []string
}

// Lint checks what doc says. What it says badly, Read has found already.
func Lint(doc Document, rules LintRules) []Finding {
	l := linter{rules: rules, groups: map[string]bool{}, spelled: map[string]string{}}
	for _, group := range doc.Groups {
		l.groups[group.Name] = true
		for _, member := range group.Members {
			l.person(group.Source, "", "a member of the group "+group.Name, member)
		}
	}
	if d := doc.Defaults; d != nil {
		if d.Resources != nil {
			l.resources("", d.Resources)
		}
		l.metadata(d.Source, "", d.Labels, d.Annotations, d.Class)
		for _, g := range d.Groups {
			l.group("", g)
		}
	}
	for i := range doc.Profiles {
		l.profile(&doc.Profiles[i])
	}
	return sortFindings(l.findings)
}

type linter struct {
	rules    LintRules
	findings []Finding
	groups   map[string]bool
	// spelled is how each name was first spelled, by the name in lower case.
	spelled map[string]string
}

func (l *linter) add(severity Severity, code string, at Position, profile, format string, args ...any) {
	l.findings = append(l.findings, Finding{Code: code, Severity: severity, Message: fmt.Sprintf(format, args...), Position: at, Profile: profile})
}

// lenient is the severity of what github-profiles-automator lets pass, and the cluster refuses for that profile alone.
func (l *linter) lenient() Severity {
	if l.rules.Validation == Compat {
		return Warning
	}
	return Error
}

func (l *linter) profile(p *Profile) {
	if problems := validation.IsDNS1123Label(p.Name); len(problems) > 0 {
		l.add(l.lenient(), "invalid-name", p.Source, p.Name, "no namespace can be called %q: %s", p.Name, problems[0])
	} else if render.Reserved(p.Name) || slices.Contains(l.rules.Reserved, p.Name) {
		l.add(l.lenient(), "reserved-name", p.Source, p.Name, "%q is a namespace of the platform: give the profile another name", p.Name)
	}
	if p.Owner == nil {
		l.add(Error, "missing", p.Source, p.Name, "the profile %q has no owner", p.Name)
		return
	}
	l.owner(p)
	if p.Resources != nil {
		l.resources(p.Name, p.Resources)
	}
	l.contributors(p)
	for _, g := range p.Groups {
		l.group(p.Name, g)
	}
	l.metadata(p.Source, p.Name, p.Labels, p.Annotations, p.Class)
	for _, plugin := range p.Plugins {
		if plugin.Kind != render.PluginAWSIAM && plugin.Kind != render.PluginWorkloadIdentity {
			l.add(Warning, "unknown-plugin", plugin.Source, p.Name, "the plugin %q is none of %s and %s: nothing will come of it",
				plugin.Kind, render.PluginWorkloadIdentity, render.PluginAWSIAM)
		}
	}
	if p.Remove {
		l.add(Error, "overlay", p.Source, p.Name, "remove is for overlays: take the profile %q out of the list", p.Name)
	}
}

// metadata checks what a Profile is labelled and annotated with.
func (l *linter) metadata(at Position, profile string, labels, annotations map[string]string, class string) {
	check := func(code, what, key, value string, problems []string) {
		if strings.HasPrefix(key, berthv1alpha1.SyncPrefix) {
			l.add(Error, "reserved-key", at, profile, "the key %q is what the sync itself notes on profiles: leave it out", key)
		} else if len(problems) > 0 {
			l.add(Error, code, at, profile, "the %s %s: %q can't be: %s", what, key, value, problems[0])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		check("invalid-label", "label", key, labels[key], append(validation.IsQualifiedName(key), validation.IsValidLabelValue(labels[key])...))
	}
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		check("invalid-annotation", "annotation", key, annotations[key], validation.IsQualifiedName(strings.ToLower(key)))
	}
	if problems := validation.IsDNS1123Subdomain(class); class != "" && len(problems) > 0 {
		l.add(Error, "invalid-class", at, profile, "no ProfileClass can be called %q: %s", class, problems[0])
	}
}

func (l *linter) owner(p *Profile) {
	o := p.Owner
	if problem := render.OwnerProblem(o.subject(p.Name)); problem != nil {
		l.add(l.lenient(), "invalid-owner", o.Source, p.Name, "the owner of %q: %s", p.Name, strings.TrimPrefix(problem.Message, "spec."))
		return
	}
	switch o.Kind {
	case rbacv1.GroupKind:
		severity := Note
		if l.rules.Validation == Compat {
			severity = Error
		}
		l.add(severity, "charm-compat", o.Source, p.Name, "the owner of %q is a group: github-profiles-automator refuses the whole list", p.Name)
	case rbacv1.UserKind:
		l.person(o.Source, p.Name, "the owner of "+p.Name, o.Name)
	}
}

func (l *linter) contributors(p *Profile) {
	roles := map[string]string{}
	byName := map[string]string{}
	for _, c := range p.Contributors {
		role := c.ClassRole
		if role == "" {
			role = string(c.Role)
		}
		l.person(c.Source, p.Name, "a contributor of "+p.Name, c.Name)
		before, twice := roles[c.Name]
		switch {
		case twice && before == role:
			l.add(l.lenient(), "duplicate-contributor", c.Source, p.Name, "%q is %s of %q twice: list the person once", c.Name, role, p.Name)
		case twice:
			l.add(Warning, "several-roles", c.Source, p.Name, "%q is %s and %s of %q: the more powerful role is enough", c.Name, before, role, p.Name)
		}
		roles[c.Name] = role
		if p.Owner.Kind == rbacv1.UserKind && p.Owner.Name == c.Name {
			l.add(Warning, "contributor-is-owner", c.Source, p.Name, "%q owns %q, which is more than being %s: this entry does nothing", c.Name, p.Name, role)
		}
		l.expiry(p.Name, c.Source, c.Name, c.Expires)
		name := render.BindingNames(render.Contributor{Subject: user(c.Name), Role: role})[0]
		if other, taken := byName[name]; taken && other != c.Name {
			l.add(Note, "name-collision", c.Source, p.Name, "the RoleBindings of %q and %q in %q would both be called %q: the second gets a suffix, and the dashboard shows both",
				other, c.Name, p.Name, name)
		}
		byName[name] = c.Name
	}
	if len(p.Contributors) == 0 && len(p.Groups) == 0 {
		l.add(Note, "no-contributors", p.Source, p.Name, "the profile %q has no contributors: those whom others add are taken away, unless contributorPolicy is Additive", p.Name)
	}
}

func (l *linter) group(profile string, g GroupGrant) {
	if !l.groups[g.Name] {
		l.add(Note, "external-group", g.Source, profile, "the group %q is not in this list: it is bound as one that the identity provider knows", g.Name)
		if err := identity.CheckName(g.Name); err != nil {
			l.add(Error, "invalid-subject", g.Source, profile, "the group %q: %s", g.Name, err)
		}
	}
	if problems := validation.IsDNS1123Label(g.Role); len(problems) > 0 {
		l.add(Error, "unknown-value", g.Source, profile, "the role %q of the group %q is neither admin, edit or view nor the name of a role of a class", g.Role, g.Name)
	}
	l.expiry(profile, g.Source, g.Name, g.Expires)
}

func (l *linter) expiry(profile string, at Position, name string, expires *Expiry) {
	if !expires.IsZero() && !l.rules.Now.IsZero() && !expires.Time().After(l.rules.Now) {
		l.add(Warning, "expired", at, profile, "the access of %q ended at %s: take the entry out", name, expires.Time().Format(time.RFC3339))
	}
}

// person checks a user's name.
func (l *linter) person(at Position, profile, what, name string) {
	if err := identity.CheckSubject(user(name)); err != nil {
		l.add(l.lenient(), "invalid-subject", at, profile, "%s: %s", what, err)
		return
	}
	lower := strings.ToLower(name)
	if first, known := l.spelled[lower]; !known {
		l.spelled[lower] = name
	} else if first != name {
		l.add(Warning, "case-variant", at, profile, "%q is also written %q: they are two people to Kubernetes", name, first)
	}
	local, domain, isAddress := strings.Cut(name, "@")
	switch {
	case strings.HasPrefix(name, "system:"):
	case !isAddress || local == "" || domain == "":
		l.add(Note, "not-an-address", at, profile, "%s: %q is no e-mail address, which is what most identity providers name people by", what, name)
	case len(l.rules.Domains) > 0 && !slices.ContainsFunc(l.rules.Domains, func(d string) bool { return strings.EqualFold(d, domain) }):
		l.add(Error, "foreign-domain", at, profile, "%s: %q is of the domain %q, and only %s are allowed", what, name, domain, strings.Join(l.rules.Domains, ", "))
	}
}

func (l *linter) resources(profile string, r *Resources) {
	for _, name := range slices.Sorted(maps.Keys(r.Hard)) {
		written := string(r.Hard[name])
		parsed, err := render.ParseQuantity(written)
		switch {
		case err != nil:
			l.add(l.lenient(), "invalid-quantity", r.Source, profile, "%s: %q is no quantity: write one such as \"4\", 500m or 16Gi", name, written)
		case parsed.Sign() < 0:
			l.add(l.lenient(), "invalid-quantity", r.Source, profile, "%s: %q is less than nothing", name, written)
		case parsed.String() != written:
			l.add(Note, "quantity-format", r.Source, profile, "%s: %q is usually written %q", name, written, parsed.String())
		}
		if !render.Counted(name) {
			l.add(l.lenient(), "uncounted-resource", r.Source, profile, "%s: Kubernetes counts extended resources by their requests only: write requests.%s", name, name)
		}
	}
	if r.ScopeSelector == nil {
		return
	}
	for _, e := range r.ScopeSelector.MatchExpressions {
		needsValues := e.Operator == "In" || e.Operator == "NotIn"
		if needsValues != (len(e.Values) > 0) {
			l.add(l.lenient(), "scope-values", e.Source, profile, "the scope %s: In and NotIn need values, Exists and DoesNotExist have none", e.ScopeName)
		}
	}
}
