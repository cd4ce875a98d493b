// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package labelsfile_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"berth.dev/berth/internal/labelsfile"
	"berth.dev/berth/internal/testkit"
)

const (
	patience = 20 * time.Second // far above what anything here takes
	never    = time.Hour        // longer than any test, so that only the watch can notice
)

var errNotDirectory = syscall.ENOTDIR

type labels = map[string]string

// followed is a File that runs, and what it told.
type followed struct {
	*labelsfile.File

	changed, failed atomic.Int32
}

// follow opens and follows the file at path until the test ends.
func follow(t *testing.T, path string, options labelsfile.Options) *followed {
	t.Helper()
	f := &followed{}
	options.Changed = func() { f.changed.Add(1) }
	options.Failed = func(error) { f.failed.Add(1) }
	var err error
	if f.File, err = labelsfile.Open(path, options); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("following ended with %v", err)
		}
	})
	return f
}

// await waits until the labels are want, and whether they are good and the file can be used.
func (f *followed) await(t *testing.T, want labels, wantGood, wantUsable bool) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		got, good := f.Labels()
		if !maps.Equal(got, want) || good != wantGood || (f.Err() == nil) != wantUsable {
			return errors.New("labels are not as wanted")
		}
		return nil
	})
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "good"), "k: v")
	put(t, filepath.Join(dir, "bad"), "- k")
	put(t, filepath.Join(dir, "empty"), "")
	cases := map[string]struct {
		file     string
		optional bool
		want     labels
		wantGood bool
		wantErr  error // of Open
	}{
		"a good file":                     {file: "good", want: labels{"k": "v"}, wantGood: true},
		"an empty file":                   {file: "empty", wantGood: true},
		"a bad file is no error yet":      {file: "bad"},
		"a directory is no error yet":     {file: "."},
		"no file":                         {file: "none", wantErr: fs.ErrNotExist},
		"no directory":                    {file: "none/none", wantErr: fs.ErrNotExist},
		"no file, which is fine":          {file: "none", optional: true, wantGood: true},
		"no directory, which is fine":     {file: "none/none", optional: true, wantGood: true},
		"a bad file is not fine":          {file: "bad", optional: true},
		"a good file that might not be":   {file: "good", optional: true, want: labels{"k": "v"}, wantGood: true},
		"a file where a directory is due": {file: "good/none", wantErr: errNotDirectory},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f, err := labelsfile.Open(filepath.Join(dir, tc.file), labelsfile.Options{Optional: tc.optional})
			if !errors.Is(err, tc.wantErr) {
				t.Fatalf("error is %v, want %v", err, tc.wantErr)
			}
			if tc.wantErr != nil {
				return
			}
			got, good := f.Labels()
			if !maps.Equal(got, tc.want) || good != tc.wantGood || (f.Err() == nil) != tc.wantGood {
				t.Errorf("labels are %v, good %t: %v; want %v, %t", got, good, f.Err(), tc.want, tc.wantGood)
			}
			if f.NeedLeaderElection() {
				t.Error("it waits to be elected")
			}
		})
	}
}

func TestFile_writtenInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "labels")
	put(t, path, "k: 1")
	f := follow(t, path, labelsfile.Options{Poll: never})
	put(t, path, "k: 2")
	f.await(t, labels{"k": "2"}, true, true)
	if f.failed.Load() != 0 || f.changed.Load() == 0 {
		t.Errorf("told %d changes and %d failures", f.changed.Load(), f.failed.Load())
	}
}

func TestFile_replacedAsEditorsDo(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "labels")
	put(t, path, "k: 1")
	f := follow(t, path, labelsfile.Options{Poll: never})
	for _, text := range []string{"k: 2", "k: 3"} { // the second time, too
		put(t, path+".tmp", text)
		must(t, os.Rename(path+".tmp", path))
		f.await(t, labels{"k": text[3:]}, true, true)
	}
}

// A mounted ConfigMap: the file is a link into ..data, which is a link that is swapped.
func TestFile_swappedAsConfigMapsAre(t *testing.T) {
	dir := t.TempDir()
	swap := func(version, text string) {
		must(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		put(t, filepath.Join(dir, version, "labels"), text)
		must(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	swap("..1", "k: 1")
	path := filepath.Join(dir, "labels")
	must(t, os.Symlink("..data/labels", path))
	f := follow(t, path, labelsfile.Options{Poll: never})
	f.await(t, labels{"k": "1"}, true, true)
	swap("..2", "k: 2")
	must(t, os.RemoveAll(filepath.Join(dir, "..1")))
	f.await(t, labels{"k": "2"}, true, true)
	swap("..3", "k: [")
	f.await(t, labels{"k": "2"}, true, false)
	swap("..4", "k: 4")
	f.await(t, labels{"k": "4"}, true, true)
	if f.failed.Load() != 1 {
		t.Errorf("told %d failures, want 1", f.failed.Load())
	}
}

func TestFile_goneAndBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "labels")
	put(t, path, "k: 1")
	f := follow(t, path, labelsfile.Options{Poll: never})
	must(t, os.Remove(path))
	f.await(t, labels{"k": "1"}, true, false)
	put(t, path, "k: 2")
	f.await(t, labels{"k": "2"}, true, true)
}

func TestFile_badFromTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "labels")
	put(t, path, "k: [")
	f := follow(t, path, labelsfile.Options{Poll: never})
	testkit.Eventually(t, patience, func() error {
		if f.failed.Load() == 0 {
			return errors.New("nobody was told")
		}
		return nil
	})
	f.await(t, nil, false, false)
	put(t, path, "k: v")
	f.await(t, labels{"k": "v"}, true, true)
}

// Between opening and following, a change may slip in.
func TestFile_changedBeforeTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "labels")
	put(t, path, "k: 1")
	f, err := labelsfile.Open(path, labelsfile.Options{Poll: never})
	must(t, err)
	put(t, path, "k: 2")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- f.Start(ctx) }()
	(&followed{File: f}).await(t, labels{"k": "2"}, true, true)
	stop()
	must(t, <-ended)
}

// A file is emptied before it is written, which is never used; and others write beside it all the time.
func TestFile_neverUsedHalfWritten(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "labels")
	put(t, path, "k: 0")
	f := follow(t, path, labelsfile.Options{Poll: time.Millisecond})
	busy, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		var err error
		for err == nil && busy.Err() == nil {
			err = os.WriteFile(filepath.Join(dir, "beside"), []byte("x"), 0o600)
		}
		ended <- err
	}()
	const changes = 5
	for i := 1; i <= changes; i++ {
		put(t, path, fmt.Sprintf("k: %d", i))
		f.await(t, labels{"k": fmt.Sprint(i)}, true, true)
	}
	stop()
	must(t, <-ended)
	if f.failed.Load() != 0 || f.changed.Load() != changes {
		t.Errorf("told %d failures and %d changes, want %d", f.failed.Load(), f.changed.Load(), changes)
	}
}

func TestFile_appearsLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "labels")
	f := follow(t, path, labelsfile.Options{Optional: true, Poll: never})
	f.await(t, nil, true, true)
	put(t, path, "k: v")
	f.await(t, labels{"k": "v"}, true, true)
}

// What can't be watched is found all the same.
func TestFile_foundByLooking(t *testing.T) {
	cases := map[string]func(t *testing.T, dir, path string) (change func()){
		"a directory that comes later": func(t *testing.T, dir, path string) func() {
			return func() {
				must(t, os.Mkdir(filepath.Dir(path), 0o700))
				put(t, path, "k: v")
			}
		},
		"a directory that is replaced": func(t *testing.T, dir, path string) func() {
			must(t, os.Mkdir(filepath.Dir(path), 0o700))
			put(t, path, "k: 1")
			return func() {
				must(t, os.RemoveAll(filepath.Dir(path)))
				must(t, os.Mkdir(filepath.Dir(path), 0o700))
				put(t, path, "k: v")
			}
		},
		"the target of a link": func(t *testing.T, dir, path string) func() {
			must(t, os.Mkdir(filepath.Dir(path), 0o700))
			put(t, filepath.Join(dir, "target"), "k: 1")
			must(t, os.Symlink("../target", path))
			return func() { put(t, filepath.Join(dir, "target"), "k: v") }
		},
	}
	for name, prepare := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "mount", "labels")
			change := prepare(t, dir, path)
			f := follow(t, path, labelsfile.Options{Optional: true, Poll: 10 * time.Millisecond})
			change()
			f.await(t, labels{"k": "v"}, true, true)
		})
	}
}

// The same trouble is told once, however often it is looked at.
func TestFile_sameTroubleToldOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "labels")
	put(t, path, "k: 1")
	f := follow(t, path, labelsfile.Options{Poll: time.Millisecond})
	put(t, path, "k: [")
	f.await(t, labels{"k": "1"}, true, false)
	put(t, path, "k: 2") // many looks later
	f.await(t, labels{"k": "2"}, true, true)
	put(t, path, "k: [")
	f.await(t, labels{"k": "2"}, true, false)
	if got := f.failed.Load(); got != 2 {
		t.Errorf("told %d failures, want 2", got)
	}
}
