// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"io"

	"berth.dev/berth/internal/pmr"
)

// showPlan prints a plan as text or JSON.
func showPlan(out io.Writer, plan pmr.Plan, output string) error {
	switch output {
	case "json":
		return printJSON(out, struct {
			Digest     string `json:"digest"`
			HeldDigest string `json:"heldDigest,omitempty"`
			pmr.Plan
		}{plan.Digest(), plan.HeldDigest(), plan})
	case "text":
		_, err := io.WriteString(out, plan.Text())
		return err
	}
	return errOutput
}
