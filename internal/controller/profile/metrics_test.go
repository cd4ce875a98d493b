// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"berth.dev/berth/internal/controller"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// metricsServer is where controllers serve their metrics.
type metricsServer struct{ address string }

func servedMetrics(t *testing.T) metricsServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return metricsServer{listener.Addr().String()}
}

func (m metricsServer) option(o *controller.Options) { o.MetricsAddress = m.address }

func (m metricsServer) scrape(t *testing.T) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+m.address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	var text string
	testkit.Eventually(t, patience, func() error {
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		data, err := io.ReadAll(response.Body)
		text = string(data)
		return err
	})
	return text
}

// value is the value of a sample, written as in the text format; 0 where there is none.
func (m metricsServer) value(t *testing.T, sample string) float64 {
	t.Helper()
	for line := range strings.Lines(m.scrape(t)) {
		if text, found := strings.CutPrefix(line, sample+" "); found {
			var value float64
			if _, err := fmt.Sscan(text, &value); err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	return 0
}

// MUST keep: metrics request_kf, request_kf_failure and service_heartbeat.
func TestMetrics_areThoseOfKubeflow(t *testing.T) {
	cfg, c := onOwn(t)
	metrics := servedMetrics(t)
	controllertest.Start(t, cfg, metrics.option)
	readyProfile(t, c)
	foreign := adopted(t, c, nil)
	controllertest.AwaitReady(t, c, foreign.Name)
	badQuota := newProfile(t, c, controllertest.WithQuota("pods", "500m")) // the API server refuses half a pod
	awaitRefusal(t, c, badQuota.Name, "ApplyFailed")
	gone := readyProfile(t, c)
	remove(t, c, gone)
	controllertest.AwaitGone(t, c, gone)

	for _, sample := range []string{
		`request_kf{component="profile_controller",kind="reconcile"}`,
		`request_kf{component="profile_controller",kind="profile deletion"}`,
		`request_kf_failure{component="profile_controller",kind="error updating resource quota",severity="major"}`,
		`service_heartbeat{component="profile_controller",severity="critical"}`,
	} {
		if metrics.value(t, sample) < 1 {
			t.Errorf("no %s", sample)
		}
	}
	// Defect 27: no names in labels.
	for line := range strings.Lines(metrics.scrape(t)) {
		for _, name := range []string{controllertest.Owner, foreign.Name, badQuota.Name, gone.Name} {
			if strings.Contains(line, name) {
				t.Errorf("a name is in a metric: %s", line)
			}
		}
	}
}
