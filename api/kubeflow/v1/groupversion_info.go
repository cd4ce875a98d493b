// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package v1 is the kubeflow.org/v1 API: the Profile, a superset of the one Kubeflow's profile controller serves.
// Objects written for that controller are valid here and keep their JSON.
//
// +kubebuilder:object:generate=true
// +groupName=kubeflow.org
package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion is the group and version of this package.
	GroupVersion = schema.GroupVersion{Group: "kubeflow.org", Version: "v1"}

	// AddToScheme registers the kinds of this package.
	AddToScheme = func(s *runtime.Scheme) error {
		s.AddKnownTypes(GroupVersion, &Profile{}, &ProfileList{})
		metav1.AddToGroupVersion(s, GroupVersion)
		return nil
	}
)
