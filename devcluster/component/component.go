// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package component holds the entry points of the control plane's parts. The devcluster binary re-executes itself to
// run each of them in a process of its own, because two API machinery servers in one process panic when they register
// their signal handlers.
package component

import (
	"fmt"
	"io"
	"os"
	"slices"

	etcdversion "go.etcd.io/etcd/api/v3/version"
	kubeversion "k8s.io/component-base/version"
)

// The names of the parts, as they appear in messages, log files and control commands.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
)

// ListenerFD is the file descriptor on which kube-apiserver finds its listening socket. The parent opens the socket, so
// that no other process can take the port between choosing it and serving on it.
const ListenerFD = 3

var mains = map[string]func(args []string) error{
	Etcd:              runEtcd,
	APIServer:         runAPIServer,
	ControllerManager: runControllerManager,
}

// Names returns the names of all parts in alphabetical order.
func Names() []string {
	names := make([]string, 0, len(mains))
	for name := range mains {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Run runs the part called name until it ends or until standard input reaches its end. Standard input is a pipe whose
// other end only the parent holds, so it closes when the parent ends, however it ends.
func Run(name string, args []string) error {
	run, ok := mains[name]
	if !ok {
		return fmt.Errorf("unknown component %q, want one of %q", name, Names())
	}
	go exitWithParent(os.Stdin)
	return run(args)
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
