// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"slices"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// Validation is how a list is checked.
type Validation string

const (
	// Strict refuses what is likely not meant: unknown keys, and names that are there twice.
	Strict Validation = "strict"
	// Compat takes what github-profiles-automator takes, with warnings.
	Compat Validation = "compat"

	// overlay is Strict for a list that changes another.
	overlay Validation = "overlay"
)

// File is a part of a list, as text.
type File struct {
	Path string
	Data []byte
}

// Input is what a list is read from.
type Input struct {
	// Files are put together to one list.
	Files []File
	// Overlays change the list, one after the other.
	Overlays []File
	// Validation is Strict where it is empty.
	Validation Validation
}

const (
	// maxFile is the largest file, in bytes.
	maxFile = 64 << 20
	// maxRepeated is how many nodes aliases may repeat: 25 for each of 10,000 profiles.
	maxRepeated = 250_000
)

// Read reads a list. It is to be used only if none of the findings is an error.
func Read(in Input) (Document, []Finding) {
	if in.Validation == "" {
		in.Validation = Strict
	}
	var whole Document
	var findings []Finding
	if len(in.Files) == 0 {
		findings = []Finding{{Code: "empty", Severity: Error, Message: "there is no file to read a list from"}}
	}
	for i, file := range in.Files {
		part, found := readFile(file, in.Validation)
		findings = append(findings, found...)
		if i == 0 {
			whole.Source = part.Source
		}
		findings = append(findings, whole.add(part)...)
	}
	if !HasErrors(findings) {
		findings = append(findings, whole.dropDuplicates(in.Validation)...)
	}
	for _, file := range in.Overlays {
		change, found := readFile(file, overlay)
		findings = append(findings, found...)
		if !HasErrors(findings) {
			findings = append(findings, whole.overlay(change)...)
		}
	}
	return whole, sortFindings(findings)
}

func readFile(file File, validation Validation) (Document, []Finding) {
	d := decoder{file: file.Path, validation: validation}
	var doc Document
	root, ok := d.parse(file.Data)
	if !ok {
		return doc, d.findings
	}
	d.left = nodes(root) + maxRepeated
	if validation == Compat && d.emptyProfiles(root) {
		return Document{Source: d.at(root), Profiles: []Profile{}}, d.findings
	}
	d.decode(root, reflect.ValueOf(&doc).Elem(), 0)
	if doc.APIVersion != "" && doc.APIVersion != APIVersion || doc.Kind != "" && doc.Kind != Kind {
		d.fail("unknown-kind", root, "this is a %q of %q: leave apiVersion and kind out, or write %s and %s", doc.Kind, doc.APIVersion, APIVersion, Kind)
	}
	return doc, d.findings
}

// nodes counts node and what is below it, aliases as one.
func nodes(node *yaml.Node) int {
	count := 1
	for _, content := range node.Content {
		count += nodes(content)
	}
	return count
}

// parse returns the one document that data has.
func (d *decoder) parse(data []byte) (*yaml.Node, bool) {
	start := &yaml.Node{Line: 1, Column: 1}
	switch {
	case len(data) > maxFile:
		return nil, d.fail("too-large", start, "the file has %d bytes: at most %d are read", len(data), maxFile)
	case !utf8.Valid(data):
		return nil, d.fail("syntax", start, "the file is not UTF-8")
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return nil, d.fail("syntax", start, "%s", err)
	}
	var first, second yaml.Node
	if err := loader.Load(&first); errors.Is(err, io.EOF) {
		return nil, d.fail("empty", start, "the file is empty: write `profiles: []` if no profile is meant")
	} else if err != nil {
		return nil, d.syntax(err)
	}
	if err := loader.Load(&second); err == nil {
		return nil, d.fail("several-documents", &second, "there is a second document after `---`: write one list, or several files")
	} else if !errors.Is(err, io.EOF) {
		return nil, d.syntax(err)
	}
	root := &first
	if root.Kind == yaml.DocumentNode && len(root.Content) > 0 {
		root = root.Content[0]
	}
	if root.Kind != yaml.MappingNode {
		return nil, d.fail("wrong-type", root, "the file must be a mapping with the key profiles")
	}
	return root, true
}

func (d *decoder) syntax(err error) bool {
	at := &yaml.Node{Line: 1, Column: 1}
	if where := new(yaml.LoadError); errors.As(err, &where) {
		at.Line, at.Column = max(where.Mark.Line, 1), max(where.Mark.Column, 1)
		return d.fail("syntax", at, "this is not YAML: %s", where.Message)
	}
	return d.fail("syntax", at, "this is not YAML: %s", err)
}

// emptyProfiles says whether the profiles are something empty that is no list, which github-profiles-automator takes for
// an empty one.
func (d *decoder) emptyProfiles(root *yaml.Node) bool {
	for i := 0; i+1 < len(root.Content); i += 2 {
		value := root.Content[i+1]
		if root.Content[i].Value != "profiles" {
			continue
		}
		if value.Kind == yaml.MappingNode && len(value.Content) == 0 ||
			value.Kind == yaml.ScalarNode && value.Value == "" && kindOf(value) == textScalar {
			d.add(Warning, "wrong-type", value, "profiles must be a list: this is taken for an empty one")
			return true
		}
	}
	return false
}

// add puts the parts of another file to doc.
func (doc *Document) add(part Document) []Finding {
	var findings []Finding
	if part.Defaults != nil && doc.Defaults != nil {
		findings = append(findings, Finding{
			Code: "duplicate-defaults", Severity: Error, Position: part.Defaults.Source,
			Message: "there are defaults in " + doc.Defaults.Source.String() + " already: keep them in one file",
		})
	} else if part.Defaults != nil {
		doc.Defaults = part.Defaults
	}
	doc.Users = append(doc.Users, part.Users...)
	doc.Groups = append(doc.Groups, part.Groups...)
	doc.Profiles = append(doc.Profiles, part.Profiles...)
	return findings
}

// dropDuplicates keeps one of each name, the last.
func (doc *Document) dropDuplicates(validation Validation) []Finding {
	severity := Error
	if validation == Compat {
		severity = Warning
	}
	var findings []Finding
	twice := func(what, name string, at, first Position) {
		f := Finding{
			Code: "duplicate-" + what, Severity: severity, Position: at,
			Message: "the " + what + " \"" + name + "\" is there twice, first at " + first.String() + ": the last would count",
		}
		if what == "profile" {
			f.Profile = name
		}
		findings = append(findings, f)
	}
	doc.Profiles = lastOfEach(doc.Profiles, func(p Profile) (string, Position) { return p.Name, p.Source },
		func(name string, at, first Position) { twice("profile", name, at, first) })
	doc.Groups = lastOfEach(doc.Groups, func(g Group) (string, Position) { return g.Name, g.Source },
		func(name string, at, first Position) { twice("group", name, at, first) })
	doc.Users = lastOfEach(doc.Users, func(u User) (string, Position) { return u.Name, u.Source },
		func(name string, at, first Position) { twice("user", name, at, first) })
	return findings
}

// lastOfEach keeps the last item of each name, in the place of the first.
func lastOfEach[T any](items []T, of func(T) (string, Position), twice func(name string, at, first Position)) []T {
	index := make(map[string]int, len(items))
	kept := items[:0:0]
	for _, item := range items {
		name, source := of(item)
		if at, there := index[name]; there {
			_, first := of(kept[at])
			twice(name, source, first)
			kept[at] = item
			continue
		}
		index[name] = len(kept)
		kept = append(kept, item)
	}
	return kept
}

// Profile returns the profile called name, or nil.
func (doc *Document) Profile(name string) *Profile {
	i := slices.IndexFunc(doc.Profiles, func(p Profile) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &doc.Profiles[i]
}
