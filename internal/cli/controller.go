// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"berth.dev/berth/internal/controller"
)

// controllerCommand has the flags of Kubeflow's profile controller, read as the flag package reads them: with one dash
// or two.
func controllerCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "controller",
		Short:              "Keep every Profile's namespace and what is in it as it should be",
		Long:               "Keep every Profile's namespace and what is in it as it should be. Run with -help for the flags.",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runController(cmd.Context(), args)
		},
	}
}

func runController(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("controller", flag.ContinueOnError)
	settings := newSettings(os.Getenv)
	settings.bind(flags)
	options := controller.Options{}
	flags.StringVar(&options.MetricsAddress, "metrics-bind-address", ":8080", "the address of the metrics; 0 for none")
	flags.StringVar(&options.ProbeAddress, "health-probe-bind-address", ":9876", "the address of /healthz and /readyz")
	flags.BoolVar(&options.LeaderElection, "leader-elect", false, "have one of several replicas work at a time")
	flags.StringVar(&options.LeaderElectionNamespace, "leader-election-namespace", "", "the namespace of the lease; the pod's own by default")
	flags.DurationVar(&options.PluginVerify, "plugin-verify-interval", time.Hour, "how often bindings to cloud identities are looked at again")
	config.RegisterFlags(flags)
	logging := zap.Options{Development: true}
	logging.BindFlags(flags)

	if err := flags.Parse(joinWords(args)); err != nil {
		return err
	}
	if rest := flags.Args(); len(rest) > 0 {
		// Kubeflow's profile controller never minded, and there are installations that rely on it.
		fmt.Fprintf(os.Stderr, "Warning: ignoring %q and all flags after it\n", rest[0])
	}
	var given []string
	flags.Visit(func(f *flag.Flag) { given = append(given, f.Name) })
	if err := settings.finish(given); err != nil {
		return err
	}
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&logging)))

	options.Render = settings.Config
	options.OpenLabels = settings.openLabels
	var err error
	if options.RESTConfig, err = clusterConfig(); err != nil {
		return err
	}
	return controller.Run(ctx, options)
}

// clusterConfig finds the cluster: the flag -kubeconfig, the environment, the pod's own account, or the home directory.
func clusterConfig() (*rest.Config, error) {
	cfg, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w; set KUBECONFIG or -kubeconfig", err)
	}
	// The API server sheds load by its own priorities; holding back here as well only makes people wait.
	cfg.QPS = -1
	// The one warning that we get is about the finalizer's name, which others know and which stays.
	cfg.WarningHandler = rest.NoWarnings{}
	cfg.UserAgent = "berth/" + Version()
	return cfg, nil
}
