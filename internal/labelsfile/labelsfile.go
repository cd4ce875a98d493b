// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package labelsfile reads the namespace labels file and follows its changes. A file that can't be read later on
// leaves the last good labels in force.
package labelsfile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.yaml.in/yaml/v2"
	"k8s.io/apimachinery/pkg/util/validation"
)

// settle is how long the file has to stay the same before it is used: whoever writes it may do so in several steps,
// and a file that is empty for a moment would have all labels taken off all namespaces.
const settle = 100 * time.Millisecond

// defaultPoll is how often the file is read although nothing was noticed.
const defaultPoll = 30 * time.Second

// Options are what a File may be told.
type Options struct {
	// Optional means that a file which is not there has no labels, instead of being an error.
	Optional bool
	// Poll is how often the file is read although nothing was noticed: 30 seconds where it is zero.
	Poll time.Duration
	// Changed is called after the labels changed. It may be nil.
	Changed func()
	// Failed is called when the file can't be used, at the start or after a change. It may be nil.
	Failed func(error)
}

// File is a namespace labels file: a YAML mapping from label keys to values, an empty value meaning that the label is
// to be removed.
type File struct {
	path    string
	options Options
	// seen is what was read last. After Open, it is for Start alone.
	seen reading

	mu     sync.RWMutex
	labels map[string]string
	good   bool
	err    error
}

// Open reads the file at path. A file that is there and can't be used is no error: the File has no good labels then,
// and may get them by a later change. A file that is not there is an error unless it is optional.
func Open(path string, options Options) (*File, error) {
	f := &File{path: path, options: options}
	if _, err := os.Stat(path); err != nil && (!options.Optional || !errors.Is(err, fs.ErrNotExist)) {
		return nil, fmt.Errorf("find the namespace labels file: %w; create it (an empty one will do) or set -namespace-labels-path", err)
	}
	f.seen = f.read()
	_, _ = f.use(f.seen) // what is wrong with it is kept, and told at the start
	return f, nil
}

// Labels returns the last good labels, and false if there never were any. The map is not to be changed.
func (f *File) Labels() (map[string]string, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.labels, f.good
}

// Err says why the file can't be used as it is now; nil if it can.
func (f *File) Err() error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.err
}

// NeedLeaderElection is false: whoever becomes the leader must know the labels already.
func (f *File) NeedLeaderElection() bool { return false }

// Start follows the file until ctx ends. It watches the directory rather than the file, because a ConfigMap's file is
// a link whose target is swapped, and editors replace files instead of writing into them. What can't be noticed so, such
// as a write into the target of a link, a directory that comes later, or anything on a network's file system, is found
// by reading the file now and then.
func (f *File) Start(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the namespace labels file: %w", err)
	}
	defer func() { _ = watcher.Close() }() // nothing to be done about it at the end
	dir := filepath.Dir(f.path)
	_ = watcher.Add(dir) // where that fails, it is tried again
	if err := f.Err(); err != nil && f.options.Failed != nil {
		f.options.Failed(err) // nobody could be told yet when the file was opened
	}
	poll := time.NewTicker(cmp.Or(f.options.Poll, defaultPoll))
	defer poll.Stop()
	quiet := time.NewTimer(settle) // something may have changed between opening and watching
	defer quiet.Stop()
	due := true
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-watcher.Events:
		case <-watcher.Errors: //nolint:errcheck // whatever it is, events may have been lost: look
		case <-poll.C:
			_ = watcher.Add(dir) // it may be another directory by now
		case <-quiet.C:
			due = false
			now := f.read()
			if now == f.seen {
				f.tell(f.use(now))
				continue
			}
			f.seen = now
		}
		if !due { // what changes all the time must not be put off for ever
			quiet.Reset(settle)
			due = true
		}
	}
}

// tell tells what came of a reading.
func (f *File) tell(changed bool, news error) {
	if news != nil && f.options.Failed != nil {
		f.options.Failed(news)
	}
	if changed && f.options.Changed != nil {
		f.options.Changed()
	}
}

// reading is what the file said at one time.
type reading struct {
	text string
	// trouble says why it could not be read; empty if it could.
	trouble string
}

func (f *File) read() reading {
	data, err := os.ReadFile(f.path)
	if err != nil && (!f.options.Optional || !errors.Is(err, fs.ErrNotExist)) {
		return reading{trouble: err.Error()}
	}
	return reading{text: string(data)}
}

// use takes over what was read. It returns whether the labels changed, and an error only where it is news.
func (f *File) use(r reading) (changed bool, news error) {
	labels, err := f.parse(r)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		known := f.err != nil && f.err.Error() == err.Error()
		f.err = err
		if known {
			return false, nil
		}
		return false, err
	}
	changed = !f.good || !maps.Equal(f.labels, labels)
	f.labels, f.good, f.err = labels, true, nil
	return changed, nil
}

func (f *File) parse(r reading) (map[string]string, error) {
	if r.trouble != "" {
		return nil, fmt.Errorf("read the namespace labels file: %s", r.trouble)
	}
	labels, err := Parse([]byte(r.text))
	if err != nil {
		return nil, fmt.Errorf("namespace labels file %q: %w", f.path, err)
	}
	return labels, nil
}

// Parse reads the labels from YAML, as Kubeflow's profile controller does: scalars keep their text, so true is "true",
// and null is empty.
func Parse(data []byte) (map[string]string, error) {
	labels := map[string]string{}
	if err := yaml.Unmarshal(data, &labels); err != nil {
		return nil, fmt.Errorf("not a mapping from label keys to values: %w", err)
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		problems := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(labels[key])...)
		if len(problems) > 0 {
			return nil, fmt.Errorf("label %q: %q is not valid: %s", key, labels[key], strings.Join(problems, "; "))
		}
	}
	return labels, nil
}
