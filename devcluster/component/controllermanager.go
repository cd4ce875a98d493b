// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package component

import (
	"context"

	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

// runControllerManager runs the kube-controller-manager command as it is.
func runControllerManager(ctx context.Context, args []string) error {
	command := app.NewControllerManagerCommand()
	command.SetArgs(args)
	return command.ExecuteContext(ctx)
}
