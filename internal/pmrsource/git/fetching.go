// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/storage/memory"

	"berth.dev/berth/internal/pmrsource"
)

// unpacked is how many times as much as was sent may come out of it. Text packs to a third or so; what packs to less
// than a quarter as a whole is no list, and may be made to fill the memory.
const unpacked = 4

// fetching is one Fetch of something new.
type fetching struct {
	source *Source
	remote remote
	// offers is what the server can do.
	offers *capability.List
	meter  *pmrsource.Meter
	// objects are those that came so far. They are checked by their names, which are the sums of their contents.
	objects *memory.Storage
	// room is how much may still come out of packs.
	room int64
}

func newFetching(s *Source, from remote, refs *packp.AdvRefs, meter *pmrsource.Meter) *fetching {
	return &fetching{
		source:  s,
		remote:  from,
		offers:  refs.Capabilities,
		meter:   meter,
		objects: memory.NewStorage(),
		room:    s.options.Limits.Transfer * unpacked,
	}
}

// lazy says whether the server lets us ask for the content of single files.
func (f *fetching) lazy() bool { return f.offers.Supports(capability.Filter) && f.anyObject() }

// anyObject says whether the server sends whatever it is asked for.
func (f *fetching) anyObject() bool {
	return f.offers.Supports(capability.AllowReachableSHA1InWant) && f.offers.Supports(capability.AllowTipSHA1InWant)
}

// commit gets the commit that is wanted, with its trees and, unless the server sends single ones, all of its files. The
// tag is that which led there, if any.
func (f *fetching) commit(ctx context.Context, want wanted) (*object.Commit, *object.Tag, error) {
	var refusal *pktline.ErrorLine
	direct := want.listed || f.anyObject() || f.offers.Supports(capability.AllowReachableSHA1InWant) || f.remote.anyReachable()
	if direct {
		err := f.receive(ctx, f.request(1, want.hash))
		if errors.As(err, &refusal) && !want.listed {
			direct = false // how it is refused differs from server to server
		} else if err != nil {
			return nil, nil, err
		}
	}
	if !direct && !f.anyObject() && !want.branch.IsZero() {
		if err := f.receive(ctx, f.request(0, want.branch)); err != nil {
			return nil, nil, err
		}
	}
	var tag *object.Tag
	found, err := f.objects.EncodedObject(plumbing.AnyObject, want.hash)
	if err == nil && found.Type() == plumbing.TagObject {
		if tag, err = object.DecodeTag(f.objects, found); err != nil {
			return nil, nil, fmt.Errorf("read the tag: %w", err)
		}
		found, err = f.objects.EncodedObject(plumbing.AnyObject, tag.Target)
	}
	switch {
	case errors.Is(err, plumbing.ErrObjectNotFound):
		return nil, nil, pmrsource.Errorf(pmrsource.NotFound, "the repository does not hand out the commit %s: check it, or name the branch that has it, too", want.hash)
	case err != nil:
		return nil, nil, err
	case found.Type() != plumbing.CommitObject:
		return nil, nil, pmrsource.Errorf(pmrsource.NotFound, "what is wanted is a %s and no commit: name another", found.Type())
	}
	commit, err := object.DecodeCommit(f.objects, found)
	return commit, tag, err
}

// request asks for objects, of no more than depth commits where that is not 0.
func (f *fetching) request(depth int, wants ...plumbing.Hash) *packp.UploadPackRequest {
	r := packp.NewUploadPackRequest()
	r.Wants = wants
	for _, want := range []capability.Capability{capability.Sideband64k, capability.OFSDelta, capability.NoProgress} {
		if f.offers.Supports(want) {
			_ = r.Capabilities.Set(want) // it fails for capabilities that have arguments
		}
	}
	if depth > 0 && f.offers.Supports(capability.Shallow) {
		_ = r.Capabilities.Set(capability.Shallow)
		r.Depth = packp.DepthCommits(depth)
	}
	if f.lazy() {
		f.filter(r, packp.FilterBlobNone())
	}
	return r
}

// filter asks for fewer objects, where the server can do that.
func (f *fetching) filter(r *packp.UploadPackRequest, by packp.Filter) {
	if f.offers.Supports(capability.Filter) {
		_ = r.Capabilities.Set(capability.Filter)
		r.Filter = by
	}
}

// receive asks for objects and keeps them.
func (f *fetching) receive(ctx context.Context, request *packp.UploadPackRequest) error {
	body, err := f.remote.pack(ctx, request)
	if err != nil {
		return err
	}
	defer body.Close()
	response := packp.NewUploadPackResponse(request)
	if err := response.Decode(io.NopCloser(f.meter.Reader(body))); err != nil {
		return err
	}
	var from io.Reader = response
	if request.Capabilities.Supports(capability.Sideband64k) {
		from = sideband.NewDemuxer(sideband.Sideband64k, response)
	}
	pack, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	if err := f.weigh(pack); err != nil {
		return err
	}
	if err := packfile.UpdateObjectStorage(f.objects, bytes.NewReader(pack)); err != nil && !errors.Is(err, packfile.ErrEmptyPackfile) {
		return fmt.Errorf("read what the server sent: %w", err)
	}
	return nil
}

// weigh takes what would come out of pack from the room that is left, before it does: go-git holds it all at once. An
// object is as long as its header says or a delta's says, which is checked when it is read.
func (f *fetching) weigh(pack []byte) error {
	tooMuch := pmrsource.Errorf(pmrsource.TooLarge, "what the server sent unpacks to more than %s: keep large files out of the repository, or raise the limit",
		pmrsource.Size(f.source.options.Limits.Transfer*unpacked))
	scanner := packfile.NewScanner(bytes.NewReader(pack))
	_, count, err := scanner.Header()
	if err != nil {
		return fmt.Errorf("read what the server sent: %w", err)
	}
	for range count {
		header, err := scanner.NextObjectHeader()
		if err != nil {
			return fmt.Errorf("read what the server sent: %w", err)
		}
		if header.Length < 0 || header.Length > f.room {
			return tooMuch
		}
		f.room -= header.Length
		var start beginning
		if _, _, err := scanner.NextObject(&start); err != nil {
			return fmt.Errorf("read what the server sent: %w", err)
		}
		if !header.Type.IsDelta() {
			continue
		}
		result := start.result()
		if result > uint64(f.room) { //nolint:gosec // room is never less than 0
			return tooMuch
		}
		f.room -= int64(result) //nolint:gosec // it is no more than room
	}
	return nil
}

// beginning keeps the first bytes that are written to it.
type beginning struct {
	bytes [2 * binary.MaxVarintLen64]byte
	kept  int
}

// Write keeps what there is room for.
func (b *beginning) Write(p []byte) (int, error) {
	b.kept += copy(b.bytes[b.kept:], p)
	return len(p), nil
}

// result is how long the object is that a delta makes: the second of two numbers that it begins with.
func (b *beginning) result() uint64 {
	_, n := binary.Uvarint(b.bytes[:b.kept])
	if n <= 0 {
		return 0 // it is broken, and refused when it is read
	}
	result, _ := binary.Uvarint(b.bytes[n:b.kept])
	return result
}
