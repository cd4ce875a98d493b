// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Command bench measures the Profile controller and the access-management API on a real control plane, next to what the same API server on the same
// machine can do at all: workers that plainly write the same objects. What counts is the ratio of the two in one
// run; the rest says where the time and the memory went. Run it by make bench, on a machine that does nothing else.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"berth.dev/berth/internal/devcluster"
)

// options are the flags.
type options struct {
	burst    int
	profiles int
	most     int
	only     string
	check    bool
	json     string

	berth      string
	devcluster string
	labels     string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	o, err := parse()
	if err != nil {
		return err
	}
	ctrl.SetLogger(zap.New(zap.WriteTo(io.Discard))) // it complains where there is none
	var m machine
	var r report
	for _, part := range parts {
		if err == nil && (o.only == "" || o.only == part.name) {
			m, err = measurePart(ctx, o, &r, part.measure)
		}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx) // whatever failed, failed because of it
	}
	// What was measured until something went wrong is worth seeing all the same.
	m.print(os.Stdout)
	r.print(os.Stdout)
	if err != nil {
		return err
	}
	if o.json != "" {
		if err := writeJSON(o.json, m, r); err != nil {
			return err
		}
	}
	if missed := r.missed(); o.check && missed > 0 {
		return fmt.Errorf("%d goals were missed", missed)
	}
	return nil
}

type part struct {
	name    string
	measure func(*bench, context.Context) error
}

// parts are what is measured, each on a cluster of its own.
var parts = []part{
	{"profiles", (*bench).measure},
	{"kfam", (*bench).measureKFAM},
	{"sync", (*bench).measureSync},
	{"access", (*bench).measureAccess},
}

func measurePart(ctx context.Context, o options, r *report, measure func(*bench, context.Context) error) (m machine, err error) {
	plane, err := devcluster.Start(ctx, devcluster.Options{Binary: o.devcluster})
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, plane.Close()) }()
	b, err := newBench(ctx, o, plane)
	if err != nil {
		return m, err
	}
	defer b.close()
	b.report = r
	return b.machine, measure(b, ctx)
}

func parse() (options, error) {
	var o options
	flag.IntVar(&o.burst, "burst", 300, "how many profiles the first burst has")
	flag.IntVar(&o.profiles, "profiles", 2000, "how many profiles the second burst has, and what follows it is measured with")
	flag.IntVar(&o.most, "n", 0, "measure with so many profiles as well, at the end")
	flag.StringVar(&o.only, "only", "", "measure one part only: profiles, kfam or sync")
	flag.BoolVar(&o.check, "check", false, "fail if a goal is missed")
	flag.StringVar(&o.json, "json", "", "write the results to this `file` too")
	flag.StringVar(&o.berth, "berth", "bin/berth", "the `program` to measure")
	flag.StringVar(&o.devcluster, "devcluster", "bin/devcluster", "the `program` that is the control plane")
	flag.StringVar(&o.labels, "namespace-labels-path", "deploy/kustomize/base/manager/namespace-labels.yaml", "the namespace labels `file`")
	flag.Parse()
	if flag.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if o.only != "" && !slices.ContainsFunc(parts, func(p part) bool { return p.name == o.only }) {
		return o, fmt.Errorf("-only %q: use profiles, kfam or sync", o.only)
	}
	if o.burst < 1 || o.profiles < 1 {
		return o, fmt.Errorf("-burst and -profiles must be 1 at least")
	}
	if o.most != 0 && o.most <= o.profiles {
		return o, fmt.Errorf("-n %d: there are %d profiles by then already", o.most, o.profiles)
	}
	for _, program := range []string{o.berth, o.devcluster} {
		if _, err := os.Stat(program); err != nil {
			return o, fmt.Errorf("%w: run \"make bin/devcluster bin/berth\", at the root of the repository", err)
		}
	}
	return o, nil
}

// writeJSON writes machine and results for programs.
func writeJSON(path string, m machine, r report) error {
	data, err := json.MarshalIndent(map[string]any{"machine": m, "results": r.figures}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the results: %w", err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}
