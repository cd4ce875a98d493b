// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are those of Kubeflow's access-management API, under the names that dashboards and alerts know. The label
// user is there for them, and always empty; path is the route, never what somebody sent.
type metrics struct {
	registry  *prometheus.Registry
	handled   *prometheus.CounterVec
	failed    *prometheus.CounterVec
	heartbeat *prometheus.CounterVec
}

func newMetrics() *metrics {
	constant := prometheus.Labels{"component": "kfam"}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "request_kf", Help: "Number of requests served, those denied included.", ConstLabels: constant,
		}, []string{"kind", "user", "action", "path"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "request_kf_failure", Help: "Number of requests that failed.", ConstLabels: constant,
		}, []string{"kind", "user", "action", "path", "severity"}),
		heartbeat: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "service_heartbeat", Help: "Goes up by one every 10 seconds.", ConstLabels: constant,
		}, []string{"severity"}),
	}
	m.registry.MustRegister(m.handled, m.failed, m.heartbeat,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.heartbeat.WithLabelValues("critical")
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// kinds are the causes of failures by the code of the answer. There are no others, so that no request can make the
// number of series grow.
var kinds = map[int]string{
	http.StatusBadRequest:            "invalid",
	http.StatusForbidden:             "refused",
	http.StatusUnauthorized:          "refused",
	http.StatusConflict:              "conflict",
	http.StatusRequestEntityTooLarge: "too large",
	http.StatusTooManyRequests:       "too many requests",
	http.StatusServiceUnavailable:    "unavailable",
	statusClosedByClient:             "closed by client",
}

// count adds one request.
func (m *metrics) count(rt route, code int, err error) {
	told, isFailure := err.(failure) //nolint:errorlint // what denied returns is not wrapped
	switch kind := kinds[code]; {
	case err == nil:
		m.handled.WithLabelValues("", "", rt.action, rt.path).Inc()
	case isFailure && told.text == "":
		m.handled.WithLabelValues("forbidden", "", rt.action, rt.path).Inc()
	case kind != "":
		m.failed.WithLabelValues(kind, "", rt.action, rt.path, "major").Inc()
	default:
		m.failed.WithLabelValues("error", "", rt.action, rt.path, "major").Inc()
	}
}

// beat shows that the process lives until ctx ends.
func (m *metrics) beat(ctx context.Context) {
	ticker := time.NewTicker(10 * time.Second)
	defer ticker.Stop()
	for {
		m.heartbeat.WithLabelValues("critical").Inc()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
