// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmrsource

import (
	"errors"
	"fmt"
)

// Reason says in one word why a source can't be used. It is the reason of a condition.
type Reason string

const (
	// AuthenticationFailed: the server does not let us in with these credentials, or without any.
	AuthenticationFailed Reason = "AuthenticationFailed"
	// BadConfiguration: what the source was told makes no sense, whatever the server says.
	BadConfiguration Reason = "BadConfiguration"
	// CertificateInvalid: the server's certificate is not one that we trust.
	CertificateInvalid Reason = "CertificateInvalid"
	// HostKeyUnknown: the SSH server's key is not the one of known_hosts, or known_hosts has none.
	HostKeyUnknown Reason = "HostKeyUnknown"
	// NotFound: there is no such repository, branch, tag, commit, file or ConfigMap.
	NotFound Reason = "NotFound"
	// RewrittenHistory: the commit is no descendant of the one that was accepted last.
	RewrittenHistory Reason = "RewrittenHistory"
	// SignatureInvalid: the signature is not by one of the keys.
	SignatureInvalid Reason = "SignatureInvalid"
	// SignatureMissing: what has to be signed is not.
	SignatureMissing Reason = "SignatureMissing"
	// Timeout: the server took too long.
	Timeout Reason = "Timeout"
	// TooLarge: a limit was reached.
	TooLarge Reason = "TooLarge"
	// Unreachable: the server can't be reached or answers with nonsense. It may pass.
	Unreachable Reason = "Unreachable"
)

// Error says why a source can't be used: what is wrong, with which value, and what to do. It has no credentials in it,
// and is the same each time that the problem is.
type Error struct {
	Reason  Reason
	Message string
}

// Error is the message.
func (e *Error) Error() string { return e.Message }

// Errorf is an Error whose message is formatted.
func Errorf(reason Reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// ReasonOf is the reason of err, Unreachable where it has none.
func ReasonOf(err error) Reason {
	if typed, ok := errors.AsType[*Error](err); ok {
		return typed.Reason
	}
	return Unreachable
}

// Size is a number of bytes as people write it.
func Size(bytes int64) string {
	const unit = 1 << 10
	if bytes >= unit*unit && bytes%(unit*unit) == 0 {
		return fmt.Sprintf("%d MiB", bytes/(unit*unit))
	}
	if bytes >= unit && bytes%unit == 0 {
		return fmt.Sprintf("%d KiB", bytes/unit)
	}
	return fmt.Sprintf("%d bytes", bytes)
}
