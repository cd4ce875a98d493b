// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmrsource

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Selection says which files of a source make up the declared list.
type Selection struct {
	// Path is a file, a directory or a pattern. Of a directory, all *.yaml and *.yml below it are meant, without what is
	// hidden by a leading dot. A pattern has *, ?, [a-z], {a,b} or **, and means whatever files it matches. Empty is the
	// root directory.
	Path string
	// Overlays are paths of the same kind, in the order in which they apply. Their files are no part of what Path means.
	Overlays []string
}

// Entry is a file that a source could be asked for.
type Entry struct {
	Path string
	// Link is true of a symbolic link. Links are not followed: they lead out of the repository too easily.
	Link bool
}

// Check says what is wrong with s, as far as that can be said before it is known what there is.
func (s Selection) Check() error {
	for _, p := range append([]string{s.Path}, s.Overlays...) {
		if _, err := clean(p); err != nil {
			return err
		}
	}
	return nil
}

// Pick finds the paths that s means among entries, sorted, and those of its overlays in their order. A path that means
// nothing is an error: a name that was mistyped would otherwise look like a list that was emptied. So is a link that
// would be skipped.
func (s Selection) Pick(entries []Entry) (files, overlays []string, err error) {
	entries = slices.SortedFunc(slices.Values(entries), func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	for _, overlay := range s.Overlays {
		found, err := pick(overlay, entries, nil)
		if err != nil {
			return nil, nil, err
		}
		overlays = append(overlays, found...)
	}
	if files, err = pick(s.Path, entries, overlays); err != nil {
		return nil, nil, err
	}
	return files, overlays, nil
}

// pick finds what one path means, except for what is taken already.
func pick(wanted string, entries []Entry, taken []string) (found []string, err error) {
	name, err := clean(wanted)
	if err != nil {
		return nil, err
	}
	means := match(name, entries)
	others := 0
	for _, entry := range entries {
		switch {
		case entry.Link && (entry.Path == name || strings.HasPrefix(name, entry.Path+"/")):
			return nil, Errorf(NotFound, "the path %q leads through a symbolic link, %q, and links are not followed: name what it leads to",
				wanted, entry.Path)
		case !means(entry.Path):
			if strings.HasPrefix(entry.Path, name+"/") {
				others++
			}
		case entry.Link:
			return nil, Errorf(NotFound, "%q, which the path %q means, is a symbolic link, and links are not followed: replace it with a file",
				entry.Path, wanted)
		case !slices.Contains(taken, entry.Path):
			found = append(found, entry.Path)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	switch {
	case isPattern(name):
		err = Errorf(NotFound, "the pattern %q matches no file", wanted)
	case name == "." || others > 0:
		err = Errorf(NotFound, "the directory %q has no *.yaml and no *.yml file", cmp.Or(wanted, "."))
	default:
		err = Errorf(NotFound, "the path %q does not exist: check its spelling, upper and lower case too", wanted)
	}
	return nil, err
}

// match returns what tells whether a file is meant by name: the file of that name before a directory or pattern.
func match(name string, entries []Entry) func(file string) bool {
	if slices.ContainsFunc(entries, func(e Entry) bool { return e.Path == name }) {
		return func(file string) bool { return file == name }
	}
	if isPattern(name) {
		return func(file string) bool { return doublestar.MatchUnvalidated(name, file) }
	}
	return func(file string) bool {
		rest, below := file, true
		if name != "." {
			rest, below = strings.CutPrefix(file, name+"/")
		}
		hidden := strings.HasPrefix(rest, ".") || strings.Contains(rest, "/.")
		return below && !hidden && (path.Ext(file) == ".yaml" || path.Ext(file) == ".yml")
	}
}

// isPattern says whether name is a pattern unless there is a file of that name.
func isPattern(name string) bool { return strings.ContainsAny(name, `*?[{`) }

// clean is a path without what does not matter.
func clean(wanted string) (string, error) {
	if slices.Contains(strings.Split(wanted, "/"), "..") || strings.HasPrefix(wanted, "/") || strings.ContainsAny(wanted, "\\\x00") {
		return "", Errorf(BadConfiguration, "the path %q is not one inside the source: write it relative to the root, with slashes and without \"..\"", wanted)
	}
	if name := path.Clean(wanted); doublestar.ValidatePattern(name) {
		return name, nil
	}
	return "", Errorf(BadConfiguration, "the path %q is no pattern that can be read: a bracket or brace is not closed", wanted)
}

// Budget is what is left of the limits of a selection. Charge it with each file before the file is kept.
type Budget struct {
	limits Limits
	files  int
	bytes  int64
}

// NewBudget has all of limits left.
func NewBudget(limits Limits) *Budget { return &Budget{limits: limits.WithDefaults()} }

// Charge takes files of that many bytes together from the budget.
func (b *Budget) Charge(files int, bytes int64) error {
	b.files, b.bytes = b.files+files, b.bytes+bytes
	switch {
	case b.files > b.limits.Files:
		return Errorf(TooLarge, "the selection has more than %d files: name fewer, or raise the limit", b.limits.Files)
	case b.bytes > b.limits.Bytes:
		return Errorf(TooLarge, "the selected files are longer than %s together: name fewer, or raise the limit", Size(b.limits.Bytes))
	}
	return nil
}
