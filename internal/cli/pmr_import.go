// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"berth.dev/berth/internal/kube/gather"
	"berth.dev/berth/internal/pmr"
	"berth.dev/berth/internal/render"
)

func pmrImportCommand() *cobra.Command {
	var snapshot string
	flags := flag.NewFlagSet("import", flag.ContinueOnError)
	config.RegisterFlags(flags)
	cmd := &cobra.Command{
		Use:   "import [--snapshot DIR]",
		Short: "Print the list that a cluster has now",
		Long: "Print the list of the profiles and contributors of a cluster, so that a first ProfileSync changes nothing. What a list\n" +
			"can't say is in comments. It is tried at once: what a first sync would change nevertheless is told on standard error.",
		Example: "  berth pmr import > pmr.yaml\n  berth pmr import --snapshot now > pmr.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			have, configOf, err := haveOf(cmd.Context(), snapshot)
			if err != nil {
				return err
			}
			have = pmr.Unmanaged(have)
			text := pmr.Export(have)
			if _, err := cmd.OutOrStdout().Write(text); err != nil {
				return fmt.Errorf("print the list: %w", err)
			}
			return prove(text, have, configOf, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&snapshot, "snapshot", "", "a directory with the cluster's objects as YAML, instead of a cluster")
	cmd.Flags().AddGoFlagSet(flags)
	cmd.MarkFlagsMutuallyExclusive("snapshot", "kubeconfig")
	return cmd
}

// haveOf is what a snapshot has, or else the cluster.
func haveOf(ctx context.Context, snapshot string) (pmr.Have, func(string) render.Config, error) {
	if snapshot == "" {
		return live(ctx)
	}
	have, err := gather.Files(os.DirFS(snapshot))
	return have, nil, err
}

// prove reads a list back and tells what a first sync would change by it.
func prove(text []byte, have pmr.Have, configOf func(string) render.Config, told io.Writer) error {
	in := pmr.Input{Files: []pmr.File{{Path: "pmr.yaml", Data: text}}}
	doc, findings := checked(in, nil)
	// What is only unusual, lint tells once the list is a file.
	findings = slices.DeleteFunc(findings, func(f pmr.Finding) bool { return f.Severity != pmr.Error })
	if len(findings) > 0 {
		if err := printFindings(told, findings, "human"); err != nil {
			return err
		}
		return errors.New("the cluster has what a list must not have: mend that in the list, and look at it with berth pmr plan")
	}
	if configOf == nil {
		configOf = offline(doc)
	}
	rules := pmr.Rules{Sync: "first", Now: time.Now(), ConfigOf: configOf, Limits: pmr.DefaultLimits()}
	plan := pmr.Diff(pmr.Resolve(doc), have, rules)
	adopted := len(plan.Actions)
	plan.Actions = slices.DeleteFunc(plan.Actions, func(a pmr.Action) bool { return a.Type == pmr.AdoptProfile })
	adopted -= len(plan.Actions)
	if !slices.ContainsFunc(plan.Actions, matters) && len(plan.Problems) == 0 {
		_, err := fmt.Fprintf(told, "A first sync with this list would adopt %s and change nothing.\n", several(adopted, "profile"))
		return err
	}
	if _, err := fmt.Fprintf(told, "A first sync with this list would adopt %s and change this:\n\n", several(adopted, "profile")); err != nil {
		return err
	}
	return printPlan(told, plan, "")
}
