// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	rbacv1 "k8s.io/api/rbac/v1"

	"berth.dev/berth/internal/pmr"
)

// printPlan prints a plan by profile, then what stands in its way, and how much it is. approve is the command
// that lets through what is held, but for the digest; empty where there is none.
func printPlan(out io.Writer, plan pmr.Plan, approve string) error {
	p := planPrinter{style: styleOf(out)}
	actions := slices.DeleteFunc(slices.Clone(plan.Actions), func(a pmr.Action) bool { return !matters(a) })
	for i, a := range actions {
		if i == 0 || actions[i-1].Profile != a.Profile {
			p.profile(a)
		}
		p.action(a)
	}
	if len(plan.Problems) > 0 {
		p.line("\n%s", p.paint(red, "Not possible"))
		for _, problem := range plan.Problems {
			p.line("  %s: %s", p.paint(bold, problem.Profile), printable(problem.Message))
		}
	}
	if len(plan.Exceeded) > 0 {
		p.line("\n%s", p.paint(yellow, "Limits"))
		for _, limit := range plan.Exceeded {
			p.line("  %s", printable(limit))
		}
	}
	if digest := plan.HeldDigest(); digest != "" {
		p.line("\n%s would wait for approval.", several(len(plan.Held()), "action"))
		if approve != "" {
			p.line("If it is meant, let exactly this through:")
			p.line("  %s %s", approve, digest)
		}
	}
	if p.text.Len() > 0 {
		p.line("")
	}
	p.line("%s", sum(actions, plan))
	_, err := out.Write(bytes.TrimLeft(p.text.Bytes(), "\n"))
	if err != nil {
		return fmt.Errorf("print the plan: %w", err)
	}
	return nil
}

// planPrinter collects what is printed.
type planPrinter struct {
	style

	text bytes.Buffer
}

func (p *planPrinter) line(format string, args ...any) {
	p.text.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " ") + "\n")
}

// profile heads the actions of a profile.
func (p *planPrinter) profile(a pmr.Action) {
	at := ""
	if a.Position != nil {
		at = p.paint(faint, "("+a.Position.String()+")")
	}
	p.line("\n%s %s", p.paint(bold, a.Profile), at)
}

// action prints one action as a line.
func (p *planPrinter) action(a pmr.Action) {
	sign, color, text := "~", yellow, ""
	switch a.Type {
	case pmr.CreateProfile:
		sign, color, text = "+", green, fmt.Sprintf("create, for %s %s, quota %s", a.Subject.Kind, a.Subject.Name, a.To)
	case pmr.AdoptProfile:
		sign, color, text = "+", green, "adopt, as "+a.Reason
	case pmr.RestoreProfile:
		sign, color, text = "+", green, "restore, as "+a.Reason
	case pmr.ChangeOwner:
		text = fmt.Sprintf("owner: %s → %s", a.From, a.To)
	case pmr.ChangeQuota:
		text = fmt.Sprintf("quota: %s → %s", a.From, a.To)
	case pmr.ChangeMetadata:
		text = fmt.Sprintf("labels: %s → %s", a.From, a.To)
	case pmr.ChangePlugins:
		text = fmt.Sprintf("plugins: %s → %s", a.From, a.To)
	case pmr.AddContributor:
		sign, color, text = "+", green, fmt.Sprintf("%s: %s%s", a.Subject.Name, a.Role, until(a))
		if a.Grant != nil && a.Grant.Group != "" {
			text += ", through the group " + a.Grant.Group
		}
	case pmr.ChangeContributor:
		text = changeText(a)
	case pmr.RepairContributor:
		text = fmt.Sprintf("replace the %s, which says something else than it gives: %s", a.From, a.To)
		if a.Subject != nil {
			text = fmt.Sprintf("%s: %s, noted: %s → %s", a.Subject.Name, a.Role, cmp.Or(a.From, "nothing"), cmp.Or(a.To, "nothing"))
		}
	case pmr.RemoveContributor:
		sign, color, text = "-", red, fmt.Sprintf("%s: %s, who %s", a.Subject.Name, a.Role, a.Reason)
		if a.From != "" {
			text += " (" + a.From + ")"
		}
	case pmr.MarkStale:
		sign, color, text = "-", red, "mark as stale, as "+a.Reason
	case pmr.RevokeAccess:
		sign, color, text = "-", red, "revoke the access of "+several(len(a.Bindings), "contributor")
	case pmr.Quarantine:
		sign, color, text = "-", red, "quarantine: stop the notebooks and let no new pod in, as "+a.Reason
	case pmr.MarkDeletable:
		sign, color, text = "-", red, "mark as deletable, as "+a.Reason
	case pmr.DeleteProfile:
		sign, color, text = "-", red, "delete, as "+a.Reason
	case pmr.UpdateRecord:
		return
	}
	text = printable(text)
	if a.Type == pmr.RevokeAccess {
		text += who(a.Bindings)
	}
	switch {
	case a.Drift:
		text += " " + p.paint(yellow, "[changed by hand, left so]")
	case a.Held == pmr.LimitDeletion:
		text += " " + p.paint(yellow, "[waits for: berth stale approve "+a.Profile+"]")
	case a.Held == pmr.HeldByMode || a.Held == pmr.HeldByReport: // as all are
	case a.Held != "":
		text += " " + p.paint(yellow, "[held: "+a.Held+"]")
	}
	p.line("  %s %s", p.paint(color, sign), text)
}

// who are the subjects of bindings, each in a line of its own.
func who(bindings []*rbacv1.RoleBinding) string {
	var text strings.Builder
	for _, b := range bindings {
		for _, s := range b.Subjects {
			text.WriteString("\n      " + printable(s.Name))
		}
	}
	return text.String()
}

// printable is text without what a terminal would take for a command: tenants choose some of the names in it.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// changeText says how somebody's access changes: the role, or the name that the same person has now.
func changeText(a pmr.Action) string {
	from, role, _ := strings.Cut(a.From, " ")
	if from == a.Subject.Name {
		return fmt.Sprintf("%s: %s → %s%s", a.Subject.Name, role, a.Role, until(a))
	}
	return fmt.Sprintf("%s → %s: %s%s, the same person by another name", from, a.Subject.Name, a.Role, until(a))
}

// until is when somebody's access ends.
func until(a pmr.Action) string {
	if a.Grant == nil || a.Grant.Expires.IsZero() {
		return ""
	}
	return ", until " + a.Grant.Expires.UTC().Format("2006-01-02 15:04 MST")
}

// sum is one line about a plan.
func sum(actions []pmr.Action, plan pmr.Plan) string {
	if len(actions)+len(plan.Problems) == 0 {
		return fmt.Sprintf("Nothing to do: %s with %s are as listed.", several(plan.Profiles, "profile"), several(plan.Contributors, "contributor"))
	}
	count := map[pmr.ActionType]int{}
	for _, a := range actions {
		count[a.Type]++
	}
	var parts []string
	for _, of := range []struct {
		what, noun string
		count      int
	}{
		{"to create", "profile", count[pmr.CreateProfile]},
		{"to adopt", "profile", count[pmr.AdoptProfile]},
		{"to restore", "profile", count[pmr.RestoreProfile]},
		{"to change", "owner", count[pmr.ChangeOwner]},
		{"to change", "quota", count[pmr.ChangeQuota]},
		{"to mark as stale", "profile", count[pmr.MarkStale]},
		{"to delete", "profile", count[pmr.DeleteProfile]},
		{"to add", "contributor", count[pmr.AddContributor]},
		{"to change", "contributor", count[pmr.ChangeContributor] + count[pmr.RepairContributor]},
		{"to remove", "contributor", count[pmr.RemoveContributor]},
	} {
		if of.count > 0 {
			parts = append(parts, several(of.count, of.noun)+" "+of.what)
		}
	}
	if held := len(plan.Held()); held > 0 {
		parts = append(parts, fmt.Sprintf("%d of %s held", held, several(len(actions), "action")))
	}
	if len(plan.Problems) > 0 {
		parts = append(parts, fmt.Sprintf("%s not possible", several(len(plan.Problems), "thing")))
	}
	return "Plan: " + cmp.Or(strings.Join(parts, ", "), several(len(actions), "change")) + "."
}
