// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package configmap fetches a declared list from a ConfigMap, whose keys are the paths.
package configmap

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"berth.dev/berth/internal/pmrsource"
)

// A Getter reads a ConfigMap. The version differs if and only if the data may.
type Getter interface {
	Get(ctx context.Context, namespace, name string) (data map[string]string, version string, err error)
}

// Options are what a Source is told.
type Options struct {
	Namespace, Name string
	Selection       pmrsource.Selection
	// Limits bound one Fetch. Zero fields have their defaults.
	Limits pmrsource.Limits
}

// Source is a ConfigMap. It is safe for concurrent use.
type Source struct {
	getter  Getter
	options Options

	mu      sync.Mutex
	last    *pmrsource.Files
	version string
}

var _ pmrsource.Source = (*Source)(nil)

// New is the source that options describe.
func New(getter Getter, options Options) (*Source, error) {
	options.Limits = options.Limits.WithDefaults()
	if options.Namespace == "" || options.Name == "" {
		return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "a ConfigMap has a namespace and a name, and one of them is missing")
	}
	return &Source{getter: getter, options: options}, options.Selection.Check()
}

// Fetch reads the ConfigMap.
func (s *Source) Fetch(ctx context.Context) (pmrsource.Files, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, s.options.Limits.Timeout)
	defer cancel()
	data, version, err := s.getter.Get(ctx, s.options.Namespace, s.options.Name)
	if err != nil {
		return pmrsource.Files{}, s.plain(err)
	}
	if s.last != nil && version == s.version {
		return s.unchanged(version), nil
	}
	files, err := s.choose(data)
	if err != nil {
		return pmrsource.Files{}, err
	}
	if s.last != nil && s.last.Revision == files.Revision {
		return s.unchanged(version), nil
	}
	s.last, s.version = files, version
	return *files, nil
}

func (s *Source) unchanged(version string) pmrsource.Files {
	s.version = version
	same := *s.last
	same.Unchanged = true
	return same
}

// choose makes files of the keys that are selected.
func (s *Source) choose(data map[string]string) (*pmrsource.Files, error) {
	entries := make([]pmrsource.Entry, 0, len(data))
	for key := range data {
		entries = append(entries, pmrsource.Entry{Path: key})
	}
	files, overlays, err := s.options.Selection.Pick(entries)
	if err != nil {
		return nil, err
	}
	budget, digest := pmrsource.NewBudget(s.options.Limits), sha256.New()
	read := func(keys []string) (read []pmrsource.File, err error) {
		for _, key := range keys {
			if err := budget.Charge(1, int64(len(data[key]))); err != nil {
				return nil, err
			}
			// Lengths keep the end of one value from being taken for the beginning of the next.
			_, _ = io.WriteString(digest, strconv.Itoa(len(key))+" "+key+strconv.Itoa(len(data[key]))+" "+data[key])
			read = append(read, pmrsource.File{Path: key, Data: []byte(data[key])})
		}
		_, _ = io.WriteString(digest, "overlays")
		return read, nil
	}
	made := &pmrsource.Files{Provenance: pmrsource.Provenance{URL: "configmap:" + s.options.Namespace + "/" + s.options.Name}}
	if made.Files, err = read(files); err != nil {
		return nil, err
	}
	if made.Overlays, err = read(overlays); err != nil {
		return nil, err
	}
	made.Revision = "sha256:" + hex.EncodeToString(digest.Sum(nil))
	return made, nil
}

// plain is err in our words.
func (s *Source) plain(err error) error {
	name := s.options.Namespace + "/" + s.options.Name
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return pmrsource.Errorf(pmrsource.Timeout, "the ConfigMap %q could not be read within %s", name, s.options.Limits.Timeout)
	case apierrors.IsNotFound(err):
		return pmrsource.Errorf(pmrsource.NotFound, "the ConfigMap %q does not exist", name)
	case apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err):
		return pmrsource.Errorf(pmrsource.AuthenticationFailed, "the ConfigMap %q may not be read: give the controller's ServiceAccount the right to get it", name)
	}
	return pmrsource.Errorf(pmrsource.Unreachable, "the ConfigMap %q can't be read: %v", name, err)
}
