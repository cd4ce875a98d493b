// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"berth.dev/berth/internal/access"
)

func accessLintCommand() *cobra.Command {
	var f accessFlags
	var namespace, failOn string
	cmd := &cobra.Command{
		Use:   "lint [-n NAMESPACE]",
		Short: "Find policies, bindings and roles that do something else than they seem to",
		Long: "Find policies, bindings and roles that do something else than they seem to, and say how to mend them. The exit code is 1 if there\n" +
			"are errors, and 2 where that can't be told.",
		Example: "  berth access lint\n  berth access lint -n risk --from snapshot -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if failOn != string(access.Error) && failOn != string(access.Warning) {
				return unanswered(fmt.Errorf("--fail-on is %q: it is error or warning", failOn))
			}
			engine, _, err := f.engine(cmd.Context())
			if err != nil {
				return err
			}
			findings := engine.Lint(namespace)
			if f.output == "json" {
				err = printJSON(cmd.OutOrStdout(), findings)
			} else {
				printAccessFindings(cmd.OutOrStdout(), findings)
			}
			bad := slices.ContainsFunc(findings, func(found access.Finding) bool {
				return found.Severity == access.Error || failOn == string(access.Warning)
			})
			if err == nil && bad {
				err = &ExitError{Code: 1}
			}
			return err
		},
	}
	f.bind(cmd)
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "only what is in this namespace")
	cmd.Flags().StringVar(&failOn, "fail-on", string(access.Error), "error, or warning to fail on warnings, too")
	return cmd
}

func printAccessFindings(out io.Writer, findings []access.Finding) {
	style := styleOf(out)
	if len(findings) == 0 {
		fmt.Fprintln(out, "Nothing was found.")
	}
	for _, found := range findings {
		severity := style.paint(yellow, string(found.Severity))
		if found.Severity == access.Error {
			severity = style.paint(red, string(found.Severity))
		}
		fmt.Fprintf(out, "%s [%s] %s\n  %s\n  %s %s\n", severity, found.Code, style.paint(bold, printable(found.Object)), printable(found.Message),
			style.paint(faint, "fix:"), printable(found.Fix))
	}
}
