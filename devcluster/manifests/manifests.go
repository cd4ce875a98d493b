// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package manifests embeds what the devcluster installs of its own.
package manifests

import _ "embed"

// KubeflowRoles are the ClusterRoles of a Kubeflow cluster, aggregated to kubeflow-admin, kubeflow-edit and
// kubeflow-view.
//
//go:embed kubeflow-roles.yaml
var KubeflowRoles []byte
