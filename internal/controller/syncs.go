// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/source"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/controller/classes"
	"berth.dev/berth/internal/controller/mesh"
	"berth.dev/berth/internal/controller/profilesync"
	"berth.dev/berth/internal/pmrsource/webhook"
)

// followSyncs has the controller of profile syncs run as soon as the cluster serves them.
func followSyncs(mgr ctrl.Manager, kinds *mesh.Kinds, c client.Client, recorder events.EventRecorder, o Options) error {
	known := classes.Classes{Reader: mgr.GetClient(), Served: kinds.Served}
	syncs := profilesync.New(profilesync.Options{
		Client: c, Direct: mgr.GetAPIReader(), Recorder: recorder, Config: o.Render, Now: time.Now,
		Classes: known.List, Namespace: o.secretNamespace(),
	})
	hooks := &webhooks{syncs: syncs}
	kinds.Add(mesh.Watcher{
		Source: func(_ context.Context, obj client.Object) (source.Source, error) {
			if _, isSync := obj.(*berthv1alpha1.ProfileSync); !isSync {
				return nil, nil //nolint:nilnil // other kinds are not watched
			}
			hurry, err := syncs.Register(mgr)
			hooks.set(hurry)
			return nil, err
		},
		Changed: func(context.Context) {},
	})
	if o.WebhookAddress == "" || o.WebhookAddress == "0" {
		return nil
	}
	server := &manager.Server{Name: "webhooks", Server: hooks.server(o.WebhookAddress)}
	if err := mgr.Add(listening{server}); err != nil {
		return fmt.Errorf("hear webhooks: %w", err)
	}
	return nil
}

// secretNamespace is where the Secrets are that syncs name: where the controller runs.
func (o Options) secretNamespace() string {
	if own := ownNamespace(); len(own) > 0 {
		return own[0]
	}
	if o.LeaderElectionNamespace != "" {
		return o.LeaderElectionNamespace
	}
	return "kubeflow"
}

// webhooks hear that a list has changed.
type webhooks struct {
	syncs *profilesync.Reconciler

	mu    sync.Mutex
	hurry func(ctx context.Context, sync string)
}

func (w *webhooks) set(hurry func(ctx context.Context, sync string)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hurry = hurry
}

// notify has a sync look at its source, if this replica is the one that works.
func (w *webhooks) notify(ctx context.Context, sync string) {
	w.mu.Lock()
	hurry := w.hurry
	w.mu.Unlock()
	if hurry != nil {
		hurry(ctx, sync)
	}
}

func (w *webhooks) server(address string) *http.Server {
	const patience = 10 * time.Second
	return &http.Server{
		Addr: address, Handler: webhook.New(webhook.Options{Secret: w.syncs.WebhookSecret, Notify: w.notify}),
		ReadHeaderTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
}

// listening serves on every replica: whoever is elected is the one that looks.
type listening struct{ *manager.Server }

// NeedLeaderElection is false, so that no request is lost for being sent to the wrong replica.
func (listening) NeedLeaderElection() bool { return false }
