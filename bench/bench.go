// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/devcluster"
	"berth.dev/berth/internal/kube/scheme"
	"berth.dev/berth/internal/render"
)

// quiet is how long nothing may have been written for the cluster to be at rest.
const quiet = 3 * time.Second

// bench is one run on one cluster.
type bench struct {
	options

	plane  *devcluster.Process
	config render.Config
	client client.WithWatch
	http   *http.Client // for the API server's metrics
	url    string       // of the API server

	// first is a Profile that is there all the time: the controller shows that it is ready for more by looking at it,
	// and the objects of the floor have it as their owner.
	first *kubeflowv1.Profile
	// profiles is how many there are, the first included.
	profiles int
	berth    *berth // nil while it does not run
	// floorRate is the floor as last measured, in profiles per second.
	floorRate float64

	machine machine
	report  *report
}

func newBench(ctx context.Context, o options, plane *devcluster.Process) (*bench, error) {
	b := &bench{options: o, plane: plane}
	var err error
	if b.config, err = renderConfig(o.labels); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", plane.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the devcluster's kubeconfig: %w", err)
	}
	config.QPS = -1
	config.WarningHandler = rest.NoWarnings{}
	b.url = config.Host
	if b.http, err = rest.HTTPClientFor(config); err != nil {
		return nil, fmt.Errorf("connect to the devcluster: %w", err)
	}
	// The kinds that the controller knows, so that the floor sends what the controller does: protobuf where it can.
	scheme, err := scheme.New()
	if err != nil {
		return nil, err
	}
	if b.client, err = client.NewWithWatch(config, client.Options{Scheme: scheme, HTTPClient: b.http}); err != nil {
		return nil, fmt.Errorf("connect to the devcluster: %w", err)
	}
	b.machine = describeMachine(ctx, o.berth, plane.Kubernetes)
	b.first = profile("bench-first")
	if err := b.client.Create(ctx, b.first); err != nil {
		return nil, fmt.Errorf("create the first profile: %w", err)
	}
	b.profiles = 1
	return b, nil
}

// close ends the controller, if it runs.
func (b *bench) close() {
	if b.berth != nil {
		b.berth.stop()
		b.berth = nil
	}
}

// start starts the controller, and returns how long it took until it had looked at every profile.
func (b *bench) start(ctx context.Context) (time.Duration, error) {
	var err error
	if b.berth, err = startBerth(ctx, b.options, b.plane); err != nil {
		return 0, err
	}
	done, err := b.berth.awaitLooks(ctx, b.profiles)
	return done.Sub(b.berth.began), err
}

// say tells whoever waits what goes on.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05.0")+" "+format+"\n", args...)
}

// writes are the writes that the API server has served so far, whoever made them.
func (b *bench) writes(ctx context.Context) (requests, error) {
	all, err := scrape(ctx, b.http, b.url+"/metrics", "apiserver_request_total")
	return countWrites(all), err
}

// rest waits until nobody has written anything for a while, and returns the writes until then.
func (b *bench) rest(ctx context.Context) (requests, error) {
	tick := time.NewTicker(quiet / 6)
	defer tick.Stop()
	last, since := requests{}, time.Now()
	for began := time.Now(); ; {
		now, err := b.writes(ctx)
		if err != nil {
			return nil, err
		}
		if diff := now.since(last); diff.total() != 0 {
			last, since = now, time.Now()
			if time.Since(began) > 5*patience {
				return nil, fmt.Errorf("the cluster does not come to rest: %s", diff.per(1))
			}
		}
		if time.Since(since) > quiet {
			return now, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
}
