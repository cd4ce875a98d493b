// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package component holds the entry points of the control plane's parts. The devcluster binary re-executes itself to
// run each of them in a process of its own, because two API machinery servers in one process panic when they register
// their signal handlers.
package component

import (
	"context"
	"fmt"
	"io"
	"os"

	etcdversion "go.etcd.io/etcd/api/v3/version"
	kubeversion "k8s.io/component-base/version"

	"berth.dev/berth/devcluster/cluster"
)

var mains = map[string]func(ctx context.Context, args []string) error{
	cluster.Etcd:              runEtcd,
	cluster.APIServer:         runAPIServer,
	cluster.ControllerManager: runControllerManager,
}

// Run runs the part called name until it ends or until standard input reaches its end. Standard input is a pipe whose
// other end only the parent holds, so it closes when the parent ends, however it ends.
func Run(ctx context.Context, name string, args []string) error {
	run, ok := mains[name]
	if !ok {
		return fmt.Errorf("unknown component %q, want one of %q", name, cluster.Components())
	}
	go exitWithParent(os.Stdin)
	return run(ctx, args)
}

// exitWithParent ends the process at once: a parent that is gone leaves nobody to shut down for, and etcd's
// write-ahead log survives this.
func exitWithParent(stdin io.Reader) {
	_, _ = io.Copy(io.Discard, stdin)
	os.Exit(1)
}

// KubernetesVersion returns the version that the API server reports, for example v1.36.3.
func KubernetesVersion() string {
	return kubeversion.Get().GitVersion
}

// EtcdVersion returns the version of the embedded etcd, for example 3.6.8.
func EtcdVersion() string {
	return etcdversion.Version
}
