// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package http fetches a declared list that is one file on a web server.
package http

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"

	"berth.dev/berth/internal/pmrsource"
	"berth.dev/berth/internal/pmrsource/web"
)

// Options are what a Source is told.
type Options struct {
	// URL of the file, with https; with http on this machine, or where AllowHTTP is set.
	URL string
	// Credentials for the server. The zero value has none.
	Credentials web.Credentials
	// AllowHTTP allows to get a list that others could read and change on its way.
	AllowHTTP bool
	// Limits bound one Fetch. Zero fields have their defaults.
	Limits pmrsource.Limits
}

// Source is one file on a web server. It is safe for concurrent use.
type Source struct {
	target *url.URL
	client *web.Client
	limits pmrsource.Limits

	mu sync.Mutex
	// last is what was fetched last, and etag and modified are what the server calls it.
	last           *pmrsource.Files
	etag, modified string
}

var _ pmrsource.Source = (*Source)(nil)

// New is the source that options describe.
func New(options Options) (*Source, error) {
	limits := options.Limits.WithDefaults()
	target, err := web.Address(options.URL, options.AllowHTTP)
	if err != nil {
		return nil, err
	}
	client, err := web.NewClient(target, options.Credentials, limits.Timeout)
	if err != nil {
		return nil, err
	}
	return &Source{target: target, client: client, limits: limits}, nil
}

// Close ends idle connections.
func (s *Source) Close() { s.client.Close() }

// Fetch gets the file. A server that says so by its ETag or date sends it only once.
func (s *Source) Fetch(ctx context.Context) (pmrsource.Files, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, s.limits.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.target.String(), nil)
	if err != nil {
		return pmrsource.Files{}, s.client.Plain(err)
	}
	r.Header.Set("Accept", "application/yaml, text/yaml, text/plain, */*;q=0.5")
	if s.last != nil {
		for header, value := range map[string]string{"If-None-Match": s.etag, "If-Modified-Since": s.modified} {
			if value != "" {
				r.Header.Set(header, value)
			}
		}
	}
	response, err := s.client.Do(r)
	if err != nil {
		return pmrsource.Files{}, err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNotModified && s.last != nil {
		return s.unchanged(), nil
	}
	data, err := s.read(response)
	if err != nil {
		return pmrsource.Files{}, err
	}
	s.etag, s.modified = response.Header.Get("ETag"), response.Header.Get("Last-Modified")
	if s.last != nil && bytes.Equal(s.last.Files[0].Data, data) {
		return s.unchanged(), nil
	}
	s.last = s.files(data)
	return *s.last, nil
}

func (s *Source) unchanged() pmrsource.Files {
	same := *s.last
	same.Unchanged = true
	return same
}

// files are what data means.
func (s *Source) files(data []byte) *pmrsource.Files {
	digest := sha256.Sum256(data)
	name := path.Base(s.target.Path)
	if name == "/" || name == "." {
		name = s.target.Hostname()
	}
	made := &pmrsource.Files{
		Files: []pmrsource.File{{Path: name, Data: data}},
		Provenance: pmrsource.Provenance{
			URL:      web.Show(s.target),
			Revision: "sha256:" + hex.EncodeToString(digest[:]),
		},
	}
	if modified, err := http.ParseTime(s.modified); err == nil {
		made.Time = modified
	}
	return made
}

// read gets the file out of an answer.
func (s *Source) read(response *http.Response) ([]byte, error) {
	if err := s.client.Refused(response.StatusCode); err != nil {
		return nil, err
	}
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")) // without one, the content has to speak for itself
	if kind == "text/html" || kind == "application/xhtml+xml" {
		return nil, pmrsource.Errorf(pmrsource.BadConfiguration,
			"%s is a web page and no list: it may be a page to log in, or one that shows the file; use the address of the raw file, and credentials that the server takes without a browser",
			web.Show(s.target))
	}
	limit := min(s.limits.Bytes, s.limits.Transfer)
	data, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	switch {
	case err != nil:
		return nil, s.client.Plain(err)
	case int64(len(data)) > limit:
		return nil, pmrsource.Errorf(pmrsource.TooLarge, "%s is longer than %s, which is the limit", web.Show(s.target), pmrsource.Size(limit))
	case strings.HasPrefix(strings.ToLower(string(data[:min(len(data), 15)])), "<!doctype html"):
		return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "%s is a web page and no list, although it is declared as %q: use the address of the raw file",
			web.Show(s.target), cmp.Or(kind, "nothing"))
	}
	return data, nil
}
