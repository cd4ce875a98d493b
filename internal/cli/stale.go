// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kube/gather"
	"berth.dev/berth/internal/pmr"
)

func staleCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "stale", Short: "Look at profiles that no list has any more, and let them be deleted"}
	cmd.AddCommand(staleListCommand(), staleReportCommand(), staleApproveCommand())
	return cmd
}

func staleListCommand() *cobra.Command {
	return staleSubcommand("list", "List the profiles that are listed no more, and how far each is", cobra.NoArgs,
		func(ctx context.Context, c client.Client, _ []string, out io.Writer, output string) error {
			var profiles kubeflowv1.ProfileList
			if err := c.List(ctx, &profiles); err != nil {
				return fmt.Errorf("list the profiles: %w", err)
			}
			var found []staleRow
			for i := range profiles.Items {
				if p := &profiles.Items[i]; pmr.StaleOf(p) != nil {
					found = append(found, rowOf(p))
				}
			}
			if output == "json" {
				return printJSON(out, found)
			}
			return printStale(out, found)
		})
}

// staleRow is a profile that is listed no more.
type staleRow struct {
	Profile string    `json:"profile"`
	Sync    string    `json:"sync"`
	Since   time.Time `json:"since"`
	State   string    `json:"state"`
	Owner   string    `json:"owner"`
}

func rowOf(p *kubeflowv1.Profile) staleRow {
	stale := pmr.StaleOf(p)
	row := staleRow{Profile: p.Name, Sync: p.Labels[berthv1alpha1.SyncLabel], Since: stale.Since, Owner: p.Spec.Owner.Name, State: "Stale"}
	switch {
	case !p.DeletionTimestamp.IsZero():
		row.State = "Deleting"
	case p.Annotations[berthv1alpha1.ApproveDeletionAnnotation] == string(p.UID):
		row.State = "DeletionApproved"
	case stale.Deletable != nil:
		row.State = "Deletable"
	case stale.Quarantined != nil:
		row.State = "Quarantined"
	case stale.Revoked != nil:
		row.State = "AccessRevoked"
	}
	return row
}

func printStale(out io.Writer, rows []staleRow) error {
	if len(rows) == 0 {
		fmt.Fprintln(out, "Every profile of a sync is on its list.")
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0) //nolint:mnd // three spaces between columns
	fmt.Fprintln(table, "PROFILE\tSYNC\tSINCE\tSTATE\tOWNER")
	for _, row := range rows {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", row.Profile, row.Sync, row.Since.UTC().Format(time.RFC3339), row.State, printable(row.Owner))
	}
	return table.Flush()
}

func staleReportCommand() *cobra.Command {
	return staleSubcommand("report NAME", "Show what a profile has in it, for whoever decides about deleting it", cobra.ExactArgs(1),
		func(ctx context.Context, c client.Client, args []string, out io.Writer, output string) error {
			p := &kubeflowv1.Profile{}
			if err := c.Get(ctx, client.ObjectKey{Name: args[0]}, p); err != nil {
				return fmt.Errorf("read profile %q: %w", args[0], err)
			}
			usage, err := gather.Usage(ctx, c, p)
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(out, usage)
			}
			return printUsage(out, usage, rowOr(p))
		})
}

func rowOr(p *kubeflowv1.Profile) string {
	if pmr.StaleOf(p) == nil {
		return "on its list, or of no sync"
	}
	row := rowOf(p)
	return fmt.Sprintf("%s, listed no more since %s", row.State, row.Since.UTC().Format(time.RFC3339))
}

func printUsage(out io.Writer, u pmr.Usage, state string) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0) //nolint:mnd // three spaces between columns
	row := func(name, value string) { fmt.Fprintf(table, "%s\t%s\n", name, printable(value)) }
	row("Profile", u.Profile)
	row("State", state)
	row("Owner", u.Owner)
	row("Contributors", listed(u.Contributors))
	var volumes []string
	for _, v := range u.Volumes {
		volumes = append(volumes, v.Name+" "+v.Size)
	}
	row("Volumes", listed(volumes))
	row("Running pods", fmt.Sprintf("%d, with %s GPUs", u.Pods, u.GPUs))
	row("Notebooks", listed(u.Notebooks))
	row("InferenceServices", listed(u.InferenceServices))
	last := "unknown"
	if !u.LastActivity.IsZero() {
		last = u.LastActivity.Format(time.RFC3339)
	}
	row("Last activity", last)
	return table.Flush()
}

// listed are the first of texts, and how many there are.
func listed(texts []string) string {
	const most = 20
	if len(texts) == 0 {
		return "none"
	}
	text := fmt.Sprintf("%d: %s", len(texts), strings.Join(texts[:min(most, len(texts))], ", "))
	if len(texts) > most {
		text += ", …"
	}
	return text
}

func staleApproveCommand() *cobra.Command {
	return staleSubcommand("approve NAME", "Let a stale profile be deleted, with all that is in it, once its grace period is over", cobra.ExactArgs(1),
		func(ctx context.Context, c client.Client, args []string, out io.Writer, _ string) error {
			p := &kubeflowv1.Profile{}
			if err := c.Get(ctx, client.ObjectKey{Name: args[0]}, p); err != nil {
				return fmt.Errorf("read profile %q: %w", args[0], err)
			}
			if pmr.StaleOf(p) == nil {
				return fmt.Errorf("profile %q is not stale: take it off its list first", p.Name)
			}
			before := p.DeepCopy()
			p.Annotations[berthv1alpha1.ApproveDeletionAnnotation] = string(p.UID)
			if err := c.Patch(ctx, p, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
				return fmt.Errorf("annotate profile %q: %w", p.Name, err)
			}
			fmt.Fprintf(out, "profile %s will be deleted, with its namespace and all that is in it, once its grace period is over, "+
				"if spec.stale.deletionPolicy of ProfileSync %s is Delete; to take it back: kubectl annotate profiles.kubeflow.org %s %s-\n",
				p.Name, p.Labels[berthv1alpha1.SyncLabel], p.Name, berthv1alpha1.ApproveDeletionAnnotation)
			return nil
		})
}

// staleSubcommand is a command that runs on a cluster and prints text or JSON.
func staleSubcommand(use, short string, args cobra.PositionalArgs,
	run func(ctx context.Context, c client.Client, args []string, out io.Writer, output string) error,
) *cobra.Command {
	flags := flag.NewFlagSet(use, flag.ContinueOnError)
	config.RegisterFlags(flags)
	var output string
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{"text", "json"}, output) {
				return errOutput
			}
			c, err := clusterClient()
			if err != nil {
				return err
			}
			return run(cmd.Context(), c, args, cmd.OutOrStdout(), output)
		},
	}
	cmd.Flags().AddGoFlagSet(flags)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}
