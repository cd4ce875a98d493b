// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

func conflict(w controllertest.Write) error {
	return apierrors.NewConflict(schema.GroupResource{Resource: w.Kind()}, w.Object.GetName(), errors.New("injected by the test"))
}

// once makes the first attempt of each write fail.
type once struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (o *once) check(w controllertest.Write) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.seen[w.String()] {
		return nil
	}
	o.seen[w.String()] = true
	return conflict(w)
}

// often makes three writes in ten fail, each kind of failure as often as the others.
type often struct {
	mu     sync.Mutex
	random *rand.Rand
}

func (o *often) check(w controllertest.Write) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch o.random.IntN(10) {
	case 0:
		return conflict(w)
	case 1:
		return apierrors.NewInternalError(errors.New("injected by the test"))
	case 2:
		return apierrors.NewTooManyRequests("injected by the test", 1)
	}
	return nil
}

func TestController_convergesThroughFailingWrites(t *testing.T) {
	cfg := cluster.Use(t).Config()
	c := controllertest.Client(t, cfg)
	// Of some profiles the first attempt of every write is a conflict; of the others three in ten writes fail.
	first, random := names(t, "first", 6), names(t, "random", 6)
	onFirst, onRandom := &once{seen: map[string]bool{}}, &often{random: rand.New(rand.NewPCG(1, 2))}
	all := slices.Concat(first, random)
	var statuses recorder
	controllertest.Start(t, cfg, controllertest.Intercept(func(w controllertest.Write) error {
		switch {
		case slices.Contains(first, w.Profile()):
			return onFirst.check(w)
		case slices.Contains(random, w.Profile()):
			return onRandom.check(w)
		}
		return nil
	}, statuses.after))

	for _, name := range all {
		controllertest.Create(t, c, controllertest.Profile(name, controllertest.WithQuota("requests.cpu", "4")))
	}
	for _, name := range all {
		controllertest.AwaitReady(t, c, name)
		controllertest.Change(t, c, name, func(p *kubeflowv1.Profile) { p.Spec.Owner.Name = "bob@example.com" })
		breakRole(t, c, name)
	}
	for _, name := range all {
		controllertest.AwaitReady(t, c, name)
		testkit.Eventually(t, patience, func() error { return adminRole(t, c, name) })
		wantTenant(t, c, name, "bob@example.com")
		for _, event := range profileEvents(t, c, name) {
			if strings.Contains(event, "Operation cannot be fulfilled") {
				t.Errorf("an Event tells of a conflict: %s", event)
			}
		}
		controllertest.Delete(t, c, name)
	}
	for _, name := range all {
		awaitNothingLeft(t, c, name)
	}
	for _, message := range statuses.messages() {
		if strings.Contains(message, "Operation cannot be fulfilled") {
			t.Errorf("a condition tells of a conflict: %s", message)
		}
	}
}

// recorder keeps the messages of all conditions that were ever written.
type recorder struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (r *recorder) after(w controllertest.Write, err error) {
	p, ok := w.Object.(*kubeflowv1.Profile)
	if !ok || err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range p.Status.Conditions {
		if r.seen == nil {
			r.seen = map[string]bool{}
		}
		r.seen[c.Message] = true
	}
}

func (r *recorder) messages() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for message := range r.seen {
		all = append(all, message)
	}
	return all
}

// breakRole puts a binding to a lesser role in the place of the owner's.
func breakRole(t *testing.T, c client.Client, namespace string) {
	t.Helper()
	binding := &rbacv1.RoleBinding{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "namespaceAdmin"}, binding); err != nil {
		t.Fatal(err)
	}
	broken := binding.DeepCopy()
	broken.ResourceVersion, broken.UID, broken.RoleRef.Name = "", "", "kubeflow-view"
	if err := c.Delete(t.Context(), binding); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), broken); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

func adminRole(t *testing.T, c client.Client, namespace string) error {
	binding := &rbacv1.RoleBinding{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "namespaceAdmin"}, binding); err != nil {
		return err
	}
	if binding.RoleRef.Name != "kubeflow-admin" {
		return errors.New("the owner has the role " + binding.RoleRef.Name)
	}
	return nil
}

func TestController_outlivesTheAPIServer(t *testing.T) {
	t.Parallel() // on a cluster of its own, and mostly waiting
	const outage = 10 * time.Second
	server := testkit.StartCluster(t)
	c := controllertest.Client(t, server.Config())
	controllers := controllertest.Start(t, server.Config())
	before, during := names(t, "before", 10), names(t, "during", 10)
	for _, name := range before {
		controllertest.Create(t, c, controllertest.Profile(name, controllertest.WithQuota("requests.cpu", "4")))
	}
	for i, name := range during { // as far as it gets
		if i == len(during)/2 {
			server.StopAPIServer(t)
		}
		_ = c.Create(t.Context(), controllertest.Profile(name, controllertest.WithQuota("requests.cpu", "4")))
	}
	down := time.NewTimer(outage)
	defer down.Stop()
	select {
	case <-controllers.Done():
		t.Fatal("the controllers ended with the API server")
	case <-down.C:
	}
	server.StartAPIServer(t)
	for _, name := range during[len(during)/2:] {
		controllertest.Create(t, c, controllertest.Profile(name, controllertest.WithQuota("requests.cpu", "4")))
	}
	for _, name := range append(before, during...) {
		controllertest.AwaitReady(t, c, name)
		wantTenant(t, c, name, controllertest.Owner)
	}
}
