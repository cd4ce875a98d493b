// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package v1

// Names shared with Kubeflow's profile controller and its clients.
const (
	// ProfileFinalizer keeps a Profile until its namespace is gone and its plugins are revoked.
	ProfileFinalizer = "profile-finalizer"

	// OwnerAnnotation on a Namespace names its owner. On a namespace that exists already, it is what allows a
	// profile of that owner to take it.
	OwnerAnnotation = "owner"
	// ResourceManagementOwnerAnnotation is understood like OwnerAnnotation.
	ResourceManagementOwnerAnnotation = "kubeflow-resource-management/owner"

	// UserAnnotation and RoleAnnotation on a RoleBinding or AuthorizationPolicy say whose access it is: clients list
	// owners and contributors by them.
	UserAnnotation = "user"
	RoleAnnotation = "role"
)

// Names of our own.
const (
	// AdoptAnnotation on a Namespace, set by an administrator, allows a profile to take it whose owner it names,
	// where OwnerAnnotation already has another meaning.
	AdoptAnnotation = "berth.dev/adopt"
	// AdoptedByAnnotation on a Namespace holds the UID of the profile that took it. Such a namespace outlives its
	// profile.
	AdoptedByAnnotation = "berth.dev/adopted-by"
	// MadeForAnnotation on a Namespace holds the UID of the profile that it was made for, so that it is known to go
	// with that profile also when its owner reference was lost.
	MadeForAnnotation = "berth.dev/made-for"
	// AppliedLabelsAnnotation on a Namespace holds, as key=value pairs between commas, the labels that the controller
	// set there, so that it takes back exactly those.
	AppliedLabelsAnnotation = "berth.dev/applied-labels"
	// DeletionProtectionAnnotation on a Profile, when "true", makes the API server refuse its deletion.
	DeletionProtectionAnnotation = "berth.dev/deletion-protection"
	// SkipPluginRevokeAnnotation on a Profile, when "true", lets its deletion finish although plugins could not be
	// revoked.
	SkipPluginRevokeAnnotation = "berth.dev/skip-plugin-revoke"

	// ManagedByLabel with the value ManagedByValue is on every object the controller makes.
	ManagedByLabel = "app.kubernetes.io/managed-by"
	// ManagedByValue is the value of ManagedByLabel.
	ManagedByValue = "berth"
)
