// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package pmrsource is where a declared list comes from: the files of a repository, a ConfigMap or a web server, and the
// proof of which ones they are. It neither reads the list nor decides what becomes of it. The packages below it fetch.
package pmrsource

import (
	"cmp"
	"context"
	"time"
)

// A Source fetches a declared list. It lives as long as its configuration stays the same and remembers what it fetched
// last, so that asking again costs one question where nothing changed. An identity provider is one more of these.
//
// The error of Fetch is an *Error, or context.Canceled. A Source that failed keeps what it remembers, and is as good as
// before once its server is.
type Source interface {
	Fetch(ctx context.Context) (Files, error)
}

// File is one file of a declared list.
type File struct {
	// Path is the file's name, with slashes and relative to the root of its repository.
	Path string
	// Data is not to be changed.
	Data []byte
}

// Files are what a source has.
type Files struct {
	// Files are those of the selection, sorted by path.
	Files []File
	// Overlays are those that the selection names as overlays, in that order.
	Overlays []File
	// Unchanged says that these are, down to the same slices, the files that the Fetch before returned.
	Unchanged bool

	Provenance
}

// Provenance says where files come from.
type Provenance struct {
	// URL is the address, without credentials.
	URL string
	// Revision tells one content from another, as in main@sha1:4be7… or sha256:7d86….
	Revision string
	// Commit is the commit in hexadecimal digits; empty where there are no commits.
	Commit string
	// Time is when the commit was made, or the content last changed as far as its server says.
	Time time.Time
	// Author is who wrote the commit, as the commit has it: that proves nothing without a signature.
	Author string
	// Signer is the fingerprint of the key that verified the commit or tag, the tag's before the commit's where two
	// different keys did; empty where nothing was verified.
	Signer string
}

// Limits bound what a source may cost. A field that is zero has its default.
type Limits struct {
	// Files is how many files a selection may have, overlays included: 1,000.
	Files int
	// Bytes is how long all files of a selection may be together: 16 MiB.
	Bytes int64
	// Transfer is how much a server may send for one Fetch, packed, of which selected files are a part: 64 MiB.
	Transfer int64
	// Timeout is how long one Fetch may take: 60 seconds.
	Timeout time.Duration
}

// WithDefaults are the limits with what is zero filled in.
func (l Limits) WithDefaults() Limits {
	return Limits{
		Files:    cmp.Or(l.Files, 1000),
		Bytes:    cmp.Or(l.Bytes, 16<<20),
		Transfer: cmp.Or(l.Transfer, 64<<20),
		Timeout:  cmp.Or(l.Timeout, time.Minute),
	}
}
