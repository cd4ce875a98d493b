// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"berth.dev/berth/internal/access"
	"berth.dev/berth/internal/kube/gather"
	"berth.dev/berth/internal/snapshot"
)

func accessDiffCommand() *cobra.Command {
	var f accessFlags
	var files, deleted []string
	cmd := &cobra.Command{
		Use:   "diff -f CHANGE.yaml",
		Short: "Rehearse a change: who would gain and who would lose what",
		Long: "Compare who can do what now with who could if the objects of files were applied, or those of --delete deleted, without\n" +
			"applying anything. The exit code is 1 if somebody gains access to a tenant's namespace who does not belong to it, and 2 where\n" +
			"that can't be told.",
		Example: "  berth access diff -f policy.yaml\n  kustomize build overlay | berth access diff -f - --from snapshot",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files)+len(deleted) == 0 {
				return unanswered(errors.New("what would change? Name files with -f or --delete"))
			}
			before, s, err := f.engine(cmd.Context())
			if err != nil {
				return err
			}
			after := s
			for _, name := range files {
				change, err := readChange(cmd.InOrStdin(), name)
				if err != nil {
					return unanswered(err)
				}
				after = after.With(change)
			}
			for _, name := range deleted {
				change, err := readChange(cmd.InOrStdin(), name)
				if err != nil {
					return unanswered(err)
				}
				after = after.Without(change)
			}
			d := access.Diff(before, access.New(after, f.options))
			if f.output == "json" {
				err = printJSON(cmd.OutOrStdout(), d)
			} else {
				printDifference(cmd.OutOrStdout(), d)
			}
			if err == nil && len(d.Outsiders()) > 0 {
				err = &ExitError{Code: 1}
			}
			return err
		},
	}
	f.bind(cmd)
	cmd.Flags().StringSliceVarP(&files, "filename", "f", nil, "a file with objects to apply; - reads standard input")
	cmd.Flags().StringSliceVar(&deleted, "delete", nil, "a file with objects to delete")
	return cmd
}

// readChange reads the objects of a file.
func readChange(in io.Reader, name string) (*snapshot.Snapshot, error) {
	if name == "-" {
		data, err := io.ReadAll(in)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return gather.SnapshotFile("standard input", data)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the change: %w", err)
	}
	return gather.SnapshotFile(name, data)
}

// printDifference prints what changes, by namespace.
func printDifference(out io.Writer, d access.Difference) {
	style := styleOf(out)
	if len(d.Changes) == 0 {
		fmt.Fprintln(out, "Nobody gains or loses anything.")
	}
	namespace := "-"
	for _, c := range d.Changes {
		if c.Namespace != namespace {
			namespace = c.Namespace
			title := namespace
			if title == "" {
				title = "everywhere"
			}
			fmt.Fprintln(out, style.paint(bold, printable(title)))
		}
		who := printable(c.Who) + " (" + c.Layer + ")"
		if c.Outsider && len(c.Gains) > 0 {
			who += style.paint(red, "  OUTSIDER")
		}
		fmt.Fprintln(out, "  "+who)
		for _, text := range c.Gains {
			fmt.Fprintln(out, "    "+style.paint(green, "+")+" "+printable(text))
		}
		for _, text := range c.Loses {
			fmt.Fprintln(out, "    "+style.paint(red, "-")+" "+printable(text))
		}
		for _, text := range c.By {
			fmt.Fprintln(out, "      by "+printable(text))
		}
	}
	for _, note := range d.Notes {
		fmt.Fprintln(out, "note: "+printable(note))
	}
	if outsiders := len(d.Outsiders()); outsiders > 0 {
		fmt.Fprintf(out, "\n%s\n", style.paint(red, fmt.Sprintf("%d who don't belong to the tenant gain access.", outsiders)))
	}
}
