// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"berth.dev/berth/internal/kfam"
)

// openAPI is the document and a compiler for its schemas.
type openAPI struct {
	document map[string]any
	compiler *jsonschema.Compiler
}

const documentURL = "test:///openapi.json"

func readOpenAPI(t testing.TB) *openAPI {
	t.Helper()
	data, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	o := &openAPI{compiler: jsonschema.NewCompiler()}
	if err := json.Unmarshal(data, &o.document); err != nil {
		t.Fatal(err)
	}
	o.compiler.DefaultDraft(jsonschema.Draft2020)
	if err := o.compiler.AddResource(documentURL, o.document); err != nil {
		t.Fatal(err)
	}
	return o
}

// at follows keys through the document, and the reference that it finds in the end.
func (o *openAPI) at(keys ...string) (value map[string]any, pointer string) {
	value = o.document
	for _, key := range keys {
		value, _ = value[key].(map[string]any)
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
	}
	if ref, ok := value["$ref"].(string); ok {
		return o.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
	}
	return value, pointer
}

// check says how an answer is not as the document says.
func (o *openAPI) check(method, path string, got answer) error {
	path, _, _ = strings.Cut(path, "?")
	path = strings.TrimRight(path, "/")
	if rest, found := strings.CutPrefix(path, profilesPath+"/"); found && rest != "" {
		path = profilesPath + "/{profile}"
	}
	operation := []string{"paths", path, strings.ToLower(method)}
	if found, _ := o.at(operation...); found == nil {
		if got.code != http.StatusNotFound && got.code != http.StatusMethodNotAllowed && path != "/metrics" {
			return fmt.Errorf("%s %s is not described and answers %d", method, path, got.code)
		}
		return nil
	}
	response, pointer := o.at(append(operation, "responses", strconv.Itoa(got.code))...)
	if response == nil {
		return fmt.Errorf("%s %s answers %d, which is not described", method, path, got.code)
	}
	if got.body == "" {
		return nil // an answer may be empty; clients know its type as JSON all the same
	}
	kind, _, err := mime.ParseMediaType(got.header.Get("Content-Type"))
	if err != nil {
		return err
	}
	content, _ := response["content"].(map[string]any)
	if content[kind] == nil {
		return fmt.Errorf("it answers %d with %s, described is %q", got.code, kind, slices.Sorted(maps.Keys(content)))
	}
	schema, err := o.compiler.Compile(documentURL + "#" + pointer + "/content/" + strings.ReplaceAll(kind, "/", "~1") + "/schema")
	if err != nil {
		return err
	}
	var body any = got.body
	if kind == "application/json" {
		if body, err = jsonschema.UnmarshalJSON(strings.NewReader(got.body)); err != nil {
			return err
		}
	}
	return schema.Validate(body)
}

// Every route is an operation of the document, and every operation a route.
func TestOpenAPI_describesEveryRouteAndNoOther(t *testing.T) {
	document, _ := readOpenAPI(t).at("paths")
	var described []string
	for path, operations := range document {
		methods, _ := operations.(map[string]any)
		for method := range methods {
			described = append(described, strings.ToUpper(method)+" "+path)
		}
	}
	routes := (&kfam.Server{}).Routes()
	slices.Sort(described)
	slices.Sort(routes)
	if diff := cmp.Diff(routes, described); diff != "" {
		t.Errorf("-routes, +openapi.json:\n%s", diff)
	}
}

// The document is served as it is, to everybody, and is valid by the rules of schemas: each compiles.
func TestOpenAPI_isServedAndItsSchemasCompile(t *testing.T) {
	t.Parallel()
	a := serve(t, onShared(t), principalsOnly)
	got := a.send(http.MethodGet, "/kfam/openapi.json", "", nobody())
	var served map[string]any
	if err := json.Unmarshal([]byte(got.body), &served); err != nil {
		t.Fatal(err)
	}
	o := readOpenAPI(t)
	if diff := cmp.Diff(o.document, served); diff != "" {
		t.Errorf("-file, +served:\n%s", diff)
	}
	if served["openapi"] != "3.1.0" {
		t.Errorf("want OpenAPI 3.1, got %v", served["openapi"])
	}
	schemas, _ := o.at("components", "schemas")
	for name := range schemas {
		if _, err := o.compiler.Compile(documentURL + "#/components/schemas/" + name); err != nil {
			t.Errorf("schema %s: %v", name, err)
		}
	}
}

// What clients of Kubeflow's API send is what the document describes.
func TestOpenAPI_describesWhatClientsSend(t *testing.T) {
	o := readOpenAPI(t)
	cases := map[string]struct {
		schema, body string
		wantValid    bool
	}{
		"a binding":             {"Binding", invite("team-a", ben, "edit"), true},
		"a profile":             {"Profile", `{"metadata":{"name":"a"},"spec":{"owner":{"kind":"User","name":"ann@example.com"}}}`, true},
		"a binding to nobody":   {"Binding", `{"referredNamespace":"a","RoleRef":{"kind":"ClusterRole","name":"edit"}}`, false},
		"a role that is not":    {"Binding", invite("team-a", ben, "owner"), false},
		"a profile of nobody":   {"Profile", `{"metadata":{"name":"a"},"spec":{}}`, false},
		"a kind of subject not": {"Binding", inviteKind("team-a", "Robot", "r2", "edit"), false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			schema, err := o.compiler.Compile(documentURL + "#/components/schemas/" + tc.schema)
			if err != nil {
				t.Fatal(err)
			}
			body, err := jsonschema.UnmarshalJSON(strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(body); (err == nil) != tc.wantValid {
				t.Errorf("want valid %v, got %v", tc.wantValid, err)
			}
		})
	}
}
