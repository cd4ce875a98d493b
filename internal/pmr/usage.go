// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import "time"

// Usage is what a profile has in it, for whoever decides about deleting it.
type Usage struct {
	Profile string `json:"profile"`
	Owner   string `json:"owner"`
	// Stale is nil where the profile is listed, or belongs to no sync.
	Stale   *Stale   `json:"stale,omitempty"`
	Volumes []Volume `json:"volumes"`
	// Pods are those that run or are about to, and GPUs are what they have of them.
	Pods              int      `json:"pods"`
	GPUs              string   `json:"gpus"`
	Notebooks         []string `json:"notebooks"`
	InferenceServices []string `json:"inferenceServices"`
	// Contributors are those who have access, or had it before it was taken away.
	Contributors []string `json:"contributors"`
	// LastActivity is the last that is known of, zero where nothing is.
	LastActivity time.Time `json:"lastActivity,omitzero"`
}

// Volume is a PersistentVolumeClaim.
type Volume struct {
	Name string `json:"name"`
	Size string `json:"size"`
}

// Active notes that something happened at moment.
func (u *Usage) Active(moment time.Time) {
	if moment.After(u.LastActivity) {
		u.LastActivity = moment.UTC()
	}
}
