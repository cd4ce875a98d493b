// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"flag"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

const (
	deployed = "../../../deploy/kustomize"
	// kubeflowLabels is the namespace labels file of a Kubeflow installation.
	kubeflowLabels = deployed + "/overlays/kubeflow/namespace-labels.yaml"
)

var (
	// shared is the cluster, with controllers on it, that most tests use at the same time (see onShared).
	shared   testkit.SharedCluster
	everyday controllertest.Package
	// own are clusters for tests that run controllers of their own, each used by one test at a time (see onOwn).
	own  [2]testkit.SharedCluster
	idle = make(chan *testkit.SharedCluster, len(own))
)

type runner func() int

func (r runner) Run() int { return r() }

func TestMain(m *testing.M) {
	// Tests wait for the cluster rather than for a processor.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	tests := runner(func() int {
		code := m.Run()
		return max(code, everyday.Stop())
	})
	for i := range own {
		idle <- &own[i]
		inner := tests
		tests = func() int { return testkit.RunWithCluster(inner, &own[i]) }
	}
	os.Exit(testkit.RunWithCluster(tests, &shared))
}

// onShared returns a client for the shared cluster, whose controllers are configured as in a Kubeflow installation and
// have exactly the rights that the manifests give them.
func onShared(t *testing.T) client.Client {
	t.Helper()
	t.Parallel()
	cluster := shared.Use(t)
	c := controllertest.Client(t, cluster.Config())
	everyday.Start(t, func(outlives testing.TB) {
		controllertest.Start(outlives, deployedIdentity(t, cluster, c), controllertest.WithLabelsFile(kubeflowLabels))
	})
	return c
}

// onOwn returns a configuration for a cluster on which no other test is active, for a test that starts controllers of
// its own. Profiles go when the test ends.
func onOwn(t *testing.T) (*rest.Config, client.Client) {
	t.Helper()
	t.Parallel()
	cluster := <-idle
	t.Cleanup(func() { idle <- cluster })
	cfg := cluster.Use(t).Config()
	c := controllertest.Client(t, cfg)
	t.Cleanup(func() { dropProfiles(t, c) })
	return cfg, c
}

// deployedIdentity is a configuration with the service account and the role of the manifests.
func deployedIdentity(t *testing.T, cluster *testkit.Cluster, c client.Client) *rest.Config {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "profiles-system"}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "controller"}}
	role := &rbacv1.ClusterRole{}
	data, err := os.ReadFile(deployed + "/base/rbac/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(data, role); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: account.Namespace, Name: account.Name}},
	}
	for _, obj := range []client.Object{namespace, account, role, binding} {
		create(t, c, obj)
	}
	return cluster.ServiceAccountConfig(t, account.Namespace, account.Name)
}
