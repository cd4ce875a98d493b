// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// codes are those of all findings that the sources speak of.
func codes(t *testing.T) []string {
	t.Helper()
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile(`(?:Error|Warning|Note|lenient\(\)|severity|fail\(|check\(|Code:|f\.Code, f\.Severity =),? ?"([a-z]+(?:-[a-z]+)*)"`)
	found := []string{"duplicate-profile", "duplicate-group", "duplicate-user"} // put together from two words
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range code.FindAllSubmatch(text, -1) {
			found = append(found, string(match[1]))
		}
	}
	slices.Sort(found)
	if found = slices.Compact(found); len(found) < 35 {
		t.Errorf("only %d codes found: %v", len(found), found)
	}
	return found
}
