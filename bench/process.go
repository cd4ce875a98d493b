// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// startPatience is how long a process may take to start or to end.
const startPatience = 2 * time.Minute

// process is a program that we started. It is ended by stop.
type process struct {
	cmd  *exec.Cmd
	log  string // the file with what it says
	done chan struct{}
}

// launch starts cmd, with what it says going to a file in dir.
func launch(cmd *exec.Cmd, dir string) (*process, error) {
	log, err := os.CreateTemp(dir, "*.log")
	if err != nil {
		return nil, fmt.Errorf("open a log: %w", err)
	}
	defer func() { _ = log.Close() }() // the process has its own
	cmd.Stderr = log
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p := &process{cmd: cmd, log: log.Name(), done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		close(p.done)
	}()
	return p, nil
}

// alive is an error with the end of the log once the process has ended.
func (p *process) alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s has ended (%s): %s", p.cmd.Path, p.cmd.ProcessState, tail(p.log))
	default:
		return nil
	}
}

// stop asks the process to end and makes it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only where it has ended
	p.awaitEnd()
}

// awaitEnd waits for the process to end by itself, but not for ever.
func (p *process) awaitEnd() {
	select {
	case <-p.done:
	case <-time.After(startPatience):
		_ = p.cmd.Process.Kill() // as above
		<-p.done
	}
}

func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(data[max(0, len(data)-2000):]))
}

// devcluster is the control plane. It ends with its standard input, hence also when we are killed.
type devcluster struct {
	*process

	dir        string // of logs
	stdin      io.Closer
	kubeconfig string
	kubernetes string // the version
}

func startDevcluster(ctx context.Context, program string) (*devcluster, error) {
	dir, err := os.MkdirTemp("", "berth-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	d := &devcluster{dir: dir}
	cmd := exec.Command(program, "up", "--control")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	d.stdin = stdin
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("open a pipe: %w", err)
	}
	defer func() { _ = read.Close() }() // nothing comes after what is read here
	cmd.Stdout = write
	d.process, err = launch(cmd, dir)
	_ = write.Close() // the process has its own
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	go func() { // what waits for a line must wake up
		select {
		case <-ctx.Done():
			_ = d.stdin.Close() // the pipe to read from ends with the process
		case <-d.done:
		}
	}()
	if err := d.awaitReady(read); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// awaitReady reads the block of "key: value" lines that the devcluster prints when it is ready.
func (d *devcluster) awaitReady(r io.Reader) error {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		switch key, value, _ := strings.Cut(lines.Text(), ": "); key {
		case "kubeconfig":
			d.kubeconfig = value
		case "kubernetes":
			d.kubernetes = value
		case "ready":
			return nil
		}
	}
	d.awaitEnd()
	return d.alive()
}

func (d *devcluster) close() {
	_ = d.stdin.Close() // closed already where the context has ended
	d.awaitEnd()
	_ = os.RemoveAll(d.dir) // in the temporary directory
}
