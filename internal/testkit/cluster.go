// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"berth.dev/berth/internal/devcluster"
)

// Cluster is a running devcluster: a real API server, with the controllers that a cluster without nodes needs.
type Cluster struct {
	// Kubeconfig is the path of the administrator's kubeconfig.
	Kubeconfig string

	config  *rest.Config
	process *devcluster.Process
}

// ClusterOption changes what a devcluster starts with.
type ClusterOption func(*clusterOptions)

type clusterOptions struct {
	without []string
	args    []string
}

// WithoutIstio starts the cluster without Istio's CRDs. Cluster.InstallIstio adds them later.
func WithoutIstio() ClusterOption {
	return func(o *clusterOptions) { o.without = append(o.without, "istio") }
}

// WithoutBerth starts the cluster without Berth's CRDs.
func WithoutBerth() ClusterOption {
	return func(o *clusterOptions) { o.without = append(o.without, "berth") }
}

// WithoutKubeflowRoles starts the cluster without the aggregated ClusterRoles kubeflow-admin, kubeflow-edit and
// kubeflow-view.
func WithoutKubeflowRoles() ClusterOption {
	return func(o *clusterOptions) { o.without = append(o.without, "kubeflow-roles") }
}

// WithCRDs also installs the CRDs in the YAML files of a directory.
func WithCRDs(dir string) ClusterOption {
	return func(o *clusterOptions) { o.args = append(o.args, "--crds="+dir) }
}

// WithAudit makes the API server record what the policy says and post it to the URL.
func WithAudit(policyFile, webhookURL string) ClusterOption {
	return func(o *clusterOptions) {
		o.args = append(o.args, "--audit-policy="+policyFile, "--audit-webhook="+webhookURL)
	}
}

// WithDir keeps the cluster's state in a directory, so that a second cluster can continue with it when the first has
// ended. Otherwise nothing is left of a cluster.
func WithDir(dir string) ClusterOption {
	return func(o *clusterOptions) { o.args = append(o.args, "--dir="+dir) }
}

// StartCluster starts a cluster for one test, which ends with the test. A test that can live with what others leave
// behind shares one instead: see RunWithCluster.
func StartCluster(t testing.TB, opts ...ClusterOption) *Cluster {
	t.Helper()
	c, err := startCluster(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func startCluster(opts []ClusterOption) (*Cluster, error) {
	var o clusterOptions
	for _, opt := range opts {
		opt(&o)
	}
	binary, root, err := devcluster.InCheckout()
	if err != nil {
		return nil, err
	}
	args := o.args
	for _, part := range o.without {
		args = append(args, "--without="+part)
	}
	if !slices.Contains(o.without, "berth") {
		args = append(args, "--crds="+filepath.Join(root, "api", "crds")) // those just generated, whatever the binary was built with
	}
	process, err := devcluster.Start(context.Background(), devcluster.Options{Binary: binary, Args: args})
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", process.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the devcluster's kubeconfig: %w", err)
	}
	config.QPS = -1 // tests wait for the server, not for a limit of the client
	return &Cluster{Kubeconfig: process.Kubeconfig, config: config, process: process}, nil
}

// Config returns a client configuration for the administrator without client-side limits. It is the caller's to change.
func (c *Cluster) Config() *rest.Config { return rest.CopyConfig(c.config) }

// StopAPIServer kills the API server: its port refuses connections until StartAPIServer.
func (c *Cluster) StopAPIServer(t testing.TB) {
	t.Helper()
	if err := c.process.Command("stop kube-apiserver"); err != nil {
		t.Fatal(err)
	}
}

// StartAPIServer starts the API server again at the same address and returns when it is ready.
func (c *Cluster) StartAPIServer(t testing.TB) {
	t.Helper()
	if err := c.process.Command("start kube-apiserver"); err != nil {
		t.Fatal(err)
	}
}

// InstallIstio adds Istio's CRDs to a cluster that was started without them, and returns when they are served.
func (c *Cluster) InstallIstio(t testing.TB) {
	t.Helper()
	if err := c.process.Command("install istio"); err != nil {
		t.Fatal(err)
	}
}

// Close ends the cluster. Closing it again does nothing.
func (c *Cluster) Close() error { return c.process.Close() }

// SharedCluster is a cluster that the tests of one package share, each under names of its own (see Name). It starts when
// the first test uses it. The zero value is ready for RunWithCluster.
type SharedCluster struct {
	opts []ClusterOption

	once    sync.Once
	cluster *Cluster
	err     error
}

// RunWithCluster runs the tests of a package and ends the cluster they shared. A package has
//
//	var cluster testkit.SharedCluster
//
//	func TestMain(m *testing.M) { os.Exit(testkit.RunWithCluster(m, &cluster)) }
//
// and its tests begin with c := cluster.Use(t).
func RunWithCluster(m interface{ Run() int }, shared *SharedCluster, opts ...ClusterOption) int {
	shared.opts = opts
	code := m.Run()
	if shared.cluster == nil {
		return code
	}
	if err := shared.cluster.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// Use returns the shared cluster, starting it if it is not running yet.
func (s *SharedCluster) Use(t testing.TB) *Cluster {
	t.Helper()
	s.once.Do(func() { s.cluster, s.err = startCluster(s.opts) })
	if s.err != nil {
		t.Fatal(s.err)
	}
	if err := s.cluster.process.Alive(); err != nil {
		t.Fatal(err)
	}
	return s.cluster
}
