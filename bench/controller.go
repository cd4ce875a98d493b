// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"time"

	"berth.dev/berth/internal/devcluster"
)

// pollInterval is short against what is waited for by asking, and long against what asking costs.
const pollInterval = 50 * time.Millisecond

// berth is a running "berth controller", a process of its own so that its processor time and memory are its own.
type berth struct {
	*process

	metrics string // URL
	began   time.Time
}

// startBerth starts the controller on the cluster.
func startBerth(ctx context.Context, o options, plane *devcluster.Process) (*berth, error) {
	var addresses [2]string
	for i := range addresses {
		var err error
		if addresses[i], err = freeAddress(ctx); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command(o.berth, "controller",
		"-kubeconfig", plane.Kubeconfig,
		"-metrics-bind-address", addresses[0],
		"-health-probe-bind-address", addresses[1],
		"-namespace-labels-path", o.labels,
	)
	began := time.Now()
	p, err := launch(cmd)
	if err != nil {
		return nil, err
	}
	return &berth{process: p, metrics: "http://" + addresses[0] + "/metrics", began: began}, nil
}

// freeAddress is a loopback address that nobody listens on.
func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// sum adds up the samples of one of the controller's metrics that have the labels.
func (c *berth) sum(ctx context.Context, metric string, labels map[string]string) (float64, error) {
	all, err := scrape(ctx, http.DefaultClient, c.metrics, metric)
	total := 0.0
	for _, s := range all {
		matches := true
		for name, value := range labels {
			matches = matches && s.labels[name] == value
		}
		if matches {
			total += s.value
		}
	}
	return total, err
}

// looks is how often the controller has looked at a profile.
func (c *berth) looks(ctx context.Context) (int, error) {
	n, err := c.sum(ctx, "controller_runtime_reconcile_total", map[string]string{"controller": "profile"})
	return int(n), err
}

// awaitLooks waits until the controller has looked so often and has nothing left to do, and returns when that was.
func (c *berth) awaitLooks(ctx context.Context, want int) (time.Time, error) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	progress, most := time.Now(), -1
	for {
		looks, err := c.looks(ctx)
		busy, err2 := c.busy(ctx)
		if err = errors.Join(err, err2); err == nil && looks >= want && !busy {
			return time.Now(), nil
		}
		if looks > most {
			progress, most = time.Now(), looks
		}
		switch {
		case c.alive() != nil:
			return time.Time{}, c.alive()
		case time.Since(progress) > patience:
			return time.Time{}, errors.Join(fmt.Errorf("the controller has looked at profiles %d times, and not more for %s", looks, patience), err)
		}
		select {
		case <-ctx.Done():
			return time.Time{}, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// busy says whether the controller works on something or is about to.
func (c *berth) busy(ctx context.Context) (bool, error) {
	queued, err := c.sum(ctx, "workqueue_depth", nil)
	working, err2 := c.sum(ctx, "controller_runtime_active_workers", nil)
	return queued+working > 0, errors.Join(err, err2)
}

// cpu is the processor time that the controller has taken so far.
func (c *berth) cpu(ctx context.Context) (time.Duration, error) {
	seconds, err := c.sum(ctx, "process_cpu_seconds_total", nil)
	return time.Duration(seconds * float64(time.Second)), err
}

// requests are the requests that the controller has made so far, by method. Watches count once each, as GET.
func (c *berth) requests(ctx context.Context) (requests, error) {
	all, err := scrape(ctx, http.DefaultClient, c.metrics, "rest_client_requests_total")
	return countMethods(all), err
}
