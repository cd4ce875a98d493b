// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package cloud holds what the adapters of cloud identity providers have in common.
package cloud

import "errors"

var (
	// ErrInvalid marks a mistake in what the user asked for (a malformed identity, a role without a usable trust
	// statement): trying again cannot help until somebody changes it.
	ErrInvalid = errors.New("invalid cloud identity")

	// ErrUntouched marks a failure that certainly happened before anything changed at the provider (no
	// credentials, the first read failed), so that nothing has to be revoked.
	ErrUntouched = errors.New("nothing was changed at the provider")
)
