// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Names that a ProfileSync goes by. Annotations of Profiles are for administrators, who alone may change Profiles.
const (
	// SyncPrefix is what all names begin with by which a sync notes something on a Profile.
	SyncPrefix = "berth.dev/sync"
	// SyncLabel on a Profile or RoleBinding names the ProfileSync that made it, or adopted it.
	SyncLabel = "berth.dev/sync"
	// SyncStateAnnotation on a Profile holds, as JSON, what its sync remembers of it.
	SyncStateAnnotation = "berth.dev/sync-state"
	// AdoptBySyncAnnotation on a Profile names the ProfileSync that may make it its own.
	AdoptBySyncAnnotation = "berth.dev/sync-adopt"
	// StaleAnnotation on a Profile holds, as JSON, since when it is listed no more and what was done about it.
	StaleAnnotation = "berth.dev/sync-stale"
	// SnapshotAnnotation on a Profile holds, as JSON, what it had before it was listed no more.
	SnapshotAnnotation = "berth.dev/sync-snapshot"
	// ApproveDeletionAnnotation on a Profile holds its UID, where an administrator approved of its deletion once its
	// grace period is over.
	ApproveDeletionAnnotation = "berth.dev/sync-approve-deletion"

	// StoppedBySyncAnnotation on a Notebook names the ProfileSync that stopped it with the whole profile.
	StoppedBySyncAnnotation = "berth.dev/sync-stopped"

	// ContributorIDAnnotation on a RoleBinding holds what identifies the person whatever the name.
	ContributorIDAnnotation = "berth.dev/contributor-id"
	// ExpiresAnnotation on a RoleBinding of a contributor holds the RFC 3339 time at which it is deleted.
	ExpiresAnnotation = "berth.dev/expires"

	// SyncNowAnnotation on a ProfileSync has its source read at once, each time its value changes.
	SyncNowAnnotation = "berth.dev/sync-now"
	// SyncApproveAnnotation on a ProfileSync holds the digest of the plan that may be carried out, once.
	SyncApproveAnnotation = "berth.dev/sync-approve"
)
