// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// decoder fills Go values from YAML nodes, and collects all that is wrong with them. A library's decoder stops at the
// first, or forgets the place, and takes words for text that are none in YAML 1.1.
type decoder struct {
	file       string
	validation Validation
	findings   []Finding
	// left is how many more nodes may be looked at: aliases make few bytes many nodes.
	left int
}

// maxDepth is far more than any list needs. It ends aliases that contain themselves.
const maxDepth = 32

// closed are the types whose unknown keys are errors in any case, as github-profiles-automator has it.
var closed = []reflect.Type{reflect.TypeFor[Resources](), reflect.TypeFor[ScopeSelector](), reflect.TypeFor[ScopeExpression]()}

// enumerated is implemented by strings of which only some are allowed.
type enumerated interface{ Values() []string }

func (d *decoder) at(node *yaml.Node) Position {
	return Position{File: d.file, Line: node.Line, Column: node.Column}
}

func (d *decoder) add(severity Severity, code string, node *yaml.Node, format string, args ...any) {
	d.findings = append(d.findings, Finding{Code: code, Severity: severity, Message: fmt.Sprintf(format, args...), Position: d.at(node)})
}

func (d *decoder) fail(code string, node *yaml.Node, format string, args ...any) bool {
	d.add(Error, code, node, format, args...)
	return false
}

// lenient is the severity of what github-profiles-automator lets pass.
func (d *decoder) lenient() Severity {
	if d.validation == Compat {
		return Warning
	}
	return Error
}

// decode fills v, which what names, from node. It returns false where nothing could be made of it.
func (d *decoder) decode(node *yaml.Node, v reflect.Value, what string, depth int) bool {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if d.left--; d.left < 0 || depth > maxDepth {
		return d.fail("too-large", node, "%s is too large or too deep: an alias may repeat itself", what)
	}
	if isNull(node) {
		switch v.Kind() { //nolint:exhaustive // the others must be there
		case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
			return true
		}
	}
	switch v.Kind() { //nolint:exhaustive // the document has no other kinds
	case reflect.Pointer:
		if v.Type() == reflect.TypeFor[*Expiry]() {
			return d.expiry(node, v, what)
		}
		made := reflect.New(v.Type().Elem())
		if !d.decode(node, made.Elem(), what, depth+1) {
			return false
		}
		v.Set(made)
		return true
	case reflect.Struct:
		return d.object(node, v, what, depth)
	case reflect.Slice:
		return d.list(node, v, what, depth)
	case reflect.Map:
		return d.mapping(node, v, what, depth)
	case reflect.Bool:
		if node.Kind != yaml.ScalarNode || kindOf(node) != boolScalar {
			return d.fail("wrong-type", node, "%s must be true or false", what)
		}
		v.SetBool(slices.Contains([]string{"y", "t"}, strings.ToLower(node.Value[:1])) || strings.EqualFold(node.Value, "on"))
		return true
	case reflect.Interface:
		return d.anything(node, v, what, depth)
	}
	return d.text(node, v, what)
}

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && kindOf(node) == nullScalar }

func (d *decoder) text(node *yaml.Node, v reflect.Value, what string) bool {
	if node.Kind != yaml.ScalarNode {
		if v.Type() == reflect.TypeFor[Quantity]() && d.validation == Compat {
			printed, _ := yaml.Marshal(node)
			d.add(Warning, "wrong-type", node, "%s must be a quantity such as \"4\" or 16Gi: the API server will refuse the profile", what)
			v.SetString(strings.TrimSpace(string(printed)))
			return true
		}
		return d.fail("wrong-type", node, "%s must be a text, not a list or a mapping", what)
	}
	kind := kindOf(node)
	if v.Type() == reflect.TypeFor[Quantity]() {
		return d.quantity(node, v, kind, what)
	}
	switch {
	case kind == nullScalar:
		return d.fail("missing", node, "%s is empty: give it a text", what)
	case kind != textScalar:
		return d.fail("wrong-type", node, "%s is %s to YAML, not a text: write it in quotes, as %q", what, kind, node.Value)
	}
	if allowed, ok := reflect.TypeAssert[enumerated](v); ok && !slices.Contains(allowed.Values(), node.Value) {
		return d.fail("unknown-value", node, "%s is %q: use %s", what, node.Value, strings.Join(allowed.Values(), ", "))
	}
	v.SetString(node.Value)
	return true
}

// quantity takes numbers, too: a quota of 4 is no trap.
func (d *decoder) quantity(node *yaml.Node, v reflect.Value, kind scalarKind, what string) bool {
	switch kind {
	case textScalar, floatScalar:
		v.SetString(strings.ReplaceAll(node.Value, "_", ""))
	case intScalar:
		v.SetString(number(node.Value))
		if v.String() != node.Value {
			d.add(Warning, "number-format", node, "%s is %s to YAML: write %q", what, v.String(), v.String())
		}
	case nullScalar, boolScalar, timeScalar:
		d.add(d.lenient(), "wrong-type", node, "%s must be a quantity such as \"4\" or 16Gi, not %q", what, node.Value)
		v.SetString(node.Value)
	}
	return true
}

func (d *decoder) expiry(node *yaml.Node, v reflect.Value, what string) bool {
	if kind := kindOf(node); node.Kind != yaml.ScalarNode || kind != textScalar && kind != timeScalar {
		return d.fail("wrong-type", node, "%s must be a date such as 2027-03-31 or a time such as 2027-03-31T18:00:00Z", what)
	}
	expiry, err := parseExpiry(node.Value)
	if err != nil {
		return d.fail("wrong-type", node, "%s: %s", what, err)
	}
	v.Set(reflect.ValueOf(&expiry))
	return true
}

func (d *decoder) list(node *yaml.Node, v reflect.Value, what string, depth int) bool {
	if node.Kind != yaml.SequenceNode {
		return d.fail("wrong-type", node, "%s must be a list", what)
	}
	items := reflect.MakeSlice(v.Type(), 0, len(node.Content))
	whole := true
	item := reflect.New(v.Type().Elem()).Elem()
	for i, content := range node.Content {
		item.SetZero()
		if d.decode(content, item, fmt.Sprintf("%s[%d]", what, i), depth+1) {
			items = reflect.Append(items, item)
		} else {
			whole = false
		}
	}
	v.Set(items)
	return whole
}

func (d *decoder) mapping(node *yaml.Node, v reflect.Value, what string, depth int) bool {
	pairs, ok := d.pairs(node, what, depth)
	if !ok {
		return false
	}
	made, whole := reflect.MakeMapWithSize(v.Type(), len(pairs)), true
	for _, p := range pairs {
		value := reflect.New(v.Type().Elem()).Elem()
		if d.decode(p.value, value, what+"."+p.key.Value, depth+1) {
			made.SetMapIndex(reflect.ValueOf(p.key.Value), value)
		} else {
			whole = false
		}
	}
	v.Set(made)
	return whole
}

// anything takes what is there, for settings whose shape is somebody else's.
func (d *decoder) anything(node *yaml.Node, v reflect.Value, what string, depth int) bool {
	var target reflect.Value
	switch {
	case node.Kind == yaml.SequenceNode:
		target = reflect.New(reflect.TypeFor[[]any]()).Elem()
	case node.Kind == yaml.MappingNode:
		target = reflect.New(reflect.TypeFor[map[string]any]()).Elem()
	case kindOf(node) == boolScalar:
		target = reflect.New(reflect.TypeFor[bool]()).Elem()
	default:
		v.Set(reflect.ValueOf(node.Value))
		return true
	}
	if !d.decode(node, target, what, depth+1) {
		return false
	}
	v.Set(target)
	return true
}

// object fills a struct by the names of its JSON fields.
func (d *decoder) object(node *yaml.Node, v reflect.Value, what string, depth int) bool {
	pairs, ok := d.pairs(node, what, depth)
	if !ok {
		return false
	}
	if source := v.FieldByName("Source"); source.IsValid() {
		source.Set(reflect.ValueOf(d.at(node)))
	}
	whole := true
	fields := fieldsOf(v.Type())
	given := make(map[string]bool, len(pairs))
	for _, p := range pairs {
		f, known := fields[p.key.Value]
		if !known {
			whole = d.unknown(p.key, v.Type(), fields, what) && whole
			continue
		}
		given[p.key.Value] = true
		if !d.decode(p.value, v.Field(f.index), join(what, p.key.Value), depth+1) {
			whole = false
		} else if f.required && isNull(p.value) {
			whole = d.fail("missing", p.value, "%s is empty", join(what, p.key.Value))
		}
	}
	for _, name := range requiredOf(v.Type()) {
		if !given[name] && !d.partial(v.Type(), name) {
			whole = d.fail("missing", node, "%s is missing", join(what, name))
		}
	}
	return whole
}

// partial says whether a field may be missing in what is being read.
func (d *decoder) partial(of reflect.Type, name string) bool {
	return d.validation == overlay && of == reflect.TypeFor[Profile]() && name == "owner"
}

// join names a field of what, which is nothing at the top.
func join(what, field string) string {
	if what == "" {
		return field
	}
	return what + "." + field
}

func (d *decoder) unknown(key *yaml.Node, in reflect.Type, fields map[string]field, what string) bool {
	hint := ""
	for name := range fields {
		if strings.EqualFold(strings.ReplaceAll(key.Value, "_", ""), name) {
			hint = fmt.Sprintf(": did you mean %q?", name)
		}
	}
	if in == reflect.TypeFor[Contributor]() && key.Value == "kind" {
		hint = ": contributors are users; name groups under groups"
	}
	severity := d.lenient()
	if slices.Contains(closed, in) {
		severity = Error
	}
	where := "at the top"
	if what != "" {
		where = "in " + what
	}
	d.add(severity, "unknown-key", key, "the key %q %s is unknown%s", key.Value, where, hint)
	return severity != Error
}
