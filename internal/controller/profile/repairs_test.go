// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/testkit"
)

// writesOf counts the writes to objects in one namespace.
type writesOf struct {
	namespace atomic.Pointer[string]
	count     atomic.Int64
}

func (w *writesOf) option() controllertest.Option {
	return controllertest.Intercept(func(write controllertest.Write) error {
		if namespace := w.namespace.Load(); namespace != nil && write.Object.GetNamespace() == *namespace {
			w.count.Add(1)
		}
		return nil
	}, nil)
}

// deleteInALoop deletes the owner's binding whenever it is there, for a while.
func deleteInALoop(t *testing.T, c client.Client, profile string, duration time.Duration) (deletions int64) {
	t.Helper()
	deadline := time.Now().Add(duration)
	testkit.Eventually(t, patience, func() error {
		err := c.Delete(t.Context(), bindingKind.object(profile, "namespaceAdmin"))
		if err == nil {
			deletions++
		} else if client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
		if time.Now().Before(deadline) {
			return errors.New("not yet")
		}
		return nil
	})
	return deletions
}

// A tenant who keeps undoing our work gets ten repairs at once, then one in five seconds, and harms nobody else.
func TestRepairs_arePaced(t *testing.T) {
	cfg, c := onOwn(t)
	var writes writesOf
	controllertest.Start(t, cfg, writes.option())
	p, other := readyProfile(t, c), readyProfile(t, c)
	want := readTenant(t, c, p)
	writes.namespace.Store(&p.Name)

	begin := time.Now()
	deletions := deleteInALoop(t, c, p.Name, 4*time.Second)
	took := time.Since(begin)
	if have, limit := writes.count.Load(), 11+int64(took/(5*time.Second)); have > limit {
		t.Errorf("%d deletions in %s were answered with %d writes, want at most %d", deletions, took, have, limit)
	}
	remove(t, c, bindingKind.object(other.Name, "default-viewer"))
	testkit.Eventually(t, atOnce, func() error {
		binding := bindingKind.object(other.Name, "default-viewer")
		return c.Get(t.Context(), client.ObjectKeyFromObject(binding), binding)
	})
	awaitTenant(t, c, p, want)
	// What the owner of the platform asks for is not held back.
	remove(t, c, bindingKind.object(p.Name, "namespaceAdmin"))
	controllertest.Change(t, c, p.Name, withOwner(user("bob@example.com")))
	testkit.Eventually(t, atOnce, func() error {
		binding := bindingKind.object(p.Name, "namespaceAdmin")
		return c.Get(t.Context(), client.ObjectKeyFromObject(binding), binding)
	})
}

// The same where part of the profile can't be had at all, so that it never was complete.
func TestRepairs_arePacedWhileSomethingElseFails(t *testing.T) {
	cfg, c := onOwn(t)
	var writes writesOf
	controllertest.Start(t, cfg, writes.option())
	p := newProfile(t, c, controllertest.WithQuota("pods", "500m")) // the API server refuses half a pod
	awaitRefusal(t, c, p.Name, "ApplyFailed")
	writes.namespace.Store(&p.Name)

	deletions := deleteInALoop(t, c, p.Name, 4*time.Second)
	if have := writes.count.Load(); have > 30 { // two for each look: the quota is tried again, too
		t.Errorf("%d deletions in 4 seconds were answered with %d writes, want at most 30", deletions, have)
	}
	testkit.Eventually(t, patience, func() error {
		binding := bindingKind.object(p.Name, "namespaceAdmin")
		return c.Get(t.Context(), client.ObjectKeyFromObject(binding), binding)
	})
}

// A binding that has another role, and a finalizer that keeps it from being replaced.
func TestRepairs_whatCannotBeReplacedIsToldAndNotTriedInALoop(t *testing.T) {
	cfg, c := onOwn(t)
	var writes writesOf
	first := controllertest.Start(t, cfg)
	p := readyProfile(t, c)
	first.Stop(t)
	replaced(bindingKind, "namespaceAdmin", func(binding *unstructured.Unstructured) {
		set("view", "roleRef", "name")(binding)
		binding.SetFinalizers([]string{"example.com/held"})
	})(t, c, p.Name)
	binding := read(t, c, bindingKind.object(p.Name, "namespaceAdmin"))
	controllertest.Start(t, cfg, writes.option())
	if message := awaitRefusal(t, c, p.Name, "ApplyFailed"); !strings.Contains(message, "example.com/held") {
		t.Errorf("the message does not say what holds it: %s", message)
	}
	controllertest.Change(t, c, p.Name, controllertest.WithQuota("requests.cpu", "4"))
	awaitRefusal(t, c, p.Name, "ApplyFailed")
	writes.namespace.Store(&p.Name)
	begin := time.Now()
	testkit.Eventually(t, patience, func() error {
		if time.Since(begin) < 3*time.Second {
			return errors.New("not yet")
		}
		return nil
	})
	if have := writes.count.Load(); have > 20 {
		t.Errorf("%d writes in 3 seconds", have)
	}
	read(t, c, binding)
	binding.SetFinalizers(nil)
	if err := c.Update(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	controllertest.AwaitReady(t, c, p.Name)
}

// Defect 8: there are Events, and they say what happened.
func TestEvents_sayWhatHappened(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c)
	if note := awaitEvent(t, c, p, status.EventCreated); !strings.Contains(note, "RoleBinding namespaceAdmin") {
		t.Errorf("Created says %q", note)
	}
	controllertest.Change(t, c, p.Name, controllertest.WithQuota("requests.cpu", "4"))
	if note := awaitEvent(t, c, p, status.EventUpdated); !strings.Contains(note, "ResourceQuota kf-resource-quota") {
		t.Errorf("Updated says %q", note)
	}
	controllertest.AwaitReady(t, c, p.Name)
	remove(t, c, accountKind.object(p.Name, "default-viewer"))
	if note := awaitEvent(t, c, p, status.EventRepaired); !strings.Contains(note, "ServiceAccount default-viewer") {
		t.Errorf("Repaired says %q", note)
	}
	for _, reason := range []string{status.EventCreated, status.EventUpdated, status.EventRepaired} {
		if told, err := events(t.Context(), c, p, reason); err != nil || len(told) != 1 {
			t.Error(fmt.Errorf("%d Events %s, want 1 (error %w)", len(told), reason, err))
		}
	}
}
