// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the berth.dev/v1alpha1 API: the ProfileClass and the ProfileSync.
//
// +kubebuilder:object:generate=true
// +groupName=berth.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion is the group and version of this package.
	GroupVersion = schema.GroupVersion{Group: "berth.dev", Version: "v1alpha1"}

	// AddToScheme registers the kinds of this package.
	AddToScheme = func(s *runtime.Scheme) error {
		s.AddKnownTypes(GroupVersion, &ProfileClass{}, &ProfileClassList{}, &ProfileSync{}, &ProfileSyncList{})
		metav1.AddToGroupVersion(s, GroupVersion)
		return nil
	}
)
