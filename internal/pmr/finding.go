// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"cmp"
	"fmt"
	"slices"
)

// Position is a place in a file, both counted from one.
type Position struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// String is the position as editors and compilers write it.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Severity says what a finding means for the list.
type Severity string

const (
	// Error means that the list can't be used.
	Error Severity = "error"
	// Warning means that it can, and is likely not what was meant.
	Warning Severity = "warning"
	// Note is for those who still run github-profiles-automator, or like it tidy.
	Note Severity = "note"
)

// Finding is something about a list that its author should know.
type Finding struct {
	// Code tells findings apart, such as duplicate-profile.
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	// Message says what is wrong, with which value, and what to do.
	Message  string   `json:"message"`
	Position Position `json:"position"`
	// Profile is the profile that it is about, if any.
	Profile string `json:"profile,omitempty"`
}

// String is the finding as compilers write it.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s: %s [%s]", f.Position, f.Severity, f.Message, f.Code)
}

// HasErrors says whether one of findings means that the list can't be used.
func HasErrors(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity == Error })
}

// sortFindings puts findings in the order of their places.
func sortFindings(findings []Finding) []Finding {
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Position.File, b.Position.File), cmp.Compare(a.Position.Line, b.Position.Line),
			cmp.Compare(a.Position.Column, b.Position.Column), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(findings)
}
