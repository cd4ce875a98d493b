// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	// devclusterVariable names another binary than the one of this checkout.
	devclusterVariable = "BERTH_DEVCLUSTER"
	rootModule         = "module berth.dev/berth"
	// clusterPatience is far above the few seconds that a cluster takes to start or to end.
	clusterPatience = 2 * time.Minute
)

// findDevcluster returns the binary and the root of the checkout that the working directory belongs to.
func findDevcluster() (binary, root string, err error) {
	root, err = repoRoot()
	if err != nil {
		return "", "", err
	}
	binary = os.Getenv(devclusterVariable)
	if binary == "" {
		binary = filepath.Join(root, "bin", "devcluster")
	}
	if _, err := os.Stat(binary); err != nil {
		return "", "", fmt.Errorf("the devcluster binary is missing: run \"make bin/devcluster\" (%w)", err)
	}
	return binary, root, nil
}

func crdsDir(root string) string { return filepath.Join(root, "api", "crds") }

// repoRoot walks up to the directory of the root module, past those of nested modules.
func repoRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if first, _, _ := strings.Cut(string(content), "\n"); err == nil && strings.TrimSpace(first) == rootModule {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no directory above the working directory has a go.mod with %q", rootModule)
		}
		dir = parent
	}
}

// clusterProcess is a running "devcluster up --control". It ends when its standard input does, hence also when the
// test process is killed.
type clusterProcess struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr *bytes.Buffer // to be read when done is closed
	// lines is its standard output; closed when the process ends.
	lines chan string
	done  chan struct{}
	err   error // to be read when done is closed

	commands  sync.Mutex
	closeOnce sync.Once
}

// startClusterProcess starts a devcluster, waits until it is ready and returns the path of its kubeconfig.
func startClusterProcess(binary string, args []string) (*clusterProcess, string, error) {
	p := &clusterProcess{
		cmd:    exec.Command(binary, append([]string{"up", "--control"}, args...)...),
		stderr: &bytes.Buffer{},
		lines:  make(chan string, 16), // more than are ever written without being asked for
		done:   make(chan struct{}),
	}
	p.cmd.Stderr = p.stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, "", err
	}
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, "", fmt.Errorf("start the devcluster: %w", err)
	}
	go func() {
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			p.lines <- scanner.Text()
		}
		close(p.lines)
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	kubeconfig, err := p.awaitReady()
	if err != nil {
		return nil, "", errors.Join(err, p.close())
	}
	return p, kubeconfig, nil
}

// awaitReady reads the block of "key: value" lines that the devcluster prints when it is ready.
func (p *clusterProcess) awaitReady() (kubeconfig string, err error) {
	for {
		line, err := p.line()
		if err != nil {
			return "", err
		}
		switch key, value, _ := strings.Cut(line, ": "); key {
		case "kubeconfig":
			kubeconfig = value
		case "ready":
			return kubeconfig, nil
		}
	}
}

// command has the devcluster carry out one command and waits for the answer.
func (p *clusterProcess) command(line string) error {
	p.commands.Lock()
	defer p.commands.Unlock()
	if _, err := fmt.Fprintln(p.stdin, line); err != nil {
		return errors.Join(err, p.alive())
	}
	answer, err := p.line()
	if err != nil {
		return err
	}
	if answer != "done" {
		return fmt.Errorf("devcluster: %s: %s", line, answer)
	}
	return nil
}

func (p *clusterProcess) line() (string, error) {
	timeout := time.NewTimer(clusterPatience)
	defer timeout.Stop()
	select {
	case line, open := <-p.lines:
		if !open {
			<-p.done
			return "", p.alive()
		}
		return line, nil
	case <-timeout.C:
		return "", fmt.Errorf("the devcluster said nothing for %s", clusterPatience)
	}
}

// alive returns an error with what the devcluster said last if it has ended.
func (p *clusterProcess) alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("the devcluster has ended (%s): %s", p.cmd.ProcessState, strings.TrimSpace(p.stderr.String()))
	default:
		return nil
	}
}

// close ends the devcluster and waits until it and its children are gone.
func (p *clusterProcess) close() error {
	var err error
	p.closeOnce.Do(func() {
		closing := p.stdin.Close()
		timeout := time.NewTimer(clusterPatience)
		defer timeout.Stop()
		select {
		case <-p.done:
		case <-timeout.C:
			err = errors.Join(fmt.Errorf("the devcluster did not end in %s", clusterPatience), p.cmd.Process.Kill())
			<-p.done
		}
		if p.err != nil {
			err = errors.Join(err, closing, p.alive())
		}
	})
	return err
}
