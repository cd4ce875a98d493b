// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// changesMeasured is how many contributors are added and removed.
const changesMeasured = 1000

// guest is one who is no contributor yet, in a profile.
func guest(i int) string { return fmt.Sprintf("guest-%05d@example.com", i) }

// writeKFAM measures contributors added and removed, between two measurements of the same four writes done raw.
func (b *bench) writeKFAM(ctx context.Context, api *kfamAPI, profiles []string) error {
	before, err := b.rawWrites(ctx, profiles)
	if err != nil {
		return err
	}
	say("adding and removing %d contributors", changesMeasured)
	began := time.Now()
	err = inParallelBy(ctx, clients, slices.Collect(numbers(changesMeasured)), func(ctx context.Context, i int) error {
		name := profiles[i%len(profiles)]
		body := fmt.Sprintf(`{"user":{"kind":"User","name":%q},"referredNamespace":%q,"RoleRef":{"kind":"ClusterRole","name":"edit"}}`, guest(i), name)
		owner := profile(name).Spec.Owner.Name
		if _, err := api.do(ctx, http.MethodPost, "/kfam/v1/bindings", owner, body); err != nil {
			return err
		}
		_, err := api.do(ctx, http.MethodDelete, "/kfam/v1/bindings", owner, body)
		return err
	})
	if err != nil {
		return err
	}
	took := time.Since(began)
	if _, err := b.rest(ctx); err != nil {
		return err
	}
	after, err := b.rawWrites(ctx, profiles)
	if err != nil {
		return err
	}
	rate := func(what string, d time.Duration) figure {
		return figure{What: what, Value: changesMeasured / d.Seconds(), Unit: "contributors/s"}
	}
	a, z := rate("the same four writes done raw, before", before), rate("the same four writes done raw, after", after)
	if off := max(a.Value, z.Value)/min(a.Value, z.Value) - 1; off > steady {
		z.Note = fmt.Sprintf("%.0f%% apart: the machine was not quiet, and ratios are not to be trusted", 100*off)
	}
	b.report.add("contributors added and removed", a, z,
		rate("by the access-management API", took).ratio((a.Value+z.Value)/2, goalWrites))
	return nil
}

// rawWrites has as many clients make and delete the same RoleBindings and policies, without the API.
func (b *bench) rawWrites(ctx context.Context, profiles []string) (time.Duration, error) {
	say("creating and deleting the objects of %d contributors", changesMeasured)
	pairs := make([][]client.Object, changesMeasured)
	err := inParallel(ctx, slices.Collect(numbers(changesMeasured)), func(ctx context.Context, i int) error {
		p, err := b.live(ctx, profiles[i%len(profiles)])
		if err != nil {
			return err
		}
		c := contributor(0, "edit")
		c.Subject.Name = guest(i)
		pairs[i] = b.pair(p, c)
		return nil
	})
	if err != nil {
		return 0, err
	}
	began := time.Now()
	err = inParallelBy(ctx, clients, pairs, func(ctx context.Context, pair []client.Object) error {
		for _, obj := range pair {
			if err := b.client.Create(ctx, obj); err != nil {
				return fmt.Errorf("create a contributor's object: %w", err)
			}
		}
		for _, obj := range pair {
			if err := b.client.Delete(ctx, obj); err != nil {
				return fmt.Errorf("delete a contributor's object: %w", err)
			}
		}
		return nil
	})
	took := time.Since(began)
	if err != nil {
		return took, err
	}
	_, err = b.rest(ctx)
	return took, err
}
