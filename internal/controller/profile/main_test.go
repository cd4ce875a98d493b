// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"os"
	"testing"

	"berth.dev/berth/internal/testkit"
)

var cluster testkit.SharedCluster

func TestMain(m *testing.M) { os.Exit(testkit.RunWithCluster(m, &cluster)) }
