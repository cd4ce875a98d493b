// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"cmp"
	"fmt"
	"slices"
)

// Severity is how bad a Finding is.
type Severity string

// Severities.
const (
	// Error lets somebody in who was not meant, or does nothing where something was meant.
	Error Severity = "error"
	// Warning may be meant.
	Warning Severity = "warning"
)

// Finding is a trap that a policy or a role has stepped into.
type Finding struct {
	// Code is the same for the same trap, for ever.
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	// Object is such as "AuthorizationPolicy risk/ns-owner".
	Object  string `json:"object"`
	Message string `json:"message"`
	// Fix says what to do.
	Fix string `json:"fix"`
}

// Codes of findings.
const (
	CodeAllowsEverything  = "allows-everything"
	CodeNotOnMissing      = "not-on-missing"
	CodeDenyNeedsIdentity = "deny-needs-identity"
	CodeInnerWildcard     = "inner-wildcard"
	CodeHeaderPattern     = "header-pattern"
	CodeGroupsHeader      = "groups-header"
	CodeIdentityWildcard  = "identity-wildcard"
	CodeHeaderUnguarded   = "header-unguarded"
	CodeHTTPOnTCP         = "http-on-tcp"
	CodeHTTPInAmbient     = "http-in-ambient"
	CodeDenyPath          = "deny-path"
	CodeHostPort          = "host-port"
	CodeTokenOptional     = "token-optional"
	CodeSeveralProviders  = "several-providers"
	CodeProviderMissing   = "provider-missing"
	CodeSelectsNothing    = "selects-nothing"
	CodeTargetMissing     = "target-missing"
	CodeNotEnforced       = "not-enforced"
	CodeWaypointOpen      = "waypoint-open"
	CodeInvalidValue      = "invalid-value"
	CodeRoleMissing       = "role-missing"
	CodeEscalation        = "escalation"
	CodeEverybody         = "everybody"
	CodeWildcardRole      = "wildcard-role"
)

// linter collects findings.
type linter struct {
	*Engine

	findings []Finding
}

func (l *linter) add(code string, severity Severity, object, fix, format string, args ...any) {
	l.findings = append(l.findings, Finding{Code: code, Severity: severity, Object: object, Message: fmt.Sprintf(format, args...), Fix: fix})
}

// Lint looks for traps in all policies and bindings, or where namespace is not empty in those of it.
func (e *Engine) Lint(namespace string) []Finding {
	l := &linter{Engine: e}
	for _, policy := range e.snapshot.AuthorizationPolicies {
		if namespace == "" || policy.Namespace == namespace {
			l.policy(policy)
		}
	}
	l.problems(namespace)
	l.waypoints(namespace)
	l.tokens(namespace)
	l.providers(namespace)
	l.bindings(namespace)
	l.tenantRoles(namespace)
	slices.SortStableFunc(l.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
	l.findings = slices.Compact(l.findings)
	return l.findings
}
