// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Command devcluster runs a real Kubernetes control plane on loopback, for demos and tests: etcd, kube-apiserver and
// kube-controller-manager in one binary, ready in seconds and gone with the process that started it.
package main

import (
	"fmt"
	"os"

	"berth.dev/berth/devcluster/cluster"
	"berth.dev/berth/devcluster/component"
	"github.com/spf13/cobra"
)

func main() {
	// The parts bring their own flags, so they are dispatched before any of ours are read.
	if len(os.Args) > 2 && os.Args[1] == cluster.RunCommand {
		exitOn(component.Run(os.Args[2], os.Args[3:]))
		return
	}
	root := &cobra.Command{
		Use:           "devcluster",
		Short:         "A real Kubernetes control plane on loopback, for demos and tests",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(upCommand(), versionCommand())
	exitOn(root.Execute())
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
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
