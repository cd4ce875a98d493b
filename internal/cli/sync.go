// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/controller/profilesync"
	"berth.dev/berth/internal/kube/gather"
	"berth.dev/berth/internal/kube/scheme"
	"berth.dev/berth/internal/pmr"
)

func syncCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "sync", Short: "Look at profile syncs, and approve what they hold back"}
	cmd.AddCommand(syncPlanCommand(), syncApproveCommand(), syncNowCommand())
	return cmd
}

// syncPlanCommand shows the whole plan of a sync, which its status only counts.
func syncPlanCommand() *cobra.Command {
	settings := newSettings(os.Getenv)
	flags := flag.NewFlagSet("plan", flag.ContinueOnError)
	settings.bind(flags)
	config.RegisterFlags(flags)
	var namespace, output string
	cmd := &cobra.Command{
		Use:   "plan NAME",
		Short: "Show what a ProfileSync would do now, and what it holds back",
		Long: "Read the list of a ProfileSync from its source, compare it with the cluster, and show what is to be done. Nothing\n" +
			"is changed. You need to be allowed to read the Secrets that the sync names. Give it the flags that the controller has.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return errOutput
			}
			if err := settings.finish(given(cmd, flags)); err != nil {
				return err
			}
			c, err := clusterClient()
			if err != nil {
				return err
			}
			s, err := readSync(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			plan, err := previewer(c, settings, namespace).Preview(cmd.Context(), s)
			if err != nil {
				return fmt.Errorf("plan ProfileSync %q: %w", s.Name, err)
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), planJSON{plan, plan.Digest(), plan.HeldDigest()})
			}
			return printPlan(cmd.OutOrStdout(), plan, approveCommand)
		},
	}
	cmd.Flags().AddGoFlagSet(flags)
	cmd.Flags().StringVar(&namespace, "secret-namespace", "kubeflow", "the namespace that the controller runs in, where the Secrets are")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

// previewer reads everything directly.
func previewer(c client.Client, settings *settings, namespace string) *profilesync.Reconciler {
	return profilesync.New(profilesync.Options{
		Client: c, Direct: c, Recorder: events.NewFakeRecorder(0), Config: settings.Config, Namespace: namespace, Now: time.Now,
		Have: func(ctx context.Context) (pmr.Have, error) { return gather.Live(ctx, c) },
		Classes: func(ctx context.Context) ([]berthv1alpha1.ProfileClass, error) {
			var list berthv1alpha1.ProfileClassList
			if err := c.List(ctx, &list); err != nil && !meta.IsNoMatchError(err) {
				return nil, fmt.Errorf("list the profile classes: %w", err)
			}
			return list.Items, nil
		},
	})
}

// approveCommand lets a plan through, given its digest.
const approveCommand = "berth sync approve"

// digestForm is what a plan's digest looks like.
var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func syncApproveCommand() *cobra.Command {
	flags := flag.NewFlagSet("approve", flag.ContinueOnError)
	config.RegisterFlags(flags)
	var name string
	cmd := &cobra.Command{
		Use:   "approve DIGEST [--sync NAME]",
		Short: "Let a plan through that a ProfileSync holds back, once",
		Long: "Let the plan through that has the digest, and no other. The status of the ProfileSync has the digest; berth sync\n" +
			"plan shows what is in the plan.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !digestForm.MatchString(args[0]) {
				return fmt.Errorf("%q is no digest of a plan: it has the form sha256: and 64 hexadecimal digits", args[0])
			}
			c, err := clusterClient()
			if err != nil {
				return err
			}
			s, err := holding(cmd.Context(), c, name, args[0])
			if err != nil {
				return err
			}
			if err := annotateSync(cmd.Context(), c, s, berthv1alpha1.SyncApproveAnnotation, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "approved for ProfileSync %s: %d actions that were held\n", s.Name, s.Status.Plan.Held)
			return nil
		},
	}
	cmd.Flags().AddGoFlagSet(flags)
	cmd.Flags().StringVar(&name, "sync", "", "the ProfileSync; found by the digest where it is not given")
	return cmd
}

// holding is the sync that holds the plan with the digest.
func holding(ctx context.Context, c client.Client, name, digest string) (*berthv1alpha1.ProfileSync, error) {
	var list berthv1alpha1.ProfileSyncList
	if err := c.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("list the ProfileSyncs: %w", err)
	}
	for i := range list.Items {
		s := &list.Items[i]
		if (name == "" || s.Name == name) && s.Status.Plan != nil && s.Status.Plan.Held > 0 && s.Status.Plan.Digest == digest {
			return s, nil
		}
	}
	return nil, fmt.Errorf("no ProfileSync holds a plan with the digest %s: the list or the cluster has changed since; look again with "+
		"kubectl get profilesyncs and berth sync plan", digest)
}

func syncNowCommand() *cobra.Command {
	flags := flag.NewFlagSet("now", flag.ContinueOnError)
	config.RegisterFlags(flags)
	cmd := &cobra.Command{
		Use:   "now NAME",
		Short: "Have a ProfileSync read its source at once",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := clusterClient()
			if err != nil {
				return err
			}
			s, err := readSync(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			return annotateSync(cmd.Context(), c, s, berthv1alpha1.SyncNowAnnotation, time.Now().UTC().Format(time.RFC3339Nano))
		},
	}
	cmd.Flags().AddGoFlagSet(flags)
	return cmd
}

func readSync(ctx context.Context, c client.Client, name string) (*berthv1alpha1.ProfileSync, error) {
	s := &berthv1alpha1.ProfileSync{}
	if err := c.Get(ctx, client.ObjectKey{Name: name}, s); err != nil {
		return nil, fmt.Errorf("read ProfileSync %q: %w", name, err)
	}
	return s, nil
}

func annotateSync(ctx context.Context, c client.Client, s *berthv1alpha1.ProfileSync, key, value string) error {
	before := s.DeepCopy()
	if s.Annotations == nil {
		s.Annotations = map[string]string{}
	}
	s.Annotations[key] = value
	if err := c.Patch(ctx, s, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("annotate ProfileSync %q: %w", s.Name, err)
	}
	return nil
}

// clusterClient reads and writes the cluster that kubectl talks to, without a cache.
func clusterClient() (client.Client, error) {
	cfg, err := clusterConfig()
	if err != nil {
		return nil, err
	}
	kinds, err := scheme.New()
	if err != nil {
		return nil, err
	}
	c, err := client.New(cfg, client.Options{Scheme: kinds})
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	return c, nil
}

var errOutput = errors.New("-o is text or json")
