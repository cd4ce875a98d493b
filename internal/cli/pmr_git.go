// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"berth.dev/berth/internal/pmr"
)

// atRevision is what a cluster would have that is equal to the list of another revision. A list that is not there yet has
// no profiles.
func (f *planFlags) atRevision(rules pmr.Rules) (pmr.Have, error) {
	if len(f.files) == 0 {
		return pmr.Have{}, errors.New("--against: name the list with --file")
	}
	tree, err := openTree(f.files[0], f.against)
	if err != nil {
		return pmr.Have{}, err
	}
	in, err := f.input(f.files, tree.find)
	if err != nil {
		return pmr.Have{}, err
	}
	if len(in.Files) == 0 {
		return pmr.Have{}, nil
	}
	// What was accepted once is taken as it is: only what can't be read at all is in the way.
	in.Validation = pmr.Compat
	doc, findings := pmr.Read(in)
	for _, finding := range findings {
		if finding.Severity == pmr.Error {
			return pmr.Have{}, fmt.Errorf("the list of %s can't be read: %s", f.against, finding)
		}
	}
	rules.ConfigOf = offline(doc)
	return pmr.After(pmr.Diff(pmr.Resolve(doc), pmr.Have{}, rules), pmr.Have{}, rules), nil
}

// tree is the content of a git repository at a revision.
type tree struct {
	root, revision string
	content        *object.Tree
}

// openTree opens the repository that the file or directory called name is in.
func openTree(name, revision string) (*tree, error) {
	dir, err := filepath.Abs(filepath.Dir(name))
	if err != nil {
		return nil, fmt.Errorf("--against %s: %w", revision, err)
	}
	repository, err := git.PlainOpenWithOptions(dir, &git.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if err != nil {
		return nil, fmt.Errorf("--against %s: %s is in no git repository: %w", revision, name, err)
	}
	worktree, err := repository.Worktree()
	if err != nil {
		return nil, fmt.Errorf("--against %s: %w", revision, err)
	}
	// A branch that was fetched, as in a pull request, is there as the remote's only.
	var hash *plumbing.Hash
	for _, candidate := range []string{revision, "refs/remotes/origin/" + revision} {
		if hash, err = repository.ResolveRevision(plumbing.Revision(candidate)); err == nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("--against %s: there is no such branch, tag or commit; in a pipeline, fetch it first: %w", revision, err)
	}
	commit, err := repository.CommitObject(*hash)
	if err != nil {
		return nil, fmt.Errorf("--against %s: read the commit; a shallow clone may lack it: %w", revision, err)
	}
	content, err := commit.Tree()
	if err != nil {
		return nil, fmt.Errorf("--against %s: read the tree: %w", revision, err)
	}
	root, err := filepath.EvalSymlinks(worktree.Filesystem.Root())
	if err != nil {
		return nil, fmt.Errorf("--against %s: %w", revision, err)
	}
	return &tree{root, revision, content}, nil
}

// find is onDisk for the files of the tree. Those that are not in it are none.
func (t *tree) find(name string) ([]pmr.File, error) {
	absolute, err := filepath.Abs(name)
	if err != nil {
		return nil, fmt.Errorf("--against %s: %w", t.revision, err)
	}
	if target, err := filepath.EvalSymlinks(filepath.Dir(absolute)); err == nil {
		absolute = filepath.Join(target, filepath.Base(absolute))
	}
	within, err := filepath.Rel(t.root, absolute)
	within = filepath.ToSlash(within)
	if err != nil || within == ".." || strings.HasPrefix(within, "../") {
		return nil, fmt.Errorf("--against %s: %s is outside the repository %s", t.revision, name, t.root)
	}
	var files []pmr.File
	err = t.content.Files().ForEach(func(f *object.File) error {
		matches, err := path.Match(within, f.Name)
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		if f.Name != within && !matches && (path.Dir(f.Name) != within || !isList(f.Name)) {
			return nil
		}
		text, err := f.Contents()
		if err != nil {
			return fmt.Errorf("read %s: %w", f.Name, err)
		}
		files = append(files, pmr.File{Path: t.revision + ":" + f.Name, Data: []byte(text)})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("--against %s: %w", t.revision, err)
	}
	return files, nil
}
