// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Goals, from the design.
const (
	goalRatio  = 0.6
	goalReady  = 6.0 // seconds, for a burst of 300
	goalMemory = 300 // MB, with up to 10,000 profiles
)

// steady is how far apart two measurements of the floor may be before that is worth a word.
const steady = 0.15

// measure is the whole run.
func (b *bench) measure(ctx context.Context) error {
	small, large := names("small", b.burst), names("large", b.options.profiles)
	var removed figure
	err := b.compare(ctx, small, goalReady, func(ctx context.Context) (err error) {
		removed, err = b.remove(ctx, small)
		return err
	})
	if err == nil {
		b.report.add(fmt.Sprintf("%d profiles deleted", b.burst), removed)
		err = b.compare(ctx, large, 0, func(context.Context) error { return nil })
	}
	for _, stage := range []func(context.Context) error{
		b.restart,
		func(ctx context.Context) error { return b.rollOut(ctx, large) },
		func(ctx context.Context) error { return b.changeClass(ctx, large) },
		func(ctx context.Context) error { return b.touch(ctx, large, "unchanged profiles") },
		b.fill,
	} {
		if err == nil {
			err = stage(ctx)
		}
	}
	if err != nil && b.berth != nil {
		return errors.Join(err, b.berth.alive())
	}
	return err
}

// compare measures a burst of new profiles, between two measurements of the floor, whose difference shows how steady
// the machine is. then is called before the controller is stopped.
func (b *bench) compare(ctx context.Context, profiles []string, goalReady float64, then func(context.Context) error) error {
	n := len(profiles)
	before, err := b.floor(ctx, "floor-a", n)
	if err != nil {
		return err
	}
	if _, err := b.rest(ctx); err != nil {
		return err
	}
	if _, err := b.start(ctx); err != nil {
		return err
	}
	if _, err := b.rest(ctx); err != nil {
		return err
	}
	ours, err := b.create(ctx, profiles)
	if err != nil {
		return err
	}
	memory, err := b.memory(ctx)
	if err != nil {
		return err
	}
	if err := then(ctx); err != nil {
		return err
	}
	b.close()
	after, err := b.floor(ctx, "floor-b", n)
	if err != nil {
		return err
	}

	stage := fmt.Sprintf("%d new profiles", n)
	a, z := perSecond("floor, before", n, before), perSecond("floor, after", n, after)
	b.floorRate = (a.Value + z.Value) / 2
	objects := float64(len(ours.objects)) / float64(n)
	a.Note = fmt.Sprintf("%d workers create the same %s objects each, no controller; %s objects/s", workers, number(objects), number(a.Value*objects))
	if off := max(a.Value, z.Value)/min(a.Value, z.Value) - 1; off > steady {
		z.Note = fmt.Sprintf("%.0f%% apart: the machine was not quiet, and ratios are not to be trusted", 100*off)
	}
	b.report.add(stage, a, z)
	b.report.add(stage, ours.figures(b.floorRate, goalReady)...)
	b.report.add(stage, memory)
	return nil
}

// memory is the controller's, when all is at rest.
func (b *bench) memory(ctx context.Context) (figure, error) {
	if _, err := b.rest(ctx); err != nil {
		return figure{}, err
	}
	now, most, err := resident(ctx, b.berth.cmd.Process.Pid)
	f := figure{What: "controller's memory, at rest afterwards", Value: now, Unit: "MB"}
	if most > 0 {
		f.Note = fmt.Sprintf("at most %s MB since it started", number(most))
	}
	if b.profiles <= 10000+1 {
		f = f.atMost(goalMemory)
	}
	return f, err
}

// restart starts the controller anew, while nothing has changed.
func (b *bench) restart(ctx context.Context) error {
	say("restarting the controller with %d profiles", b.profiles)
	b.close()
	before, err := b.rest(ctx)
	if err != nil {
		return err
	}
	took, err := b.start(ctx)
	if err != nil {
		return err
	}
	after, err := b.rest(ctx)
	if err != nil {
		return err
	}
	cpu, requests, err := b.spent(ctx)
	if err != nil {
		return err
	}
	memory, err := b.memory(ctx)
	if err != nil {
		return err
	}
	settled := seconds("from start until every profile was looked at", took)
	settled.Note = "requests: " + requests.per(1)
	b.report.add(fmt.Sprintf("restart with %d profiles", b.profiles),
		writesFigure("writes", after.since(before)), settled, seconds("controller's processor time", cpu), memory)
	return nil
}

// writesFigure counts writes of which there should be none.
func writesFigure(what string, writes requests) figure {
	f := figure{What: what, Value: float64(writes.total())}.atMost(0)
	f.Goal, f.Note = "none", writes.per(1)
	return f
}

// touch makes the controller look at every profile although there is nothing to do.
func (b *bench) touch(ctx context.Context, profiles []string, what string) error {
	say("touching %d profiles", len(profiles))
	before, err := b.rest(ctx)
	if err != nil {
		return err
	}
	looks, err := b.berth.looks(ctx)
	if err != nil {
		return err
	}
	cpu, made, err := b.spent(ctx)
	if err != nil {
		return err
	}
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{"bench.berth.dev/touched":%q}}}`, what))
	err = inParallel(ctx, profiles, func(ctx context.Context, name string) error {
		return b.client.Patch(ctx, profile(name), patch)
	})
	if err != nil {
		return fmt.Errorf("touch profiles: %w", err)
	}
	if _, err := b.berth.awaitLooks(ctx, looks+len(profiles)); err != nil {
		return err
	}
	after, err := b.rest(ctx)
	if err != nil {
		return err
	}
	spent, madeAfter, err := b.spent(ctx)
	if err != nil {
		return err
	}
	writes := after.since(before)
	if writes["PATCH profiles"] -= len(profiles); writes["PATCH profiles"] == 0 {
		delete(writes, "PATCH profiles") // those were ours
	}
	b.report.add(fmt.Sprintf("%d %s looked at again", len(profiles), what),
		writesFigure("writes", writes), requestsFigure(madeAfter.since(made), len(profiles)),
		seconds("controller's processor time", spent-cpu))
	return nil
}

// fill adds profiles until there are as many as were asked for.
func (b *bench) fill(ctx context.Context) error {
	if b.most == 0 {
		return nil
	}
	ours, err := b.create(ctx, names("more", b.most-b.options.profiles))
	if err != nil {
		return err
	}
	memory, err := b.memory(ctx)
	if err != nil {
		return err
	}
	stage := fmt.Sprintf("%d more profiles, %d in all", ours.profiles, b.profiles)
	b.report.add(stage, ours.figures(b.floorRate, 0)...)
	b.report.add(stage, memory)
	return b.restart(ctx)
}
