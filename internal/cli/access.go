// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"berth.dev/berth/internal/access"
	"berth.dev/berth/internal/kube/gather"
	"berth.dev/berth/internal/snapshot"
)

// exitUnanswered is the exit code where a question could not be asked. 1 is the answer no.
const exitUnanswered = 2

func accessCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "access",
		Short: "Ask who can do what, and why, and what a change would change",
		Long: "Ask who can do what, and why: what RBAC gives in the Kubernetes API, and what Istio lets through the mesh. All of it works\n" +
			"on a cluster, and with --from on a snapshot of one.",
	}
	cmd.AddCommand(accessCanCommand("can", false), accessCanCommand("why", true), accessWhoCommand(), accessWhatCommand(), accessDiffCommand(), accessLintCommand(),
		accessSnapshotCommand())
	return cmd
}

// snapshotFlags say what is asked about: a cluster, or the files of a snapshot.
type snapshotFlags struct {
	from string
}

func (f *snapshotFlags) bind(cmd *cobra.Command) {
	flags := flag.NewFlagSet(cmd.Name(), flag.ContinueOnError)
	config.RegisterFlags(flags)
	cmd.Flags().AddGoFlagSet(flags)
	cmd.Flags().StringVar(&f.from, "from", "", "a directory with the cluster's objects as YAML or JSON, instead of a cluster")
	cmd.MarkFlagsMutuallyExclusive("from", "kubeconfig")
}

// read reads the snapshot.
func (f *snapshotFlags) read(ctx context.Context) (*snapshot.Snapshot, error) {
	if f.from != "" {
		return gather.SnapshotFiles(os.DirFS(f.from))
	}
	c, err := clusterClient()
	if err != nil {
		return nil, err
	}
	cluster, err := clusterConfig()
	if err != nil {
		return nil, err
	}
	served, err := discovery.NewDiscoveryClientForConfig(cluster)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	return gather.Snapshot(ctx, c, served)
}

// accessFlags are those of all questions about access.
type accessFlags struct {
	snapshotFlags

	options access.Options
	output  string
}

func (f *accessFlags) bind(cmd *cobra.Command) {
	f.snapshotFlags.bind(cmd)
	f.options = access.DefaultOptions()
	cmd.Flags().StringVarP(&f.output, "output", "o", "text", "text or json")
	cmd.Flags().StringVar(&f.options.UserHeader, "userid-header", f.options.UserHeader, "the header that says who has signed in, behind the gateway")
	cmd.Flags().StringVar(&f.options.UserPrefix, "userid-prefix", f.options.UserPrefix, "what stands before the user in it")
	cmd.Flags().StringVar(&f.options.Gateway, "gateway", f.options.Gateway, "the Gateway that people come in by, as namespace/name")
}

// engine reads what is asked about. What goes wrong has an exit code of its own: it is no answer.
func (f *accessFlags) engine(ctx context.Context) (*access.Engine, *snapshot.Snapshot, error) {
	if !slices.Contains([]string{"text", "json"}, f.output) {
		return nil, nil, unanswered(errOutput)
	}
	s, err := f.read(ctx)
	if err != nil {
		return nil, nil, unanswered(err)
	}
	return access.New(s, f.options), s, nil
}

func unanswered(err error) error {
	if err == nil {
		return nil
	}
	return &ExitError{Code: exitUnanswered, Err: err}
}

func accessSnapshotCommand() *cobra.Command {
	var from snapshotFlags
	var dir string
	cmd := &cobra.Command{
		Use:   "snapshot -o DIR",
		Short: "Write down what decides about access in a cluster, without any secret",
		Long: "Write what decides about access in a cluster into YAML files: namespaces, service accounts, services, roles, bindings, Istio's\n" +
			"policies and routes, profiles, the kinds that are served, and of pods what selects and identifies them. No Secret is read, and\n" +
			"no environment of a container is kept. All commands of berth access and berth roles read such a directory with --from.",
		Example: "  berth access snapshot -o now && berth access who -n risk --from now",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return errors.New("where to? Name a directory with -o")
			}
			s, err := from.read(cmd.Context())
			if err != nil {
				return err
			}
			return writeSnapshot(s, dir)
		},
	}
	from.bind(cmd)
	cmd.Flags().StringVarP(&dir, "output", "o", "", "the directory, which must be empty if it is there")
	return cmd
}

// writeSnapshot writes s into a directory that has nothing else in it: what was left of an older one would be read, too.
func writeSnapshot(s *snapshot.Snapshot, dir string) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("the directory %s is not empty: files of another snapshot would count as part of this one", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of the snapshot: %w", err)
	}
	return gather.Write(s, func(name string, data []byte) error {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return fmt.Errorf("write the snapshot: %w", err)
		}
		return nil
	})
}
