// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package contributor_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	istiosecurity "istio.io/api/security/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/kube/scheme"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

// allowed says whether policies let a user's requests through the gateway, as Istio would.
func allowed(policies map[string]*securityv1beta1.AuthorizationPolicy, user string) bool {
	for _, p := range policies {
		if p.Spec.Action != istiosecurity.AuthorizationPolicy_ALLOW || p.Spec.Selector != nil {
			continue
		}
		for _, rule := range p.Spec.Rules {
			from := len(rule.From) == 1 && slices.Contains(rule.From[0].Source.Principals, render.DefaultConfig().Principals.IngressGateway)
			if from && len(rule.When) == 1 && slices.Contains(rule.When[0].Values, user) {
				return true
			}
		}
	}
	return false
}

// witness follows the policies of a namespace as they change, one by one.
type witness struct {
	watch watch.Interface
	done  chan struct{}

	mu       sync.Mutex
	policies map[string]*securityv1beta1.AuthorizationPolicy
	steps    int
	lost     []string
}

// follow records every moment at which one of users is not let in.
func follow(t *testing.T, cfg *rest.Config, namespace string, users []string) *witness {
	t.Helper()
	scheme, err := scheme.New()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.NewWithWatch(cfg, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	var list securityv1beta1.AuthorizationPolicyList
	if err := c.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	w := &witness{done: make(chan struct{}), policies: map[string]*securityv1beta1.AuthorizationPolicy{}}
	for _, p := range list.Items {
		w.policies[p.Name] = p
	}
	from := &client.ListOptions{Namespace: namespace}
	from.Raw = from.AsListOptions()
	from.Raw.ResourceVersion = list.ResourceVersion
	if w.watch, err = c.Watch(context.Background(), &securityv1beta1.AuthorizationPolicyList{}, from); err != nil {
		t.Fatal(err)
	}
	go w.run(users)
	t.Cleanup(func() { w.watch.Stop(); <-w.done })
	return w
}

func (w *witness) run(users []string) {
	defer close(w.done)
	for event := range w.watch.ResultChan() {
		w.mu.Lock()
		if p, ok := event.Object.(*securityv1beta1.AuthorizationPolicy); !ok {
			w.lost = append(w.lost, fmt.Sprintf("the watch broke: %v", event.Object))
		} else if event.Type == watch.Deleted {
			delete(w.policies, p.Name)
		} else {
			w.policies[p.Name] = p
		}
		w.steps++
		for _, user := range users {
			if !allowed(w.policies, user) {
				w.lost = append(w.lost, fmt.Sprintf("step %d, after %s: %s is locked out", w.steps, event.Type, user))
			}
		}
		w.mu.Unlock()
	}
}

// Switching how contributors are let in locks out none of them, not for a moment.
func TestSwitch_losesNobody(t *testing.T) {
	cfg := cluster.Use(t).Config()
	c := controllertest.Client(t, cfg)
	first := controllertest.Start(t, cfg)
	p := team(t, c)
	begin, each := map[string]string{}, map[string]string{}
	var users []string
	for i := range 8 {
		name, who := fmt.Sprintf("hand-made-%d", i), fmt.Sprintf("user-%d@example.com", i)
		users, each[name], begin[name] = append(users, who), lets(who), lets(who)
		if i%2 == 0 {
			create(t, c, kubeflows(p.Name, name, who))
			begin[name] = asOthers(lets(who))
		}
		create(t, c, binding(p.Name, name, user(who)))
	}
	awaitPolicies(t, c, p, perContributor(begin))
	first.Stop(t)

	seen := follow(t, cfg, p.Name, users)
	all := map[string]string{"ns-access-istio": lets(users...)}
	for _, step := range []struct {
		mode render.ContributorPolicies
		want map[string]string
	}{
		{render.PolicyAggregated, all},
		{render.PolicyPerContributor, perContributor(each)},
		{render.PolicyAggregated, all},
	} {
		running := controllertest.Start(t, cfg, controllertest.WithConfig(func(config *render.Config) { config.ContributorPolicies = step.mode }))
		awaitPolicies(t, c, p, step.want)
		running.Stop(t)
	}
	testkit.Eventually(t, patience, func() error {
		seen.mu.Lock()
		defer seen.mu.Unlock()
		if len(seen.policies) != 2 || seen.steps < 3*len(users) {
			return fmt.Errorf("%d steps were seen, %d policies are left", seen.steps, len(seen.policies))
		}
		return nil
	})
	seen.mu.Lock()
	defer seen.mu.Unlock()
	if len(seen.lost) > 0 {
		t.Errorf("at %d of %d steps somebody was locked out:\n%s", len(seen.lost), seen.steps, strings.Join(seen.lost, "\n"))
	}
}

// The policies of contributors go only when what is to replace them is there.
func TestSwitch_waitsForWhatReplaces(t *testing.T) {
	cfg := cluster.Use(t).Config()
	c := controllertest.Client(t, cfg)
	first := controllertest.Start(t, cfg)
	p := team(t, c)
	create(t, c, binding(p.Name, "alice-edit", user(alice)))
	create(t, c, binding(p.Name, "bob-edit", user(bob)))
	before := perContributor(map[string]string{"alice-edit": lets(alice), "bob-edit": lets(bob)})
	awaitPolicies(t, c, p, before)
	first.Stop(t)

	refuse := func(name string) func(controllertest.Write) error {
		return func(w controllertest.Write) error {
			if w.Profile() == p.Name && w.Object.GetName() == name && w.Verb != "delete" {
				return errors.New("refused by the test")
			}
			return nil
		}
	}
	var refusing activity
	running := controllertest.Start(t, cfg, controllertest.WithConfig(aggregated), refusing.watch(refuse("ns-access-istio")))
	testkit.Eventually(t, patience, func() error {
		if n := len(refusing.written(p)); n < 3 {
			return fmt.Errorf("%d attempts", n)
		}
		return nil
	})
	awaitPolicies(t, c, p, before)
	running.Stop(t)

	// With everybody in the one policy, and back again: one who can't have a policy keeps that, and nobody else, up.
	running = controllertest.Start(t, cfg, controllertest.WithConfig(aggregated))
	awaitPolicies(t, c, p, map[string]string{"ns-access-istio": lets(alice, bob)})
	running.Stop(t)
	controllertest.Start(t, cfg, refusing.watch(refuse("alice-edit")))
	carol := create(t, c, binding(p.Name, "carol-edit", user("carol@example.com")))
	want := map[string]string{"ns-access-istio": lets(alice, bob), "bob-edit": lets(bob), "carol-edit": lets("carol@example.com")}
	awaitPolicies(t, c, p, want)
	remove(t, c, carol) // and keeps nobody in
	delete(want, "carol-edit")
	awaitPolicies(t, c, p, want)
}

// Many at once all get in, whoever adds them.
func TestAggregated_manyAtOnce(t *testing.T) {
	c := start(t, controllertest.WithConfig(aggregated))
	p := team(t, c)
	var users []string
	var adding sync.WaitGroup
	for i := range 20 {
		who := fmt.Sprintf("user-%02d@example.com", i)
		users = append(users, who)
		adding.Go(func() {
			if err := c.Create(t.Context(), binding(p.Name, fmt.Sprintf("b-%d", i), user(who))); err != nil {
				t.Error(err)
			}
		})
	}
	adding.Wait()
	awaitPolicies(t, c, p, map[string]string{"ns-access-istio": lets(users...)})
	remove(t, c, policy(p.Name, "ns-access-istio"))
	awaitPolicies(t, c, p, map[string]string{"ns-access-istio": lets(users...)})
	for i := range 20 {
		adding.Go(func() {
			if err := c.Delete(t.Context(), binding(p.Name, fmt.Sprintf("b-%d", i))); err != nil {
				t.Error(err)
			}
		})
	}
	adding.Wait()
	awaitPolicies(t, c, p, map[string]string{"ns-access-istio": "ours:"})
	// The profile controller leaves the rules alone, and repairs the rest.
	controllertest.AwaitReady(t, c, p.Name)
	if diff := cmp.Diff(0, len(mustTell(t, c, p.Name))); diff != "" {
		t.Errorf("repairs that were none (-want +got):\n%s", diff)
	}
}
