// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"maps"
	"strings"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
)

// classLabels are the labels that a class decides, by key.
func classLabels(class Class) map[string]berthv1alpha1.Setting {
	labels := map[string]berthv1alpha1.Setting{}
	set := func(key, value string) {
		if value != "" {
			labels[key] = berthv1alpha1.Setting{Key: key, Value: value, Policy: berthv1alpha1.Authoritative}
		}
	}
	if settings := class.Spec.Namespace; settings != nil {
		for _, setting := range settings.Labels {
			labels[setting.Key] = setting
		}
		if levels := settings.PodSecurity; levels != nil {
			for mode, level := range map[string]berthv1alpha1.PodSecurityLevel{"enforce": levels.Enforce, "audit": levels.Audit, "warn": levels.Warn} {
				set("pod-security.kubernetes.io/"+mode, string(level))
				if level != "" {
					set("pod-security.kubernetes.io/"+mode+"-version", levels.Version)
				}
			}
		}
	}
	if network := class.isolation().Network; network != nil {
		policies := network.TenantPolicies
		if policies == "" {
			policies = berthv1alpha1.TenantPoliciesSameNamespace
		}
		set(berthv1alpha1.TenantNetworkPoliciesLabel, strings.ToLower(string(policies)))
	}
	return labels
}

// classAnnotations puts the annotations that a class decides on the namespace, and takes back those that it decides no
// more, as long as they still have the value that we gave them.
func classAnnotations(object *Object, in Input) {
	if in.Class.Unknown {
		return
	}
	var live map[string]string
	if in.Namespace != nil {
		live = in.Namespace.Annotations
	}
	before := recordOf(live).Annotations
	applied := map[string]string{}
	if settings := in.Class.Spec.Namespace; settings != nil {
		for _, setting := range settings.Annotations {
			have, found := live[setting.Key]
			was, ours := before[setting.Key]
			if found && setting.Policy == berthv1alpha1.IfAbsent && (!ours || was != have) {
				continue // somebody else's
			}
			if found && setting.Policy == berthv1alpha1.IfAbsent {
				applied[setting.Key] = have
				continue
			}
			applied[setting.Key] = setting.Value
		}
	}
	annotations := maps.Clone(object.GetAnnotations())
	maps.Copy(annotations, applied)
	object.SetAnnotations(annotations)
	for _, key := range sortedKeys(before) {
		if _, wanted := applied[key]; !wanted && live[key] == before[key] {
			object.AbsentAnnotations = append(object.AbsentAnnotations, key)
		}
	}
	classRecord{Annotations: applied}.note(object, live)
}
