// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

var errDead = errors.New("the test killed the controllers before this write")

// life is that of controllers which die after some writes, of all or, where only is set, of each of those profiles.
type life struct {
	mu sync.Mutex
	// left are the writes that each still gets; who is not in it has no limit.
	left map[string]int
	died map[string]bool
	sent map[string][]string
	each bool
}

const everything = ""

func (l *life) option() controllertest.Option {
	return controllertest.Intercept(func(w controllertest.Write) error {
		whose := everything
		if l.each {
			whose = w.Profile()
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		left, limited := l.left[whose]
		if limited && left == 0 {
			l.died[whose] = true
			return errDead
		}
		if limited {
			l.left[whose]--
		}
		l.sent[whose] = append(l.sent[whose], w.String())
		return nil
	}, nil)
}

// give gives everybody as many writes from now on, in place of what they had.
func (l *life) give(left map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left, l.died, l.sent = left, map[string]bool{}, map[string][]string{}
}

func (l *life) over(whose string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.died[whose]
}

func (l *life) writes(whose string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent[whose]
}

// dies runs the controllers again and again, each time for as many writes.
func (l *life) dies(t *testing.T, after ...int) {
	t.Helper()
	for _, n := range after {
		l.give(map[string]int{everything: n})
		controllers := launch(t, l.option())
		testkit.Eventually(t, controllertest.Patience, func() error {
			if !l.over(everything) {
				return fmt.Errorf("the controllers live after %d writes of %d", len(l.writes(everything)), n)
			}
			return nil
		})
		controllers.Stop(t)
	}
	l.give(nil)
}

// inLine waits until all profiles have exactly these contributors.
func inLine(t *testing.T, c client.Client, profiles []string, want ...string) {
	t.Helper()
	for _, name := range profiles {
		awaitAccess(t, c, name, at(want...)...)
		testkit.Eventually(t, controllertest.Patience, func() error {
			if n := len(policies(t, c, name)); n != len(want) {
				return fmt.Errorf("%s has %d policies for %d contributors", name, n, len(want))
			}
			return nil
		})
	}
}

func TestSync_killedAmongTheWritesOfFiftyProfiles(t *testing.T) {
	c := installed(t)
	var names []string
	list := func(contributors ...string) string {
		var entries []string
		for _, name := range names {
			entries = append(entries, entry(name, "resources: {hard: {pods: 5}}", people(contributors...)))
		}
		return listOf(entries...)
	}
	for range 50 {
		names = append(names, testkit.Name(t, "mortal"))
	}
	s := newSync(t, c, list("ann:edit", "bob:view"), "{}")
	l := &life{}
	l.dies(t, 0, 1, 2, 7, 30, 110, 200)
	controllers := launch(t, l.option())
	inLine(t, c, names, "ann:edit", "bob:view")
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)

	// Fifty new admins and fifty removals wait for approval, and with it the controllers die.
	declare(t, c, s.Name, list("ann:admin", "cat:view"))
	inLine(t, c, names, "ann:edit", "bob:view", "cat:view")
	awaitSync(t, c, s, berthv1alpha1.ConditionApproved, berthv1alpha1.ReasonApprovalPending)
	if s.Status.Plan.Held != 100 {
		t.Errorf("the plan is %+v", s.Status.Plan)
	}
	controllers.Stop(t)
	approve(t, c, s, s.Status.Plan.Digest)
	l.dies(t, 0, 1, 2, 3, 10, 31, 90)
	launch(t, l.option())
	inLine(t, c, names, "ann:admin", "cat:view")
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
	if s.Status.Approval == nil || !s.Status.Approval.Done || s.Annotations[berthv1alpha1.SyncApproveAnnotation] != "" {
		t.Errorf("the approval is %+v, annotations %v", s.Status.Approval, s.Annotations)
	}
	// It was for that plan, and is used up.
	declare(t, c, s.Name, list("ann:admin", "cat:view", "dan:admin"))
	awaitSync(t, c, s, berthv1alpha1.ConditionApproved, berthv1alpha1.ReasonApprovalPending)
	inLine(t, c, names[:3], "ann:admin", "cat:view")
}

// mortals are profiles of which each dies after another number of writes. The last one lives.
func mortals(t *testing.T, n int) (names []string) {
	for range n {
		names = append(names, testkit.Name(t, "mortal"))
	}
	return names
}

// eachDies has the i-th of names die after i writes from now on, which change begins, and starts the controllers anew
// when all have died or are done. It returns those.
func (l *life) eachDies(t *testing.T, controllers *controllertest.Controllers, names []string, change func(), done func(name string) error) *controllertest.Controllers {
	t.Helper()
	left := map[string]int{}
	for i, name := range names[:len(names)-1] {
		left[name] = i
	}
	l.give(left)
	change()
	deaths := 0
	for _, name := range names {
		testkit.Eventually(t, controllertest.Patience, func() error {
			if l.over(name) {
				deaths++
				return nil
			}
			return done(name)
		})
	}
	undisturbed := l.writes(names[len(names)-1])
	t.Logf("%d of %d died; the writes without that are %q", deaths, len(names), undisturbed)
	if deaths < 3 {
		t.Errorf("only %d died", deaths)
	}
	controllers.Stop(t)
	l.give(nil)
	return launch(t, l.option())
}

// has says whether a profile has exactly these contributors, as NAME:ROLE.
func has(t *testing.T, c client.Client, name string, want ...string) error {
	found := access(t, c, name)
	have := map[string]bool{}
	for _, who := range found {
		have[who] = true
	}
	for _, who := range at(want...) {
		if !have[who] {
			return fmt.Errorf("%s lacks %s: %v", name, who, found)
		}
	}
	if len(found) != len(want) {
		return fmt.Errorf("%s has %v, not %v", name, found, want)
	}
	return nil
}
