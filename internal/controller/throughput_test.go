// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// perProfile counts the writes for each profile.
type perProfile struct {
	mu     sync.Mutex
	writes map[string][]string
}

func (p *perProfile) option() controllertest.Option {
	return controllertest.Intercept(func(w controllertest.Write) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.writes == nil {
			p.writes = map[string][]string{}
		}
		p.writes[w.Profile()] = append(p.writes[w.Profile()], w.String())
		return nil
	}, nil)
}

func (p *perProfile) of(name string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writes[name]
}

// The last of the tests on the shared cluster, as all later ones would look at these 300 profiles too.
func TestController_servesABurstOf300Profiles(t *testing.T) {
	const maxWrites = 11 // nine objects, the finalizer and the status
	cfg := cluster.Use(t).Config()
	c := controllertest.Client(t, cfg)
	log := controllertest.Logs(t)
	var writes perProfile
	controllertest.Start(t, cfg, writes.option())

	all := names(t, "burst", 300)
	var creators sync.WaitGroup
	for i := range 10 {
		creators.Go(func() {
			for j := i; j < len(all); j += 10 {
				if err := c.Create(t.Context(), controllertest.Profile(all[j], controllertest.WithQuota("requests.cpu", "4"))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	creators.Wait()
	for _, name := range all {
		controllertest.AwaitReady(t, c, name)
	}
	total := 0
	for _, name := range all {
		n := writes.of(name)
		if total += len(n); len(n) > maxWrites {
			t.Errorf("%d writes for profile %q, want at most %d: %v", len(n), name, maxWrites, n)
		}
	}
	t.Logf("%d writes for %d profiles", total, len(all))
	for _, line := range log.Errors() {
		if strings.Contains(line, all[0][:len("burst-00000000")]) {
			t.Errorf("an error was logged: %s", line)
		}
	}
}

func TestController_servesOthersWhileATenantDeletesInALoop(t *testing.T) {
	cfg := cluster.Use(t).Config()
	c := controllertest.Client(t, cfg)
	var writes perProfile
	controllertest.Start(t, cfg, writes.option())
	vandal := testkit.Name(t, "vandal")
	controllertest.Create(t, c, controllertest.Profile(vandal))
	controllertest.AwaitReady(t, c, vandal)
	before := len(writes.of(vandal))

	ctx, stop := context.WithCancel(t.Context())
	var loop sync.WaitGroup
	loop.Go(func() {
		binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: vandal, Name: "default-editor"}}
		for ctx.Err() == nil {
			_ = c.Delete(ctx, binding) // often there is none
		}
	})
	started := time.Now()
	others := names(t, "neighbour", 20)
	for _, name := range others {
		controllertest.Create(t, c, controllertest.Profile(name))
	}
	for _, name := range others {
		controllertest.AwaitReady(t, c, name)
	}
	testkit.Eventually(t, patience, func() error {
		if n := len(writes.of(vandal)) - before; n < 10 {
			return fmt.Errorf("only %d repairs", n)
		}
		return nil
	})
	settledFor(t, 3*time.Second)
	stop()
	loop.Wait()
	// Each repair writes the binding, and its status where that changed.
	allowed := 2 * (10 + int(time.Since(started)/(5*time.Second)) + 1)
	if n := len(writes.of(vandal)) - before; n > allowed {
		t.Errorf("%d writes in %s for a tenant who deletes in a loop, want at most %d", n, time.Since(started), allowed)
	}
	testkit.Eventually(t, patience, func() error {
		return c.Get(t.Context(), client.ObjectKey{Namespace: vandal, Name: "default-editor"}, &rbacv1.RoleBinding{})
	})
}

// settledFor lets some time pass, in which a hot loop would show.
func settledFor(t *testing.T, pause time.Duration) {
	t.Helper()
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
