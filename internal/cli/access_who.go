// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	rbacv1 "k8s.io/api/rbac/v1"

	"berth.dev/berth/internal/access"
	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/access/rbac"
)

func accessWhoCommand() *cobra.Command {
	var f accessFlags
	var namespace string
	var all bool
	cmd := &cobra.Command{
		Use:   "who -n NAMESPACE | who VERB RESOURCE [NAME] [-n NAMESPACE]",
		Short: "Show who can do what in a namespace, or who can do one thing",
		Long: "Show who can do what in a namespace, as a table of people by what they do, or who can do one thing with a resource, with the\n" +
			"binding that gives it.",
		Example: "  berth access who -n risk\n  berth access who create inferenceservices -n risk",
		Args:    cobra.MaximumNArgs(3), //nolint:mnd // verb, resource and name
		RunE: func(cmd *cobra.Command, args []string) error {
			engine, s, err := f.engine(cmd.Context())
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return unanswered(f.matrix(cmd.OutOrStdout(), engine, namespace, all))
			}
			if len(args) == 1 {
				return unanswered(fmt.Errorf("who can %s what? Name a resource", args[0]))
			}
			q, _, err := (&canFlags{namespace: namespace}).question(s, append([]string{"nobody"}, args...))
			if err != nil {
				return unanswered(err)
			}
			if q.Resource == nil {
				return unanswered(errors.New("who reaches a web address is in the table of its namespace: berth access who -n NAMESPACE"))
			}
			return unanswered(f.holders(cmd.OutOrStdout(), engine, *q.Resource))
		},
	}
	f.bind(cmd)
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "the namespace")
	cmd.Flags().BoolVar(&all, "all", false, "also the cluster's own accounts and groups, which have something everywhere")
	return cmd
}

// holders prints who may do one thing.
func (f *accessFlags) holders(out io.Writer, engine *access.Engine, q rbac.Question) error {
	holders := engine.RBAC().Who(q)
	if f.output == "json" {
		return printJSON(out, holders)
	}
	if len(holders) == 0 {
		fmt.Fprintf(out, "Nobody may %s, but members of %s.\n", printable(q.String()), rbac.GroupMasters)
		return nil
	}
	rows := [][]string{{"WHO", "BY", "ROLE"}}
	for _, h := range holders {
		rows = append(rows, []string{subjectText(h.Subject), h.Binding.String(), h.Role.String()})
	}
	printRows(out, rows)
	return nil
}

// matrix prints who can do what in a namespace.
func (f *accessFlags) matrix(out io.Writer, engine *access.Engine, namespace string, all bool) error {
	if namespace == "" {
		return errors.New("where? Name a namespace with -n")
	}
	matrices, err := engine.Matrices(namespace)
	if err != nil {
		return err
	}
	m := matrices[0]
	if f.output == "json" {
		return printJSON(out, m)
	}
	style := styleOf(out)
	rows := [][]string{head("WHO", m.Capabilities)}
	hidden := 0
	for _, row := range m.Rows {
		if row.Everywhere && isSystem(row.Subject) && !all {
			hidden++
			continue
		}
		who := subjectText(row.Subject)
		if row.Subject.Kind == rbacv1.ServiceAccountKind && row.Subject.Namespace == namespace {
			who = row.Subject.Name // the one of this namespace
		}
		if row.Everywhere {
			who += " (everywhere)"
		}
		rows = append(rows, append([]string{who}, marks(style, row.Cells)...))
	}
	rows = append(rows, append([]string{"anybody signed in"}, marks(style, m.Anybody)...))
	printRows(out, rows)
	if hidden > 0 {
		fmt.Fprintf(out, "\n%d of the cluster's own accounts and groups have something everywhere; --all shows them.\n", hidden)
	}
	legend(out, m.Capabilities)
	return nil
}

// isSystem says whether a subject is the cluster's own rather than somebody's.
func isSystem(s rbacv1.Subject) bool {
	return s.Kind == rbacv1.ServiceAccountKind || strings.HasPrefix(s.Name, "system:")
}

func head(first string, all []access.Capability) []string {
	row := []string{first}
	for _, c := range all {
		row = append(row, title(c))
	}
	return row
}

// title is what stands above a column: few letters, for eleven of them have to fit a terminal.
func title(c access.Capability) string {
	const most = 5
	return strings.ToUpper(c.Name[:min(len(c.Name), most)])
}

func marks(style style, cells []mesh.Verdict) []string {
	out := make([]string, len(cells))
	for i, v := range cells {
		out[i] = verdictMark(style, v)
	}
	return out
}

// legend says what the columns mean.
func legend(out io.Writer, all []access.Capability) {
	fmt.Fprintln(out)
	for _, c := range all {
		fmt.Fprintf(out, "%-6s %s\n", title(c), c.Means)
	}
}

// subjectText names a subject.
func subjectText(s rbacv1.Subject) string {
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		return "account " + s.Namespace + "/" + s.Name
	case rbacv1.GroupKind:
		return "group " + s.Name
	}
	return s.Name
}

// mostWide is how wide the first column of a table gets where nobody knows how wide all may be, and leastWide how narrow it
// gets on a terminal.
const mostWide, leastWide = 44, 18

// printRows prints a table whose first row is its head. On a terminal, the first column is what room there is. Colours
// count nothing.
func printRows(out io.Writer, rows [][]string) {
	const gap = 1
	widths := make([]int, len(rows[0]))
	rest := 0
	for i := range widths {
		for _, row := range rows {
			widths[i] = max(widths[i], width(row[i]))
		}
		if i > 0 {
			rest += gap + widths[i]
		}
	}
	first := mostWide
	if columns := styleOf(out).columns; columns > 0 {
		first = max(leastWide, columns-rest)
	}
	widths[0] = min(widths[0], first)
	for _, row := range rows {
		row[0] = shortened(row[0], first)
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(printableColoured(cell))
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-width(cell)+gap))
			}
		}
		fmt.Fprintln(out, strings.TrimRight(line.String(), " "))
	}
}

// shortened is text with its middle left out where it is longer than most.
func shortened(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	half := (most - 1) / 2 //nolint:mnd // a half
	return string(runes[:half]) + "…" + string(runes[len(runes)-half:])
}

// width is how many columns cell takes on a terminal.
func width(cell string) int {
	if strings.HasPrefix(cell, "\x1b[") {
		_, rest, _ := strings.Cut(cell, "m")
		cell, _, _ = strings.Cut(rest, "\x1b")
	}
	return utf8.RuneCountInString(cell)
}

// printableColoured is a cell without what could move a terminal's cursor, but with the colours that we put there.
func printableColoured(cell string) string {
	if strings.HasPrefix(cell, "\x1b[") {
		return cell
	}
	return printable(cell)
}

func accessWhatCommand() *cobra.Command {
	var f accessFlags
	var groups []string
	cmd := &cobra.Command{
		Use:     "what USER",
		Short:   "Show all that somebody reaches, across namespaces, with what gives it",
		Example: "  berth access what bob@example.com\n  berth access what system:serviceaccount:risk:default-editor",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			engine, _, err := f.engine(cmd.Context())
			if err != nil {
				return err
			}
			reach, err := engine.What(rbac.SignedIn(args[0], groups...))
			if err != nil {
				return unanswered(err)
			}
			if f.output == "json" {
				return printJSON(cmd.OutOrStdout(), reach)
			}
			printReach(cmd.OutOrStdout(), reach)
			return nil
		},
	}
	f.bind(cmd)
	cmd.Flags().StringSliceVar(&groups, "groups", nil, "groups that the identity provider puts the user in")
	return cmd
}

func printReach(out io.Writer, reach access.Reach) {
	style := styleOf(out)
	if len(reach.Namespaces) == 0 {
		fmt.Fprintf(out, "%s reaches no namespace by a binding of it or through the mesh.\n", printable(reach.User))
	} else {
		rows := [][]string{head("NAMESPACE", reach.Capabilities)}
		for _, in := range reach.Namespaces {
			rows = append(rows, append([]string{in.Namespace}, marks(style, in.Cells)...))
		}
		printRows(out, rows)
		fmt.Fprintln(out)
		rows = [][]string{{"NAMESPACE", "ROLE", "BY"}}
		for _, in := range reach.Namespaces {
			for _, h := range in.Holdings {
				rows = append(rows, []string{in.Namespace, h.Role.Name, by(h)})
			}
			if in.LetInBy != "" {
				rows = append(rows, []string{in.Namespace, "(mesh)", in.LetInBy})
			}
		}
		printRows(out, rows)
	}
	if len(reach.Everywhere) > 0 {
		fmt.Fprintln(out, "\nEverywhere:")
		for _, h := range reach.Everywhere {
			fmt.Fprintf(out, "  %s by %s\n", printable(h.Role.Name), printable(by(h)))
		}
	}
}

// by is the binding that gives a role, and the group through which.
func by(h rbac.Holding) string {
	text := h.Binding.Kind + " " + h.Binding.Name
	if h.Subject.Kind == rbacv1.GroupKind {
		text += ", as one of the group " + h.Subject.Name
	}
	if h.Missing {
		text += "; there is no such role, so it gives nothing"
	}
	return text
}
