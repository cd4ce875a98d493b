// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the built devcluster binary the way its users run it.
package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// patience is how long a test waits for anything before it fails.
const patience = time.Minute

// binary returns the absolute path of the built devcluster.
func binary(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../bin/devcluster")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the devcluster binary is missing: run \"make bin/devcluster\" in the root of the repository (%v)", err)
	}
	return path
}

// instance is a running "devcluster up".
type instance struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout io.ReadCloser
	stderr bytes.Buffer

	kubeconfig, server string
}

// launch starts "devcluster up" with a temporary directory of the test's own as the system's. It does not wait.
func launch(t *testing.T, args ...string) *instance {
	t.Helper()
	i := &instance{cmd: exec.Command(binary(t), append([]string{"up"}, args...)...)}
	i.cmd.Env = append(os.Environ(), "TMPDIR="+tempDir(t))
	i.cmd.Stderr = &i.stderr
	var err error
	if i.stdin, err = i.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if i.stdout, err = i.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := i.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = i.cmd.Process.Signal(os.Interrupt)
		_ = i.cmd.Wait()
	})
	return i
}

// up starts a cluster and waits until it says that it is ready.
func up(t *testing.T, args ...string) *instance {
	t.Helper()
	i := launch(t, args...)
	timeout := time.AfterFunc(patience, func() { _ = i.stdout.Close() })
	defer timeout.Stop()
	for lines := bufio.NewScanner(i.stdout); lines.Scan(); {
		switch key, value, _ := strings.Cut(lines.Text(), ": "); key {
		case "kubeconfig":
			i.kubeconfig = value
		case "server":
			i.server = value
		case "ready":
			return i
		}
	}
	err := i.cmd.Wait()
	t.Fatalf("no cluster (%v): %s", err, &i.stderr)
	return nil
}

// kill ends the instance the hard way.
func (i *instance) kill(t *testing.T) {
	t.Helper()
	if err := i.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = i.cmd.Wait()
}

// wait waits for the instance to end by itself and returns its exit code.
func (i *instance) wait(t *testing.T) int {
	t.Helper()
	timeout := time.AfterFunc(patience, func() { _ = i.cmd.Process.Kill() })
	defer timeout.Stop()
	var exit *exec.ExitError
	if err := i.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return i.cmd.ProcessState.ExitCode()
}

func (i *instance) clients(t *testing.T) *kubernetes.Clientset {
	t.Helper()
	return clientsFor(t, i.kubeconfig)
}

func clientsFor(t *testing.T, kubeconfig string) *kubernetes.Clientset {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.Timeout = patience
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return clients
}

// processesOf lists the processes whose command line mentions dir: all parts get files in it as arguments.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	output, err := exec.Command("ps", "-axww", "-o", "pid=,args=").Output()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(output)) {
		if strings.Contains(line, dir+"/") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// tempDir returns a directory with a short path that is removed after the processes of the test have ended; t.TempDir
// would complain about what they still write.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "devcluster-test-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// eventually waits until check returns nil.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-tick.C
	}
}
