// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package examples holds Profiles to start from, and what goes with them.
package examples

import "embed"

// Quickstart has the files that the demo applies, so that it finds them wherever it is run.
//
//go:embed quickstart/*.yaml
var Quickstart embed.FS

// NamespaceLabels is the namespace labels file that the demo's controller reads.
//
//go:embed controller/namespace-labels.yaml
var NamespaceLabels []byte

// PMR is the declared list that the demo carries out.
//
//go:embed pmr/pmr.yaml
var PMR string
