// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package cloud holds what the adapters of cloud identity providers have in common.
package cloud

import (
	"errors"
	"fmt"
)

var (
	// ErrInvalid marks a mistake in what the user asked for (a malformed identity, a role without a usable trust
	// statement): trying again cannot help until somebody changes it.
	ErrInvalid = errors.New("invalid cloud identity")

	// ErrUntouched marks a failure that certainly happened before anything changed at the provider (no
	// credentials, the first read failed), so that nothing has to be revoked.
	ErrUntouched = errors.New("nothing was changed at the provider")
)

// Untouched marks an error as ErrUntouched.
func Untouched(err error) error {
	return fmt.Errorf("%w (%w)", err, ErrUntouched)
}

// Rephrase gives an error of an SDK words of ours: a condition must read the same on every try, and the SDKs' own words
// hold request IDs, line breaks and bodies of replies. What the error is stays visible to errors.Is and errors.As.
func Rephrase(err error, words string) error {
	return rephrased{words, err}
}

type rephrased struct {
	words string
	err   error
}

func (r rephrased) Error() string { return r.words }
func (r rephrased) Unwrap() error { return r.err }
