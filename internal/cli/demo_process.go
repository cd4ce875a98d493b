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

// child is the controller as a process of the demo's. It ends when its standard input does: a pipe, which the system
// closes when the demo ends, however it ends. The control plane is another such process.
type child struct {
	log   string // the file with its standard error
	stdin io.Closer
	cmd   *exec.Cmd
	done  chan struct{}
}

func startChild(log string, cmd *exec.Cmd) (*child, error) {
	file, err := createLog("controller", log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // the process has its own
	cmd.Stderr = file
	// A process group of its own keeps a terminal's Ctrl-C from it: the demo ends things in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the controller: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the controller: %w", err)
	}
	c := &child{log: log, stdin: stdin, cmd: cmd, done: make(chan struct{})}
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

func (c *child) failure() error { return failure("controller", c.log, c.cmd.ProcessState) }

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
		executable, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("start the controller: %w", err)
		}
		metrics, err := freeAddress(ctx)
		if err != nil {
			return "", err
		}
		probes, err := freeAddress(ctx)
		if err != nil {
			return "", err
		}
		cmd := exec.Command(executable, "demo", "controller",
			"-kubeconfig", d.file("kubeconfig"),
			"-namespace-labels-path", d.file("namespace-labels.yaml"),
			"-userid-header", "kubeflow-userid", "-userid-prefix", "",
			"-metrics-bind-address", metrics,
			"-health-probe-bind-address", probes,
		)
		if d.controller, err = startChild(d.file("controller.log"), cmd); err != nil {
			return "", err
		}
		return "up", d.await(ctx, "the controller to serve", func(ctx context.Context) (bool, string, error) {
			return serves(ctx, "http://"+probes+"/readyz"), "it does not answer yet", nil
		})
	})
}

// await asks check until it says yes. Where that takes too long, the error has what check said last.
func (d *demo) await(ctx context.Context, what string, check func(context.Context) (done bool, state string, err error)) error {
	var state string
	err := wait.PollUntilContextTimeout(ctx, demoPoll, demoPatience, true, func(ctx context.Context) (done bool, err error) {
		select {
		case <-d.controller.done:
			return false, d.controller.failure()
		case <-d.plane.Done():
			return false, d.planeFailure(d.plane.Alive())
		default:
		}
		done, state, err = check(ctx)
		return done, err
	})
	if wait.Interrupted(err) {
		return fmt.Errorf("waited %s for %s: %s; the controller's log is %s", demoPatience, what, state, d.controller.log)
	}
	return err
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

// demoControllerCommand is the command controller, ending with its standard input.
func demoControllerCommand() *cobra.Command {
	cmd := controllerCommand()
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
