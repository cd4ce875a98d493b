// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

const (
	// ClassLabel on a Profile names its ProfileClass. Only administrators may set it.
	ClassLabel = "berth.dev/class"
	// DefaultClassAnnotation, when "true", makes a ProfileClass that of all profiles which name none. Of several, the
	// newest counts.
	DefaultClassAnnotation = "berth.dev/is-default-class"
	// BuiltInClass is the class of profiles where there is no default. It has no object: a namespace, access and the
	// quota that the profile asks for, and nothing else.
	BuiltInClass = "berth"
	// InUseFinalizer keeps a ProfileClass as long as profiles have it.
	InUseFinalizer = "berth.dev/in-use"

	// BreakGlassAnnotation on a Profile, set by an administrator to the reason why, lets the tenant change what is
	// guarded, and has the controller leave it as it is, until the annotation is taken off. The controller copies it to
	// the Namespace, where the guard rails read it.
	BreakGlassAnnotation = "berth.dev/break-glass"
	// KeepUserTokenLabel on a Profile, when "keep", leaves the token of isolation.userToken to its workloads, such as
	// model servers that take keys of their own in the same header.
	KeepUserTokenLabel = "berth.dev/user-token" //nolint:gosec // the name of a label

	// PartLabel on an object says for which part of a class it was made.
	PartLabel = "berth.dev/part"
	// AppliedClassAnnotation on a Namespace or ServiceAccount holds, as JSON, what a class put there, so that exactly that
	// is taken back.
	AppliedClassAnnotation = "berth.dev/applied-class"
	// RenderedAnnotation on an object holds a hash of its spec as we wrote it, where the API server fills in more than
	// we know of: another hash means that the spec is to be written anew.
	RenderedAnnotation = "berth.dev/rendered"
	// TenantNetworkPoliciesLabel on a Namespace says which NetworkPolicies the tenant may make: one of the values of
	// NetworkIsolation.TenantPolicies in lower case. The guard rails read it.
	TenantNetworkPoliciesLabel = "berth.dev/tenant-network-policies"
)

// Names that the hooks of a class go by.
const (
	// HookLabel on an object names the hook that asked for it.
	HookLabel = "berth.dev/hook"
	// HookAppliedAnnotation on an object holds a hash of what its hook asked for and, where the API server stores that in
	// other words, one of those.
	HookAppliedAnnotation = "berth.dev/hook-applied"
	// AppliedHooksAnnotation on a Namespace holds, as JSON, the labels and annotations that hooks put there and the kinds
	// that they have objects of, so that exactly that is taken back.
	AppliedHooksAnnotation = "berth.dev/applied-hooks"
	// HooksFinalizer keeps a Profile until the hooks of its class have let go of it.
	HooksFinalizer = "berth.dev/hooks"
	// SkipHookFinalizeAnnotation on a Profile, when "true", lets its deletion finish without asking the hooks.
	SkipHookFinalizeAnnotation = "berth.dev/skip-hook-finalize"
)
