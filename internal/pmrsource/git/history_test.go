// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"fmt"
	"net/http/httptest"
	"testing"

	"berth.dev/berth/internal/pmrsource"
	"berth.dev/berth/internal/pmrsource/git"
)

// servers are the ways to configure a server that make a difference to what it is asked.
var servers = map[string][][2]string{
	"a plain server":                 {},
	"a server that filters":          {{"uploadpack.allowFilter", "true"}},
	"a server that sends any object": {{"uploadpack.allowFilter", "true"}, {"uploadpack.allowAnySHA1InWant", "true"}},
}

func TestSource_rewrites(t *testing.T) {
	for name, settings := range servers {
		t.Run(name, func(t *testing.T) {
			r := newRepository(t)
			for _, setting := range settings {
				r.git("config", setting[0], setting[1])
			}
			rewrites(t, r, git.Options{URL: r.serve()})
		})
	}
}

// rewrites pushes this and that.
func rewrites(t *testing.T, r *repository, options git.Options) {
	t.Helper()
	first, second := r.commit("first"), r.commit("second")
	s := source(t, options)
	s.Accepted(first)
	if got := fetch(t, s).Commit; got != second {
		t.Fatalf("got %s, want the child of what was accepted", got)
	}
	s.Accepted(second)

	for i := range 30 {
		r.commit(fmt.Sprintf("more %d", i))
	}
	r.git("checkout", "--quiet", "-b", "topic", "HEAD~10")
	r.commit("topic", "--date=2026-01-03T00:00:00Z")
	r.git("checkout", "--quiet", "main")
	r.git("merge", "--quiet", "--strategy", "ours", "--message", "merge", "topic")
	r.git("revert", "--no-edit", "HEAD~1")
	third := r.git("rev-parse", "HEAD")
	if got := fetch(t, s).Commit; got != third {
		t.Fatalf("got %s, want the distant descendant", got)
	}
	if !fetch(t, s).Unchanged {
		t.Error("without being accepted, it is fetched anew")
	}
	s.Accepted(third)
	if !fetch(t, s).Unchanged {
		t.Error("being accepted, it is fetched anew")
	}

	r.git("reset", "--quiet", "--hard", second)
	_, err := s.Fetch(t.Context())
	fails(t, err, pmrsource.RewrittenHistory, second, third)
	fresh := options
	fresh.Since = third
	_, err = source(t, fresh).Fetch(t.Context())
	fails(t, err, pmrsource.RewrittenHistory, second, third)
	fresh.AllowRewrite = true
	if got := fetch(t, source(t, fresh)).Commit; got != second {
		t.Errorf("got %s, want what was allowed", got)
	}
	fork := r.commit("instead", "--amend")
	_, err = s.Fetch(t.Context())
	fails(t, err, pmrsource.RewrittenHistory, fork, third)

	r.git("reset", "--quiet", "--hard", third)
	if got := fetch(t, s).Commit; got != third {
		t.Errorf("got %s, want that it is good again", got)
	}
}

// A commit that the server has forgotten is no ancestor of anything.
func TestSource_forgottenCommit(t *testing.T) {
	r := newRepository(t)
	r.commit("first")
	_, err := source(t, git.Options{URL: r.serve(), Since: "0123456789012345678901234567890123456789"}).Fetch(t.Context())
	fails(t, err, pmrsource.RewrittenHistory)
}

func TestSource_movedTag(t *testing.T) {
	r := newRepository(t)
	first, second := r.commit("first"), r.commit("second")
	third := r.commit("third")
	r.git("tag", "--annotate", "--message", "m", "stable", first)
	server := httptest.NewServer(r.backend())
	defer server.Close()
	s := source(t, git.Options{URL: server.URL + "/list", Ref: git.Ref{Tag: "stable"}})
	s.Accepted(fetch(t, s).Commit)
	r.git("tag", "--force", "--annotate", "--message", "m", "stable", third)
	if got := fetch(t, s).Commit; got != third {
		t.Errorf("got %s, want the later commit", got)
	}
	s.Accepted(third)
	r.git("tag", "--force", "--annotate", "--message", "m", "stable", second)
	_, err := s.Fetch(t.Context())
	fails(t, err, pmrsource.RewrittenHistory, second, third)

	_, err = source(t, git.Options{URL: server.URL + "/list", Ref: git.Ref{Commit: second}, Since: third}).Fetch(t.Context())
	fails(t, err, pmrsource.RewrittenHistory, second, third)
	fetch(t, source(t, git.Options{URL: server.URL + "/list", Ref: git.Ref{Commit: third}, Since: first}))
}

// What can't be shown within the limits is refused.
func TestSource_historyTooLong(t *testing.T) {
	r := newRepository(t)
	old := r.commit("first")
	r.git("checkout", "--quiet", "--orphan", "fresh")
	for i := range 60 {
		r.git("commit", "--quiet", "--allow-empty", "--message", fmt.Sprint("history ", i))
	}
	r.commit("last")
	r.git("branch", "--force", "main")
	_, err := source(t, git.Options{URL: r.serve(), Ref: git.Ref{Branch: "main"}, Since: old, Limits: pmrsource.Limits{Transfer: 3000}}).Fetch(t.Context())
	fails(t, err, pmrsource.RewrittenHistory, "within the limits")
}
