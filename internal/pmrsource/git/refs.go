// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"

	"berth.dev/berth/internal/pmrsource"
)

const (
	branches = "refs/heads/"
	tags     = "refs/tags/"
)

// wanted is what a ref means on the server now.
type wanted struct {
	// hash is that of a commit, or of the tag object that leads to one.
	hash plumbing.Hash
	// name is for people; empty where the commit was named itself.
	name string
	// listed says that the server named it, and so sends it for certain.
	listed bool
	// branch is where else to look for a commit that the server does not send by its name.
	branch plumbing.Hash
}

// check is r in its plain form.
func (r Ref) check() (Ref, error) {
	r.Branch, r.Tag = strings.TrimPrefix(r.Branch, branches), strings.TrimPrefix(r.Tag, tags)
	r.Commit = strings.ToLower(r.Commit)
	switch {
	case r.Tag != "" && cmp.Or(r.Branch, r.Commit) != "":
		return r, pmrsource.Errorf(pmrsource.BadConfiguration, "the ref names the tag %q and something else, too: leave one of them", r.Tag)
	case r.Commit != "" && !plumbing.IsHash(r.Commit):
		return r, pmrsource.Errorf(pmrsource.BadConfiguration, "the commit %q is not one: write all of its 40 hexadecimal digits", r.Commit)
	}
	return r, nil
}

// find looks up what r means.
func (r Ref) find(refs *packp.AdvRefs) (wanted, error) {
	if r.Commit != "" {
		return r.findCommit(refs)
	}
	prefix, kind, name := branches, "branch", r.Branch
	if r.Tag != "" {
		prefix, kind, name = tags, "tag", r.Tag
	}
	if name == "" {
		return findHead(refs)
	}
	hash, ok := refs.References[prefix+name]
	if !ok {
		return wanted{}, pmrsource.Errorf(pmrsource.NotFound, "the repository has no %s %q; it has %s", kind, name, some(refs, prefix))
	}
	return wanted{hash: hash, name: name, listed: true}, nil
}

func (r Ref) findCommit(refs *packp.AdvRefs) (wanted, error) {
	found := wanted{hash: plumbing.NewHash(r.Commit)}
	for _, hash := range refs.References {
		found.listed = found.listed || hash == found.hash
	}
	if r.Branch != "" {
		at, err := Ref{Branch: r.Branch}.find(refs)
		found.branch = at.hash
		return found, err
	}
	if refs.Head != nil {
		found.branch = *refs.Head
	}
	return found, nil
}

// findHead finds what the repository shows by itself.
func findHead(refs *packp.AdvRefs) (wanted, error) {
	if refs.Head == nil {
		return wanted{}, pmrsource.Errorf(pmrsource.NotFound, "the repository's HEAD leads nowhere: name a branch; it has %s", some(refs, branches))
	}
	name := "HEAD"
	for _, link := range refs.Capabilities.Get(capability.SymRef) {
		if target, ok := strings.CutPrefix(link, "HEAD:"+branches); ok {
			name = target
		}
	}
	return wanted{hash: *refs.Head, name: name, listed: true}, nil
}

// some are a few of the names below prefix.
func some(refs *packp.AdvRefs, prefix string) string {
	const few = 5
	var names []string
	for ref := range refs.References {
		if name, ok := strings.CutPrefix(ref, prefix); ok {
			names = append(names, fmt.Sprintf("%q", name))
		}
	}
	slices.Sort(names)
	switch {
	case len(names) == 0:
		return "none"
	case len(names) > few:
		return strings.Join(names[:few], ", ") + fmt.Sprintf(" and %d more", len(names)-few)
	}
	return strings.Join(names, ", ")
}
