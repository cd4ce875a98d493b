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
	c := newControllerFlags(os.Getenv)
	if err := c.parse(args, os.Stdout, os.Stderr); err != nil {
		return err
	}
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&c.logging)))
	c.options.Render, c.options.OpenLabels = c.settings.Config, c.settings.openLabels
	var err error
	if c.options.RESTConfig, err = clusterConfig(); err != nil {
		return err
	}
	return controller.Run(ctx, c.options)
}

// controllerFlags are the flags of the controller and what they set.
type controllerFlags struct {
	*flag.FlagSet

	settings *settings
	options  controller.Options
	logging  zap.Options
}

func newControllerFlags(getenv func(string) string) *controllerFlags {
	c := &controllerFlags{
		FlagSet:  flag.NewFlagSet("controller", flag.ContinueOnError),
		settings: newSettings(getenv),
		logging:  zap.Options{Development: true},
	}
	c.settings.bind(c.FlagSet)
	c.StringVar(&c.options.MetricsAddress, "metrics-bind-address", ":8080", "the address of the metrics; 0 for none")
	c.BoolVar(&c.options.MetricsSecure, "metrics-secure", false, "serve the metrics over TLS, to those who may get /metrics in the cluster")
	c.StringVar(&c.options.ProbeAddress, "health-probe-bind-address", ":9876", "the address of /healthz and /readyz")
	c.StringVar(&c.options.WebhookAddress, "webhook-bind-address", "0", "the address at which git servers announce changes of lists, at /hooks/SYNC; 0 for none")
	c.BoolVar(&c.options.LeaderElection, "leader-elect", false, "have one of several replicas work at a time")
	c.StringVar(&c.options.LeaderElectionNamespace, "leader-election-namespace", "", "the namespace of the lease; the pod's own by default")
	c.DurationVar(&c.options.PluginVerify, "plugin-verify-interval", time.Hour, "how often bindings to cloud identities are looked at again")
	c.BoolVar(&c.options.RoleCoverage, "role-coverage", getenv("ROLE_COVERAGE") == "true", "supply the roles of tenants with what they lack on kinds that the cluster serves")
	config.RegisterFlags(c.FlagSet)
	c.logging.BindFlags(c.FlagSet)
	return c
}

// parse reads args and the file that they name. Asked for help, it prints the flags and returns flag.ErrHelp.
func (c *controllerFlags) parse(args []string, out, errs io.Writer) error {
	c.SetOutput(io.Discard) // the error is told once, by whoever called, and without all the flags
	switch err := c.Parse(joinWords(args)); {
	case errors.Is(err, flag.ErrHelp):
		c.SetOutput(out)
		fmt.Fprintln(out, "Flags, with one dash or two:")
		c.PrintDefaults()
		return err
	case err != nil:
		return fmt.Errorf("%w; -help lists the flags", err)
	}
	if rest := c.Args(); len(rest) > 0 {
		// Kubeflow's profile controller never minded, and there are installations that rely on it.
		fmt.Fprintf(errs, "Warning: ignoring %q and all flags after it\n", rest[0])
	}
	if c.options.PluginVerify <= 0 {
		return fmt.Errorf("-plugin-verify-interval is %s: it must be longer than nothing", c.options.PluginVerify)
	}
	var given []string
	c.Visit(func(f *flag.Flag) { given = append(given, f.Name) })
	return c.settings.finish(given)
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
