// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"berth.dev/berth/devcluster/cluster"
	"berth.dev/berth/devcluster/install"
	"berth.dev/berth/devcluster/manifests"
)

// startTimeout is far above the few seconds that a start takes, for machines that are busy with other things.
const startTimeout = 2 * time.Minute

// What a Kubeflow cluster has besides Kubernetes, by the names that --without and the install command take.
const (
	extraIstio = "istio"
	extraBerth = "berth"
	extraRoles = "kubeflow-roles"
)

var extraNames = []string{extraIstio, extraBerth, extraRoles}

// extras says what to install and where it is.
type extras struct {
	manifests string
	without   []string
	crds      []string // directories of the user
}

// newExtras fails early if something is missing that a build should have put there.
func newExtras(opts upOptions) (*extras, error) {
	e := &extras{manifests: opts.manifests, without: opts.without, crds: opts.crds}
	if e.manifests == "" {
		executable, err := os.Executable()
		if err != nil {
			return nil, err
		}
		e.manifests = filepath.Join(filepath.Dir(executable), "devcluster-manifests")
	}
	for _, name := range e.without {
		if !slices.Contains(extraNames, name) {
			return nil, fmt.Errorf("--without %q: there is only %q", name, extraNames)
		}
	}
	for _, name := range []string{extraIstio, extraBerth} {
		if _, err := os.Stat(e.dir(name)); err != nil && !slices.Contains(e.without, name) {
			return nil, fmt.Errorf("the CRDs of %s are missing: run \"make bin/devcluster\" (%w)", name, err)
		}
	}
	return e, nil
}

func (e *extras) dir(name string) string { return filepath.Join(e.manifests, name) }

// crdDirs returns the directories of all CRDs to install at the start. Those of the user come last and win.
func (e *extras) crdDirs() []string {
	var dirs []string
	for _, name := range []string{extraIstio, extraBerth} {
		if !slices.Contains(e.without, name) {
			dirs = append(dirs, e.dir(name))
		}
	}
	return append(dirs, e.crds...)
}

// install adds one extra to a running cluster and returns when it can be used.
func (e *extras) install(ctx context.Context, plane *cluster.Cluster, name string) error {
	if !slices.Contains(extraNames, name) {
		return fmt.Errorf("install %q: there is only %q", name, extraNames)
	}
	installer, err := newInstaller(plane)
	if err != nil {
		return err
	}
	if name == extraRoles {
		if err := installer.Roles(ctx, manifests.KubeflowRoles); err != nil {
			return err
		}
		return installer.AwaitAggregation(ctx)
	}
	crds, err := install.CRDs([]string{e.dir(name)})
	if err != nil {
		return err
	}
	return installer.CRDs(ctx, crds)
}

// start brings up the parts and the extras. kube-controller-manager comes after the CRDs, because its garbage collector
// looks for new kinds only every 30 seconds.
func start(ctx context.Context, plane *cluster.Cluster, e *extras) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	crds := readCRDs(e.crdDirs()) // a megabyte of YAML, while the machine waits for other things

	if err := plane.Start(ctx, cluster.Etcd); err != nil {
		return err
	}
	if err := plane.Start(ctx, cluster.APIServer); err != nil {
		return err
	}
	installer, err := newInstaller(plane)
	if err != nil {
		return err
	}
	if !slices.Contains(e.without, extraRoles) {
		if err := installer.Roles(ctx, manifests.KubeflowRoles); err != nil {
			return err
		}
	}
	read := <-crds
	if read.err != nil {
		return read.err
	}
	if err := installer.CRDs(ctx, read.crds); err != nil {
		return err
	}
	if err := plane.Start(ctx, cluster.ControllerManager); err != nil {
		return err
	}
	return installer.AwaitAggregation(ctx)
}

type readResult struct {
	crds []*unstructured.Unstructured
	err  error
}

func readCRDs(dirs []string) <-chan readResult {
	result := make(chan readResult, 1)
	go func() {
		crds, err := install.CRDs(dirs)
		result <- readResult{crds, err}
	}()
	return result
}

func newInstaller(plane *cluster.Cluster) (*install.Installer, error) {
	config, err := plane.Config()
	if err != nil {
		return nil, err
	}
	return install.New(config)
}
