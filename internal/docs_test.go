// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/access/coverage"
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

// The reference has an example of every field of a ProfileClass, and each example is one that the API server could take.
func TestReference_examplesOfClasses(t *testing.T) {
	page, err := os.ReadFile("../docs/reference/profileclass.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1) {
		if !strings.Contains(string(block[1]), "\nkind: ProfileClass\n") {
			continue
		}
		var class berthv1alpha1.ProfileClass
		if err := yaml.UnmarshalStrict(block[1], &class); err != nil {
			t.Errorf("%v in:\n%s", err, block[1])
		}
		var tree map[string]any
		if err := yaml.Unmarshal(block[1], &tree); err != nil {
			t.Error(err)
		}
		collect(tree["spec"], "spec", shown)
	}
	for _, field := range fieldsOf(reflect.TypeFor[berthv1alpha1.ProfileClassSpec](), "spec") {
		if !shown[field] {
			t.Errorf("docs/reference/profileclass.md has no example of %s", field)
		}
	}
}

// collect enters the paths of all fields of value.
func collect(value any, path string, into map[string]bool) {
	into[path] = true
	switch value := value.(type) {
	case map[string]any:
		for key, field := range value {
			collect(field, path+"."+key, into)
		}
	case []any:
		for _, item := range value {
			collect(item, path, into)
		}
	}
}

// fieldsOf are the paths of the fields of a type of ours, by their names in JSON.
func fieldsOf(of reflect.Type, path string) (fields []string) {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct || !strings.HasSuffix(of.PkgPath(), "/berth/v1alpha1") {
		return nil
	}
	for field := range of.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if options == "inline" {
			fields = append(fields, fieldsOf(field.Type, path)...)
			continue
		}
		fields = append(append(fields, path+"."+name), fieldsOf(field.Type, path+"."+name)...)
	}
	return fields
}

// The page about classes names every word of theirs.
func TestReference_namesEveryWordOfClasses(t *testing.T) {
	page, err := os.ReadFile("../docs/reference/profileclass.md")
	if err != nil {
		t.Fatal(err)
	}
	for source, word := range map[string]*regexp.Regexp{
		"../api/berth/v1alpha1/annotations.go":        regexp.MustCompile(`Annotation|Label|Finalizer`),
		"../api/berth/v1alpha1/profileclass_types.go": regexp.MustCompile(`^(Condition|Reason)`),
	} {
		for name, value := range constants(t, source) {
			if word.MatchString(name) && !strings.Contains(string(page), "`"+value) {
				t.Errorf("docs/reference/profileclass.md says nothing about %q (%s in %s)", value, name, source)
			}
		}
	}
}

// The page about syncs names every word of theirs.
func TestReference_namesEveryWordOfSyncs(t *testing.T) {
	page, err := os.ReadFile("../docs/reference/profilesync.md")
	if err != nil {
		t.Fatal(err)
	}
	for source, word := range map[string]*regexp.Regexp{
		"../api/berth/v1alpha1/profilesync_annotations.go":  regexp.MustCompile(`Annotation|Label`),
		"../api/berth/v1alpha1/profilesync_status_types.go": regexp.MustCompile(`^(Condition|Reason)`),
		"pmr/limits.go":       regexp.MustCompile(`^Limit`),
		"pmr/diff.go":         regexp.MustCompile(`^Reason`),
		"pmrsource/errors.go": regexp.MustCompile(`.`),
	} {
		for name, value := range constants(t, source) {
			if word.MatchString(name) && !strings.Contains(string(page), "`"+value) {
				t.Errorf("docs/reference/profilesync.md says nothing about %q (%s in %s)", value, name, source)
			}
		}
	}
}

// The page about roles names every word of theirs, and its policy is one that can be used.
func TestReference_namesEveryWordOfRoles(t *testing.T) {
	page, err := os.ReadFile("../docs/reference/roles.md")
	if err != nil {
		t.Fatal(err)
	}
	for source, word := range map[string]*regexp.Regexp{
		"access/coverage/finding.go":            regexp.MustCompile(`^Code`),
		"access/coverage/generate.go":           regexp.MustCompile(`Label$`),
		"controller/rolecoverage/report.go":     regexp.MustCompile(`^Event|Label$`),
		"controller/rolecoverage/reconciler.go": regexp.MustCompile(`^Policy`),
	} {
		for name, value := range constants(t, source) {
			if word.MatchString(name) && !strings.Contains(string(page), "`"+value) {
				t.Errorf("docs/reference/roles.md says nothing about %q (%s in %s)", value, name, source)
			}
		}
	}
	shown := 0
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1) {
		var config corev1.ConfigMap
		if err := yaml.Unmarshal(block[1], &config); err != nil {
			t.Errorf("%v in:\n%s", err, block[1])
		}
		if config.Kind != "ConfigMap" {
			continue
		}
		shown++
		if _, err := coverage.ReadPolicy([]byte(config.Data["policy.yaml"])); err != nil {
			t.Errorf("%v in:\n%s", err, block[1])
		}
	}
	if shown == 0 {
		t.Error("docs/reference/roles.md shows no policy")
	}
}

// The page about access names every finding.
func TestReference_namesEveryFindingOfAccess(t *testing.T) {
	page, err := os.ReadFile("../docs/reference/access.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range constants(t, "access/lint.go") {
		if strings.HasPrefix(name, "Code") && !strings.Contains(string(page), "`"+value+"`") {
			t.Errorf("docs/reference/access.md says nothing about %q (%s)", value, name)
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
