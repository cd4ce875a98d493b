// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"fmt"
	"strings"
	"unicode"
)

// signs are what an action does at a glance: + gives, - takes, ~ changes.
var signs = map[ActionType]string{
	CreateProfile: "+", AddContributor: "+", AdoptProfile: "~", RestoreProfile: "~", ChangeOwner: "~", ChangeQuota: "~",
	ChangeMetadata: "~", ChangePlugins: "~", UpdateRecord: "~", ChangeContributor: "~", RepairContributor: "~",
	RemoveContributor: "-", MarkStale: "-", RevokeAccess: "-", Quarantine: "-", MarkDeletable: "-", DeleteProfile: "-",
}

// Sign is what a does at a glance.
func (a *Action) Sign() string { return signs[a.Type] }

// Text says in one line what a does.
func (a *Action) Text() string {
	who := ""
	if a.Subject != nil {
		who = a.Subject.Name
	}
	switch a.Type {
	case CreateProfile:
		return fmt.Sprintf("create, owned by %s, quota %s", who, a.To)
	case AdoptProfile:
		return "take it over"
	case RestoreProfile:
		return "restore what it had"
	case ChangeOwner:
		return fmt.Sprintf("owner %s -> %s", a.From, a.To)
	case ChangeQuota:
		return fmt.Sprintf("quota %s -> %s", a.From, a.To)
	case ChangeMetadata:
		return fmt.Sprintf("labels and annotations %s -> %s", a.From, a.To)
	case ChangePlugins:
		return fmt.Sprintf("plugins %s -> %s", a.From, a.To)
	case UpdateRecord:
		return "update what the sync notes of it"
	case AddContributor:
		return fmt.Sprintf("%s becomes %s", who, a.Role)
	case ChangeContributor:
		return fmt.Sprintf("%s -> %s", a.From, a.To)
	case RepairContributor:
		return fmt.Sprintf("put right: %s, which is %s", a.From, a.To)
	case RemoveContributor:
		return fmt.Sprintf("%s is %s no more", who, a.Role)
	case MarkStale:
		return "mark as stale"
	case RevokeAccess:
		return fmt.Sprintf("take the access of all contributors away (%d RoleBindings)", len(a.Bindings))
	case Quarantine:
		return "stop the notebooks, let no new pod in"
	case MarkDeletable:
		return "mark as deletable"
	case DeleteProfile:
		return "delete, with its namespace and all that is in it"
	}
	return string(a.Type)
}

// Text is the plan for people.
func (p *Plan) Text() string {
	var text strings.Builder
	profile := ""
	for i := range p.Actions {
		a := &p.Actions[i]
		if a.Profile != profile {
			profile = a.Profile
			fmt.Fprintf(&text, "%s\n", profile)
		}
		fmt.Fprintf(&text, "  %s %s: %s", a.Sign(), Printable(a.Text()), a.Reason)
		switch {
		case a.Drift:
			text.WriteString(" [changed by hand, left so]")
		case a.Held == LimitDeletion:
			text.WriteString(" [waits for: berth stale approve " + a.Profile + "]")
		case a.Held != "":
			text.WriteString(" [held: " + a.Held + "]")
		}
		text.WriteString("\n")
	}
	for _, problem := range p.Problems {
		fmt.Fprintf(&text, "! %s: %s\n", problem.Profile, Printable(problem.Message))
	}
	for _, exceeded := range p.Exceeded {
		fmt.Fprintf(&text, "Held by %s\n", Printable(exceeded))
	}
	fmt.Fprintf(&text, "%d actions, %d of them held, %d entries refused. The list has %d profiles with %d contributors.\n",
		len(p.Actions), len(p.Held()), len(p.Problems), p.Profiles, p.Contributors)
	if digest := p.HeldDigest(); digest != "" {
		fmt.Fprintf(&text, "To let what is held through: berth sync approve %s\n", digest)
	}
	return text.String()
}

// Printable is text without what a terminal would take for a command: tenants choose some of the names in it.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}
