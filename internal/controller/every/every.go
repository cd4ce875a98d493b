// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package every has a controller look at every profile again.
package every

import (
	"context"
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/source"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// Profile is every profile, for one controller.
type Profile struct {
	reader  client.Reader
	elected <-chan struct{}
	events  chan event.GenericEvent
}

// New returns what has a controller of mgr look at every profile, if it watches Source.
func New(mgr ctrl.Manager) *Profile {
	return &Profile{reader: mgr.GetClient(), elected: mgr.Elected(), events: make(chan event.GenericEvent)}
}

// Source is to be watched by the controller.
func (e *Profile) Source() source.Source {
	return source.Channel(e.events, &handler.EnqueueRequestForObject{})
}

// Enqueue has every profile looked at again, if this process works at all: whoever is elected looks at every profile to
// begin with.
func (e *Profile) Enqueue(ctx context.Context) {
	select {
	case <-e.elected:
	default:
		return
	}
	if err := e.enqueue(ctx); err != nil {
		log.FromContext(ctx).Error(err, "Could not have all profiles looked at again")
	}
}

func (e *Profile) enqueue(ctx context.Context) error {
	var profiles kubeflowv1.ProfileList
	if err := e.reader.List(ctx, &profiles); err != nil {
		return fmt.Errorf("list profiles: %w", err)
	}
	for i := range profiles.Items {
		select {
		case e.events <- event.GenericEvent{Object: &profiles.Items[i]}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
