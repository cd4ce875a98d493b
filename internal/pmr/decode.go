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
	// dropped counts the findings after the first maxFindings.
	dropped int
	// left is how many more nodes may be looked at: aliases make few bytes many nodes.
	left int
	// path leads to the node that is being looked at. It becomes text only where something is wrong there.
	path []step
}

// step is a field of a mapping, or, where that is empty, an item of a list.
type step struct {
	field string
	index int
}

const (
	// maxDepth is far more than any list needs. It ends aliases that contain themselves.
	maxDepth = 32
	// maxFindings is more than anybody reads of one file.
	maxFindings = 1000
)

// closed are the types whose unknown keys are errors in any case, as github-profiles-automator has it.
var closed = []reflect.Type{reflect.TypeFor[Resources](), reflect.TypeFor[ScopeSelector](), reflect.TypeFor[ScopeExpression]()}

// enumerated is implemented by strings of which only some are allowed.
type enumerated interface{ Values() []string }

func (d *decoder) at(node *yaml.Node) Position {
	return Position{File: d.file, Line: node.Line, Column: node.Column}
}

func (d *decoder) add(severity Severity, code string, node *yaml.Node, format string, args ...any) {
	f := Finding{Code: code, Severity: severity, Position: d.at(node)}
	if len(d.findings) < maxFindings {
		f.Message = fmt.Sprintf(format, args...)
		d.findings = append(d.findings, f)
		return
	}
	d.dropped++
	last := &d.findings[maxFindings-1]
	if d.dropped == 1 {
		d.dropped++ // the last goes, too
		f.Code, f.Severity = "too-many", last.Severity
		*last = f
	}
	last.Severity = worse(last.Severity, severity)
	last.Message = fmt.Sprintf("there are %d findings more: mend those before it first", d.dropped)
}

// worse is the graver of two severities.
func worse(a, b Severity) Severity {
	if a == Error || b == Error {
		return Error
	}
	return Warning
}

// enter goes down to a field, and leave goes back up.
func (d *decoder) enter(field string, index int) { d.path = append(d.path, step{field, index}) }

func (d *decoder) leave() { d.path = d.path[:len(d.path)-1] }

// here names what is being looked at.
func (d *decoder) here() string {
	var text strings.Builder
	for _, s := range d.path {
		switch {
		case s.field == "":
			fmt.Fprintf(&text, "[%d]", s.index)
		case text.Len() > 0:
			text.WriteString("." + s.field)
		default:
			text.WriteString(s.field)
		}
	}
	if text.Len() == 0 {
		return "the list"
	}
	return text.String()
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

// decode fills v from node. It returns false where nothing could be made of it.
func (d *decoder) decode(node *yaml.Node, v reflect.Value, depth int) bool {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if d.left--; d.left < 0 || depth > maxDepth {
		return d.fail("too-large", node, "%s is too large or too deep: an alias may repeat itself", d.here())
	}
	if tag := node.ShortTag(); node.Kind != yaml.ScalarNode && node.Style&yaml.TaggedStyle != 0 && tag != "!!map" && tag != "!!seq" {
		return d.fail("wrong-type", node, "%s has the tag %s: leave it out", d.here(), tag)
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
			return d.expiry(node, v)
		}
		made := reflect.New(v.Type().Elem())
		if !d.decode(node, made.Elem(), depth+1) {
			return false
		}
		v.Set(made)
		return true
	case reflect.Struct:
		return d.object(node, v, depth)
	case reflect.Slice:
		return d.list(node, v, depth)
	case reflect.Map:
		return d.mapping(node, v, depth)
	case reflect.Bool:
		if node.Kind != yaml.ScalarNode || kindOf(node) != boolScalar {
			return d.fail("wrong-type", node, "%s must be true or false", d.here())
		}
		v.SetBool(slices.Contains([]string{"yes", "true", "on"}, strings.ToLower(node.Value)))
		return true
	case reflect.Interface:
		return d.anything(node, v, depth)
	}
	return d.text(node, v)
}

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && kindOf(node) == nullScalar }

func (d *decoder) text(node *yaml.Node, v reflect.Value) bool {
	if node.Kind != yaml.ScalarNode {
		if v.Type() == reflect.TypeFor[Quantity]() && d.validation == Compat {
			printed, _ := yaml.Marshal(node)
			d.add(Warning, "wrong-type", node, "%s must be a quantity such as \"4\" or 16Gi: the API server will refuse the profile", d.here())
			v.SetString(strings.TrimSpace(string(printed)))
			return true
		}
		return d.fail("wrong-type", node, "%s must be a text, not a list or a mapping", d.here())
	}
	kind := kindOf(node)
	if v.Type() == reflect.TypeFor[Quantity]() {
		return d.quantity(node, v, kind)
	}
	switch {
	case kind == nullScalar:
		return d.fail("missing", node, "%s is empty: give it a text", d.here())
	case kind != textScalar:
		return d.fail("wrong-type", node, "%s is %s to YAML, not a text: write it in quotes, as %q", d.here(), kind, node.Value)
	}
	if allowed, ok := reflect.TypeAssert[enumerated](v); ok && !slices.Contains(allowed.Values(), node.Value) {
		return d.fail("unknown-value", node, "%s is %q: use %s", d.here(), node.Value, strings.Join(allowed.Values(), ", "))
	}
	v.SetString(node.Value)
	return true
}

// quantity takes numbers, too: a quota of 4 is no trap.
func (d *decoder) quantity(node *yaml.Node, v reflect.Value, kind scalarKind) bool {
	switch kind {
	case textScalar, floatScalar:
		v.SetString(strings.ReplaceAll(node.Value, "_", ""))
	case intScalar:
		v.SetString(number(node.Value))
		if v.String() != node.Value {
			d.add(Warning, "number-format", node, "%s is %s to YAML: write %q", d.here(), v.String(), v.String())
		}
	case nullScalar, boolScalar, timeScalar, otherScalar:
		d.add(d.lenient(), "wrong-type", node, "%s must be a quantity such as \"4\" or 16Gi, not %q", d.here(), node.Value)
		v.SetString(node.Value)
	}
	return true
}

func (d *decoder) expiry(node *yaml.Node, v reflect.Value) bool {
	if kind := kindOf(node); node.Kind != yaml.ScalarNode || kind != textScalar && kind != timeScalar {
		return d.fail("wrong-type", node, "%s must be a date such as 2027-03-31 or a time such as 2027-03-31T18:00:00Z", d.here())
	}
	expiry, err := parseExpiry(node.Value)
	if err != nil {
		return d.fail("wrong-type", node, "%s: %s", d.here(), err)
	}
	v.Set(reflect.ValueOf(&expiry))
	return true
}

func (d *decoder) list(node *yaml.Node, v reflect.Value, depth int) bool {
	if node.Kind != yaml.SequenceNode {
		return d.fail("wrong-type", node, "%s must be a list", d.here())
	}
	items := reflect.MakeSlice(v.Type(), 0, len(node.Content))
	whole := true
	item := reflect.New(v.Type().Elem()).Elem()
	for i, content := range node.Content {
		item.SetZero()
		d.enter("", i)
		if d.decode(content, item, depth+1) {
			items = reflect.Append(items, item)
		} else {
			whole = false
		}
		d.leave()
	}
	v.Set(items)
	return whole
}

func (d *decoder) mapping(node *yaml.Node, v reflect.Value, depth int) bool {
	pairs, ok := d.pairs(node, depth)
	if !ok {
		return false
	}
	made, whole := reflect.MakeMapWithSize(v.Type(), len(pairs)), true
	for _, p := range pairs {
		if kind := kindOf(p.key); kind != textScalar {
			whole = d.fail("wrong-type", p.key, "the key %s in %s is %s to YAML, not a text: write it in quotes, as %q", p.key.Value, d.here(), kind, p.key.Value)
			continue
		}
		value := reflect.New(v.Type().Elem()).Elem()
		d.enter(p.key.Value, 0)
		if d.decode(p.value, value, depth+1) {
			made.SetMapIndex(reflect.ValueOf(p.key.Value), value)
		} else {
			whole = false
		}
		d.leave()
	}
	v.Set(made)
	return whole
}

// anything takes what is there, for settings whose shape is somebody else's.
func (d *decoder) anything(node *yaml.Node, v reflect.Value, depth int) bool {
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
	if !d.decode(node, target, depth+1) {
		return false
	}
	v.Set(target)
	return true
}

// object fills a struct by the names of its JSON fields.
func (d *decoder) object(node *yaml.Node, v reflect.Value, depth int) bool {
	pairs, ok := d.pairs(node, depth)
	if !ok {
		return false
	}
	whole := true
	shape := shapeOf(v.Type())
	given := uint64(0) // a bit for each field
	if shape.source >= 0 {
		if at, ok := v.Field(shape.source).Addr().Interface().(*Position); ok {
			*at = d.at(node)
		}
	}
	for _, p := range pairs {
		f, known := shape.fields[p.key.Value]
		if !known {
			whole = d.unknown(p.key, v.Type(), shape.fields) && whole
			continue
		}
		given |= 1 << f.index
		d.enter(p.key.Value, 0)
		if !d.decode(p.value, v.Field(f.index), depth+1) {
			whole = false
		} else if f.required && isNull(p.value) {
			whole = d.fail("missing", p.value, "%s is empty", d.here())
		}
		d.leave()
	}
	for _, name := range shape.required {
		if given&(1<<shape.fields[name].index) == 0 && !d.partial(v.Type(), name) {
			d.enter(name, 0)
			whole = d.fail("missing", node, "%s is missing", d.here())
			d.leave()
		}
	}
	return whole
}

// partial says whether a field may be missing in what is being read.
func (d *decoder) partial(of reflect.Type, name string) bool {
	return d.validation == overlay && (of == reflect.TypeFor[Profile]() && name == "owner" || of == reflect.TypeFor[Document]())
}

func (d *decoder) unknown(key *yaml.Node, in reflect.Type, fields map[string]field) bool {
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
	d.add(severity, "unknown-key", key, "the key %q in %s is unknown%s", key.Value, d.here(), hint)
	return severity != Error
}
