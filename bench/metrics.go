// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// sample is one line of a Prometheus exposition.
type sample struct {
	labels map[string]string
	value  float64
}

// scrape returns the samples of one metric.
func scrape(ctx context.Context, client *http.Client, url, metric string) ([]sample, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read metrics: %s says %s", url, response.Status)
	}
	return samples(response.Body, metric)
}

// samples reads the samples of one metric.
func samples(r io.Reader, metric string) ([]sample, error) {
	var all []sample
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		rest, found := strings.CutPrefix(lines.Text(), metric)
		if !found || rest == "" || (rest[0] != '{' && rest[0] != ' ') {
			continue // another metric, perhaps one whose name is longer
		}
		labels, rest, err := parseLabels(rest)
		if err != nil {
			return nil, fmt.Errorf("metric %s: %w", metric, err)
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
		if err != nil {
			return nil, fmt.Errorf("metric %s: %w", metric, err)
		}
		all = append(all, sample{labels, value})
	}
	return all, lines.Err()
}

// parseLabels reads {name="value",...}, which may be missing, and returns what follows it.
func parseLabels(s string) (labels map[string]string, rest string, err error) {
	labels = map[string]string{}
	s, found := strings.CutPrefix(s, "{")
	if !found {
		return labels, s, nil
	}
	for !strings.HasPrefix(s, "}") {
		name, quoted, found := strings.Cut(s, "=")
		if !found {
			return nil, "", fmt.Errorf("labels end too early")
		}
		value, err := strconv.QuotedPrefix(quoted)
		if err != nil {
			return nil, "", fmt.Errorf("label %q: %w", name, err)
		}
		s = strings.TrimPrefix(quoted[len(value):], ",")
		if labels[name], err = strconv.Unquote(value); err != nil {
			return nil, "", fmt.Errorf("label %q: %w", name, err)
		}
	}
	return labels, s[1:], nil
}

// requests counts requests by what they do, such as "POST serviceaccounts".
type requests map[string]int

// readingVerbs are the verbs that change nothing.
var readingVerbs = []string{"GET", "LIST", "WATCH", "CONNECT", http.MethodHead}

// countWrites counts what samples of apiserver_request_total say about writing requests. Leases are left out: the API
// server renews its own.
func countWrites(samples []sample) requests {
	writes := requests{}
	for _, s := range samples {
		if slices.Contains(readingVerbs, s.labels["verb"]) || s.labels["resource"] == "leases" {
			continue
		}
		what := s.labels["verb"] + " " + s.labels["resource"]
		if sub := s.labels["subresource"]; sub != "" {
			what += "/" + sub
		}
		writes[what] += int(s.value)
	}
	return writes
}

// countMethods counts what samples of rest_client_requests_total say, by the HTTP method.
func countMethods(samples []sample) requests {
	methods := requests{}
	for _, s := range samples {
		methods[s.labels["method"]] += int(s.value)
	}
	return methods
}

// since takes away what had been counted before.
func (r requests) since(before requests) requests {
	diff := requests{}
	for what, n := range r {
		if n != before[what] {
			diff[what] = n - before[what]
		}
	}
	return diff
}

func (r requests) total() int {
	total := 0
	for _, n := range r {
		total += n
	}
	return total
}

// per is what was counted for each of n, for people.
func (r requests) per(n int) string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(r)) {
		parts = append(parts, fmt.Sprintf("%s %.2f", what, float64(r[what])/float64(n)))
	}
	return strings.Join(parts, ", ")
}
