// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package devcluster runs the control plane of the module devcluster as a process, for the tests, the benchmarks and the
// demo.
package devcluster

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience is far above the few seconds that a devcluster takes to start, to carry out a command or to end.
const patience = 2 * time.Minute

// Options are what a devcluster starts with.
type Options struct {
	// Binary is the program; see InCheckout and BesideProgram.
	Binary string
	// Args are further arguments of "devcluster up".
	Args []string
	// Log takes what the devcluster says when something is wrong. Where it is nil, the errors have it.
	Log *os.File
	// EndPatience is how long it may take to end before it is killed; two minutes where it is 0.
	EndPatience time.Duration
}

// Process is a running "devcluster up --control". It ends when its standard input does, hence also when we are killed, and
// not by a terminal's Ctrl-C: it has a process group of its own, so that whoever started it ends things in order.
type Process struct {
	// Kubeconfig is the path of the administrator's kubeconfig.
	Kubeconfig string
	// Kubernetes is the version.
	Kubernetes string

	options Options
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	stderr  *bytes.Buffer // to be read when done is closed; nil with a log
	lines   chan string   // its standard output; closed when the process ends
	done    chan struct{}
	err     error // to be read when done is closed

	commands  sync.Mutex
	closeOnce sync.Once
}

// Start starts a devcluster and waits until it is ready, or until ctx ends, which ends the devcluster too. After that, ctx
// does not count.
func Start(ctx context.Context, o Options) (*Process, error) {
	if o.EndPatience == 0 {
		o.EndPatience = patience
	}
	p := &Process{
		options: o,
		cmd:     exec.Command(o.Binary, append([]string{"up", "--control"}, o.Args...)...),
		lines:   make(chan string, 16), // more than are ever written without being asked for
		done:    make(chan struct{}),
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if o.Log != nil {
		p.cmd.Stderr = o.Log
	} else {
		p.stderr = &bytes.Buffer{}
		p.cmd.Stderr = p.stderr
	}
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start the devcluster: %w", err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the devcluster: %w", err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the devcluster: %w", err)
	}
	go p.read(stdout)
	if err := p.awaitReady(ctx); err != nil {
		var ended *EndedError
		if closing := p.Close(); !errors.As(err, &ended) { // which closing would say again
			err = errors.Join(err, closing)
		}
		return nil, err
	}
	return p, nil
}

// read passes on the lines of the standard output until the process ends.
func (p *Process) read(stdout io.Reader) {
	for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
		p.lines <- scanner.Text()
	}
	close(p.lines)
	p.err = p.cmd.Wait()
	close(p.done)
}

// awaitReady reads the block of "key: value" lines that the devcluster prints when it is ready.
func (p *Process) awaitReady(ctx context.Context) error {
	for {
		line, err := p.line(ctx.Done())
		if ctx.Err() != nil {
			return fmt.Errorf("wait for the devcluster: %w", context.Cause(ctx))
		}
		if err != nil {
			return err
		}
		switch key, value, _ := strings.Cut(line, ": "); key {
		case "kubeconfig":
			p.Kubeconfig = value
		case "kubernetes":
			p.Kubernetes = value
		case "ready":
			return nil
		}
	}
}

// Command has the devcluster carry out one command, such as "stop kube-apiserver", and waits for the answer.
func (p *Process) Command(line string) error {
	p.commands.Lock()
	defer p.commands.Unlock()
	if _, err := fmt.Fprintln(p.stdin, line); err != nil {
		return errors.Join(err, p.Alive())
	}
	answer, err := p.line(nil)
	if err != nil {
		return err
	}
	if answer != "done" {
		return fmt.Errorf("devcluster: %s: %s", line, answer)
	}
	return nil
}

// line waits for the next line of the standard output, or until stop is closed.
func (p *Process) line(stop <-chan struct{}) (string, error) {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case line, open := <-p.lines:
		if !open {
			<-p.done
			return "", p.Alive()
		}
		return line, nil
	case <-stop:
		return "", errors.New("nobody waits for the devcluster any more")
	case <-timeout.C:
		return "", fmt.Errorf("the devcluster said nothing for %s", patience)
	}
}

// Done is closed when the devcluster has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Alive returns an error with how the devcluster ended, and what it said last unless that is in a log, if it has ended.
func (p *Process) Alive() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	if p.stderr == nil {
		return &EndedError{State: p.cmd.ProcessState}
	}
	return &EndedError{State: p.cmd.ProcessState, Said: strings.TrimSpace(p.stderr.String())}
}

// Close ends the devcluster and waits until it and its children are gone. Closing it again does nothing.
func (p *Process) Close() error {
	var err error
	p.closeOnce.Do(func() {
		closing := p.stdin.Close()
		timeout := time.NewTimer(p.options.EndPatience)
		defer timeout.Stop()
		select {
		case <-p.done:
		case <-timeout.C:
			err = errors.Join(fmt.Errorf("the devcluster did not end in %s", p.options.EndPatience), p.cmd.Process.Kill())
			<-p.done
		}
		if p.err != nil {
			err = errors.Join(err, closing, p.Alive())
		}
	})
	return err
}

// EndedError says that a devcluster has ended.
type EndedError struct {
	// State is how it ended.
	State *os.ProcessState
	// Said is its standard error, unless that went to a log.
	Said string
}

// Error is the message.
func (e *EndedError) Error() string {
	if e.Said == "" {
		return fmt.Sprintf("the devcluster has ended (%s)", e.State)
	}
	return fmt.Sprintf("the devcluster has ended (%s): %s", e.State, e.Said)
}
