// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/render"
)

// Goals of profile syncs, from their issue.
const (
	goalPlan      = 2.0   // seconds, for planProfiles
	goalPlanHeap  = 500.0 // MB
	goalSyncRatio = 0.5   // of the raw rate
	goalUnchanged = 1.0   // seconds of processor time
	// unchangedPasses is how often a list is read again: garbage is not collected in every pass.
	unchangedPasses = 5
)

// measureSync is the part about profile syncs.
func (b *bench) measureSync(ctx context.Context) error {
	if err := b.planMany(); err != nil {
		return err
	}
	profiles := names("listed", b.burst)
	raw, err := b.rawSync(ctx, len(profiles))
	if err != nil {
		return err
	}
	if _, err := b.start(ctx); err != nil {
		return err
	}
	before, err := b.rest(ctx)
	if err != nil {
		return err
	}
	source, stop, err := serve(ctx, listOf(profiles))
	if err != nil {
		return err
	}
	defer stop()
	say("applying a list of %d profiles with %d contributors each", len(profiles), contributorsEach)
	s := &berthv1alpha1.ProfileSync{
		ObjectMeta: metav1.ObjectMeta{Name: "bench"},
		Spec: berthv1alpha1.ProfileSyncSpec{
			Source: berthv1alpha1.SyncSource{HTTP: &berthv1alpha1.HTTPSource{URL: source}}, Interval: metav1.Duration{Duration: time.Hour},
		},
	}
	began := time.Now()
	if err := b.client.Create(ctx, s); err != nil {
		return fmt.Errorf("create the ProfileSync: %w", err)
	}
	if err := b.awaitSynced(ctx, s, ""); err != nil {
		return err
	}
	took := time.Since(began)
	say("took %s s", number(took.Seconds()))
	after, err := b.writes(ctx)
	if err != nil {
		return err
	}
	cpu, _, err := b.spent(ctx)
	if err != nil {
		return err
	}
	b.profiles += len(profiles)
	ours := perSecond("by the sync", len(profiles), took)
	ours = ours.ratio(float64(len(profiles))/raw.Seconds(), goalSyncRatio)
	ours.Note = fmt.Sprintf("controller's processor time %s; writes for each: %s",
		cpu.Round(100*time.Millisecond), after.since(before).per(len(profiles)))
	b.report.add(fmt.Sprintf("a new list: %d profiles with %d contributors each", len(profiles), contributorsEach),
		perSecond("the same objects created plainly, without a controller", len(profiles), raw), ours)
	return b.unchangedSync(ctx, s)
}

// rawSync has the workers create the objects that a list of n profiles comes to, plainly and without a controller.
func (b *bench) rawSync(ctx context.Context, n int) (time.Duration, error) {
	say("creating the objects of %d tenants with their contributors, without a controller", n)
	tenants := make([][]client.Object, n)
	for i, name := range names("raw", n) {
		objects, err := b.orphans(name)
		if err != nil {
			return 0, err
		}
		p := profile(name)
		p.UID = b.first.UID
		for j := range contributorsEach {
			for _, obj := range b.pair(p, contributor(i*contributorsEach+j, render.Roles[j%3])) {
				refs := obj.GetOwnerReferences()
				for k := range refs {
					refs[k].Name = b.first.Name
				}
				obj.SetOwnerReferences(refs)
				objects = append(objects, obj)
			}
		}
		tenants[i] = objects
	}
	began := time.Now()
	err := inParallel(ctx, tenants, func(ctx context.Context, objects []client.Object) error {
		for _, obj := range objects {
			if err := b.client.Create(ctx, obj); err != nil {
				return fmt.Errorf("create what a list comes to: %w", err)
			}
		}
		return nil
	})
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	say("took %s s", number(took.Seconds()))
	if err := b.sweep(ctx, names("raw", n)); err != nil {
		return 0, err
	}
	_, err = b.rest(ctx)
	return took, err
}

// unchangedSync has the source read again, while nothing has changed, by a controller that was started after it was
// applied: the first one still tells of that, an Event at a time.
func (b *bench) unchangedSync(ctx context.Context, s *berthv1alpha1.ProfileSync) error {
	b.close()
	started, err := b.rest(ctx)
	if err != nil {
		return err
	}
	if _, err := b.start(ctx); err != nil {
		return err
	}
	before, err := b.rest(ctx)
	if err != nil {
		return err
	}
	cpu, _, err := b.spent(ctx)
	if err != nil {
		return err
	}
	for i := range unchangedPasses {
		asked := fmt.Sprint("again-", i)
		patch := client.MergeFrom(s.DeepCopy())
		s.Annotations = map[string]string{berthv1alpha1.SyncNowAnnotation: asked}
		if err := b.client.Patch(ctx, s, patch); err != nil {
			return fmt.Errorf("have the source read again: %w", err)
		}
		if err := b.awaitSynced(ctx, s, asked); err != nil {
			return err
		}
	}
	after, err := b.rest(ctx)
	if err != nil {
		return err
	}
	spent, _, err := b.spent(ctx)
	if err != nil {
		return err
	}
	writes := after.since(before)
	for _, own := range []string{"PATCH profilesyncs", "PATCH profilesyncs/status"} { // the asking, and the answer
		delete(writes, own)
	}
	b.report.add("the same list again", writesFigure("writes of a restart", before.since(started)), writesFigure("writes, besides those that ask for it", writes),
		seconds(fmt.Sprintf("controller's processor time, the mean of %d times", unchangedPasses), (spent-cpu)/unchangedPasses).atMost(goalUnchanged),
		seconds("controller's processor time for its restart", cpu))
	return nil
}

// awaitSynced waits until s is carried out and has heeded the annotation.
func (b *bench) awaitSynced(ctx context.Context, s *berthv1alpha1.ProfileSync, asked string) error {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 30*time.Minute, true, func(ctx context.Context) (bool, error) {
		if err := b.client.Get(ctx, client.ObjectKeyFromObject(s), s); err != nil {
			return false, err
		}
		return s.Status.LastHandledSyncNow == asked && meta.IsStatusConditionTrue(s.Status.Conditions, berthv1alpha1.ConditionReady), nil
	})
	if err != nil {
		return fmt.Errorf("wait for the ProfileSync, which is %+v: %w", s.Status.Conditions, err)
	}
	return nil
}

// listOf is a list of profiles, each with its contributors.
func listOf(profiles []string) string {
	var list strings.Builder
	list.WriteString("profiles:\n")
	for i, name := range profiles {
		fmt.Fprintf(&list, "- name: %s\n  owner: {kind: User, name: owner-%05d@example.com}\n  resources: {hard: {requests.cpu: \"4\"}}\n  contributors:\n", name, i)
		for j := range contributorsEach {
			fmt.Fprintf(&list, "  - {name: %s, role: %s}\n", person(i*contributorsEach+j), render.Roles[j%3])
		}
	}
	return list.String()
}

// serve serves list on this machine, and returns its address.
func serve(ctx context.Context, list string) (url string, stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("serve the list: %w", err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "pmr.yaml", time.Time{}, strings.NewReader(list))
	})}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			say("the list is served no more: %v", err)
		}
	}()
	return "http://" + listener.Addr().String() + "/pmr.yaml", func() { _ = server.Close() }, nil
}
