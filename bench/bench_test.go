// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCountWrites(t *testing.T) {
	const exposition = `# HELP apiserver_request_total Counter of apiserver requests
# TYPE apiserver_request_total counter
apiserver_request_total{code="200",component="apiserver",resource="profiles",subresource="status",verb="PATCH"} 2
apiserver_request_total{code="409",component="apiserver",resource="profiles",subresource="status",verb="PATCH"} 1
apiserver_request_total{code="200",resource="leases",subresource="",verb="PUT"} 7
apiserver_request_total{code="200",resource="profiles",subresource="",verb="LIST"} 5
apiserver_request_total{code="201",resource="odd \"}, name",subresource="",verb="POST"} 1e+01
apiserver_request_total_other{verb="POST"} 4
apiserver_requests 4
`
	all, err := samples(strings.NewReader(exposition), "apiserver_request_total")
	if err != nil {
		t.Fatal(err)
	}
	want := requests{"PATCH profiles/status": 3, `POST odd "}, name`: 10}
	if diff := cmp.Diff(want, countWrites(all)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSamples_withoutLabels(t *testing.T) {
	all, err := samples(strings.NewReader("process_cpu_seconds_total 1.5\n"), "process_cpu_seconds_total")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || all[0].value != 1.5 {
		t.Errorf("got %v", all)
	}
}

func TestRequests_since(t *testing.T) {
	before := requests{"POST events": 1, "PATCH profiles": 2}
	after := requests{"POST events": 1, "PATCH profiles": 5, "DELETE namespaces": 1}
	if diff := cmp.Diff(requests{"PATCH profiles": 3, "DELETE namespaces": 1}, after.since(before)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestPercentile(t *testing.T) {
	sorted := make([]time.Duration, 300)
	for i := range sorted {
		sorted[i] = time.Duration(i + 1)
	}
	cases := map[string]struct {
		sorted []time.Duration
		p      int
		want   time.Duration
	}{
		"the middle":                     {sorted, 50, 150},
		"all but the slowest hundredth":  {sorted, 99, 297},
		"of one it is that":              {sorted[:1], 99, 1},
		"of three the last exceeds none": {sorted[:3], 99, 3},
		"of nothing it is nothing":       {nil, 99, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := percentile(tc.sorted, tc.p); got != tc.want {
				t.Errorf("want %d, got %d", tc.want, got)
			}
		})
	}
}

func TestTally(t *testing.T) {
	began := time.Now()
	seen := newTally([]string{"a", "b"})
	for _, key := range []string{"a", "unknown", "a", "b", "b"} {
		seen.see(key)
	}
	if err := seen.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if seen.last().Before(began) {
		t.Errorf("the last was seen at %s", seen.last())
	}
	if n := len(seen.latencies(map[string]time.Time{"a": began, "b": began})); n != 2 {
		t.Errorf("want 2 latencies, got %d", n)
	}
}

func TestFigure_goals(t *testing.T) {
	cases := map[string]struct {
		f    figure
		want bool
	}{
		"a ratio at the goal":    {figure{Value: 60}.ratio(100, 0.6), false},
		"a ratio below the goal": {figure{Value: 59}.ratio(100, 0.6), true},
		"no goal for the ratio":  {figure{Value: 1}.ratio(100, 0), false},
		"at the limit":           {figure{Value: 6}.atMost(6), false},
		"above the limit":        {figure{Value: 6.1}.atMost(6), true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if tc.f.Missed != tc.want {
				t.Errorf("missed: want %t, got %t", tc.want, tc.f.Missed)
			}
		})
	}
}
