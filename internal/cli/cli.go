// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package cli is what a person types: one file per subcommand.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker; without, it is the version that Go recorded.
var version = ""

// Main runs the command that args name and returns the exit code. The program looks at its own name first: as
// /manager it is the controller and as /access-management the access-management API, so that the manifests of Kubeflow
// work unchanged; as kubectl-berth it is a plugin of kubectl, and says so in its help.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	root := Root()
	if name, isPlugin := strings.CutPrefix(filepath.Base(args[0]), "kubectl-"); isPlugin {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl " + name}
	}
	root.SetArgs(arguments(args))
	err := root.ExecuteContext(ctx)
	var exit *ExitError
	switch {
	case errors.As(err, &exit):
		if exit.Err != nil {
			fmt.Fprintln(os.Stderr, "Error:", exit.Err)
		}
		return exit.Code
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	default:
		fmt.Fprintln(os.Stderr, "Error:", err)
		return 1
	}
}

// arguments are args as the root command understands them, whatever name the program was called by.
func arguments(args []string) []string {
	switch filepath.Base(args[0]) {
	case "manager":
		return append([]string{"controller"}, args[1:]...)
	case "access-management":
		// The defaults are those under which it works where Kubeflow's did: only the network says whom to believe.
		return append([]string{"kfam", "-trust-header=always"}, args[1:]...)
	}
	return args[1:]
}

// Root is the command with all its subcommands.
func Root() *cobra.Command {
	root := &cobra.Command{
		Use:   "berth",
		Short: "Berth gives every team its own berth on a shared Kubernetes cluster",
		Long: "Berth gives every team its own berth on a shared Kubernetes cluster for machine learning:\n" +
			"a namespace that is theirs, within budget, with the right people in it.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       Version(),
	}
	root.AddCommand(controllerCommand(), kfamCommand(), accessCommand(), rolesCommand(), renderCommand(), classCommand(), pmrCommand(), syncCommand(),
		staleCommand(), demoCommand())
	return root
}

// Version is the version of the program.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
