// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"net/url"
	"regexp"
	"strings"

	"berth.dev/berth/internal/snapshot"
)

var (
	escapedSlash = regexp.MustCompile(`(?i)%2f|%5c`)
	slashes      = regexp.MustCompile(`//+`)
)

// normalized is the target of a request as Istio has its proxies normalize it: RFC 3986 by Go's own hand, and the slashes. It
// leaves escapes alone, and so is for targets in which nothing else is to be escaped, or the other way round.
func normalized(target string, how snapshot.PathNormalization) string {
	target, _, _ = strings.Cut(target, "#")
	path, query, hasQuery := strings.Cut(target, "?")
	if how == snapshot.NormalizeDecodeAndMerge {
		path = escapedSlash.ReplaceAllString(path, "/")
	}
	if how != snapshot.NormalizeNone {
		path = strings.ReplaceAll(path, `\`, "/")
		path = strings.ReplaceAll(path, " ", "%20")
		path = withoutDots(path)
	}
	if how == snapshot.NormalizeMergeSlashes || how == snapshot.NormalizeDecodeAndMerge {
		path = slashes.ReplaceAllString(path, "/")
	}
	if hasQuery {
		path += "?" + query
	}
	return path
}

// withoutDots resolves the path as a reference, which is what takes out dot segments. An unlikely letter stands for what
// the URL might read as something else than it is.
func withoutDots(path string) string {
	const percent = "\u00a7"
	base := &url.URL{Scheme: "http", Host: "x", Path: "/"}
	resolved := base.ResolveReference(&url.URL{Path: strings.ReplaceAll(path, "%", percent)})
	return strings.ReplaceAll(resolved.Path, percent, "%")
}
