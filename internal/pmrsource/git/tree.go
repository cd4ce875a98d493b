// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"berth.dev/berth/internal/pmrsource"
)

const (
	// maxEntries and maxDepth bound a listing: a few trees that contain each other can have more paths than there are
	// atoms.
	maxEntries = 200_000
	maxDepth   = 64
)

// listing is what a commit has.
type listing struct {
	objects *fetching
	entries []pmrsource.Entry
	blobs   map[string]plumbing.Hash
	seen    int
}

// add lists the tree below prefix.
func (l *listing) add(tree plumbing.Hash, prefix string, depth int) error {
	found, err := object.GetTree(l.objects.objects, tree)
	if err != nil {
		return fmt.Errorf("read the directory %q: %w", prefix, err)
	}
	l.seen += len(found.Entries)
	if l.seen > maxEntries || depth > maxDepth {
		return pmrsource.Errorf(pmrsource.TooLarge, "the repository has more than %d files, or directories that are %d deep: put the list into one of its own", maxEntries, maxDepth)
	}
	for _, entry := range found.Entries {
		path := prefix + entry.Name
		switch entry.Mode {
		case filemode.Dir:
			if err := l.add(entry.Hash, path+"/", depth+1); err != nil {
				return err
			}
		case filemode.Regular, filemode.Deprecated, filemode.Executable:
			l.entries = append(l.entries, pmrsource.Entry{Path: path})
			l.blobs[path] = entry.Hash
		case filemode.Symlink:
			l.entries = append(l.entries, pmrsource.Entry{Path: path, Link: true})
		case filemode.Empty, filemode.Submodule: // what a submodule has is in another repository
		}
	}
	return nil
}

// read reads the selected files of a commit: of the others, where the server sends single ones, nothing is fetched.
func (f *fetching) read(ctx context.Context, commit *object.Commit) (*pmrsource.Files, error) {
	all := listing{objects: f, blobs: map[string]plumbing.Hash{}}
	if err := all.add(commit.TreeHash, "", 0); err != nil {
		return nil, err
	}
	files, overlays, err := f.source.options.Selection.Pick(all.entries)
	if err != nil {
		return nil, err
	}
	budget := pmrsource.NewBudget(f.source.options.Limits)
	if err := budget.Charge(len(files)+len(overlays), 0); err != nil {
		return nil, err
	}
	var missing []plumbing.Hash
	asked := map[plumbing.Hash]bool{}
	for _, paths := range [][]string{files, overlays} {
		for _, path := range paths {
			blob := all.blobs[path]
			if !asked[blob] && f.objects.HasEncodedObject(blob) != nil {
				missing = append(missing, blob)
			}
			asked[blob] = true
		}
	}
	if len(missing) > 0 {
		request := f.request(0, missing...)
		request.Filter = ""
		if err := f.receive(ctx, request); err != nil {
			return nil, err
		}
	}
	made := &pmrsource.Files{}
	if made.Files, err = f.contents(files, all.blobs, budget); err != nil {
		return nil, err
	}
	made.Overlays, err = f.contents(overlays, all.blobs, budget)
	return made, err
}

// contents are the files at paths.
func (f *fetching) contents(paths []string, blobs map[string]plumbing.Hash, budget *pmrsource.Budget) ([]pmrsource.File, error) {
	var files []pmrsource.File
	for _, path := range paths {
		blob, err := f.objects.EncodedObject(plumbing.BlobObject, blobs[path])
		if err != nil {
			return nil, fmt.Errorf("read the file %q: %w", path, err)
		}
		if err := budget.Charge(0, blob.Size()); err != nil {
			return nil, err
		}
		reader, err := blob.Reader()
		if err != nil {
			return nil, fmt.Errorf("read the file %q: %w", path, err)
		}
		data, err := io.ReadAll(reader)
		_ = reader.Close() // it is in memory
		if err != nil {
			return nil, fmt.Errorf("read the file %q: %w", path, err)
		}
		if bytes.HasPrefix(data, []byte("version https://git-lfs.github.com/spec/")) {
			return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "the file %q is kept by Git LFS, and the repository has only a pointer to it: commit the file itself", path)
		}
		files = append(files, pmrsource.File{Path: path, Data: data})
	}
	return files, nil
}
