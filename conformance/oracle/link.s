// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// With a file of assembly in the package, functions may lack a body: ztunnel.go links to two of Istio's.
