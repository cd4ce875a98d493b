// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package internal_test keeps the rules of the whole tree: who imports whom, and what every source file has.
package internal_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "berth.dev/berth/"

// A layer is a place in the order of imports: a package imports, of ours, from the layers below its own.
type layer int

const (
	types    layer = iota // API types: nothing of ours
	core                  // values in, values out
	adapters              // one kind of I/O each, no policy
	shells                // gather, decide, apply, report
	programs              // what is started: nothing imports it
)

func (l layer) String() string {
	return [...]string{"types", "core", "adapters", "shells", "programs"}[l]
}

// The table has every package of the module. A name stands for its subtree too, except where the subtree is listed.
var table = map[layer][]string{
	types: {
		"api",
		"examples", // files that are embedded, and no code: whoever needs one may have it
	},
	core: {
		"internal/access",
		"internal/audit",
		"internal/budget",
		"internal/cloud", // reading cloud identities; what talks to a cloud is below it, among the adapters
		"internal/doctor",
		"internal/hook",
		"internal/identity",
		"internal/pmr",
		"internal/render",
		"internal/snapshot",
	},
	adapters: {
		"internal/auditstore",
		"internal/cloud/awsiam",
		"internal/cloud/cloudtest",
		"internal/cloud/gcpwi",
		"internal/cloud/keyed",
		"internal/devcluster",
		"internal/hookclient",
		"internal/idpsource",
		"internal/kube",
		"internal/labelsfile",
		"internal/memory",
		"internal/pmrsource",
	},
	shells: {
		"internal/auditlog",
		"internal/cli",
		"internal/console",
		"internal/controller",
		"internal/kfam",
		"internal/testkit",
	},
	programs: {
		"bench",
		"cmd",
		"deploy",
		"hack",
		"internal", // these tests
	},
}

// Imports within a layer that are meant. Packages below the same directory of internal/ may import each other anyway.
var beside = map[string][]string{
	"internal/access":                    {"internal/identity", "internal/snapshot"},
	"internal/cli":                       {"internal/auditlog", "internal/console", "internal/controller", "internal/kfam"},
	"internal/controller/controllertest": {"internal/testkit"},
	"internal/doctor":                    {"internal/access", "internal/snapshot"},
	"internal/pmr":                       {"internal/identity", "internal/render"},
	"internal/render":                    {"internal/cloud", "internal/identity"},
}

// Packages that only tests and benchmarks import.
var forTests = []string{"internal/cloud/cloudtest", "internal/controller/controllertest", "internal/testkit"}

// What the core has no direct import of, subpackages included: it takes values, and returns values.
var notInCore = []string{"os", "net/http", "log", "github.com/go-logr", "go.uber.org/zap", "k8s.io/klog"}

// What the core does not even reach through others.
var notBelowCore = []string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime"}

func TestLayers(t *testing.T) {
	for _, p := range list(t) {
		own, ok := layerOf(p.name)
		if !ok {
			t.Errorf("package %q is in no layer: place it in the table of internal/layers_test.go", p.name)
			continue
		}
		for _, imported := range p.Imports {
			imported, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			of, _ := layerOf(imported) // reported when its own turn comes
			meant := top(imported) == top(p.name) || slices.Contains(beside[top(p.name)], top(imported)) ||
				slices.Contains(beside[p.name], top(imported))
			if of > own || of == own && !meant {
				t.Errorf("package %q (%s) imports %q (%s): a layer imports only from the layers below it", p.name, own, imported, of)
			}
			if top(p.name) != "bench" && slices.Contains(forTests, imported) && !slices.Contains(forTests, p.name) {
				t.Errorf("package %q imports %q, which is for tests", p.name, imported)
			}
		}
	}
}

func TestCore_isPure(t *testing.T) {
	for _, p := range list(t) {
		if own, _ := layerOf(p.name); own != core {
			continue
		}
		for _, imported := range p.Imports {
			if within(imported, notInCore) {
				t.Errorf("package %q imports %q: the core takes values and returns values; reading, writing and logging is for its callers",
					p.name, imported)
			}
		}
		for _, reached := range p.Deps {
			if within(reached, notBelowCore) {
				t.Errorf("package %q reaches %q: `go list -deps` tells through what", p.name, reached)
			}
		}
		for _, file := range p.GoFiles {
			for _, at := range clocks(t, filepath.Join(p.Dir, file)) {
				t.Errorf("%s: the core has no clock; its caller passes the time", at)
			}
		}
	}
}

func TestTypes_importNothingOfOurs(t *testing.T) {
	for _, p := range list(t) {
		if own, ok := layerOf(p.name); !ok || own != types {
			continue
		}
		for _, imported := range p.Imports {
			if name, ours := strings.CutPrefix(imported, module); ours && top(name) != "api" {
				t.Errorf("package %q imports %q: whoever imports the types gets nothing else of ours", p.name, name)
			}
		}
	}
}

// A pkg is a package of the module. Its name is the import path within the module.
type pkg struct {
	name       string
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

// list returns the packages of the module.
func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Dir,GoFiles,Imports,Deps", "./...")
	cmd.Dir = ".."
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatalf("output of go list: %v", err)
		}
		p.name = strings.TrimPrefix(p.ImportPath, module)
		pkgs = append(pkgs, p)
	}
}

// layerOf finds the longest entry of the table that name is, or is below.
func layerOf(name string) (found layer, ok bool) {
	longest := ""
	for l, entries := range table {
		for _, entry := range entries {
			if within(name, []string{entry}) && len(entry) > len(longest) {
				longest, found, ok = entry, l, true
			}
		}
	}
	if longest == "internal" && name != longest {
		return 0, false // "internal" stands for itself: what is below it has to be placed
	}
	return found, ok
}

// top is the part of a name that stands for a subject: internal/kube of internal/kube/apply, bench of bench.
func top(name string) string {
	first, rest, _ := strings.Cut(name, "/")
	if first != "internal" {
		return first
	}
	second, _, _ := strings.Cut(rest, "/")
	return path.Join(first, second)
}

func within(name string, roots []string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		return name == root || strings.HasPrefix(name, root+"/")
	})
}

// clocks finds where a file reads the clock.
func clocks(t *testing.T, file string) (at []token.Position) {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	name := ""
	for _, spec := range f.Imports {
		if imported, err := strconv.Unquote(spec.Path.Value); err == nil && imported == "time" {
			name = "time"
			if spec.Name != nil {
				name = spec.Name.Name
			}
		}
	}
	if name == "" {
		return nil
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && slices.Contains([]string{"Now", "Since", "Until"}, sel.Sel.Name) {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == name {
				at = append(at, fset.Position(sel.Pos()))
			}
		}
		return true
	})
	return at
}
