// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"maps"
	"regexp"
	"strings"

	matcherpb "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"berth.dev/berth/internal/access/mesh"
)

// The name under which Envoy keeps what a verified token says.
const (
	jwtFilter  = "envoy.filters.http.jwt_authn"
	jwtPayload = "payload"
)

// matchMetadata looks a path up in a request's metadata, of which this one has only verified tokens, and compares what is
// there. Nothing matches what is not there.
func matchMetadata(m *matcherpb.MetadataMatcher, r mesh.Request) bool {
	if m.GetInvert() {
		panic("an inverted matcher of metadata")
	}
	if m.GetFilter() != jwtFilter || r.Token == nil || r.TCP {
		return false
	}
	var value any = map[string]any{jwtPayload: payload(r.Token)}
	for _, segment := range m.GetPath() {
		fields, ok := value.(map[string]any)
		if !ok {
			return false
		}
		if value, ok = fields[segment.GetKey()]; !ok {
			return false
		}
	}
	return matchValue(m.GetValue(), value)
}

// payload is a token as Envoy keeps it for Istio: claims that are lists in one string are lists, if there is a word in them.
func payload(token *mesh.Token) map[string]any {
	fields := maps.Clone(token.Claims)
	for _, name := range []string{"scope", "permission"} {
		if text, ok := fields[name].(string); ok {
			var list []any
			for word := range strings.SplitSeq(text, " ") {
				if word != "" {
					list = append(list, word)
				}
			}
			if list != nil {
				fields[name] = list
			}
		}
	}
	return fields
}

func matchValue(m *matcherpb.ValueMatcher, value any) bool {
	switch pattern := m.GetMatchPattern().(type) {
	case *matcherpb.ValueMatcher_StringMatch:
		text, ok := value.(string)
		return ok && matchString(pattern.StringMatch, text)
	case *matcherpb.ValueMatcher_ListMatch:
		list, _ := value.([]any)
		for _, element := range list {
			if matchValue(pattern.ListMatch.GetOneOf(), element) {
				return true
			}
		}
		return false
	case *matcherpb.ValueMatcher_OrMatch:
		for _, one := range pattern.OrMatch.GetValueMatchers() {
			if matchValue(one, value) {
				return true
			}
		}
		return false
	}
	panic("an unknown matcher of values")
}

// What the operators of a path template match: one segment, or any rest. Neither matches characters that a path should have
// escaped. Envoy takes the star for one that stands for itself since CVE-2025-46821.
const (
	oneSegment   = `[a-zA-Z0-9\-._~%!$&'()+,;:@=*]+`
	manySegments = `[a-zA-Z0-9\-._~%!$&'()+,;:@=*/]*`
)

func matchTemplate(template, path string) bool {
	segments := strings.Split(template, "/")
	for i, segment := range segments {
		switch segment {
		case "*":
			segments[i] = oneSegment
		case "**":
			segments[i] = manySegments
		default:
			segments[i] = regexp.QuoteMeta(segment)
		}
	}
	return regexp.MustCompile("^" + strings.Join(segments, "/") + "$").MatchString(path)
}
