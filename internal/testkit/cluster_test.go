// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package testkit_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"berth.dev/berth/internal/testkit"
)

const patience = 30 * time.Second

var cluster testkit.SharedCluster

func TestMain(m *testing.M) { os.Exit(testkit.RunWithCluster(m, &cluster)) }

func TestCluster_controllersWork(t *testing.T) {
	c := cluster.Use(t)
	clients := newClients(t, c.Config())
	namespace := newNamespace(t, clients)

	testkit.Eventually(t, patience, func() error {
		_, err := clients.CoreV1().ServiceAccounts(namespace).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	if err := clients.CoreV1().Namespaces().Delete(t.Context(), namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() error {
		_, err := clients.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("the namespace is still there (error %w)", err)
		}
		return nil
	})
}

func TestCluster_identities(t *testing.T) {
	c := cluster.Use(t)
	clients := newClients(t, c.Config())
	namespace := newNamespace(t, clients)
	testkit.Eventually(t, patience, func() error {
		_, err := clients.CoreV1().ServiceAccounts(namespace).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})

	cases := map[string]struct {
		config *rest.Config
		want   string
	}{
		"a ServiceAccount by its token": {
			config: c.ServiceAccountConfig(t, namespace, "default"),
			want:   "system:serviceaccount:" + namespace + ":default",
		},
		"an impersonated user": {config: c.UserConfig("alice@example.com"), want: "alice@example.com"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := newClients(t, tc.config).CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{})
			if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("want a refusal of %q, got %v", tc.want, err)
			}
		})
	}
}

func TestCluster_StopAPIServer(t *testing.T) {
	c := testkit.StartCluster(t, testkit.WithoutIstio())
	clients := newClients(t, c.Config())
	namespace := newNamespace(t, clients)

	c.StopAPIServer(t)
	if _, err := clients.Discovery().ServerVersion(); err == nil {
		t.Error("a stopped API server answers")
	}
	c.StartAPIServer(t)
	if _, err := clients.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{}); err != nil {
		t.Errorf("after the API server came back: %v", err)
	}
}

func TestCluster_InstallIstio(t *testing.T) {
	c := testkit.StartCluster(t, testkit.WithoutIstio())
	clients := newClients(t, c.Config())

	if _, err := clients.Discovery().ServerResourcesForGroupVersion("security.istio.io/v1"); !apierrors.IsNotFound(err) {
		t.Fatalf("want no Istio at first, got error %v", err)
	}
	c.InstallIstio(t)
	if _, err := clients.Discovery().ServerResourcesForGroupVersion("security.istio.io/v1"); err != nil {
		t.Fatal(err)
	}
}

func newClients(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return clients
}

func newNamespace(t *testing.T, clients *kubernetes.Clientset) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testkit.Name(t, "testkit")}}
	if _, err := clients.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return namespace.Name
}
