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
	for source, least := range map[string]int{"cli/controller.go": 5, "cli/settings.go": 8} {
		namesFlags(t, "../docs/reference/profile.md", flags(t, source, "", least))
	}
	// The access-management API has flags of its own, and shares some of the controller's.
	namesFlags(t, "../docs/reference/kfam.md", flags(t, "cli/kfam.go", "", 10))
	namesFlags(t, "../docs/reference/kfam.md", flags(t, "cli/settings.go", "bindAdmission", 5))
}

// flags are the flags that a source file defines, in one function or, without its name, in all. There must be so many at
// least, or they are defined in another way now.
func flags(t *testing.T, source, function string, least int) (names []string) {
	t.Helper()
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	if function != "" {
		_, after, _ := strings.Cut(string(text), ") "+function+"(")
		body, _, _ := strings.Cut(after, "\n}\n")
		text = []byte(body)
	}
	for _, match := range regexp.MustCompile(`Var\(&?[\w.]+, "([a-z-]+)"`).FindAllSubmatch(text, -1) {
		names = append(names, string(match[1]))
	}
	if len(names) < least {
		t.Errorf("only %d flags found in %s %s", len(names), source, function)
	}
	return names
}

func namesFlags(t *testing.T, document string, names []string) {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.Contains(string(text), "`-"+name+"`") {
			t.Errorf("%s says nothing about the flag -%s", document, name)
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
