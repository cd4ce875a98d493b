// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
)

// audit collects what the API server says was asked of it.
type audit struct {
	url string

	mu sync.Mutex
	// used are the rights that requests needed, as "verb resource.group".
	used map[string]bool
	// refused are the requests that were forbidden.
	refused []string
}

// auditEvent is the part of an audit event that matters here.
type auditEvent struct {
	Verb       string `json:"verb"`
	RequestURI string `json:"requestURI"`
	ObjectRef  *struct {
		APIGroup    string `json:"apiGroup"`
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	ResponseStatus *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"responseStatus"`
}

func newAudit(t *testing.T) *audit {
	a := &audit{used: map[string]bool{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var batch struct {
			Items []auditEvent `json:"items"`
		}
		if err := json.NewDecoder(r.Body).Decode(&batch); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		a.add(batch.Items)
	}))
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

func (a *audit) add(items []auditEvent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range items {
		if e.ResponseStatus != nil && e.ResponseStatus.Code == http.StatusForbidden {
			a.refused = append(a.refused, fmt.Sprintf("%s %s: %s", e.Verb, e.RequestURI, e.ResponseStatus.Message))
		}
		if ref := e.ObjectRef; ref != nil && ref.Resource != "" {
			a.used[right(e.Verb, ref.APIGroup, ref.Resource, ref.Subresource)] = true
		}
	}
}

func (a *audit) rights() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.used))
}

func (a *audit) forbidden() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.refused)
}

func right(verb, group, resource, subresource string) string {
	if subresource != "" {
		resource += "/" + subresource
	}
	if group != "" {
		resource += "." + group
	}
	return verb + " " + resource
}
