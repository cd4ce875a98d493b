// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"berth.dev/berth/internal/access/coverage"
	"berth.dev/berth/internal/kube/gather"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/snapshot"
)

func rolesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "roles",
		Short: "Compare Kubeflow's roles of tenants with the kinds that a cluster serves",
		Long: "Compare what kubeflow-view, kubeflow-edit and kubeflow-admin give with the kinds that a cluster serves, and write the\n" +
			"roles that supply what is missing. Nothing is changed.",
	}
	cmd.AddCommand(rolesCheckCommand(), rolesGenerateCommand(), rolesPolicyCommand())
	return cmd
}

// rolesInput is where the roles and the kinds come from, and what is wanted of them.
type rolesInput struct {
	from, policyFile string
	flags            *flag.FlagSet
}

func (in *rolesInput) bind(cmd *cobra.Command) {
	in.flags = flag.NewFlagSet(cmd.Name(), flag.ContinueOnError)
	config.RegisterFlags(in.flags)
	cmd.Flags().AddGoFlagSet(in.flags)
	cmd.Flags().StringVar(&in.from, "from", "", "a directory of YAML or JSON files with ClusterRoles, and with CustomResourceDefinitions or API resource lists, instead of a cluster")
	cmd.Flags().StringVar(&in.policyFile, "policy", "", "a file with a RolePolicy instead of the one that berth roles policy prints")
}

// gather reads all that is compared.
func (in *rolesInput) gather(ctx context.Context) (coverage.Policy, *snapshot.Snapshot, error) {
	policy := coverage.DefaultPolicy()
	if in.policyFile != "" {
		data, err := os.ReadFile(in.policyFile)
		if err != nil {
			return policy, nil, fmt.Errorf("read the policy: %w", err)
		}
		if policy, err = coverage.ReadPolicy(data); err != nil {
			return policy, nil, fmt.Errorf("%s: %w", in.policyFile, err)
		}
	}
	s, err := in.snapshot(ctx, policy)
	if err == nil && len(s.Resources) == 0 {
		err = errors.New("nothing says which kinds are served: add CustomResourceDefinitions (kubectl get crds -o yaml)")
	}
	return policy, s, err
}

func (in *rolesInput) snapshot(ctx context.Context, policy coverage.Policy) (*snapshot.Snapshot, error) {
	if in.from != "" {
		if _, err := os.Stat(in.from); err != nil {
			return nil, fmt.Errorf("read the files: %w", err)
		}
		return gather.SnapshotFiles(os.DirFS(in.from))
	}
	c, err := clusterClient()
	if err != nil {
		return nil, err
	}
	cfg, err := clusterConfig()
	if err != nil {
		return nil, err
	}
	served, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	return gather.Roles(ctx, c, served, policy.Covers)
}

func rolesCheckCommand() *cobra.Command {
	var in rolesInput
	var output string
	var notes bool
	cmd := &cobra.Command{
		Use:   "check [--from DIR] [--policy FILE]",
		Short: "Find what the roles of tenants lack, and what they give too much",
		Long: "Find kinds on which kubeflow-view, kubeflow-edit and kubeflow-admin give less than the policy says, rules that give\n" +
			"more, and rules that do nothing, as their names are misspelt or their kinds in no namespace.\n\n" +
			"The exit code is 1 where there are errors, that is where tenants have less or more than the policy says.",
		Example: "  berth roles check\n  berth roles check --from manifests/ --policy role-policy.yaml -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return errOutput
			}
			policy, s, err := in.gather(cmd.Context())
			if err != nil {
				return err
			}
			findings := coverage.Check(policy, s)
			if output == "json" {
				err = printJSON(cmd.OutOrStdout(), map[string]any{"findings": append([]coverage.Finding{}, findings...)})
			} else {
				err = printCoverage(cmd.OutOrStdout(), findings, notes)
			}
			if err == nil && coverage.HasErrors(findings) {
				err = &ExitError{Code: 1}
			}
			return err
		},
	}
	in.bind(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.Flags().BoolVar(&notes, "notes", false, "print the notes, too, which harm nobody; in JSON they are always there")
	return cmd
}

func rolesGenerateCommand() *cobra.Command {
	var in rolesInput
	var output string
	cmd := &cobra.Command{
		Use:   "generate [--from DIR] [--policy FILE]",
		Short: "Print the ClusterRoles that supply what the roles of tenants lack",
		Long: "Print ClusterRoles that become part of kubeflow-view, kubeflow-edit and kubeflow-admin by their labels, and give what\n" +
			"those lack by the policy and no more. The ones that are there are not changed.",
		Example: "  berth roles generate | kubectl apply -f -\n  berth roles generate --from manifests/ > supplementary-roles.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "yaml" {
				return errors.New("-o is yaml")
			}
			policy, s, err := in.gather(cmd.Context())
			if err != nil {
				return err
			}
			roles := coverage.Generate(policy, s)
			if len(roles) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "Nothing is missing.")
				return nil
			}
			objects := make([]render.Object, 0, len(roles))
			for _, role := range roles {
				objects = append(objects, render.Object{Resource: role})
			}
			text, err := render.YAML(objects)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	in.bind(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "yaml", "yaml")
	return cmd
}

func rolesPolicyCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "policy",
		Short:   "Print the policy that holds where none is given, to begin one's own with",
		Example: "  berth roles policy > role-policy.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(coverage.DefaultText)
			return err
		},
	}
}
