// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package internal_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	header   = "// SPDX-FileCopyrightText: The Berth Authors\n// SPDX-License-Identifier: Apache-2.0\n"
	maxLines = 400
)

func TestSources_carryTheHeader(t *testing.T) {
	for _, s := range sources(t) {
		if !ast.IsGenerated(s.file) && !bytes.HasPrefix(s.text, []byte(header)) {
			t.Errorf("%s does not begin with the two lines of hack/boilerplate.go.txt", s.path)
		}
	}
}

func TestSources_areShort(t *testing.T) {
	for _, s := range sources(t) {
		if lines := bytes.Count(s.text, []byte("\n")); lines > maxLines && !ast.IsGenerated(s.file) {
			t.Errorf("%s has %d lines, more than %d: it is two things", s.path, lines, maxLines)
		}
	}
}

func TestPackages_haveOneComment(t *testing.T) {
	byDir := map[string][]source{}
	for _, s := range sources(t) {
		byDir[filepath.Dir(s.path)] = append(byDir[filepath.Dir(s.path)], s)
	}
	for _, dir := range slices.Sorted(maps.Keys(byDir)) {
		files := byDir[dir]
		if slices.ContainsFunc(files, func(s source) bool { return !s.test() }) {
			files = slices.DeleteFunc(files, source.test) // tests speak for a package only where there is nothing else
		}
		var commented []string
		for _, s := range files {
			if s.file.Doc.Text() != "" { // a directive alone has no text
				commented = append(commented, filepath.Base(s.path))
			}
		}
		if len(commented) != 1 {
			t.Errorf("the package in %s has %d package comments %v: one file says what the package is for", dir, len(commented), commented)
		}
	}
}

// A source is a Go file of any module of this repository.
type source struct {
	path string
	text []byte
	file *ast.File // comments and package clause
}

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

func sources(t *testing.T) []source {
	t.Helper()
	const root = ".."
	var all []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && path != root &&
			(name == "bin" || name == "testdata" || name == "node_modules" || strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, source{path: path, text: text, file: file})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
