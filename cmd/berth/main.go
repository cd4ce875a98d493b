// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Command berth is the whole product: the Profile controller and the commands around it.
package main

import (
	"os"

	"berth.dev/berth/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args))
}
