// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"berth.dev/berth/devcluster/cluster"
	"berth.dev/berth/devcluster/component"
)

const upHelp = `Run a control plane until interrupted.

When it is ready, one block of "key: value" lines goes to standard output; the line "ready" comes last.

Without --dir, all state lives in a temporary directory that is removed at the end. With it, the data is kept, and
the next start on the same directory continues with it, on the same port if that is still free.

With --control, the command ends as soon as its standard input does, and takes one command per line from it:
"stop COMPONENT" kills etcd, kube-apiserver or kube-controller-manager, and "start COMPONENT" starts it again, the API
server on the same port. "install EXTRA" installs what --without left out. Each is answered by one line on standard output: "done" or "error: REASON".`

// upOptions are the flags of the up command.
type upOptions struct {
	dir        string
	kubeconfig string
	crds       []string
	without    []string
	manifests  string
	audit      cluster.Audit
	control    bool
}

func upCommand() *cobra.Command {
	var opts upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run a control plane until interrupted",
		Long:  upHelp,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return up(cmd.Context(), opts, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.dir, "dir", "", "directory for all state (default: a temporary one)")
	flags.StringVar(&opts.kubeconfig, "kubeconfig", "", "also write the administrator's kubeconfig to this file")
	flags.StringSliceVar(&opts.crds, "crds", nil, "directories with further CRDs to install")
	flags.StringSliceVar(&opts.without, "without", nil, fmt.Sprintf("what not to install, out of %q", extraNames))
	flags.StringVar(&opts.manifests, "manifests", "", "directory of the CRDs of Istio and Berth (default: devcluster-manifests beside the executable)")
	flags.StringVar(&opts.audit.PolicyFile, "audit-policy", "", "audit policy of the API server")
	flags.StringVar(&opts.audit.WebhookURL, "audit-webhook", "", "URL that receives audit events")
	flags.BoolVar(&opts.control, "control", false, "take commands from standard input, and end with it")
	cmd.MarkFlagsRequiredTogether("audit-policy", "audit-webhook")
	return cmd
}

// up runs a control plane until a signal, the end of stdin (if that controls it) or the failure of a part.
func up(ctx context.Context, opts upOptions, stdin io.Reader, stdout io.Writer) (err error) {
	began := time.Now()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// When whoever reads our output is gone, we still want to clean up, and learn of its end otherwise.
	signal.Ignore(syscall.SIGPIPE)

	extras, err := opts.validate()
	if err != nil {
		return err
	}
	dir, err := cluster.OpenDir(opts.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	plane, err := cluster.New(dir, opts.audit, began)
	if err != nil {
		return err
	}
	started := make(chan error, 1)
	go func() {
		started <- start(ctx, plane, extras)
		close(started)
	}()
	defer func() {
		stop()
		for range started { // nothing may be launched behind our back
		}
		plane.Close()
	}()

	var commands <-chan command
	if opts.control {
		commands = readCommands(stdin, stop)
	}
	for starting := started; ; {
		select {
		case <-ctx.Done():
			return nil
		case err := <-plane.Failed():
			return err
		case err := <-starting:
			if ctx.Err() != nil {
				return nil // err only says that it was interrupted
			}
			if err != nil {
				return err
			}
			starting = nil // heard
			if err := announce(plane, opts, time.Since(began), stdout); err != nil {
				return err
			}
		case command := <-commands:
			command.run(ctx, plane, extras, stdout)
		}
	}
}

// validate checks what can be checked before anything starts, makes paths absolute because the parts run in another
// directory, and returns what to install.
func (o *upOptions) validate() (*extras, error) {
	if o.audit.PolicyFile != "" {
		path, err := filepath.Abs(o.audit.PolicyFile)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("--audit-policy: %w", err)
		}
		o.audit.PolicyFile = path
	}
	if o.kubeconfig != "" {
		if err := cluster.CheckKubeconfigTarget(o.kubeconfig); err != nil {
			return nil, err
		}
	}
	return newExtras(*o)
}

// announce tells users and programs how to reach the cluster.
func announce(plane *cluster.Cluster, opts upOptions, took time.Duration, stdout io.Writer) error {
	path := plane.Kubeconfig()
	if opts.kubeconfig != "" {
		if err := plane.ExportKubeconfig(opts.kubeconfig); err != nil {
			return fmt.Errorf("write --kubeconfig: %w", err)
		}
		path = opts.kubeconfig
	}
	_, err := fmt.Fprintf(stdout, "kubeconfig: %s\nserver: %s\nkubernetes: %s\nready: %.1fs\n",
		path, plane.Server(), component.KubernetesVersion(), took.Seconds())
	return err
}
