// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"
	"sigs.k8s.io/yaml"

	"berth.dev/berth/internal/pmr"
)

const shipped = "../../docs/reference/pmr.schema.json"

func TestSchema_isShipped(t *testing.T) {
	want, err := pmr.Schema()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(shipped, want, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(have)); d != "" {
		t.Errorf("-want, +got; go test ./internal/pmr -update writes it:\n%s", d)
	}
}

// schema is that of a list, ready to validate.
func schema(t *testing.T) *jsonschema.Resolved {
	t.Helper()
	text, err := pmr.Schema()
	if err != nil {
		t.Fatal(err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	resolved, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	return resolved
}

func TestSchema_samples(t *testing.T) {
	valid := schema(t)
	var samples []string
	for _, pattern := range []string{"testdata/*.yaml", "testdata/plan/*/list.yaml", "../../examples/pmr/pmr.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(found), err)
		}
		samples = append(samples, found...)
	}
	for _, sample := range samples {
		data, err := os.ReadFile(sample)
		if err != nil {
			t.Fatal(err)
		}
		var list any
		if err := yaml.Unmarshal(data, &list); err != nil {
			t.Fatal(err)
		}
		if err := valid.Validate(list); err != nil {
			t.Errorf("%s: %v", sample, err)
		}
	}
}

// What is wrong with the types of a list, its schema says, too.
func TestSchema_shapes(t *testing.T) {
	valid := schema(t)
	// What is no JSON, or another value in it.
	unseen := []string{
		"a tag that nobody knows", "a list with a tag", "a limit whose name is a number", "a name that is a date", "a name of base sixty",
		"an alias that contains itself", "a text tagged as number", "a name that is y",
	}
	for name, tc := range shapes {
		var list any
		if slices.Contains(unseen, name) || yaml.Unmarshal([]byte(tc.text), &list) != nil {
			continue
		}
		_, findings := check(tc.text, pmr.Strict)
		wrong := slices.ContainsFunc(findings, func(f pmr.Finding) bool {
			return f.Severity == pmr.Error && slices.Contains([]string{"missing", "wrong-type", "unknown-key", "unknown-value", "empty", "unknown-kind"}, f.Code)
		})
		if err := valid.Validate(list); (err != nil) != wrong {
			t.Errorf("%s: the schema says %v, and found are %v in\n%s", name, err, findings, tc.text)
		}
	}
}

// The page has the list that it begins with, and no code that there isn't.
func TestReference_example(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/pmr.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(page), "```yaml\n")
	example, _, _ := strings.Cut(after, "```\n")
	if doc, findings := check(example, pmr.Strict); len(findings) > 0 || len(doc.Profiles) != 1 {
		t.Errorf("%v in\n%s", findings, example)
	}
	_, table, _ := strings.Cut(string(page), "\n## Findings\n")
	table, _, _ = strings.Cut(table, "\n## ")
	known := codes(t)
	for line := range strings.Lines(table) {
		first, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		for code := range strings.SplitSeq(first, ", ") {
			if name, quoted := strings.CutPrefix(code, "`"); quoted && !slices.Contains(known, strings.TrimSuffix(name, "`")) {
				t.Errorf("no finding has the code %s", code)
			}
		}
	}
}

// Every code of a finding is explained.
func TestReference_namesEveryCode(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/pmr.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range codes(t) {
		if !strings.Contains(string(page), "`"+code+"`") {
			t.Errorf("docs/reference/pmr.md says nothing about the finding %s", code)
		}
	}
}
