// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"berth.dev/berth/internal/kube/enact"
	"berth.dev/berth/internal/pmr"
)

// What is measured of each sync. The names of syncs are an administrator's, and few.
var (
	lastSuccess = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "berth_sync_last_success_timestamp_seconds", Help: "When the sync last ended without a failure.",
	}, []string{"sync"})
	duration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "berth_sync_duration_seconds", Help: "How long passes of the sync take.",
		Buckets: prometheus.ExponentialBuckets(0.01, 4, 9), //nolint:mnd // 10 ms to 11 minutes
	}, []string{"sync"})
	actions = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "berth_sync_actions_total", Help: "Actions that were carried out.",
	}, []string{"sync", "type"})
	heldActions = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "berth_sync_held_actions", Help: "Actions that wait for approval.",
	}, []string{"sync"})
)

// RegisterMetrics registers what is measured, once in a process.
func RegisterMetrics() error {
	for _, collector := range []prometheus.Collector{lastSuccess, duration, actions, heldActions} {
		if err := metrics.Registry.Register(collector); err != nil {
			return err
		}
	}
	return nil
}

// observe measures one pass.
func observe(sync string, took time.Duration, now time.Time, outcomes []enact.Outcome, left pmr.Plan, succeeded bool) {
	duration.WithLabelValues(sync).Observe(took.Seconds())
	if succeeded {
		lastSuccess.WithLabelValues(sync).Set(float64(now.Unix()))
	}
	heldActions.WithLabelValues(sync).Set(float64(len(left.Held())))
	for _, o := range outcomes {
		for _, a := range o.Done {
			actions.WithLabelValues(sync, string(a.Type)).Inc()
		}
	}
}

// forgetMetrics drops what was measured of a sync that is gone.
func forgetMetrics(sync string) {
	labels := prometheus.Labels{"sync": sync}
	lastSuccess.DeletePartialMatch(labels)
	duration.DeletePartialMatch(labels)
	actions.DeletePartialMatch(labels)
	heldActions.DeletePartialMatch(labels)
}
