// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package devcluster_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"berth.dev/berth/internal/devcluster"
)

// fake in the environment makes the test program play a devcluster.
const fake = "FAKE_DEVCLUSTER"

func TestMain(m *testing.M) {
	if kind := os.Getenv(fake); kind != "" {
		os.Exit(play(kind))
	}
	os.Exit(m.Run())
}

// play is a devcluster that ends before it is ready ("broken"), is never ready ("silent"), ends on every command
// ("fragile"), does not end with its standard input ("stubborn"), or works ("fine").
func play(kind string) (code int) {
	fmt.Fprintln(os.Stderr, "something was said")
	if !slices.Equal(os.Args[1:], []string{"up", "--control", "--dir=here"}) {
		fmt.Fprintf(os.Stderr, "arguments %q\n", os.Args)
		return 2
	}
	commands := bufio.NewScanner(os.Stdin)
	switch kind {
	case "broken":
		return 3
	case "silent":
		for commands.Scan() {
		}
		return 0
	}
	fmt.Fprintln(os.Stdout, "kubeconfig: /somewhere/kubeconfig\nserver: https://127.0.0.1:1\nkubernetes: v1.2.3\nready: 0.1s")
	for commands.Scan() {
		switch command := commands.Text(); {
		case kind == "fragile":
			return 4
		case command == "stop kube-apiserver":
			fmt.Fprintln(os.Stdout, "done")
		default:
			fmt.Fprintln(os.Stdout, "error: unknown command")
		}
	}
	if kind == "stubborn" {
		<-time.After(time.Minute)
	}
	return 0
}

func start(t *testing.T, kind string, change func(*devcluster.Options)) (*devcluster.Process, error) {
	t.Helper()
	t.Setenv(fake, kind)
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := devcluster.Options{Binary: binary, Args: []string{"--dir=here"}}
	if change != nil {
		change(&o)
	}
	p, err := devcluster.Start(t.Context(), o)
	if err == nil {
		t.Cleanup(func() { _ = p.Close() })
	}
	return p, err
}

func TestStart_waitsUntilItIsReady(t *testing.T) {
	p, err := start(t, "fine", nil)
	if err != nil {
		t.Fatal(err)
	}
	if p.Kubeconfig != "/somewhere/kubeconfig" || p.Kubernetes != "v1.2.3" {
		t.Errorf("kubeconfig %q, version %q", p.Kubeconfig, p.Kubernetes)
	}
	if err := p.Alive(); err != nil {
		t.Error(err)
	}
	if err := p.Command("stop kube-apiserver"); err != nil {
		t.Error(err)
	}
	if err := p.Command("stop everything"); err == nil || !strings.Contains(err.Error(), "unknown command") {
		t.Errorf("a command that is refused: %v", err)
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	select {
	case <-p.Done():
	default:
		t.Error("it is not done after Close")
	}
}

func TestStart_tellsHowItEndedEarly(t *testing.T) {
	_, err := start(t, "broken", nil)
	if ended := new(devcluster.EndedError); !errors.As(err, &ended) || ended.State.ExitCode() != 3 {
		t.Errorf("the error does not tell the exit code: %v", err)
	}
	if strings.Count(err.Error(), "something was said") != 1 {
		t.Errorf("the error does not tell, once, what the devcluster said: %v", err)
	}
}

func TestStart_logs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	log, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	_, err = start(t, "broken", func(o *devcluster.Options) { o.Log = log })
	if err == nil || strings.Contains(err.Error(), "something was said") {
		t.Errorf("the error tells what is in the log: %v", err)
	}
	if said, err := os.ReadFile(path); err != nil || string(said) != "something was said\n" {
		t.Errorf("the log has %q (error %v)", said, err)
	}
}

func TestStart_endsWithItsContext(t *testing.T) {
	t.Setenv(fake, "silent")
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = devcluster.Start(ctx, devcluster.Options{Binary: binary, Args: []string{"--dir=here"}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("want the end of the context, got %v", err)
	}
}

func TestProcess_Command_tellsThatItEnded(t *testing.T) {
	p, err := start(t, "fragile", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Command("stop kube-apiserver"); err == nil || !strings.Contains(err.Error(), "something was said") {
		t.Errorf("the error does not tell what the devcluster said: %v", err)
	}
}

func TestProcess_Close_killsWhatDoesNotEnd(t *testing.T) {
	p, err := start(t, "stubborn", func(o *devcluster.Options) { o.EndPatience = 100 * time.Millisecond })
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err == nil || !strings.Contains(err.Error(), "did not end") {
		t.Errorf("want to be told, got %v", err)
	}
	<-p.Done()
}
