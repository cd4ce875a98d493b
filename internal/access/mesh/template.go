// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"regexp"
	"strings"
)

// What one and any number of path segments are made of. The star is among them since Envoy 1.31.8, 1.32.6 and 1.33.3.
const (
	inSegment  = `a-zA-Z0-9\-._~%!$&'()+,;:@=*`
	oneSegment = "[" + inSegment + "]+"
	anySegment = "[" + inSegment + "/]*"
)

var (
	braces  = strings.NewReplacer("{*}", "*", "{**}", "**")
	literal = regexp.MustCompile(`^[a-zA-Z0-9\-._~%!$&'()+,;:@=]+$`)
)

func isTemplate(path string) bool {
	return strings.Contains(path, "{*}") || strings.Contains(path, "{**}")
}

// Template compiles a path with {*} and {**} as Envoy's uri_template matcher does. An error is for one that Envoy does not
// accept, and with it none of the proxy's new configuration.
func template(path string) (*regexp.Regexp, error) {
	rest := braces.Replace(path)
	if !strings.HasPrefix(rest, "/") {
		return nil, fmt.Errorf("a path template begins with a slash")
	}
	var pattern strings.Builder
	pattern.WriteString("^(?:")
	slash, anything := false, false
	for rest != "" {
		if glob := leadingStars(rest); glob > 0 {
			if anything {
				return nil, fmt.Errorf("nothing but text comes after {**}")
			}
			anything, slash = glob == 2, false
			pattern.WriteString(map[int]string{1: oneSegment, 2: anySegment}[glob])
			rest = rest[glob:]
			continue
		}
		if rest[0] == '/' {
			if slash {
				return nil, fmt.Errorf("a path template has no double slash")
			}
			slash = true
			pattern.WriteByte('/')
			rest = rest[1:]
			continue
		}
		word, _, _ := strings.Cut(rest, "/")
		if !literal.MatchString(word) {
			return nil, fmt.Errorf("%q can't stand in a path template", word)
		}
		slash = false
		pattern.WriteString(regexp.QuoteMeta(word))
		rest = rest[len(word):]
	}
	pattern.WriteString(")$")
	return regexp.Compile(pattern.String())
}

func leadingStars(s string) int {
	switch {
	case strings.HasPrefix(s, "**"):
		return 2
	case strings.HasPrefix(s, "*"):
		return 1
	}
	return 0
}
