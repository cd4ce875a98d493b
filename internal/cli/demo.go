// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"berth.dev/berth/examples"
	"berth.dev/berth/internal/devcluster"
	"berth.dev/berth/internal/kube/scheme"
)

// demoOptions are the flags of the demo.
type demoOptions struct {
	devcluster string
	dir        string
	once       bool
}

func demoCommand() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Start a real control plane and Berth, and watch a tenant appear",
		Long: "Start a real Kubernetes control plane on loopback and Berth, put examples/quickstart in, show what it became,\n" +
			"invite somebody, carry out the list of examples/pmr, and stay up until Ctrl-C. Nothing outside the directory of --dir and the system's temporary one is touched.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&o.devcluster, "devcluster", "", "the devcluster binary (default: the one beside this program)")
	cmd.Flags().StringVar(&o.dir, "dir", ".demo", "the directory for the kubeconfig and the logs")
	cmd.Flags().BoolVar(&o.once, "once", false, "leave after the checks instead of staying up")
	cmd.AddCommand(endingWithInput(controllerCommand()), endingWithInput(kfamCommand()))
	return cmd
}

// runDemo is the whole demo, in the order in which it is read on the screen.
func runDemo(ctx context.Context, o demoOptions, out io.Writer) (err error) {
	d, err := newDemo(o, out)
	if err != nil {
		return err
	}
	defer d.close()
	err = d.run(ctx)
	if ctx.Err() != nil && err != nil {
		return errors.New("interrupted before the demo was through")
	}
	if err != nil {
		return err
	}
	if o.once {
		fmt.Fprintln(out, "\nAll is as it should be.")
		return nil
	}
	d.lookAround()
	return d.stay(ctx)
}

// demo is a demo under way.
type demo struct {
	demoOptions

	out  io.Writer
	lock *os.File
	// plane is nil until it runs; children are what else does.
	plane    *devcluster.Process
	children []*child
	server   string
	kfam     string // the URL of the access-management API
	client   client.Client
	tenants  []string // the profiles that were applied
}

// newDemo checks and prepares what can be before anything is started.
func newDemo(o demoOptions, out io.Writer) (*demo, error) {
	if o.devcluster == "" {
		var err error
		if o.devcluster, err = devcluster.BesideProgram(); err != nil {
			return nil, fmt.Errorf("%w; name it with --devcluster", err)
		}
	}
	if _, err := exec.LookPath(o.devcluster); err != nil {
		return nil, fmt.Errorf("the control plane %q can't be run (%w): in a checkout, \"make demo\" builds it and runs this", o.devcluster, err)
	}
	var err error
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return nil, fmt.Errorf("find the directory of the demo: %w", err)
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the demo: %w; choose another one with --dir", err)
	}
	d := &demo{demoOptions: o, out: out}
	if d.lock, err = os.OpenFile(d.file("lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fmt.Errorf("lock the directory of the demo: %w; choose another one with --dir", err)
	}
	if err := syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("a demo runs in %s already: end it with Ctrl-C, or choose another directory with --dir", o.dir), d.lock.Close())
	}
	if err := os.WriteFile(d.file("namespace-labels.yaml"), examples.NamespaceLabels, 0o600); err != nil {
		return nil, errors.Join(err, d.lock.Close())
	}
	return d, nil
}

func (d *demo) file(name string) string { return filepath.Join(d.dir, name) }

// run starts everything, puts the example in, and shows and checks what came of it.
func (d *demo) run(ctx context.Context) error {
	for _, stage := range []func(context.Context) error{
		d.startPlane, d.startController, d.startKFAM, d.applyQuickstart, d.showTenants, d.invite, d.checkAccess, d.syncList,
	} {
		if err := stage(ctx); err != nil {
			return err
		}
	}
	return nil
}

// connect sets up the client, once the control plane has written its kubeconfig.
func (d *demo) connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", d.file("kubeconfig"))
	if err != nil {
		return fmt.Errorf("read the kubeconfig of the control plane: %w", err)
	}
	scheme, err := scheme.New()
	if err != nil {
		return err
	}
	d.server = config.Host
	if d.client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("connect to the control plane: %w", err)
	}
	return d.writeCurlConfig(config)
}

// stay waits for Ctrl-C, or for something to end that should not.
func (d *demo) stay(ctx context.Context) error {
	ended := make(chan *child, len(d.children))
	for _, c := range d.children {
		go func() { <-c.done; ended <- c }()
	}
	select {
	case <-ctx.Done():
		return nil
	case c := <-ended:
		return c.failure()
	case <-d.plane.Done():
		return d.planeFailure(d.plane.Alive())
	}
}

// close ends what runs, the control plane last, so that nobody complains that it is gone.
func (d *demo) close() {
	if !d.once {
		fmt.Fprint(d.out, "\nStopping ... ")
		defer fmt.Fprintln(d.out, "stopped.")
	}
	for _, c := range d.children {
		c.stop()
	}
	if d.plane != nil {
		_ = d.plane.Close() // that it ended badly was told when it did
	}
	// The logs stay; what led to the control plane leads nowhere now.
	for _, name := range []string{"kubeconfig", "curl.conf", "ca.crt"} {
		_ = os.Remove(d.file(name)) // may never have been there
	}
	_ = d.lock.Close() // also unlocks
}
