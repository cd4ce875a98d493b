// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/render"
)

// sameQuantity compares by meaning: 1, "1000m" and 1.0 are one quantity.
func sameQuantity(a, b kubeflowv1.Quantity) bool {
	if a == b {
		return true
	}
	x, errX := render.ParseQuantity(string(a))
	y, errY := render.ParseQuantity(string(b))
	return errX == nil && errY == nil && x.Cmp(y) == 0
}

// sameQuota compares by meaning.
func sameQuota(a, b kubeflowv1.ResourceQuotaSpec) bool {
	return maps.EqualFunc(a.Hard, b.Hard, sameQuantity) && sameSet(a.Scopes, b.Scopes) &&
		slices.EqualFunc(expressions(a), expressions(b), func(x, y corev1.ScopedResourceSelectorRequirement) bool {
			return x.ScopeName == y.ScopeName && x.Operator == y.Operator && sameSet(x.Values, y.Values)
		})
}

func expressions(spec kubeflowv1.ResourceQuotaSpec) []corev1.ScopedResourceSelectorRequirement {
	if spec.ScopeSelector == nil {
		return nil
	}
	return slices.SortedFunc(slices.Values(spec.ScopeSelector.MatchExpressions), func(x, y corev1.ScopedResourceSelectorRequirement) int {
		return cmp.Or(cmp.Compare(x.ScopeName, y.ScopeName), cmp.Compare(x.Operator, y.Operator), slices.Compare(sorted(x.Values), sorted(y.Values)))
	})
}

func sameSet[T cmp.Ordered](a, b []T) bool {
	return slices.Equal(slices.Compact(sorted(a)), slices.Compact(sorted(b)))
}

func sorted[T cmp.Ordered](items []T) []T { return slices.Sorted(slices.Values(items)) }

// samePlugins compares by meaning: the order of keys in a spec means nothing.
func samePlugins(a, b []kubeflowv1.Plugin) bool {
	return slices.EqualFunc(a, b, func(x, y kubeflowv1.Plugin) bool {
		return x.Kind == y.Kind && bytes.Equal(specOf(x), specOf(y))
	})
}

// specOf is the JSON of a plugin's spec with its keys in order.
func specOf(p kubeflowv1.Plugin) []byte {
	if p.Spec == nil {
		return []byte("{}")
	}
	var spec any
	if json.Unmarshal(p.Spec.Raw, &spec) != nil {
		return p.Spec.Raw
	}
	ordered, err := json.Marshal(spec)
	if err != nil {
		return p.Spec.Raw
	}
	return ordered
}

// quotaText is a quota for people, and for the digest.
func quotaText(spec kubeflowv1.ResourceQuotaSpec) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(spec.Hard)) {
		value := string(spec.Hard[name])
		if parsed, err := render.ParseQuantity(value); err == nil {
			value = parsed.String()
		}
		parts = append(parts, fmt.Sprintf("%s=%s", name, value))
	}
	for _, scope := range sorted(spec.Scopes) {
		parts = append(parts, "scope "+string(scope))
	}
	for _, e := range expressions(spec) {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("scope %s %s %s", e.ScopeName, e.Operator, strings.Join(sorted(e.Values), ","))))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
