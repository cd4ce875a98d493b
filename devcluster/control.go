// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"berth.dev/berth/devcluster/cluster"
)

// command is one line of the control protocol, such as "stop kube-apiserver".
type command struct {
	verb, object string
}

// readCommands passes on the commands in r, and calls end when r ends.
func readCommands(r io.Reader, end func()) <-chan command {
	commands := make(chan command, 16) // so that the end is noticed while a command is carried out
	go func() {
		defer end()
		for lines := bufio.NewScanner(r); lines.Scan(); {
			verb, object, _ := strings.Cut(lines.Text(), " ")
			commands <- command{verb, object}
		}
	}()
	return commands
}

// run carries out the command and writes one line of answer. Nobody reading the answer is no reason to stop: the end
// of the other side shows on standard input.
func (c command) run(ctx context.Context, plane *cluster.Cluster, e *extras, answers io.Writer) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var err error
	switch c.verb {
	case "stop":
		err = plane.Stop(c.object)
	case "start":
		err = plane.Start(ctx, c.object)
	case "install":
		err = e.install(ctx, plane, c.object)
	default:
		err = fmt.Errorf("unknown command %q, want stop, start or install", c.verb)
	}
	if err != nil {
		_, _ = fmt.Fprintf(answers, "error: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
		return
	}
	_, _ = fmt.Fprintln(answers, "done")
}
