// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package v1

// Condition types of a Profile.
const (
	// ConditionReady sums up the other conditions.
	ConditionReady = "Ready"
	// ConditionNamespaceReady says whether the namespace is there and belongs to the profile.
	ConditionNamespaceReady = "NamespaceReady"
	// ConditionAccessReady says whether the service accounts and role bindings are in place.
	ConditionAccessReady = "AccessReady"
	// ConditionMeshReady says whether the mesh lets in exactly whom it should.
	ConditionMeshReady = "MeshReady"
	// ConditionQuotaReady says whether the namespace has the quota that the spec asks for.
	ConditionQuotaReady = "QuotaReady"
	// ConditionPluginsReady says whether the plugins are applied.
	ConditionPluginsReady = "PluginsReady"

	// ConditionClassReady says which class the profile has. This one and those below are there only where the class asks
	// for what they are about.
	ConditionClassReady = "ClassReady"
	// ConditionGuardRailsReady is False while an administrator has the guard rails off.
	ConditionGuardRailsReady = "GuardRailsReady"
	// ConditionLimitRangeReady says whether the namespace has the limits of the class for single pods.
	ConditionLimitRangeReady = "LimitRangeReady"
	// ConditionNetworkReady says whether the NetworkPolicies are in place.
	ConditionNetworkReady = "NetworkReady"
	// ConditionMTLSReady says whether the mesh refuses plain text.
	ConditionMTLSReady = "MTLSReady"
	// ConditionUserTokenReady says whether tokens of visitors are kept from the workloads.
	ConditionUserTokenReady = "UserTokenReady"
	// ConditionInferenceAccessReady says whether the platform may reach the InferenceServices.
	ConditionInferenceAccessReady = "InferenceAccessReady"
	// ConditionServiceAccountsReady says whether the class's ServiceAccounts are in place.
	ConditionServiceAccountsReady = "ServiceAccountsReady"
	// ConditionCredentialsReady says whether External Secrets is asked for the profile's secrets.
	ConditionCredentialsReady = "CredentialsReady"
	// ConditionHooksReady says whether the class's hooks answered and what they asked for is in place.
	ConditionHooksReady = "HooksReady"
	// ConditionSynced says whether the profile is as the list of its ProfileSync asks.
	ConditionSynced = "Synced"
)

// Reasons of conditions of a Profile.
const (
	// ReasonReady means that everything is in place.
	ReasonReady = "Ready"
	// ReasonProgressing means that work is under way and nothing failed yet.
	ReasonProgressing = "Progressing"
	// ReasonDeleting means that the profile is being deleted.
	ReasonDeleting = "Deleting"
	// ReasonDeletionBlocked means that something keeps the profile from being deleted; the message says what.
	ReasonDeletionBlocked = "DeletionBlocked"
	// ReasonNamespaceNotOwned means that a namespace of that name exists and was not given to this profile.
	ReasonNamespaceNotOwned = "NamespaceNotOwned"
	// ReasonNamespaceReserved means that the name is that of a namespace of the platform.
	ReasonNamespaceReserved = "NamespaceReserved"
	// ReasonNamespaceTerminating means that the namespace is being deleted and will be made anew once it is gone.
	ReasonNamespaceTerminating = "NamespaceTerminating"
	// ReasonNamespaceLabelsUnreadable means that the namespace labels file could not be read since the start.
	ReasonNamespaceLabelsUnreadable = "NamespaceLabelsUnreadable"
	// ReasonNameInvalid means that no namespace can have the profile's name.
	ReasonNameInvalid = "NameInvalid"
	// ReasonOwnerInvalid means that nobody can be given access under the owner as written.
	ReasonOwnerInvalid = "OwnerInvalid"
	// ReasonMeshNotInstalled means that the cluster lacks the mesh's kinds; the message says which.
	ReasonMeshNotInstalled = "MeshNotInstalled"
	// ReasonQuotaInvalid means that the quota can't be had as written.
	ReasonQuotaInvalid = "QuotaInvalid"
	// ReasonNoQuota means that the spec asks for no quota.
	ReasonNoQuota = "NoQuota"
	// ReasonPluginInvalid means that a plugin's spec can't be used as written.
	ReasonPluginInvalid = "PluginInvalid"
	// ReasonPluginFailed means that the provider refused or could not be reached.
	ReasonPluginFailed = "PluginFailed"
	// ReasonPluginRevokeFailed means that a binding could not be taken back.
	ReasonPluginRevokeFailed = "PluginRevokeFailed"
	// ReasonApplyFailed means that the API server refused a write; the message says which and why.
	ReasonApplyFailed = "ApplyFailed"

	// ReasonClassNotFound means that the profile names a ProfileClass that is not there.
	ReasonClassNotFound = "ClassNotFound"
	// ReasonBreakGlass means that an administrator has the guard rails off.
	ReasonBreakGlass = "BreakGlass"
	// ReasonQuotaAboveClass means that the profile asks for more than its class allows, and gets what that allows.
	ReasonQuotaAboveClass = "QuotaAboveClass"
	// ReasonQuotaIncomplete means that the quota does not name what the class requires.
	ReasonQuotaIncomplete = "QuotaIncomplete"
	// ReasonQuotaIneffective means that the quota names an extended resource in a way that Kubernetes does not count.
	ReasonQuotaIneffective = "QuotaIneffective"
	// ReasonUserTokenKept means that the profile's workloads get the tokens of visitors by its own label.
	ReasonUserTokenKept = "UserTokenKept"
	// ReasonSelectorUnsupported means that a selector of the class can't be had in this mode of the mesh.
	ReasonSelectorUnsupported = "SelectorUnsupported"
	// ReasonKServeNotInstalled means that the cluster does not serve InferenceServices.
	ReasonKServeNotInstalled = "KServeNotInstalled"
	// ReasonExternalSecretsUnavailable means that the cluster lacks the kinds of External Secrets.
	ReasonExternalSecretsUnavailable = "ExternalSecretsUnavailable"
	// ReasonCredentialsInvalid means that the class's credentials can't be had as written.
	ReasonCredentialsInvalid = "CredentialsInvalid"
	// ReasonHookFailed means that a hook could not be asked, or asked for something that can't be had.
	ReasonHookFailed = "HookFailed"
)
