// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package awsiam

import (
	"bytes"
	"encoding/json"
	"slices"
)

// object is a JSON object that keeps the order of its keys and, byte for byte, the values that nobody edits: a trust
// policy belongs to its administrator, who should find it again as it was.
type object []member

type member struct {
	key   string
	value json.RawMessage
}

// parseObject reports false for anything but one JSON object. Equal keys are refused too: which one would IAM obey?
func parseObject(raw json.RawMessage) (object, bool) {
	if !json.Valid(raw) {
		return nil, false
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, false
	}
	var o object
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		key, isString := token.(string)
		if err != nil || !isString || seen[key] {
			return nil, false
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, false
		}
		seen[key] = true
		o = append(o, member{key, value})
	}
	return o, true
}

// get is the value of key, nil where there is none.
func (o object) get(key string) json.RawMessage {
	for _, m := range o {
		if m.key == key {
			return m.value
		}
	}
	return nil
}

// with is a copy of o that has value at key: in its old place, or last.
func (o object) with(key string, value json.RawMessage) object {
	out := slices.Clone(o)
	for i := range out {
		if out[i].key == key {
			out[i].value = value
			return out
		}
	}
	return append(out, member{key, value})
}

// encode is o as JSON.
func (o object) encode() json.RawMessage {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(encodeString(m.key))
		b.WriteByte(':')
		b.Write(m.value)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// encodeString writes s without the escapes for HTML, which would count against IAM's limit.
func encodeString(s string) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func encodeStrings(values []string) json.RawMessage {
	items := make([]json.RawMessage, 0, len(values))
	for _, v := range values {
		items = append(items, encodeString(v))
	}
	return encodeList(items)
}

func encodeList(items []json.RawMessage) json.RawMessage {
	return slices.Concat([]byte("["), bytes.Join(toBytes(items), []byte(",")), []byte("]"))
}

func toBytes(items []json.RawMessage) [][]byte {
	out := make([][]byte, 0, len(items))
	for _, item := range items {
		out = append(out, item)
	}
	return out
}

// parseString reports false for anything but a JSON string.
func parseString(raw json.RawMessage) (string, bool) {
	var s *string
	if raw == nil || json.Unmarshal(raw, &s) != nil || s == nil {
		return "", false
	}
	return *s, true
}

// parseStrings reads IAM's "a string or a list of strings"; absent and null are an empty list.
func parseStrings(raw json.RawMessage) ([]string, bool) {
	if raw == nil {
		return nil, true
	}
	if one, ok := parseString(raw); ok {
		return []string{one}, true
	}
	var many []*string
	if json.Unmarshal(raw, &many) != nil {
		return nil, false
	}
	var out []string
	for _, s := range many {
		if s == nil {
			return nil, false
		}
		out = append(out, *s)
	}
	return out, true
}
