// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The reference names every word that users meet in status, Events, annotations and on the command line.
func TestReference_namesEveryWord(t *testing.T) {
	reference, err := os.ReadFile("../docs/reference/profile.md")
	if err != nil {
		t.Fatal(err)
	}
	for source, word := range map[string]*regexp.Regexp{
		"../api/kubeflow/v1/conditions.go":  regexp.MustCompile(`^(Condition|Reason)`),
		"../api/kubeflow/v1/annotations.go": regexp.MustCompile(`Annotation|Label|Finalizer`),
		"kube/status/events.go":             regexp.MustCompile(`^Event`),
	} {
		for name, value := range constants(t, source) {
			if word.MatchString(name) && !strings.Contains(string(reference), "`"+value) {
				t.Errorf("docs/reference/profile.md says nothing about %q (%s in %s)", value, name, source)
			}
		}
	}
	flag := regexp.MustCompile(`(?:String|Bool|Duration)?Var\(&?[\w.]+, "([a-z-]+)"`)
	for _, source := range []string{"cli/controller.go", "cli/settings.go"} {
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		found := flag.FindAllSubmatch(text, -1)
		if len(found) < 5 {
			t.Errorf("only %d flags found in %s: they are defined in another way now", len(found), source)
		}
		for _, match := range found {
			if !strings.Contains(string(reference), "`-"+string(match[1])+"`") {
				t.Errorf("docs/reference/profile.md says nothing about the flag -%s of %s", match[1], source)
			}
		}
	}
}

// Links between documents lead somewhere.
func TestDocuments_linksWork(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	var documents []string
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../docs/*/*.md", "../devcluster/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, found...)
	}
	for _, document := range documents {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range link.FindAllSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(document), string(match[1]))); err != nil {
				t.Errorf("%s: the link to %s is broken: %v", document, match[1], err)
			}
		}
	}
}

// constants are the constants of a file that are written as strings.
func constants(t *testing.T, path string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, value := range spec.Values {
			if literal, ok := value.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				if text, err := strconv.Unquote(literal.Value); err == nil {
					found[spec.Names[i].Name] = text
				}
			}
		}
		return true
	})
	return found
}
