// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"

	"berth.dev/berth/internal/pmrsource"
)

// descends says why commit may not follow the one that was accepted last. A force-push to an older commit would give back
// what was taken from somebody; a commit that reverts others is new, and fine.
//
// The server is asked for what leads to commit and not to the old one. If commit descends from the old one, that is the
// way between the two, and its end has the old one as a parent; a parent can't be made up, since it is part of a commit's
// name. If it does not, the answer may be the whole history, of commits alone where the server can filter, and what is
// too much of it is refused as well.
func (f *fetching) descends(ctx context.Context, want wanted, commit *object.Commit) error {
	old := f.source.since
	if old.IsZero() || old == commit.Hash || f.source.options.AllowRewrite {
		return nil
	}
	if ok, err := f.reaches(commit, old); ok || err != nil { // most often it is the parent
		return err
	}
	rewritten := func(why string) error {
		return pmrsource.Errorf(pmrsource.RewrittenHistory,
			"the commit %s does not descend from %s, which was accepted last%s: somebody may have pushed by force, and it could give back access that was taken away; push a commit on top of the old one, or allow the rewrite",
			commit.Hash, old, why)
	}
	from := want.hash
	if !want.listed && !f.remote.anyReachable() && !f.anyObject() {
		return rewritten("") // all of the branch's history is here
	}
	request := f.request(0, from)
	request.Haves = []plumbing.Hash{old}
	f.filter(request, packp.FilterTreeDepth(0))
	if err := f.receive(ctx, request); err != nil {
		if f.meter.Err() == nil && pmrsource.ReasonOf(err) != pmrsource.TooLarge {
			return fmt.Errorf("read the history: %w", err)
		}
		return rewritten(", as far as can be said within the limits")
	}
	ok, err := f.reaches(commit, old)
	if err == nil && !ok {
		err = rewritten("")
	}
	return err
}

// reaches says whether one of the commits that are here, from the given one on, has old as a parent.
func (f *fetching) reaches(from *object.Commit, old plumbing.Hash) (bool, error) {
	seen := map[plumbing.Hash]bool{from.Hash: true}
	for next := []*object.Commit{from}; len(next) > 0; {
		commit := next[0]
		next = next[1:]
		for _, parent := range commit.ParentHashes {
			if parent == old {
				return true, nil
			}
			if seen[parent] || f.objects.HasEncodedObject(parent) != nil {
				continue
			}
			seen[parent] = true
			above, err := object.GetCommit(f.objects, parent)
			if err != nil {
				return false, fmt.Errorf("read the commit %s: %w", parent, err)
			}
			next = append(next, above)
		}
	}
	return false, nil
}
