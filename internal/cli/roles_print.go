// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"berth.dev/berth/internal/access/coverage"
)

// printCoverage prints findings by API group, then how many there are and what to do about them.
func printCoverage(out io.Writer, findings []coverage.Finding, notes bool) error {
	shown := slices.DeleteFunc(slices.Clone(findings), func(f coverage.Finding) bool { return f.Severity == coverage.Note && !notes })
	slices.SortStableFunc(shown, func(a, b coverage.Finding) int { return strings.Compare(a.Group, b.Group) })
	style := styleOf(out)
	code, about := 0, 0
	for _, f := range shown {
		code, about = max(code, len(f.Code)), max(about, utf8.RuneCountInString(subject(f)))
	}
	var text bytes.Buffer
	last := ""
	for i, f := range shown {
		if i == 0 || shown[i-1].Group != f.Group {
			fmt.Fprintf(&text, "%s\n", style.paint(bold, heading(f.Group)))
		}
		color := map[coverage.Severity]string{coverage.Error: red, coverage.Warning: yellow, coverage.Note: blue}[f.Severity]
		line := fmt.Sprintf("  %s  %-*s  %-*s  %s\n", style.paint(color, fmt.Sprintf("%-7s", f.Severity)), code, f.Code, about, subject(f), printable(detail(f)))
		if line != last { // a name may be misspelt in several roles
			text.WriteString(line)
		}
		last = line
	}
	if len(shown) > 0 {
		text.WriteString("\n")
	}
	count := map[coverage.Severity]int{}
	gaps, wider := false, false
	for _, f := range findings {
		count[f.Severity]++
		gaps = gaps || f.Gap() && f.Severity == coverage.Error
		wider = wider || f.Severity == coverage.Error && !f.Gap()
	}
	fmt.Fprintf(&text, "%s, %s, %s\n", several(count[coverage.Error], "error"), several(count[coverage.Warning], "warning"), several(count[coverage.Note], "note"))
	if gaps {
		text.WriteString("What is missing, this supplies: berth roles generate | kubectl apply -f -\n")
	}
	if wider {
		text.WriteString("What is wrong otherwise, and what to do about it: berth roles check -o json\n")
	}
	if _, err := out.Write(text.Bytes()); err != nil {
		return fmt.Errorf("print the findings: %w", err)
	}
	return nil
}

func heading(group string) string {
	if group == "" {
		return "Roles, and kinds of Kubernetes"
	}
	return printable(group)
}

// subject is what a finding is about: a kind, or a role.
func subject(f coverage.Finding) string {
	if f.Resource == "" {
		return printable(f.Role)
	}
	return printable(f.Resource)
}

// detail is what else there is to say in a line.
func detail(f coverage.Finding) string {
	verbs := strings.Join(f.Verbs, " ")
	switch f.Code {
	case coverage.CodeNoRole:
		return "nobody has any verb"
	case coverage.CodeViewWrites, coverage.CodeViewSecrets, coverage.CodeGrantsAccess:
		role, _, _ := strings.Cut(strings.TrimPrefix(f.Evidence[0], "ClusterRole "), ",")
		return verbs + ", in " + role
	case coverage.CodeMisspelt:
		name, _, _ := strings.Cut(f.Evidence[0], ".")
		return name + "?"
	case coverage.CodeUnserved:
		return "in " + f.Role
	case coverage.CodeClusterScoped:
		return "RoleBindings can't give it"
	case coverage.CodeSelectsNone:
		return "selects no role"
	case coverage.CodeRoleAbsent:
		return "is not there"
	case coverage.CodeBadSelector:
		return "has a selector that can't be read"
	case coverage.CodeViewLacks, coverage.CodeEditLacks, coverage.CodeAdminLacks, coverage.CodeStatusLacks:
	}
	return verbs
}
