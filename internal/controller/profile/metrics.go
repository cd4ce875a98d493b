// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// The metrics of Kubeflow's profile controller, under the names that dashboards and alerts know. Labels never hold the
// names of people or profiles.
var (
	constant = prometheus.Labels{"component": "profile_controller"}

	handled = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "request_kf", Help: "Number of profiles handled, by what came of it.", ConstLabels: constant,
	}, []string{"kind"})
	failed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "request_kf_failure", Help: "Number of failures, by what failed.", ConstLabels: constant,
	}, []string{"kind", "severity"})
	heartbeat = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "service_heartbeat", Help: "Goes up by one every 10 seconds.", ConstLabels: constant,
	}, []string{"severity"})
	labelsFailures = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "berth_namespace_labels_failures_total",
		Help: "Number of times that the namespace labels file changed and could not be used.",
	})
)

// RegisterMetrics registers the metrics of this package.
func RegisterMetrics() error {
	for _, c := range []prometheus.Collector{handled, failed, heartbeat, labelsFailures} {
		if err := metrics.Registry.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// Heartbeat shows that the process lives, whether or not it leads.
type Heartbeat struct{}

// NeedLeaderElection is false.
func (Heartbeat) NeedLeaderElection() bool { return false }

// Start beats until ctx ends.
func (Heartbeat) Start(ctx context.Context) error {
	ticker := time.NewTicker(10 * time.Second)
	defer ticker.Stop()
	for {
		heartbeat.WithLabelValues("critical").Inc()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// What failed, in the words of Kubeflow's profile controller.
const (
	failureNamespaceRead   = "error reading namespace"
	failureNamespaceCreate = "error creating namespace"
	failureNamespaceUpdate = "error updating namespace label"
	failureMesh            = "error updating Istio AuthorizationPolicy permission"
	failureAccess          = "error updating Owner Rolebinding"
	failureQuota           = "error updating resource quota"
	failureStatus          = "error updating status"
	failureDeletion        = "error deleting the profile"
)

// count adds a failure, unless err is nil or a conflict, which is none. Its kind is cut to 30 bytes, as it always was.
func count(kind string, err error) {
	if err == nil || apierrors.IsConflict(err) {
		return
	}
	failed.WithLabelValues(kind[:min(len(kind), 30)], "major").Inc()
}

// LabelsFailed counts a change of the namespace labels file that could not be used.
func LabelsFailed() { labelsFailures.Inc() }
