// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
)

// WithoutDefaults are the resources of a class's quota for which its LimitRange has no default: the API server refuses
// containers that do not name them.
func WithoutDefaults(spec berthv1alpha1.ProfileClassSpec) (missing []string) {
	if spec.Quota == nil {
		return nil
	}
	for _, key := range append(sortedKeys(spec.Quota.Default), sortedKeys(spec.Quota.Max)...) {
		name, isLimit := strings.CutPrefix(string(key), "limits.")
		name = strings.TrimPrefix(name, "requests.")
		if name != string(corev1.ResourceCPU) && name != string(corev1.ResourceMemory) {
			continue
		}
		if !hasDefault(spec.LimitRange, corev1.ResourceName(name), isLimit) {
			missing = append(missing, string(key))
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

// hasDefault says whether containers get a limit, or a request, by themselves. Kubernetes takes the most for the default
// limit where there is none, the default limit for the request, and else the least.
func hasDefault(limits *corev1.LimitRangeSpec, name corev1.ResourceName, isLimit bool) bool {
	if limits == nil {
		return false
	}
	return slices.ContainsFunc(limits.Limits, func(item corev1.LimitRangeItem) bool {
		from := []corev1.ResourceList{item.Default, item.Max}
		if !isLimit {
			from = append(from, item.DefaultRequest, item.Min)
		}
		return item.Type == corev1.LimitTypeContainer && slices.ContainsFunc(from, func(list corev1.ResourceList) bool {
			_, found := list[name]
			return found
		})
	})
}
