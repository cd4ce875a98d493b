// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/cloud/awsiam"
	"berth.dev/berth/internal/cloud/cloudtest"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/controller/plugin"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

// cut is a controller that dies after a number of writes, another number for each profile: as far as that profile can
// tell, the process ended there. All the deaths of one kind so fit into one run.
type cut struct {
	// profiles are those of this test. It leaves others alone, so that several tests can share a cluster at once.
	profiles []string

	mu sync.Mutex
	// left are the writes that each profile still gets; others get all theirs.
	left map[string]int
	// denied are the profiles that wanted one more.
	denied map[string]bool
	// sent are the writes of each profile, in order.
	sent map[string][]string
}

var (
	errDead    = errors.New("the test killed the controller before this write")
	errForeign = errors.New("the profile belongs to another test")
)

func newCut(profiles []string) *cut {
	return &cut{profiles: profiles, left: map[string]int{}, denied: map[string]bool{}, sent: map[string][]string{}}
}

// fromNow has the i-th profile die after i writes, counted from now. The last one lives, to show when all is done.
func (c *cut) fromNow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, name := range c.profiles {
		if i < len(c.profiles)-1 {
			c.left[name] = i
		}
		delete(c.denied, name)
		delete(c.sent, name)
	}
}

func (c *cut) option() controllertest.Option {
	return controllertest.Intercept(func(w controllertest.Write) error {
		name := w.Profile()
		if !slices.Contains(c.profiles, name) {
			return errForeign
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		left, limited := c.left[name]
		if limited && left == 0 {
			c.denied[name] = true
			return errDead
		}
		if limited {
			c.left[name] = left - 1
		}
		c.sent[name] = append(c.sent[name], w.String())
		return nil
	}, nil)
}

// died says whether the controller of the profile wanted to write once too often.
func (c *cut) died(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.denied[name]
}

// writes are those of the profile so far.
func (c *cut) writes(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.sent[name], ", ")
}

// More than there are writes.
const (
	deathsOfCreation = 17
	deathsOfChange   = 10
)

// mortals are profiles with all that a profile can have, and the controllers that they are about to lose.
type mortals struct {
	names []string
	iam   *cloudtest.AWS
	cut   *cut
	c     client.Client
	start func() *controllertest.Controllers
}

func newMortals(t *testing.T, deaths int) *mortals {
	t.Helper()
	cfg := cluster.Use(t).Config()
	m := &mortals{names: names(t, "mortal", deaths), iam: cloudtest.NewAWS(t), c: controllertest.Client(t, cfg)}
	m.cut = newCut(m.names)
	for i := range m.names {
		m.iam.SetRole(t, roleARN(i), `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRoleWithWebIdentity",`+
			`"Principal":{"Federated":"arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/A"},`+
			`"Condition":{"StringEquals":{"oidc.example.com/id/A:aud":"sts.amazonaws.com","oidc.example.com/id/A:sub":"system:serviceaccount:else:where"}}}]}`)
	}
	m.start = func() *controllertest.Controllers {
		return controllertest.Start(t, cfg, m.cut.option(), controllertest.WithProviders(map[string]plugin.Provider{
			render.PluginAWSIAM: awsiam.New(awsiam.Options{Config: m.iam.Config}),
		}))
	}
	return m
}

func roleARN(i int) string  { return "arn:aws:iam::123456789012:role/" + roleName(i) }
func roleName(i int) string { return fmt.Sprintf("mortal-%d", i) }

func (m *mortals) create(t *testing.T) {
	t.Helper()
	for i, name := range m.names {
		controllertest.Create(t, m.c, controllertest.Profile(name, controllertest.WithQuota("requests.cpu", "4"), withRole(roleARN(i))))
	}
}

func withRole(arn string) func(*kubeflowv1.Profile) {
	return func(p *kubeflowv1.Profile) {
		p.Spec.Plugins = []kubeflowv1.Plugin{{Kind: render.PluginAWSIAM, Spec: raw(`{"awsIamRole":"` + arn + `"}`)}}
	}
}

// awaitDeaths waits until every profile's controller is dead or has nothing left to do. At least so many are to have died
// as there are writes.
func (m *mortals) awaitDeaths(t *testing.T, writes int, done func(name string) error) {
	t.Helper()
	dead := 0
	for _, name := range m.names {
		testkit.Eventually(t, patience, func() error {
			if m.cut.died(name) {
				dead++
				return nil
			}
			return done(name)
		})
	}
	undisturbed := m.cut.writes(m.names[len(m.names)-1])
	if dead < writes {
		t.Fatalf("only %d controllers died; the writes without that: %s", dead, undisturbed)
	}
	t.Logf("%d controllers died; the writes without that: %s", dead, undisturbed)
}

// bury ends the dead controllers for good. The next ones live.
func (m *mortals) bury(t *testing.T, controllers *controllertest.Controllers) {
	t.Helper()
	controllers.Stop(t)
	m.cut = newCut(m.names)
}

func (m *mortals) ready(t *testing.T) func(name string) error {
	return func(name string) error {
		return controllertest.Ready(t.Context(), m.c, name)
	}
}

func (m *mortals) gone(t *testing.T) func(name string) error {
	return func(name string) error {
		err := m.c.Get(t.Context(), client.ObjectKey{Name: name}, &kubeflowv1.Profile{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("profile %q is still there (error %w)", name, err)
		}
		return nil
	}
}

// bound fails unless exactly the profiles that are to be bound to their roles are.
func (m *mortals) bound(t *testing.T, want bool) {
	t.Helper()
	for i, name := range m.names {
		n := strings.Count(m.iam.Trust(roleName(i)), `"system:serviceaccount:`+name+`:default-editor"`)
		if (want && n != 1) || (!want && n != 0) {
			t.Errorf("the trust policy of profile %q has it %d times: %s", name, n, m.iam.Trust(roleName(i)))
		}
	}
}

func TestController_killedAfterAnyWriteOfACreation(t *testing.T) {
	t.Parallel()
	m := newMortals(t, deathsOfCreation)
	first := m.start()
	m.cut.fromNow()
	m.create(t)
	m.awaitDeaths(t, 11, m.ready(t))
	m.bury(t, first)

	m.start()
	for _, name := range m.names {
		controllertest.AwaitReady(t, m.c, name)
		wantTenant(t, m.c, name, controllertest.Owner)
	}
	m.bound(t, true)
}

func TestController_killedAfterAnyWriteOfADeletion(t *testing.T) {
	t.Parallel()
	m := newMortals(t, deathsOfChange)
	first := m.start()
	m.create(t)
	for _, name := range m.names {
		controllertest.AwaitReady(t, m.c, name)
	}
	m.cut.fromNow()
	for _, name := range m.names {
		controllertest.Delete(t, m.c, name)
	}
	m.awaitDeaths(t, 3, m.gone(t))
	m.bury(t, first)

	m.start()
	for _, name := range m.names {
		awaitNothingLeft(t, m.c, name)
	}
	m.bound(t, false)
}

func TestController_killedAfterAnyWriteOfAnOwnerChange(t *testing.T) {
	t.Parallel()
	m := newMortals(t, deathsOfChange)
	first := m.start()
	m.create(t)
	for _, name := range m.names {
		controllertest.AwaitReady(t, m.c, name)
	}
	m.cut.fromNow()
	for _, name := range m.names {
		controllertest.Change(t, m.c, name, func(p *kubeflowv1.Profile) { p.Spec.Owner.Name = "bob@example.com" })
	}
	m.awaitDeaths(t, 4, m.ready(t))
	m.bury(t, first)

	m.start()
	for _, name := range m.names {
		controllertest.AwaitReady(t, m.c, name)
		wantTenant(t, m.c, name, "bob@example.com")
	}
}

func TestProfile_deletedAfterAnyWriteOfItsCreation(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ restarted bool }{
		"while the controller goes on":      {false},
		"while the controller is not there": {true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMortals(t, deathsOfCreation)
			first := m.start()
			m.cut.fromNow()
			m.create(t)
			m.awaitDeaths(t, 11, m.ready(t))
			if tc.restarted {
				m.bury(t, first)
			}
			for _, name := range m.names {
				controllertest.Delete(t, m.c, name)
			}
			if tc.restarted {
				m.start()
			} else {
				m.cut.revive()
			}
			for _, name := range m.names {
				awaitNothingLeft(t, m.c, name)
			}
			m.bound(t, false)
		})
	}
}

// revive lets all writes through again.
func (c *cut) revive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.left)
}
