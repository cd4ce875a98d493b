// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

const invitees = "ns-access-istio"

// Several servers add and remove at the same time, each with a view that may be behind: nobody is left out of the one
// policy, and nobody stays in it.
func TestAggregated_concurrentChangesLoseNobody(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	servers := []*api{serve(t, at, aggregated), serve(t, at, aggregated), serve(t, at, aggregated)}
	ns := tenant(t, at, servers...)
	everybody := []string{}
	for round := range 3 {
		var wait sync.WaitGroup
		for i := range 12 {
			who := fmt.Sprintf("r%d-u%02d@example.com", round, i)
			everybody = append(everybody, who)
			wait.Go(func() {
				servers[i%3].wants(http.StatusOK, "", http.MethodPost, bindingsPath, invite(ns, who, "edit"), user(ann))
			})
		}
		wait.Wait()
		slices.Sort(everybody)
		wantPolicyUsers(t, at, ns, everybody...)
	}
	var wait sync.WaitGroup
	for i, who := range everybody[:30] {
		wait.Go(func() {
			servers[i%3].wants(http.StatusOK, "", http.MethodDelete, bindingsPath, invite(ns, who, "edit"), user(ann))
		})
	}
	wait.Wait()
	wantPolicyUsers(t, at, ns, everybody[30:]...)
}

// One server decides what to write, and another one writes meanwhile: what the first then writes holds both.
func TestAggregated_aServerThatIsBehindDropsNobody(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	reads, proceed := make(chan struct{}), make(chan struct{})
	var once sync.Once
	slow := serve(t, at, through(t, at, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if _, typed := obj.(*securityv1beta1.AuthorizationPolicy); typed {
				once.Do(func() { close(reads); <-proceed })
			}
			return c.Get(ctx, key, obj, opts...)
		},
	}), aggregated)
	quick := serve(t, at, aggregated)
	ns := tenant(t, at, slow, quick)
	var wait sync.WaitGroup
	wait.Go(func() {
		slow.wants(http.StatusOK, "", http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann))
	})
	<-reads
	quick.must(http.MethodPost, bindingsPath, invite(ns, cleo, "edit"), user(ann))
	watching := watchAccess(t, at, ns, cleo)
	close(proceed)
	wait.Wait()
	wantPolicyUsers(t, at, ns, ben, cleo)
	for _, gap := range watching.gaps() {
		t.Error(gap)
	}
}

// There is a rule for each role, groups and accounts beside users, and no other policy.
func TestAggregated_hasARuleForEachRole(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at, aggregated)
	ns := tenant(t, at, a)
	for who, role := range map[string]string{"a@example.com": "admin", "e@example.com": "edit", "v@example.com": "view"} {
		a.must(http.MethodPost, bindingsPath, invite(ns, who, role), user(ann))
	}
	a.must(http.MethodPost, bindingsPath, inviteKind(ns, "Group", "ml", "edit"), user(ann))
	a.must(http.MethodPost, bindingsPath, invite(ns, "system:serviceaccount:robots:bot", "edit"), user(ann))
	golden(t, "aggregated", stored(t, at, "security.istio.io/v1beta1", "AuthorizationPolicy", ns, invitees))
	if have := invited(t, at, ns); len(have) != 5 {
		t.Errorf("want five bindings and no policy but %s, have %q", invitees, have)
	}
	watching := watchAccess(t, at, ns, "e@example.com")
	a.must(http.MethodPost, bindingsPath, invite(ns, "e@example.com", "view"), user(ann))
	a.must(http.MethodPost, bindingsPath, invite(ns, "e@example.com", "edit"), user(ann))
	for _, gap := range watching.gaps() {
		t.Error(gap)
	}
	for who, role := range map[string]string{"a@example.com": "admin", "e@example.com": "edit", "v@example.com": "view"} {
		a.must(http.MethodDelete, bindingsPath, invite(ns, who, role), user(ann))
	}
	wantPolicyUsers(t, at, ns)
}

// Switching to one policy for all and back loses nobody's access for a moment, with the API and the controllers doing
// it together.
func TestAggregated_switchingEitherWayKeepsAccess(t *testing.T) {
	at := onQuiet(t)
	before := serve(t, at)
	ns := tenant(t, at, before)
	before.must(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann))
	watching := watchAccess(t, at, ns, ben)

	controllers := controllertest.Start(t, at.config, controllertest.WithConfig(func(c *render.Config) {
		*c = render.DefaultConfig()
		c.ContributorPolicies = render.PolicyAggregated
	}))
	awaitInvited(t, at, ns, "binding "+benEdit)
	eventuallyPolicyUsers(t, at, ns, ben)
	during := serve(t, at, aggregated)
	during.must(http.MethodPost, bindingsPath, invite(ns, cleo, "view"), user(ann))
	wantPolicyUsers(t, at, ns, ben, cleo)
	controllers.Stop(t)

	controllers = controllertest.Start(t, at.config, controllertest.WithConfig(func(c *render.Config) { *c = render.DefaultConfig() }))
	awaitInvited(t, at, ns, append(pair(benEdit), pair("user-cleo-example-com-clusterrole-view")...)...)
	testkit.Eventually(t, patience, func() error {
		if rules := get(t, at, ns, invitees, &securityv1beta1.AuthorizationPolicy{}).Spec.Rules; len(rules) > 0 {
			return fmt.Errorf("%s still lets somebody in: %v", invitees, rules)
		}
		return nil
	})
	controllers.Stop(t)
	for _, gap := range watching.gaps() {
		t.Error(gap)
	}
}

func awaitInvited(t *testing.T, at place, ns string, want ...string) {
	t.Helper()
	slices.Sort(want)
	testkit.Eventually(t, patience, func() error {
		if have := invited(t, at, ns); !slices.Equal(have, want) {
			return fmt.Errorf("want %q, have %q", want, have)
		}
		return nil
	})
}
