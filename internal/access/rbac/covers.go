// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"fmt"
	"math/bits"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// maxCovered is how many single rights are compared. Those of roles are in the hundreds.
const maxCovered = 1 << 20

// Covers says whether whoever has the rules of owner may do all that the rules of servant allow, and what is missing, as
// the API server compares them before somebody may hand on rights. Servants so large that they can't have been written
// in earnest are an error.
func Covers(owner, servant []rbacv1.PolicyRule) (missing []rbacv1.PolicyRule, err error) {
	var rights uint64
	for _, rule := range servant {
		n := product(len(rule.APIGroups), len(rule.Resources), len(rule.Verbs), max(1, len(rule.ResourceNames)))
		rights += n + product(len(rule.NonResourceURLs), len(rule.Verbs))
		if rights > maxCovered {
			return nil, fmt.Errorf("compare roles: one has more than %d single rights", maxCovered)
		}
	}
	_, missing = validation.Covers(owner, servant)
	return missing, nil
}

// product is more than maxCovered where it does not fit.
func product(factors ...int) uint64 {
	result := uint64(1)
	for _, factor := range factors {
		high, low := bits.Mul64(result, uint64(factor)) //nolint:gosec // lengths are not negative
		if high != 0 || low > maxCovered {
			return maxCovered + 1
		}
		result = low
	}
	return result
}

// Policies are the rules alone.
func Policies(rules []Rule) []rbacv1.PolicyRule {
	policies := make([]rbacv1.PolicyRule, 0, len(rules))
	for _, rule := range rules {
		policies = append(policies, rule.Policy)
	}
	return policies
}
