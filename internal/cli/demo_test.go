// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth.dev/berth/internal/testkit"
)

// demoPatience is far above what the demo takes on a slow machine.
const demoPatience = 2 * time.Minute

// The table is what the demo is for: it must be complete, and say what each object is for.
var wantTenant = []string{
	"Namespace team-a",
	"AuthorizationPolicy ns-owner-access-istio",
	"AuthorizationPolicy ns-access-istio",
	"ResourceQuota kf-resource-quota",
	"ServiceAccount default-editor",
	"RoleBinding default-editor",
	"ServiceAccount default-viewer",
	"RoleBinding default-viewer",
	"RoleBinding namespaceAdmin",
}

func TestDemo_once(t *testing.T) {
	dir := t.TempDir()
	began := time.Now()
	out, err := demoCommand(t, dir, "--once").CombinedOutput()
	t.Logf("took %s:\n%s", time.Since(began).Round(100*time.Millisecond), out)
	if err != nil {
		t.Fatal(err)
	}

	var shown []string
	answers := map[string]string{}
	for line := range strings.Lines(string(out)) {
		switch fields := strings.Fields(line); {
		case len(fields) > 3 && slices.Contains(wantTenant, fields[0]+" "+fields[1]):
			shown = append(shown, fields[0]+" "+fields[1])
		case len(fields) == 5 && (fields[4] == "yes" || fields[4] == "no"):
			answers[fields[0]+" "+fields[2]+" "+fields[3]] = fields[4]
		}
	}
	if !slices.Equal(shown, wantTenant) {
		t.Errorf("the table shows %q, want %q", shown, wantTenant)
	}
	for question, want := range map[string]string{
		"alice@example.com, create notebooks":   "yes",
		"alice@example.com, create pods":        "yes",
		"bob@example.com, create notebooks":     "yes",
		"bob@example.com, create pods":          "yes",
		"mallory@example.com, create notebooks": "no",
		"mallory@example.com, create pods":      "no",
	} {
		if got := answers[question]; got != want {
			t.Errorf("%s: the answer is %q, want %q", question, got, want)
		}
	}
	if !strings.Contains(string(out), "User   bob@example.com     edit") {
		t.Error("the one who was invited is not listed")
	}
	for _, line := range []string{"+ bob@example.com: admin", "3 profiles with 7 contributors are there", "User   dan@example.com   edit"} {
		if !strings.Contains(string(out), line) {
			t.Errorf("of the list, nothing says %q", line)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "kubeconfig")); !os.IsNotExist(err) {
		t.Errorf("the kubeconfig of a cluster that is gone is still there (error %v)", err)
	}
}

func TestDemo_endsOnCtrlC(t *testing.T) {
	d := startDemo(t, t.TempDir())
	if err := d.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := d.Wait(); err != nil {
		t.Errorf("want exit code 0, got %v", err)
	}
	awaitGone(t, d.family)
}

func TestDemo_leavesNothingRunningWhenKilled(t *testing.T) {
	dir := t.TempDir()
	d := startDemo(t, dir)
	if len(d.family) < 6 { // controller, access-management API, devcluster and its three parts
		t.Fatalf("the demo runs only these processes: %q", d.family)
	}
	if err := d.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = d.Wait() // says that it was killed
	awaitGone(t, d.family)

	// What it left in its directory does not keep the next one from starting.
	if out, err := demoCommand(t, dir, "--once").CombinedOutput(); err != nil {
		t.Errorf("a demo after one that was killed: %v\n%s", err, out)
	}
}

func TestDemo_saysWhatToDo(t *testing.T) {
	t.Run("without the control plane", func(t *testing.T) {
		out, err := demoCommand(t, t.TempDir(), "--devcluster", filepath.Join(t.TempDir(), "devcluster")).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "make demo") {
			t.Errorf("want a failure that names the command, got %v: %s", err, out)
		}
	})
	t.Run("beside another demo", func(t *testing.T) {
		dir := t.TempDir()
		lock, err := os.Create(filepath.Join(dir, "lock"))
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		out, err := demoCommand(t, dir).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "--dir") {
			t.Errorf("want a failure that names the flag, got %v: %s", err, out)
		}
	})
}

// demoCommand is the demo as make runs it, but for its directory.
func demoCommand(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for binary, target := range map[string]string{"berth": "build", "devcluster": "bin/devcluster"} {
		if _, err := os.Stat(filepath.Join(root, "bin", binary)); err != nil {
			t.Fatalf("run \"make %s\": %v", target, err)
		}
	}
	args = append([]string{"demo", "--devcluster", filepath.Join(root, "bin", "devcluster"), "--dir", dir}, args...)
	return exec.CommandContext(t.Context(), filepath.Join(root, "bin", "berth"), args...)
}

// runningDemo is a demo that has said all it has to say and stays up.
type runningDemo struct {
	*exec.Cmd
	family map[string]string // its processes: their arguments by their IDs
}

// startDemo starts a demo and waits until it says how to end it. The lines to paste must name a kubeconfig that is there.
func startDemo(t *testing.T, dir string) runningDemo {
	t.Helper()
	cmd := demoCommand(t, dir)
	var said bytes.Buffer
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timeout := time.AfterFunc(demoPatience, func() { _ = cmd.Process.Kill() })
	defer timeout.Stop()
	for lines := bufio.NewScanner(io.TeeReader(stdout, &said)); lines.Scan(); {
		if !strings.Contains(lines.Text(), "Ctrl-C") {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "kubeconfig")); err != nil || !strings.Contains(said.String(), "kubeconfig") {
			t.Errorf("no kubeconfig to look around with (error %v):\n%s", err, &said)
		}
		go func() { _, _ = io.Copy(io.Discard, stdout) }()
		return runningDemo{cmd, family(t, fmt.Sprint(cmd.Process.Pid))}
	}
	t.Fatalf("the demo ended: %v\n%s", cmd.Wait(), &said)
	return runningDemo{}
}

// family are the processes below the one with the ID pid.
func family(t *testing.T, pid string) map[string]string {
	t.Helper()
	parents := map[string]bool{pid: true}
	found := map[string]string{}
	all := processes(t)
	for more := true; more; {
		more = false
		for id, p := range all {
			if parents[p.parent] && !parents[id] {
				parents[id], found[id], more = true, p.args, true
			}
		}
	}
	return found
}

// awaitGone waits until none of the processes runs any more.
func awaitGone(t *testing.T, family map[string]string) {
	t.Helper()
	testkit.Eventually(t, demoPatience, func() error {
		all := processes(t)
		for id, args := range family {
			if p, found := all[id]; found && p.args == args {
				return fmt.Errorf("process %s still runs: %s", id, args)
			}
		}
		return nil
	})
}

type process struct{ parent, args string }

func processes(t *testing.T) map[string]process {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ps", "-axww", "-o", "pid=,ppid=,args=").Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]process{}
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) > 2 {
			all[fields[0]] = process{parent: fields[1], args: strings.Join(fields[2:], " ")}
		}
	}
	return all
}
