// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Command devcluster runs a real Kubernetes control plane on loopback, for demos and tests: etcd, kube-apiserver and
// kube-controller-manager in one binary, ready in seconds and gone with the process that started it.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"berth.dev/berth/devcluster/cluster"
	"berth.dev/berth/devcluster/component"
)

func main() {
	root := &cobra.Command{
		Use:           "devcluster",
		Short:         "A real Kubernetes control plane on loopback, for demos and tests",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(upCommand(), versionCommand(), runCommand())
	if err := root.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

// runCommand runs one part of the control plane. The parts bring their own flags.
func runCommand() *cobra.Command {
	return &cobra.Command{
		Use:                cluster.RunCommand + " COMPONENT [FLAGS]",
		Hidden:             true,
		DisableFlagParsing: true,
		Args:               cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return component.Run(cmd.Context(), args[0], args[1:])
		},
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of Kubernetes and etcd",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "kubernetes: %s\netcd: v%s\n", component.KubernetesVersion(), component.EtcdVersion())
			return err
		},
	}
}
