// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"strings"

	"berth.dev/berth/internal/snapshot"
)

type normalized struct {
	path string // with its query
	// Refused says why Envoy answers the request itself.
	refused string
	// Older is the path before versions of Envoy that drop parameters of dot segments, as in /a/..;x/b.
	older string
}

// NormalizePath returns the path of a request, with its query, as a proxy matches and forwards it, and false for one that
// it refuses. Source: Envoy's HTTP connection manager as Istio sets it up, which strips fragments.
func NormalizePath(path string, how snapshot.PathNormalization) (string, bool) {
	n := normalizePath(path, how)
	return n.path, n.refused == ""
}

func normalizePath(target string, how snapshot.PathNormalization) normalized {
	target, _, _ = strings.Cut(target, "#")
	path, query, hasQuery := strings.Cut(target, "?")
	if !strings.HasPrefix(path, "/") {
		return normalized{refused: "a path begins with a slash"}
	}
	if i := strings.IndexFunc(target, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
		return normalized{refused: "a path has no control characters"}
	}
	if how == snapshot.NormalizeDecodeAndMerge {
		path = slashes.Replace(path)
	}
	older := path
	if how != snapshot.NormalizeNone {
		var ok, olderOK bool
		path, ok = canonical(withoutDotParameters(path))
		if older, olderOK = canonical(older); !ok || !olderOK {
			return normalized{refused: "a path has no escaped NUL"}
		}
	}
	if how == snapshot.NormalizeMergeSlashes || how == snapshot.NormalizeDecodeAndMerge {
		path, older = mergeSlashes(path), mergeSlashes(older)
	}
	if hasQuery {
		path += "?" + query
	}
	return normalized{path: path, older: older}
}

func withoutQuery(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return path
}

var slashes = strings.NewReplacer("%2F", "/", "%2f", "/", "%5C", `\`, "%5c", `\`)

func withoutDotParameters(path string) string {
	if !strings.Contains(path, ".;") {
		return path
	}
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		switch {
		case strings.HasPrefix(segment, "..;"):
			segments[i] = ".."
		case strings.HasPrefix(segment, ".;"):
			segments[i] = "."
		}
	}
	return strings.Join(segments, "/")
}

func mergeSlashes(path string) string {
	if !strings.Contains(path, "//") {
		return path
	}
	merged := make([]byte, 0, len(path))
	for i := range len(path) {
		if path[i] == '/' && i > 0 && path[i-1] == '/' {
			continue
		}
		merged = append(merged, path[i])
	}
	return string(merged)
}

// Canonical resolves dot segments, takes backslashes for slashes, decodes what never needs escaping and escapes what
// always does. Other escapes stay as they are, hexadecimal digits included. False is for an escaped NUL.
func canonical(path string) (string, bool) {
	if !needsWork(path) {
		return path, true
	}
	c := canonicalizer{in: path, out: make([]byte, 0, len(path)+8), percent: nowhere}
	for c.at < len(path) {
		if !c.step() {
			return "", false
		}
	}
	return string(c.out), true
}

func needsWork(path string) bool {
	for i := range len(path) {
		if path[i] == '.' || kinds[path[i]] == escaped || path[i] == '%' || path[i] == '\\' {
			return true
		}
	}
	return false
}

type canonicalizer struct {
	in  string
	at  int
	out []byte
	// Percent is where in out the last percent sign is that begins no escape of the input.
	percent int
}

func (c *canonicalizer) step() bool {
	b := c.in[c.at]
	if n := dot(c.in[c.at:]); n > 0 {
		c.dots(n)
		return true
	}
	switch {
	case b == '\\':
		c.out = append(c.out, '/')
	case b == '%':
		return c.escape()
	case kinds[b] == escaped:
		c.out = append(c.out, '%', hexDigits[b>>4], hexDigits[b&15])
	default:
		c.out = append(c.out, b)
	}
	c.at++
	return true
}

// Dots handles n bytes that are one dot: of a dot segment if a slash is before it.
func (c *canonicalizer) dots(n int) {
	rest := c.in[c.at+n:]
	if c.out[len(c.out)-1] == '/' {
		if length, ok := endOfSegment(rest); ok {
			c.at += n + length
			return
		}
		if second := dot(rest); second > 0 {
			if length, ok := endOfSegment(rest[second:]); ok {
				c.up()
				c.at += n + second + length
				return
			}
		}
	}
	c.out = append(c.out, '.')
	c.at += n
}

func endOfSegment(rest string) (length int, ok bool) {
	switch {
	case rest == "":
		return 0, true
	case rest[0] == '/' || rest[0] == '\\':
		return 1, true
	}
	return 0, false
}

// Up drops the last segment of out, which ends in a slash.
func (c *canonicalizer) up() {
	if len(c.out) == 1 {
		return
	}
	i := len(c.out) - 2
	for c.out[i] != '/' && i > 0 {
		i--
	}
	c.out = c.out[:i+1]
	if c.percent >= len(c.out) {
		c.percent = nowhere
	}
}

const nowhere = -1 << 30

func (c *canonicalizer) escape() bool {
	value, ok := decode(c.in[c.at:])
	if !ok {
		c.percent = len(c.out)
		c.out = append(c.out, '%')
		c.at++
		return true
	}
	if value == 0 {
		return false
	}
	if kinds[value] != decoded {
		c.out = append(c.out, c.in[c.at:c.at+3]...)
		c.at += 3
		return true
	}
	c.out = append(c.out, value)
	c.at += 3
	if c.percent >= len(c.out)-3 {
		c.guard()
	}
	return true
}

// Guard keeps a lone percent sign from becoming an escape with what was just decoded behind it, as in %%300: that sign
// is escaped itself.
func (c *canonicalizer) guard() {
	first, second := c.out[c.percent+1], c.out[len(c.out)-1]
	if c.percent == len(c.out)-2 {
		if c.at == len(c.in) {
			return
		}
		second = c.in[c.at]
	}
	if !isHex(first) || !isHex(second) {
		return
	}
	behind := c.out[c.percent+1:]
	c.out = append(c.out[:c.percent:c.percent], '%', '2', '5')
	c.out = append(c.out, behind...)
}

// Dot is the length of the dot, plain or escaped, that s begins with.
func dot(s string) int {
	switch {
	case strings.HasPrefix(s, "."):
		return 1
	case strings.HasPrefix(s, "%2e"), strings.HasPrefix(s, "%2E"):
		return 3
	}
	return 0
}

func decode(s string) (byte, bool) {
	if len(s) < 3 || !isHex(s[1]) || !isHex(s[2]) {
		return 0, false
	}
	return unhex(s[1])<<4 | unhex(s[2]), true
}

func isHex(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b && b <= 'f' || 'A' <= b && b <= 'F'
}

func unhex(b byte) byte {
	switch {
	case b <= '9':
		return b - '0'
	case b <= 'F':
		return b - 'A' + 10
	}
	return b - 'a' + 10
}

const hexDigits = "0123456789ABCDEF"

// What is done with a byte of a path.
type kind uint8

const (
	kept    kind = iota // as it is, escaped or not
	decoded             // never escaped
	escaped             // always escaped
)

var kinds = func() (table [256]kind) {
	for b := range table {
		switch {
		case b <= ' ' || b >= 0x7f || strings.IndexByte("\"#%<>?\\^`{|}", byte(b)) >= 0:
			table[b] = escaped
		case 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("-_~", byte(b)) >= 0:
			table[b] = decoded
		}
	}
	return table
}()
