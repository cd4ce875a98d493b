// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// endPatience is how long a process may take to end.
const endPatience = 2 * time.Minute

// process is a program that we started. It is ended by stop.
type process struct {
	cmd  *exec.Cmd
	log  string // the file with what it says
	done chan struct{}
}

// launch starts cmd, with what it says going to a temporary file.
func launch(cmd *exec.Cmd) (*process, error) {
	log, err := os.CreateTemp("", "berth-bench-*.log")
	if err != nil {
		return nil, fmt.Errorf("open a log: %w", err)
	}
	defer func() { _ = log.Close() }() // the process has its own
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", cmd.Path, err), os.Remove(log.Name()))
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

// stop asks the process to end and makes it. Its log goes.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only where it has ended
	select {
	case <-p.done:
	case <-time.After(endPatience):
		_ = p.cmd.Process.Kill() // as above
		<-p.done
	}
	_ = os.Remove(p.log) // in the temporary directory
}

func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(data[max(0, len(data)-2000):]))
}
