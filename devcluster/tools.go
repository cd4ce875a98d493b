// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//go:build tools

package main

// The module istio.io/api carries Istio's CRDs as a file (see build.mk). Nothing here needs its Go code; this import
// keeps its version in go.mod through "go mod tidy".
import _ "istio.io/api/label"
