// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package cloudtest has IAM servers for tests: they listen on loopback, speak the providers' wire protocols to the
// real SDKs, keep state, and fail on demand.
package cloudtest

// Secret is in every credential that the tests hand out; it must never show in an error or a log.
const Secret = "hunter2-do-not-print"

// faults are the failures still to come, in order.
type faults struct {
	all, writes []string
}

func (f *faults) next(n int, code string, write bool) {
	for range n {
		if write {
			f.writes = append(f.writes, code)
			continue
		}
		f.all = append(f.all, code)
	}
}

// take uses up the failure for this request; empty means none.
func (f *faults) take(write bool) string {
	if len(f.all) > 0 {
		code := f.all[0]
		f.all = f.all[1:]
		return code
	}
	if write && len(f.writes) > 0 {
		code := f.writes[0]
		f.writes = f.writes[1:]
		return code
	}
	return ""
}
