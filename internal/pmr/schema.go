// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/google/jsonschema-go/jsonschema"
)

// Schema is the JSON Schema of a list, for editors and other tools. It says of a list what its types say: what Lint finds
// is not in it.
func Schema() ([]byte, error) {
	schema, err := jsonschema.For[Document](&jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[OwnerKind]():         oneOf(OwnerKind("")),
		reflect.TypeFor[Role]():              oneOf(Role("")),
		reflect.TypeFor[ScopeOperator]():     oneOf(ScopeOperator("")),
		reflect.TypeFor[ContributorPolicy](): oneOf(ContributorPolicy("")),
		reflect.TypeFor[Quantity]():          {Types: []string{"string", "number"}},
		reflect.TypeFor[Expiry]():            {Type: "string", Pattern: `^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[-+][0-9]{2}:[0-9]{2}))?$`},
	}})
	if err != nil {
		return nil, fmt.Errorf("make the schema of a list: %w", err)
	}
	schema.Schema = "https://json-schema.org/draft/2020-12/schema"
	schema.Title = "Profile Management Representation"
	schema.Description = "The profiles that are to be in a cluster, and who has access to them"
	schema.Properties["apiVersion"].Enum = []any{APIVersion}
	schema.Properties["kind"].Enum = []any{Kind}
	// What must be there is not null.
	schema.Properties["profiles"].Types, schema.Properties["profiles"].Type = nil, "array"
	owner := schema.Properties["profiles"].Items.Properties["owner"]
	owner.Types, owner.Type = nil, "object"
	text, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("print the schema of a list: %w", err)
	}
	return append(text, '\n'), nil
}

// oneOf is the schema of texts of which only some are allowed.
func oneOf(of enumerated) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "string"}
	for _, value := range of.Values() {
		s.Enum = append(s.Enum, value)
	}
	return s
}
