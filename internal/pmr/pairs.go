// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"reflect"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"
)

// pair is a key of a mapping and its value.
type pair struct{ key, value *yaml.Node }

// pairs are the keys of node with their values, those of merge keys included, each once: where one is there twice, the
// last counts.
func (d *decoder) pairs(node *yaml.Node, depth int) ([]pair, bool) {
	if node.Kind != yaml.MappingNode {
		return nil, d.fail("wrong-type", node, "%s must be a mapping", d.here())
	}
	var found []pair
	var merged []*yaml.Node
	index := make(map[string]int, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		switch {
		case key.Kind != yaml.ScalarNode:
			return nil, d.fail("wrong-type", key, "a key in %s is no text", d.here())
		case key.Value == "<<" && key.Style == 0 || key.Tag == "!!merge":
			merged = append(merged, value)
			continue
		}
		if at, twice := index[key.Value]; twice {
			d.add(d.lenient(), "duplicate-key", key, "the key %q is there twice in %s, first in line %d: the last would count",
				key.Value, d.here(), found[at].key.Line)
			found[at] = pair{key, value}
			continue
		}
		index[key.Value] = len(found)
		found = append(found, pair{key, value})
	}
	for _, from := range merged {
		more, ok := d.merged(from, depth+1)
		if !ok {
			return nil, false
		}
		for _, p := range more {
			if _, there := index[p.key.Value]; !there {
				index[p.key.Value] = len(found)
				found = append(found, p)
			}
		}
	}
	return found, true
}

// merged are the pairs that a merge key brings: of one mapping, or of several, where the first counts.
func (d *decoder) merged(from *yaml.Node, depth int) ([]pair, bool) {
	if from.Kind == yaml.AliasNode {
		from = from.Alias
	}
	if d.left--; d.left < 0 || depth > maxDepth {
		return nil, d.fail("too-large", from, "%s is too large or too deep: an alias may repeat itself", d.here())
	}
	if from.Kind != yaml.SequenceNode {
		return d.pairs(from, depth)
	}
	var all []pair
	for _, one := range from.Content {
		if one.Kind == yaml.AliasNode {
			one = one.Alias
		}
		more, ok := d.pairs(one, depth+1)
		if !ok {
			return nil, false
		}
		for _, p := range more {
			if !slices.ContainsFunc(all, func(other pair) bool { return other.key.Value == p.key.Value }) {
				all = append(all, p)
			}
		}
	}
	return all, true
}

// field is a field of a struct.
type field struct {
	index    int
	required bool
}

// shape is what a struct has.
type shape struct {
	// fields by their names in JSON.
	fields map[string]field
	// required are the names of those that must be there, sorted.
	required []string
	// source is the field that takes the position, or -1.
	source int
}

// shapes has the shape of each struct.
var shapes sync.Map

func shapeOf(of reflect.Type) shape {
	if known, ok := shapes.Load(of); ok {
		return known.(shape) //nolint:forcetypeassert // nothing else is stored
	}
	s := shape{fields: map[string]field{}, source: -1}
	for i := range of.NumField() {
		name, options, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		switch {
		case of.Field(i).Type == reflect.TypeFor[Position]():
			s.source = i
		case name != "-" && name != "":
			s.fields[name] = field{index: i, required: options != "omitempty"}
			if options != "omitempty" {
				s.required = append(s.required, name)
			}
		}
	}
	slices.Sort(s.required)
	shapes.Store(of, s)
	return s
}
