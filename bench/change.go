// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// rollOut changes the budget of every profile and waits until it has arrived.
func (b *bench) rollOut(ctx context.Context, profiles []string) error {
	say("changing the quota of %d profiles", len(profiles))
	watching, stop := context.WithCancel(ctx)
	defer stop()
	t := newTally(profiles)
	if err := t.follow(watching, b.client, &corev1.ResourceQuotaList{}, changedQuota, ours); err != nil {
		return err
	}
	_, made, err := b.spent(ctx)
	if err != nil {
		return err
	}
	patch := client.RawPatch(types.MergePatchType,
		[]byte(`{"spec":{"resourceQuotaSpec":{"hard":{"`+string(corev1.ResourceRequestsCPU)+`":"`+cpuAfter+`"}}}}`))
	began := time.Now()
	err = inParallel(ctx, profiles, func(ctx context.Context, name string) error {
		return b.client.Patch(ctx, profile(name), patch)
	})
	if err == nil {
		err = t.wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("change quotas: %w", err)
	}
	took := t.last().Sub(began)
	memory, err := b.memory(ctx)
	if err != nil {
		return err
	}
	_, after, err := b.spent(ctx)
	b.report.add(fmt.Sprintf("quota of %d profiles changed", len(profiles)), seconds("until every ResourceQuota has it", took),
		perSecond("rate", len(profiles), took), requestsFigure(after.since(made), len(profiles)), memory)
	return err
}

// changedQuota is the key of the event that a ResourceQuota has the new budget.
func changedQuota(e watch.Event) string {
	q, ok := e.Object.(*corev1.ResourceQuota)
	if !ok {
		return ""
	}
	if cpu := q.Spec.Hard[corev1.ResourceRequestsCPU]; cpu.String() != cpuAfter {
		return ""
	}
	return q.Namespace
}

// remove deletes profiles and waits until their namespaces are gone.
func (b *bench) remove(ctx context.Context, profiles []string) (figure, error) {
	say("deleting %d profiles", len(profiles))
	watching, stop := context.WithCancel(ctx)
	defer stop()
	wanted := make([]string, len(profiles))
	for i, name := range profiles {
		wanted[i] = objectKey("Namespace", &corev1.Namespace{ObjectMeta: profile(name).ObjectMeta})
	}
	t := newTally(wanted)
	if err := t.follow(watching, b.client, metadataOf(corev1.SchemeGroupVersion.WithKind("Namespace")), gone("Namespace"), ours); err != nil {
		return figure{}, err
	}
	began := time.Now()
	err := inParallel(ctx, profiles, func(ctx context.Context, name string) error {
		return b.client.Delete(ctx, profile(name))
	})
	if err == nil {
		err = t.wait(ctx)
	}
	if err != nil {
		return figure{}, fmt.Errorf("delete profiles: %w", err)
	}
	b.profiles -= len(profiles)
	f := seconds("until the namespaces are gone", t.last().Sub(began))
	f.Note = "the namespace controller waits 5 s, then asks for every kind there is"
	_, err = b.rest(ctx)
	return f, err
}
