// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
)

// Audit collects what a cluster's API server says that one user asked of it.
type Audit struct {
	url, policyFile string

	mu sync.Mutex
	// used are the rights that requests needed, as "verb resource.group".
	used map[string]bool
	// refused are the requests that were forbidden.
	refused []string
}

// auditPolicy says who asked for what, for one user.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: [%q]
- level: None
`

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

// NewAudit returns an Audit of what a user asks, for a cluster that is started with its Option.
func NewAudit(t testing.TB, user string) *Audit {
	t.Helper()
	a := &Audit{used: map[string]bool{}, policyFile: filepath.Join(t.TempDir(), "audit.yaml")}
	if err := os.WriteFile(a.policyFile, fmt.Appendf(nil, auditPolicy, user), 0o600); err != nil {
		t.Fatal(err)
	}
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

// Option has a cluster tell a what is asked of it.
func (a *Audit) Option() ClusterOption { return WithAudit(a.policyFile, a.url) }

// AwaitExactly fails the test unless rules come to grant just what the user has used, and nothing was refused. unseen
// are rights that no request shows.
func (a *Audit) AwaitExactly(t testing.TB, patience time.Duration, rules []rbacv1.PolicyRule, unseen []string) {
	t.Helper()
	granted := grantedBy(rules)
	Eventually(t, patience, func() error {
		needed := append(a.rights(), unseen...)
		slices.Sort(needed)
		if diff := cmp.Diff(granted, needed); diff != "" {
			return fmt.Errorf("rights (-granted +used):\n%s", diff)
		}
		return nil
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.refused) > 0 {
		t.Errorf("the API server refused:\n%s", strings.Join(a.refused, "\n"))
	}
}

func (a *Audit) add(items []auditEvent) {
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

func (a *Audit) rights() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.used))
}

// grantedBy are the rights of rules, sorted.
func grantedBy(rules []rbacv1.PolicyRule) (granted []string) {
	for _, rule := range rules {
		for _, verb := range rule.Verbs {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					granted = append(granted, right(verb, group, resource, ""))
				}
			}
		}
	}
	slices.Sort(granted)
	return slices.Compact(granted)
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
