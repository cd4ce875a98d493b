// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package conformance compares Berth's evaluator of Istio's policies with oracles that are independent of it: Istio's own
// code, which turns policies into the configuration of proxies; gRPC's engine, which evaluates that configuration; and the
// golden files in Istio's module. It has tests only. They are a module of their own, because Istio's code is about 1,600
// packages, and its go.mod has replace lines that must not reach users.
//
// What is compared with what, and what no oracle here can tell, stands in docs/reference/access-conformance.md.
package conformance
