// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// counter counts the writes that were attempted.
type counter struct{ n atomic.Int64 }

func (c *counter) option() controllertest.Option {
	return controllertest.Intercept(func(controllertest.Write) error { c.n.Add(1); return nil }, nil)
}

// settled waits until nothing was written for a while, and fails the test where that does not come to pass.
func settled(t *testing.T, counters ...*counter) {
	t.Helper()
	const quiet = 2 * time.Second
	total := func() (n int64) {
		for _, c := range counters {
			n += c.n.Load()
		}
		return n
	}
	last, since := total(), time.Now()
	testkit.Eventually(t, patience, func() error {
		if now := total(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < quiet {
			return fmt.Errorf("still writing: %d so far", last)
		}
		return nil
	})
}

func TestControllers_twoAtOnceDoNotFight(t *testing.T) {
	cfg := cluster.Use(t).Config()
	c := controllertest.Client(t, cfg)
	var one, other counter
	controllertest.Start(t, cfg, one.option())
	controllertest.Start(t, cfg, other.option())

	all := names(t, "shared", 30)
	for _, name := range all {
		controllertest.Create(t, c, controllertest.Profile(name, controllertest.WithQuota("requests.cpu", "4")))
	}
	for i, name := range all {
		switch i % 3 {
		case 0:
			controllertest.Change(t, c, name, func(p *kubeflowv1.Profile) { p.Spec.Owner.Name = "bob@example.com" })
		case 1:
			controllertest.Change(t, c, name, controllertest.WithQuota("requests.memory", "8Gi"))
		}
	}
	for i, name := range all {
		controllertest.AwaitReady(t, c, name)
		owner := controllertest.Owner
		if i%3 == 0 {
			owner = "bob@example.com"
		}
		wantTenant(t, c, name, owner)
		breakRole(t, c, name)
	}
	for _, name := range all {
		testkit.Eventually(t, patience, func() error { return adminRole(t, c, name) })
	}
	settled(t, &one, &other)
	if one.n.Load() == 0 || other.n.Load() == 0 {
		t.Errorf("not both worked: %d and %d writes", one.n.Load(), other.n.Load())
	}
}

func TestControllers_secondTakesOverFromTheLeader(t *testing.T) {
	cfg := cluster.Use(t).Config()
	c := controllertest.Client(t, cfg)
	namespace := testkit.Name(t, "election")
	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		t.Fatal(err)
	}
	election := func(o *controller.Options) { o.LeaderElection, o.LeaderElectionNamespace = true, namespace }
	var leading, waiting counter
	leader := controllertest.Start(t, cfg, election, leading.option())
	holder := awaitHolder(t, c, namespace, "")
	controllertest.Start(t, cfg, election, waiting.option())

	first, second := testkit.Name(t, "first"), testkit.Name(t, "second")
	controllertest.Create(t, c, controllertest.Profile(first))
	controllertest.AwaitReady(t, c, first)
	if n := waiting.n.Load(); n > 0 || leading.n.Load() == 0 {
		t.Errorf("the leader made %d writes, the other %d", leading.n.Load(), n)
	}
	leader.Stop(t)
	awaitHolder(t, c, namespace, holder)
	controllertest.Create(t, c, controllertest.Profile(second))
	controllertest.AwaitReady(t, c, second)
}

// awaitHolder waits until somebody other than former holds the lease.
func awaitHolder(t *testing.T, c client.Client, namespace, former string) string {
	t.Helper()
	lease := &coordinationv1.Lease{}
	testkit.Eventually(t, patience, func() error {
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "kubeflow-profile-controller"}, lease); err != nil {
			return err
		}
		if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" || *lease.Spec.HolderIdentity == former {
			return fmt.Errorf("nobody else holds the lease: %+v", lease.Spec)
		}
		return nil
	})
	return *lease.Spec.HolderIdentity
}
