// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"errors"
	"fmt"
	"strings"
)

// FromHeader reads the user from the values of the identity header, which stands behind prefix. Without the header it
// is nobody; a header that names nobody, or two people, is an error.
func FromHeader(values []string, prefix string) (User, error) {
	switch len(values) {
	case 0:
		return User{}, nil
	case 1:
	default:
		return User{}, fmt.Errorf("it is there %d times, and may name one user only", len(values))
	}
	name, found := strings.CutPrefix(values[0], prefix)
	if !found {
		return User{}, fmt.Errorf("it does not begin with %q", prefix)
	}
	if name == "" && prefix == "" {
		return User{}, nil // an empty header is as good as none
	}
	if err := CheckName(name); err != nil {
		return User{}, err
	}
	return User{Name: name}, nil
}

// CallerPrincipal reads the mesh identity of whoever sent a request from the values of x-forwarded-client-cert. Every
// proxy appends what it saw, so only the last element is the sidecar's own; the others were sent along. The identity is
// TRUST-DOMAIN/ns/NAMESPACE/sa/NAME; without a header it is empty.
func CallerPrincipal(values []string) (string, error) {
	elements, err := splitOutsideQuotes(strings.Join(values, ","), ',')
	if err != nil {
		return "", err
	}
	pairs, err := splitOutsideQuotes(elements[len(elements)-1], ';')
	if err != nil {
		return "", err
	}
	principal := ""
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		if !strings.EqualFold(strings.TrimSpace(key), "URI") {
			continue
		}
		if principal != "" {
			return "", errors.New("its last element names two identities")
		}
		value = strings.Trim(strings.TrimSpace(value), `"`)
		named, found := strings.CutPrefix(value, "spiffe://")
		if !found || named == "" {
			return "", errors.New("the URI of its last element is no SPIFFE identity")
		}
		principal = named
	}
	return principal, nil
}

// splitOutsideQuotes splits text at separator. In double quotes separators count for nothing, and a backslash takes the
// meaning from the character behind it.
func splitOutsideQuotes(text string, separator byte) ([]string, error) {
	var parts []string
	quoted, begin := false, 0
	for i := 0; i < len(text); i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		case !quoted && text[i] == separator:
			parts = append(parts, text[begin:i])
			begin = i + 1
		}
	}
	if quoted {
		return nil, errors.New("a quote in it is never closed")
	}
	return append(parts, text[begin:]), nil
}

// BearerToken returns the token of the values of an Authorization header; empty if there is none.
func BearerToken(values []string) string {
	if len(values) != 1 {
		return ""
	}
	scheme, token, found := strings.Cut(strings.TrimSpace(values[0]), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
