// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"crypto/rand"
	"encoding/hex"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Name returns a name that no other test of any run has, so that tests can share a cluster: the prefix and eight random
// digits. It is a DNS label, fit for a Profile or a Namespace.
func Name(t testing.TB, prefix string) string {
	t.Helper()
	random := make([]byte, 4)
	if _, err := rand.Read(random); err != nil {
		t.Fatal(err)
	}
	name := prefix + "-" + hex.EncodeToString(random)
	if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
		t.Fatalf("prefix %q makes no DNS label: %s", prefix, problems[0])
	}
	return name
}
