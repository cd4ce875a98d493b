// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"

	"berth.dev/berth/internal/devcluster"
)

const (
	// demoPatience is far above what any step takes on a slow machine.
	demoPatience = 2 * time.Minute
	// demoPoll is how often the demo asks whether what it waits for has come.
	demoPoll = 50 * time.Millisecond
	// endPatience is how long a process may take to end by itself.
	endPatience = 20 * time.Second
)

// child is a part of Berth as a process of the demo's. It ends when its standard input does: a pipe, which the system
// closes when the demo ends, however it ends. The control plane is another such process.
type child struct {
	name  string
	log   string // the file with its standard error
	stdin io.Closer
	cmd   *exec.Cmd
	done  chan struct{}
}

func startChild(name, log string, cmd *exec.Cmd) (*child, error) {
	file, err := createLog(name, log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // the process has its own
	cmd.Stderr = file
	// A process group of its own keeps a terminal's Ctrl-C from it: the demo ends things in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the %s: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the %s: %w", name, err)
	}
	c := &child{name: name, log: log, stdin: stdin, cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		close(c.done)
	}()
	return c, nil
}

// stop has the process end and waits until it has.
func (c *child) stop() {
	_ = c.stdin.Close() // fails only where it has ended already
	select {
	case <-c.done:
	case <-time.After(endPatience):
		_ = c.cmd.Process.Kill() // as above
		<-c.done
	}
}

func (c *child) failure() error { return failure(c.name, c.log, c.cmd.ProcessState) }

func createLog(name, path string) (*os.File, error) {
	_ = os.Remove(path) // one that a killed demo left behind may still be written to
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open a log for the %s: %w", name, err)
	}
	return file, nil
}

// failure says how a process ended, with the last lines that it logged.
func failure(name, path string, state *os.ProcessState) error {
	log, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return fmt.Errorf("the %s ended (%s); its log %s ends with:\n%s",
		name, state, path, strings.Join(lines[max(0, len(lines)-8):], "\n"))
}

// startPlane starts the control plane and waits until it says that it is ready.
func (d *demo) startPlane(ctx context.Context) error {
	return d.step("Starting a control plane (etcd, kube-apiserver, kube-controller-manager)", func() (string, error) {
		log, err := createLog("control plane", d.file("control-plane.log"))
		if err != nil {
			return "", err
		}
		defer func() { _ = log.Close() }() // the process has its own
		d.plane, err = devcluster.Start(ctx, devcluster.Options{
			Binary: d.devcluster, Args: []string{"--kubeconfig", d.file("kubeconfig")}, Log: log, EndPatience: endPatience,
		})
		if err != nil {
			return "", d.planeFailure(err)
		}
		return "Kubernetes " + d.plane.Kubernetes + " is up", d.connect()
	})
}

// planeFailure adds to the error that the control plane has ended what it logged last.
func (d *demo) planeFailure(err error) error {
	if ended := new(devcluster.EndedError); errors.As(err, &ended) {
		return failure("control plane", d.file("control-plane.log"), ended.State)
	}
	return err
}

// startController starts the controller as its users do, but for its end, and waits until it serves.
func (d *demo) startController(ctx context.Context) error {
	return d.step("Starting the controller", func() (string, error) {
		metrics, err := freeAddress(ctx)
		if err != nil {
			return "", err
		}
		probes, err := freeAddress(ctx)
		if err != nil {
			return "", err
		}
		return "up", d.startBerth(ctx, "controller", "controller.log", "http://"+probes+"/readyz", "controller",
			"-namespace-labels-path", d.file("namespace-labels.yaml"), "-metrics-bind-address", metrics, "-health-probe-bind-address", probes)
	})
}

// startKFAM starts the access-management API. On loopback there is no mesh to say who somebody is, so it believes the
// header.
func (d *demo) startKFAM(ctx context.Context) error {
	return d.step("Starting the access-management API", func() (string, error) {
		address, err := freeAddress(ctx)
		if err != nil {
			return "", err
		}
		d.kfam = "http://" + address
		return "up", d.startBerth(ctx, "access-management API", "kfam.log", d.kfam+"/readyz", "kfam",
			"-bind-address", address, "-trust-header", "always")
	})
}

// userHeader is the header that names the user in the demo.
const userHeader = "kubeflow-userid"

// startBerth starts a part of Berth, a subcommand with arguments, and waits until url answers.
func (d *demo) startBerth(ctx context.Context, name, log, url, subcommand string, args ...string) error {
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start the %s: %w", name, err)
	}
	args = append([]string{"demo", subcommand, "-kubeconfig", d.file("kubeconfig"), "-userid-header", userHeader, "-userid-prefix", ""}, args...)
	c, err := startChild(name, d.file(log), exec.Command(executable, args...))
	if err != nil {
		return err
	}
	d.children = append(d.children, c)
	return d.await(ctx, "the "+name+" to serve", func(ctx context.Context) (bool, string, error) {
		return serves(ctx, url), "it does not answer yet", nil
	})
}

// await asks check until it says yes. Where that takes too long, the error has what check said last.
func (d *demo) await(ctx context.Context, what string, check func(context.Context) (done bool, state string, err error)) error {
	var state string
	err := wait.PollUntilContextTimeout(ctx, demoPoll, demoPatience, true, func(ctx context.Context) (done bool, err error) {
		if err := d.alive(); err != nil {
			return false, err
		}
		done, state, err = check(ctx)
		return done, err
	})
	if wait.Interrupted(err) {
		return fmt.Errorf("waited %s for %s: %s; the logs are in %s", demoPatience, what, state, d.dir)
	}
	return err
}

// alive says what has ended that should not have.
func (d *demo) alive() error {
	for _, c := range d.children {
		select {
		case <-c.done:
			return c.failure()
		default:
		}
	}
	select {
	case <-d.plane.Done():
		return d.planeFailure(d.plane.Alive())
	default:
		return nil
	}
}

// freeAddress is a loopback address that nobody listens on.
func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// serves says whether url answers that all is well.
func serves(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil && response.StatusCode == http.StatusOK
}

// endingWithInput is cmd, ending with its standard input.
func endingWithInput(cmd *cobra.Command) *cobra.Command {
	cmd.Hidden = true
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, cancel := context.WithCancel(cmd.Context())
		defer cancel()
		go func() {
			_, _ = io.Copy(io.Discard, cmd.InOrStdin()) // its end is what counts
			cancel()
		}()
		cmd.SetContext(ctx)
		return run(cmd, args)
	}
	return cmd
}
