// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// burst is what came of creating profiles.
type burst struct {
	profiles int
	objects  []string
	took     time.Duration
	ready    []time.Duration // sorted
	cpu      time.Duration
	requests requests
}

func (r burst) figures(floor, goal float64) []figure {
	rate := perSecond("Berth, all objects there", r.profiles, r.took).ratio(floor, goalRatio)
	rate.Note = fmt.Sprintf("after %s s", number(r.took.Seconds()))
	p99 := seconds("from creation to Ready, p99", percentile(r.ready, 99))
	if goal > 0 {
		p99 = p99.atMost(goal)
	}
	return []figure{
		rate, seconds("from creation to Ready, p50", percentile(r.ready, 50)), p99, seconds("controller's processor time", r.cpu),
		requestsFigure(r.requests, r.profiles),
	}
}

// requestsFigure counts the controller's requests for each of n profiles.
func requestsFigure(made requests, n int) figure {
	return figure{What: "controller's requests per profile", Value: float64(made.total()) / float64(n), Note: made.per(n)}
}

// create creates profiles as fast as the workers can, and waits until all is there and ready.
func (b *bench) create(ctx context.Context, profiles []string) (burst, error) {
	say("creating %d profiles", len(profiles))
	r := burst{profiles: len(profiles)}
	var example []client.Object
	for _, name := range profiles {
		objects, err := b.tenant(profile(name))
		if err != nil {
			return r, err
		}
		r.objects, example = append(r.objects, keys(objects)...), objects
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	there, ready := newTally(r.objects), newTally(profiles)
	if err := b.followObjects(watching, there, example); err != nil {
		return r, err
	}
	if err := ready.follow(watching, b.client, &kubeflowv1.ProfileList{}, readyProfile); err != nil {
		return r, err
	}
	cpu, requests, err := b.spent(ctx)
	if err != nil {
		return r, err
	}

	began := time.Now()
	created := newTally(profiles)
	err = inParallel(ctx, profiles, func(ctx context.Context, name string) error {
		created.see(name)
		if err := b.client.Create(ctx, profile(name)); err != nil {
			return fmt.Errorf("create profile: %w", err)
		}
		return nil
	})
	if err == nil {
		err = errors.Join(there.wait(ctx), ready.wait(ctx))
	}
	if err != nil {
		return r, err
	}
	b.profiles += len(profiles)
	r.took, r.ready = there.last().Sub(began), ready.latencies(created.seen)
	say("took %s s", number(r.took.Seconds()))
	stop()
	if _, err := b.rest(ctx); err != nil { // Events come late
		return r, err
	}
	after, made, err := b.spent(ctx)
	r.cpu, r.requests = after-cpu, made.since(requests)
	return r, err
}

// readyProfile is the key of the event that a profile is ready.
func readyProfile(e watch.Event) string {
	p, ok := e.Object.(*kubeflowv1.Profile)
	if !ok || !meta.IsStatusConditionTrue(p.Status.Conditions, kubeflowv1.ConditionReady) {
		return ""
	}
	return p.Name
}

// spent is the processor time and the requests of the controller so far.
func (b *bench) spent(ctx context.Context) (time.Duration, requests, error) {
	cpu, err := b.berth.cpu(ctx)
	made, err2 := b.berth.requests(ctx)
	return cpu, made, errors.Join(err, err2)
}
