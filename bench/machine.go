// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// machine is what the numbers hold for.
type machine struct {
	System     string `json:"system"`
	Cores      int    `json:"cores"`
	MemoryGiB  int    `json:"memoryGiB"`
	Go         string `json:"go"`
	Kubernetes string `json:"kubernetes"`
	Berth      string `json:"berth"`
}

func describeMachine(ctx context.Context, berth, kubernetes string) machine {
	m := machine{
		System: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.NumCPU(), Go: runtime.Version(), Kubernetes: kubernetes,
	}
	if out, err := exec.CommandContext(ctx, berth, "--version").Output(); err == nil {
		fields := strings.Fields(string(out))
		m.Berth = fields[len(fields)-1]
	}
	if kib := procField("/proc/meminfo", "MemTotal"); kib > 0 {
		m.MemoryGiB = (kib + 1<<19) >> 20
	} else if out, err := exec.CommandContext(ctx, "sysctl", "-n", "hw.memsize").Output(); err == nil {
		n, _ := strconv.Atoi(strings.TrimSpace(string(out))) // zero says that nobody knows
		m.MemoryGiB = n >> 30
	}
	return m
}

func (m machine) print(w io.Writer) {
	fmt.Fprintf(w, "Berth %s, Kubernetes %s, %s\n%s, %d cores and %d GiB of memory, shared by the control plane, the controller and this program\n\n",
		m.Berth, m.Kubernetes, m.Go, m.System, m.Cores, m.MemoryGiB)
}

// resident is how much memory a process holds now and, where the system tells, how much it held at most, in MB.
func resident(ctx context.Context, pid int) (now, most float64, err error) {
	status := fmt.Sprintf("/proc/%d/status", pid)
	if kib := procField(status, "VmRSS"); kib > 0 {
		return megabytes(kib), megabytes(procField(status, "VmHWM")), nil
	}
	out, err := exec.CommandContext(ctx, "ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the memory of process %d: %w", pid, err)
	}
	kib, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the memory of process %d: %w", pid, err)
	}
	return megabytes(kib), 0, nil
}

func megabytes(kib int) float64 { return float64(kib) * 1024 / 1e6 }

// procField reads a line such as "VmRSS:  1234 kB". It is 0 where there is none.
func procField(path, name string) int {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(data) {
		fields := strings.Fields(string(line))
		if len(fields) >= 2 && fields[0] == name+":" {
			n, _ := strconv.Atoi(fields[1]) // zero where it is no number
			return n
		}
	}
	return 0
}
