// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Command crosscheck proves that the packages of a module still compile for other systems, without compiling them.
// It type-checks them and everything they import from source, with the build constraints of each GOOS/GOARCH: that
// takes seconds where generating and linking code that is never run takes minutes.
//
//	crosscheck [-C DIR] GOOS/GOARCH...
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

func main() {
	dir := flag.String("C", ".", "directory of the module to check")
	flag.Parse()
	for _, target := range flag.Args() {
		began := time.Now()
		n, err := check(context.Background(), *dir, target)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s %s:\n%v\n", *dir, target, err)
			os.Exit(1)
		}
		fmt.Printf("%s %s: %d packages type-check (%.0f s)\n", *dir, target, n, time.Since(began).Seconds())
	}
}

// A listed package, as `go list -json` prints it.
type listed struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
	ImportMap  map[string]string
	Module     *struct{ GoVersion string }
	Error      *struct{ Err string }
}

// check type-checks every package of the module in dir, and all that they import, for one target.
func check(ctx context.Context, dir, target string) (int, error) {
	goos, goarch, ok := strings.Cut(target, "/")
	if !ok {
		return 0, fmt.Errorf("%q is not GOOS/GOARCH", target)
	}
	pkgs, err := list(ctx, dir, goos, goarch)
	if err != nil {
		return 0, err
	}

	c := &checker{
		fset:  token.NewFileSet(),
		sizes: types.SizesFor("gc", goarch),
		slots: make(chan struct{}, runtime.GOMAXPROCS(0)),
		nodes: map[string]*node{"unsafe": {types: types.Unsafe, done: closed()}},
	}
	for _, p := range pkgs {
		if p.ImportPath != "unsafe" {
			c.nodes[p.ImportPath] = &node{listed: p, done: make(chan struct{})}
		}
	}
	var all sync.WaitGroup
	for _, n := range c.nodes {
		if n.types == nil {
			all.Go(func() { c.run(n) })
		}
	}
	all.Wait()

	var errs []error
	for _, p := range pkgs {
		errs = append(errs, c.nodes[p.ImportPath].err)
	}
	return len(pkgs), errors.Join(errs...)
}

func list(ctx context.Context, dir, goos, goarch string) ([]listed, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-e", "-deps",
		"-json=ImportPath,Dir,GoFiles,Imports,ImportMap,Module,Error", "./...")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var pkgs []listed
	for dec := json.NewDecoder(out); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs, cmd.Wait()
		} else if err != nil {
			return nil, errors.Join(err, cmd.Wait())
		}
		pkgs = append(pkgs, p)
	}
}

// A checker holds what the packages of one target share.
type checker struct {
	fset  *token.FileSet
	sizes types.Sizes
	slots chan struct{} // one per processor: a package takes one while it is parsed and checked
	nodes map[string]*node
}

// A node is one package. Its types and err may be read once done is closed.
type node struct {
	listed
	done  chan struct{}
	types *types.Package
	err   error
}

func (c *checker) run(n *node) {
	defer close(n.done)
	if n.Error != nil {
		n.err = errors.New(n.Error.Err)
		return
	}
	for _, path := range n.Imports {
		if dep, ok := c.nodes[path]; ok {
			<-dep.done
		}
	}
	c.slots <- struct{}{}
	defer func() { <-c.slots }()

	var files []*ast.File
	for _, name := range n.GoFiles {
		f, err := parser.ParseFile(c.fset, filepath.Join(n.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			n.err = errors.Join(n.err, err)
			return
		}
		files = append(files, f)
	}
	conf := types.Config{
		Importer: importer(func(path string) (*types.Package, error) { return c.imported(n, path) }),
		Sizes:    c.sizes,
		Error:    func(err error) { n.err = errors.Join(n.err, err) },
	}
	if n.Module != nil && n.Module.GoVersion != "" {
		conf.GoVersion = "go" + n.Module.GoVersion
	}
	n.types, _ = conf.Check(n.ImportPath, c.fset, files, nil) // the error is the first of those that Error collects
}

func (c *checker) imported(from *node, path string) (*types.Package, error) {
	if vendored, ok := from.ImportMap[path]; ok {
		path = vendored
	}
	dep, ok := c.nodes[path]
	if !ok {
		return nil, fmt.Errorf("package %q is not listed", path)
	}
	<-dep.done
	if dep.types == nil {
		return nil, fmt.Errorf("package %q does not parse", path)
	}
	return dep.types, nil
}

type importer func(path string) (*types.Package, error)

func (f importer) Import(path string) (*types.Package, error) { return f(path) }

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}
