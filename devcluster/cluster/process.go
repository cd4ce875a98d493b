// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// logTail is how much of a log is shown when its process ends unexpectedly.
const logTail = 2000

// process is one running part of the control plane.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	// stdin is the pipe whose closing ends the process. The kernel closes it when we end.
	stdin io.Closer
	// stopping says that we asked the process to end.
	stopping atomic.Bool
	// done is closed when the process has ended; err says how, and may be read from then on.
	done chan struct{}
	err  error
}

// startProcess runs this executable again as the named part in directory dir, with its output in the file log. The
// part finds the files as descriptors 3 and up. It outlives ctx, and ends when asked to or with us.
func startProcess(ctx context.Context, name string, args []string, dir, log string, files ...*os.File) (*process, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	output, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer output.Close() // the child has a copy of its own

	cmd := exec.CommandContext(context.WithoutCancel(ctx), executable, append([]string{RunCommand, name}, args...)...)
	cmd.Dir = dir
	cmd.Stdout = output
	cmd.Stderr = output
	cmd.ExtraFiles = files
	// A process group of its own keeps a terminal's Ctrl-C from the parts: we end them in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, log: log, stdin: stdin, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// stop asks the process to end, and after the grace period makes it. It returns when the process has ended.
func (p *process) stop(grace time.Duration) {
	p.stopping.Store(true)
	if grace > 0 {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended already
		select {
		case <-p.done:
		case <-time.After(grace):
		}
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	_ = p.stdin.Close()
}

// failure describes the unexpected end of the process with the last lines it logged.
func (p *process) failure() error {
	return fmt.Errorf("%s ended unexpectedly (%w), its log %q ends with:\n%s", p.name, describeExit(p.err), p.log, tail(p.log))
}

func describeExit(err error) error {
	if err == nil {
		return fmt.Errorf("exit status 0")
	}
	return err
}

// tail returns the last whole lines of a file.
func tail(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	text := string(content)
	if len(text) > logTail {
		text = text[len(text)-logTail:]
		if _, whole, found := strings.Cut(text, "\n"); found {
			text = whole
		}
	}
	return strings.TrimRight(text, "\n")
}
