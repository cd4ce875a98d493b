// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
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
)

const (
	// demoPatience is far above what any step takes on a slow machine.
	demoPatience = 2 * time.Minute
	// demoPoll is how often the demo asks whether what it waits for has come.
	demoPoll = 50 * time.Millisecond
	// endPatience is how long a process may take to end by itself.
	endPatience = 20 * time.Second
)

// child is a process of the demo's. It ends when its standard input does: a pipe, which the system closes when the demo
// ends, however it ends.
type child struct {
	name  string
	log   string // the file with its standard error
	stdin io.Closer
	cmd   *exec.Cmd
	done  chan struct{}
}

// startChild starts cmd. What it writes to standard output goes to stdout, unless that is nil, which is closed at its end.
func startChild(name, log string, cmd *exec.Cmd, stdout *io.PipeWriter) (*child, error) {
	_ = os.Remove(log) // one that a killed demo left behind may still be written to
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open a log for the %s: %w", name, err)
	}
	defer func() { _ = file.Close() }() // the process has its own
	cmd.Stderr = file
	if stdout != nil {
		cmd.Stdout = stdout
	}
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
		if stdout != nil {
			_ = stdout.Close()
		}
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

// failure says how the process ended, with the last lines that it logged.
func (c *child) failure() error {
	log, err := os.ReadFile(c.log)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return fmt.Errorf("the %s ended (%s); its log %s ends with:\n%s",
		c.name, c.cmd.ProcessState, c.log, strings.Join(lines[max(0, len(lines)-8):], "\n"))
}

// startPlane starts the control plane and waits until it says that it is ready.
func (d *demo) startPlane(ctx context.Context) error {
	return d.step("Starting a control plane (etcd, kube-apiserver, kube-controller-manager)", func() (string, error) {
		out, in := io.Pipe()
		cmd := exec.Command(d.devcluster, "up", "--control", "--kubeconfig", d.file("kubeconfig"))
		var err error
		if d.plane, err = startChild("control plane", d.file("control-plane.log"), cmd, in); err != nil {
			return "", err
		}
		stop := context.AfterFunc(ctx, func() { _ = d.plane.stdin.Close() }) // ends the control plane, and so what it says
		defer stop()
		version, err := awaitPlane(out)
		if err != nil {
			<-d.plane.done
			return "", d.plane.failure()
		}
		go func() { _, _ = io.Copy(io.Discard, out) }() // it has no more to say, but must never have to wait
		return "Kubernetes " + version + " is up", d.connect()
	})
}

// awaitPlane reads the block of "key: value" lines that the devcluster prints when it is ready, and returns the version.
func awaitPlane(out io.Reader) (version string, err error) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch key, value, _ := strings.Cut(lines.Text(), ": "); key {
		case "kubernetes":
			version = value
		case "ready":
			return version, nil
		}
	}
	return "", io.ErrUnexpectedEOF
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
		if d.controller, err = startChild("controller", d.file("controller.log"), cmd, nil); err != nil {
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
		case <-d.plane.done:
			return false, d.plane.failure()
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
