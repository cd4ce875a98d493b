// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"fmt"
	"maps"
	"slices"
)

// overlay changes doc: a profile of the same name takes over the fields that change has, a new one is added, and one
// with remove goes.
func (doc *Document) overlay(change Document) []Finding {
	var findings []Finding
	refuse := func(p Profile, format string, args ...any) {
		findings = append(findings, Finding{Code: "overlay", Severity: Error, Position: p.Source, Profile: p.Name, Message: fmt.Sprintf(format, args...)})
	}
	index := make(map[string]int, len(doc.Profiles))
	for i, p := range doc.Profiles {
		index[p.Name] = i
	}
	removed, seen := map[string]bool{}, map[string]bool{}
	for _, p := range change.Profiles {
		at, there := index[p.Name]
		switch {
		case seen[p.Name]:
			refuse(p, "the profile %q is there twice in one overlay", p.Name)
		case p.Remove && !there:
			refuse(p, "the profile %q is to be removed and is not in the list: mind the spelling, or take it out here", p.Name)
		case p.Remove:
			removed[p.Name] = true
		case there:
			doc.Profiles[at] = merged(doc.Profiles[at], p)
		case p.Owner == nil:
			refuse(p, "the profile %q is not in the list that this overlay changes: mind the spelling, or give it an owner to add it", p.Name)
		default:
			doc.Profiles = append(doc.Profiles, p)
		}
		seen[p.Name] = true
	}
	if len(removed) > 0 {
		kept := doc.Profiles[:0:0]
		for _, p := range doc.Profiles {
			if !removed[p.Name] {
				kept = append(kept, p)
			}
		}
		doc.Profiles = kept
	}
	doc.Defaults = mergedDefaults(doc.Defaults, change.Defaults)
	doc.Groups = replaced(doc.Groups, change.Groups, func(g Group) string { return g.Name })
	doc.Users = replaced(doc.Users, change.Users, func(u User) string { return u.Name })
	return findings
}

// merged is base with what over has.
func merged(base, over Profile) Profile {
	if over.Owner != nil {
		base.Owner = over.Owner
	}
	if over.Resources != nil {
		base.Resources = over.Resources
	}
	if over.Contributors != nil {
		base.Contributors = over.Contributors
	}
	if over.Groups != nil {
		base.Groups = over.Groups
	}
	if over.Plugins != nil {
		base.Plugins = over.Plugins
	}
	if over.Class != "" {
		base.Class = over.Class
	}
	if over.ContributorPolicy != "" {
		base.ContributorPolicy = over.ContributorPolicy
	}
	base.Labels, base.Annotations = united(base.Labels, over.Labels), united(base.Annotations, over.Annotations)
	return base
}

func mergedDefaults(base, over *Defaults) *Defaults {
	if base == nil || over == nil {
		if base == nil {
			return over
		}
		return base
	}
	both := *base
	if over.Resources != nil {
		both.Resources = over.Resources
	}
	if over.Class != "" {
		both.Class = over.Class
	}
	if over.Groups != nil {
		both.Groups = over.Groups
	}
	if over.ContributorPolicy != "" {
		both.ContributorPolicy = over.ContributorPolicy
	}
	both.Labels, both.Annotations = united(base.Labels, over.Labels), united(base.Annotations, over.Annotations)
	return &both
}

// united is base with over, whose values count where both have a key.
func united(base, over map[string]string) map[string]string {
	if len(over) == 0 {
		return base
	}
	both := make(map[string]string, len(base)+len(over))
	maps.Copy(both, base)
	maps.Copy(both, over)
	return both
}

// replaced is base with over, whose items take the place of those of the same name.
func replaced[T any](base, over []T, name func(T) string) []T {
	return lastOfEach(append(slices.Clip(base), over...), func(item T) (string, Position) { return name(item), Position{} },
		func(string, Position, Position) {})
}
