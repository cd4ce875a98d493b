// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package contributor_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	istiosecurity "istio.io/api/security/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/testkit"
)

// mustTell are the notes of the Events that tell of a repair of ns-access-istio which nobody had deleted.
func mustTell(t *testing.T, c client.Client, name string) (notes []string) {
	t.Helper()
	p := controllertest.Profile(name)
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
		t.Fatal(err)
	}
	events, err := told(t.Context(), c, p, status.EventRepaired)
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range events {
		if strings.Contains(event.Note, "(spec)") {
			notes = append(notes, event.Note)
		}
	}
	return notes
}

// Whoever deletes policies in a loop is not followed at once.
func TestLoad_deletingInALoop(t *testing.T) {
	var seen activity
	c := start(t, seen.watch(nil))
	p := team(t, c)
	const n = 5
	want := map[string]string{}
	for i := range n {
		name, who := fmt.Sprintf("b-%d", i), fmt.Sprintf("user-%d@example.com", i)
		create(t, c, binding(p.Name, name, user(who)))
		want[name] = lets(who)
	}
	awaitPolicies(t, c, p, perContributor(want))

	before, begin := len(seen.written(p)), time.Now()
	deleted := 0
	testkit.Eventually(t, patience, func() error {
		for name := range want {
			if err := c.Delete(t.Context(), policy(p.Name, name)); err == nil {
				deleted++
			}
		}
		if time.Since(begin) < 4*time.Second {
			return fmt.Errorf("go on")
		}
		return nil
	})
	wrote, took := len(seen.written(p))-before, time.Since(begin)
	// Twice a second at most, all of them.
	if most := (int(took/(500*time.Millisecond)) + 2) * n; wrote > most {
		t.Errorf("%d writes in %s, want at most %d", wrote, took, most)
	}
	if deleted < 2*n {
		t.Errorf("only %d policies came back to be deleted", deleted)
	}
	awaitPolicies(t, c, p, perContributor(want))
}

// Two processes that both believe to be the only one agree in the end, and rest.
func TestControllers_twoAtOnce(t *testing.T) {
	cfg := cluster.Use(t).Config()
	c := controllertest.Client(t, cfg)
	var one, other activity
	controllertest.Start(t, cfg, one.watch(nil))
	controllertest.Start(t, cfg, other.watch(nil))
	p := team(t, c)
	want := map[string]string{}
	for i := range 10 {
		name, who := fmt.Sprintf("b-%d", i), fmt.Sprintf("user-%d@example.com", i)
		want[name] = lets(who)
		if i%2 == 0 {
			create(t, c, kubeflows(p.Name, name, "somebody-else"))
			want[name] = asOthers(lets(who))
		}
		create(t, c, binding(p.Name, name, user(who)))
	}
	awaitPolicies(t, c, p, perContributor(want))
	for name := range want {
		edit(t, c, policy(p.Name, name), func(a *securityv1beta1.AuthorizationPolicy) { a.Spec.Rules = []*istiosecurity.Rule{{}} })
	}
	awaitPolicies(t, c, p, perContributor(want))
	for i := range 5 {
		name := fmt.Sprintf("b-%d", i)
		remove(t, c, binding(p.Name, name))
		if i%2 != 0 { // others' policies are theirs to remove
			delete(want, name)
		}
	}
	awaitPolicies(t, c, p, perContributor(want))
	rested := 0
	for i := 0; rested < 3; i++ {
		writes := len(one.written(p)) + len(other.written(p))
		looksOne, looksOther := one.looked(p.Name), other.looked(p.Name)
		edit(t, c, policy(p.Name, "b-9"), func(a *securityv1beta1.AuthorizationPolicy) { a.Labels["round"] = fmt.Sprint(i) })
		one.lookedAt(t, p.Name, looksOne+1)
		other.lookedAt(t, p.Name, looksOther+1)
		if rested++; len(one.written(p))+len(other.written(p)) != writes {
			rested = 0
		}
		if i > 20 {
			t.Fatalf("they never rest: %q and %q", one.written(p), other.written(p))
		}
	}
}

// Without Istio there is nobody to be let in; when it comes, all are, and what comes later is watched.
func TestMesh_installedLater(t *testing.T) {
	t.Parallel()
	late := testkit.StartCluster(t, testkit.WithoutIstio())
	c := controllertest.Client(t, late.Config())
	controllertest.Start(t, late.Config())
	p := controllertest.Create(t, c, controllertest.Profile(testkit.Name(t, "team")))
	testkit.Eventually(t, patience, func() error { return c.Create(t.Context(), binding(p.Name, "alice-edit", user(alice))) })

	late.InstallIstio(t)
	awaitPolicies(t, c, p, perContributor(map[string]string{"alice-edit": lets(alice)}))
	create(t, c, binding(p.Name, "bob-edit", user(bob)))
	want := perContributor(map[string]string{"alice-edit": lets(alice), "bob-edit": lets(bob)})
	awaitPolicies(t, c, p, want)
	edit(t, c, policy(p.Name, "alice-edit"), func(a *securityv1beta1.AuthorizationPolicy) { a.Spec.Rules = []*istiosecurity.Rule{{}} })
	awaitPolicies(t, c, p, want)
	remove(t, c, policy(p.Name, "bob-edit"))
	awaitPolicies(t, c, p, want)
}
