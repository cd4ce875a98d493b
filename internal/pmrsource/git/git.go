// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package git fetches a declared list from a git repository, over https or ssh. Nothing is written to a disk: the objects
// of one commit are held in memory while its files are read. It speaks the protocol itself and leaves packets, packs and
// objects to go-git, whose own transports are registered once for the whole process, read the ssh configuration of
// whoever runs it, and have no limits.
package git

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"

	"berth.dev/berth/internal/pmrsource"
	"berth.dev/berth/internal/pmrsource/web"
)

// Options are what a Source is told.
type Options struct {
	// URL of the repository: https://HOST/PATH, ssh://USER@HOST:PORT/PATH or USER@HOST:PATH; with http on this machine,
	// or where AllowHTTP is set.
	URL string
	// Ref is what to fetch: the repository's HEAD where it is empty.
	Ref       Ref
	Selection pmrsource.Selection
	// Web are the credentials for https.
	Web web.Credentials
	// SSH are those for ssh.
	SSH SSH
	// AllowHTTP allows to get a list that others could read and change on its way.
	AllowHTTP bool
	// Verify says what has to be signed. The zero value asks for nothing.
	Verify Verify
	// Since is the commit that was accepted last, as Accepted tells later; empty where there is none.
	Since string
	// AllowRewrite accepts a commit that is no descendant of the one that was accepted last.
	AllowRewrite bool
	// Limits bound one Fetch. Zero fields have their defaults.
	Limits pmrsource.Limits
}

// Ref names a commit: by a branch, a tag or itself. A branch beside a commit is where the commit is looked for on servers
// that don't hand out commits by their name.
type Ref struct {
	Branch, Tag, Commit string
}

// Source is a repository. It is safe for concurrent use.
type Source struct {
	options Options
	at      *address
	keys    keyring

	mu sync.Mutex
	// since is the commit that was accepted last.
	since plumbing.Hash
	// last is what was fetched last, tip what the server called it, and follows what it is known to be a descendant of.
	last    *pmrsource.Files
	tip     plumbing.Hash
	follows plumbing.Hash
}

var _ pmrsource.Source = (*Source)(nil)

// New is the source that options describe. Nothing is fetched yet.
func New(options Options) (*Source, error) {
	options.Limits = options.Limits.WithDefaults()
	ref, err := options.Ref.check()
	if err != nil {
		return nil, err
	}
	options.Ref = ref
	at, err := newAddress(options)
	if err != nil {
		return nil, err
	}
	if err := options.Selection.Check(); err != nil {
		return nil, err
	}
	keys, err := options.Verify.keyring(options.Ref)
	if err != nil {
		return nil, err
	}
	if options.Since != "" && !plumbing.IsHash(options.Since) {
		return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "the commit that was accepted last, %q, is not one: it has 40 hexadecimal digits", options.Since)
	}
	return &Source{options: options, at: at, keys: keys, since: plumbing.NewHash(options.Since)}, nil
}

// Accepted tells which commit is in force now. Later ones have to descend from it. It need not be the one that was
// fetched last, which may wait for an approval. Without one, whatever comes next is taken.
func (s *Source) Accepted(commit string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = plumbing.NewHash(commit)
}

// Close ends idle connections.
func (s *Source) Close() {
	if s.at.client != nil {
		s.at.client.Close()
	}
}

// Fetch asks what the ref is now, and fetches it where that is news.
func (s *Source) Fetch(ctx context.Context) (pmrsource.Files, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, s.options.Limits.Timeout)
	defer cancel()
	meter := pmrsource.NewMeter(s.options.Limits.Transfer)
	files, err := s.fetch(ctx, meter)
	if err != nil {
		return pmrsource.Files{}, s.plain(ctx, meter, err)
	}
	return files, nil
}

// known returns the last files if they are those of tip, too.
func (s *Source) known(tip plumbing.Hash) (files pmrsource.Files, ok bool) {
	if s.last == nil || tip != s.tip {
		return files, false
	}
	if s.since != s.follows && s.since.String() != s.last.Commit && !s.options.AllowRewrite {
		return files, false // it was accepted that the list goes another way
	}
	files = *s.last
	files.Unchanged = true
	return files, true
}

func (s *Source) fetch(ctx context.Context, meter *pmrsource.Meter) (pmrsource.Files, error) {
	if files, ok := s.known(plumbing.NewHash(s.options.Ref.Commit)); ok { // a commit never changes: no need to ask
		return files, nil
	}
	remote, err := s.at.connect(ctx, meter)
	if err != nil {
		return pmrsource.Files{}, err
	}
	defer remote.close()
	refs, err := remote.refs(ctx)
	if err != nil {
		return pmrsource.Files{}, err
	}
	want, err := s.options.Ref.find(refs)
	if err != nil {
		return pmrsource.Files{}, err
	}
	if files, ok := s.known(want.hash); ok {
		return files, nil
	}
	f := newFetching(s, remote, refs, meter)
	files, err := f.files(ctx, want)
	if err != nil {
		return pmrsource.Files{}, err
	}
	s.last, s.tip, s.follows = files, want.hash, s.since
	return *files, nil
}

// files are those of what is wanted, if it may be used.
func (f *fetching) files(ctx context.Context, want wanted) (*pmrsource.Files, error) {
	commit, tag, err := f.commit(ctx, want)
	if err != nil {
		return nil, err
	}
	signer, err := f.source.keys.signer(f.source.options.Verify.Mode, commit, tag, f.source.options.Ref.Tag)
	if err != nil {
		return nil, err
	}
	if err := f.descends(ctx, want, commit); err != nil {
		return nil, err
	}
	files, err := f.read(ctx, commit)
	if err != nil {
		return nil, err
	}
	files.Provenance = pmrsource.Provenance{
		URL:      f.source.at.shown,
		Revision: "sha1:" + commit.Hash.String(),
		Commit:   commit.Hash.String(),
		Time:     commit.Committer.When.UTC().Truncate(time.Second),
		Author:   commit.Author.Name + " <" + commit.Author.Email + ">",
		Signer:   signer,
	}
	if want.name != "" {
		files.Revision = want.name + "@" + files.Revision
	}
	return files, nil
}

// plain is err as an *Error. Where a limit was reached, what went wrong with the data followed from it.
func (s *Source) plain(ctx context.Context, meter *pmrsource.Meter, err error) error {
	var (
		ours    *pmrsource.Error
		refusal *pktline.ErrorLine
	)
	switch {
	case errors.As(err, &ours):
		return ours
	case meter.Err() != nil:
		return meter.Err()
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.As(err, &refusal):
		return pmrsource.Errorf(pmrsource.Unreachable, "%s refuses the request: %s", s.at.host, printable(refusal.Text))
	}
	return web.Plain(err, s.at.host, s.options.Limits.Timeout)
}
