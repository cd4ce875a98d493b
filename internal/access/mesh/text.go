// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"strings"
)

// A predicate is about one string.
type predicate func(string) bool

// Text compiles a value of a policy: exact, a prefix with * after it, a suffix with * before it, or * for anything but
// nothing. Any other * stands for itself, as in *a*, which is the suffix a*.
func text(value string) predicate {
	switch {
	case value == "*":
		return something
	case strings.HasPrefix(value, "*"):
		return endsIn(value[1:])
	case strings.HasSuffix(value, "*"):
		return beginsWith(value[:len(value)-1])
	}
	return is(value)
}

// Something is Envoy's regular expression ".+", which no newline matches.
func something(s string) bool { return s != "" && !strings.Contains(s, "\n") }

func is(value string) predicate { return func(s string) bool { return s == value } }

func beginsWith(prefix string) predicate {
	return func(s string) bool { return strings.HasPrefix(s, prefix) }
}

func endsIn(suffix string) predicate {
	return func(s string) bool { return strings.HasSuffix(s, suffix) }
}

// LowerASCII is for names of hosts and headers: Envoy folds ASCII only.
func lowerASCII(s string) string {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				if 'A' <= b[j] && b[j] <= 'Z' {
					b[j] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
