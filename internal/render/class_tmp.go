// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
)

// ClassName is the class of a profile with these labels, where there are these classes.
func ClassName(labels map[string]string, classes []berthv1alpha1.ProfileClass) string {
	if name := labels[berthv1alpha1.ClassLabel]; name != "" {
		return name
	}
	return DefaultClass(classes)
}

// DefaultClass is the class of profiles that name none: the newest that says so of itself, else the built-in one.
func DefaultClass(classes []berthv1alpha1.ProfileClass) string {
	var found *berthv1alpha1.ProfileClass
	for i := range classes {
		class := &classes[i]
		if class.Annotations[berthv1alpha1.DefaultClassAnnotation] != "true" {
			continue
		}
		same := found != nil && class.CreationTimestamp.Equal(&found.CreationTimestamp)
		if found == nil || found.CreationTimestamp.Before(&class.CreationTimestamp) || same && found.Name < class.Name {
			found = class
		}
	}
	if found == nil {
		return berthv1alpha1.BuiltInClass
	}
	return found.Name
}
