// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/pmr"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

// binding is a RoleBinding of a contributor as somebody made it.
func binding(namespace, user, role, sync string, change ...func(*rbacv1.RoleBinding)) *rbacv1.RoleBinding {
	c := render.Contributor{Subject: rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}, Role: role}
	made := render.ContributorBinding(testkit.Profile(namespace), render.DefaultConfig(), c, user+"-"+role).Resource.(*rbacv1.RoleBinding)
	made.Labels = map[string]string{}
	if sync != "" {
		made.Labels[berthv1alpha1.SyncLabel] = sync
	}
	for _, f := range change {
		f(made)
	}
	return made
}

// anything is some list, and some cluster for it.
func anything(random *rand.Rand) (pmr.Want, pmr.Have) {
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	people := []string{"a@x.org", "b@x.org", "c@x.org", "d@x.org", "ann@x.org"}
	doc := pmr.Document{Users: []pmr.User{{Name: "a@x.org", ID: "1"}, {Name: "b@x.org", ID: "1"}}}
	have := pmr.Have{Profiles: map[string]*pmr.HaveProfile{}}
	for i := range 6 {
		name := fmt.Sprintf("team-%d", i)
		if random.IntN(4) > 0 {
			p := pmr.Profile{
				Name: name, Owner: &pmr.Owner{Kind: "User", Name: pick(people...)},
				ContributorPolicy: pmr.ContributorPolicy(pick("", "Additive", "Authoritative")),
				Labels:            map[string]string{"tier": pick("x", "y")},
			}
			for range random.IntN(4) {
				c := pmr.Contributor{Name: pick(people...), Role: pmr.Role(pick(render.Roles...))}
				if random.IntN(4) == 0 {
					end := pmr.Expiry(now.Add(time.Duration(random.IntN(5)-2) * time.Hour))
					c.Expires = &end
				}
				p.Contributors = append(p.Contributors, c)
			}
			if random.IntN(2) == 0 {
				p.Resources = &pmr.Resources{Hard: map[string]pmr.Quantity{"cpu": pmr.Quantity(pick("1", "1000m", "2"))}}
			}
			doc.Profiles = append(doc.Profiles, p)
		}
		if random.IntN(4) == 0 {
			continue
		}
		h := &pmr.HaveProfile{Profile: testkit.Profile(name, testkit.Owner(pick(people...)), testkit.Quota("cpu", "1"))}
		h.Profile.Labels = map[string]string{berthv1alpha1.SyncLabel: pick("sync", "sync", "other", "")}
		h.Namespace = testkit.Namespace(name, testkit.OwnedBy("kubeflow.org/v1", "Profile", name, testkit.ProfileUID(name)))
		if random.IntN(3) == 0 {
			h.Profile.Annotations = map[string]string{berthv1alpha1.StaleAnnotation: `{"since":"2027-01-01T00:00:00Z"}`}
		}
		for j := range random.IntN(6) {
			h.Bindings = append(h.Bindings, binding(name, pick(people...), pick(render.Roles...), pick("sync", "other", ""), func(b *rbacv1.RoleBinding) {
				b.Name = fmt.Sprint("binding-", j)
				switch random.IntN(8) {
				case 0:
					b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: rbacv1.UserKind, Name: "eve@x.org"})
				case 1:
					b.RoleRef.Name = "kubeflow-admin"
				case 2:
					b.Annotations[berthv1alpha1.ContributorIDAnnotation] = "1"
				}
			}))
		}
		for j := range random.IntN(3) {
			policy := &metav1.ObjectMeta{Name: fmt.Sprint("binding-", j), Annotations: map[string]string{"user": pick(people...), "role": pick(render.Roles...)}}
			h.Policies = append(h.Policies, policy)
		}
		have.Profiles[name] = h
	}
	return pmr.Resolve(doc), have
}

// Once a plan is carried out, there is nothing left to do, whatever was there; and what belongs to others is as it was.
func TestDiff_settles(t *testing.T) {
	for seed := range uint64(2000) {
		want, have := anything(rand.New(rand.NewPCG(seed, 0)))
		rules := rulesFor("sync")
		rules.AllStale = seed%3 == 0
		rules.Stale.GracePeriod = time.Duration(seed%4) * 300 * time.Hour
		before := maps.Clone(have.Profiles)
		after, _ := settle(t, want, have, rules)
		for name, h := range before {
			if h.Profile.Labels[berthv1alpha1.SyncLabel] == "other" && after.Profiles[name] != h {
				t.Errorf("the profile %q of another sync was changed", name)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// What is remembered of profiles that were in line changes nothing of the next plan, whatever changed in between.
func TestDiff_settled(t *testing.T) {
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 0))
		want, have := anything(random)
		rules := rulesFor("sync")
		have, _ = settle(t, want, have, rules)
		for _, h := range have.Profiles {
			versioned(h.Profile, random)
			if h.Namespace != nil {
				versioned(h.Namespace, random)
			}
			for _, b := range h.Bindings {
				versioned(b, random)
			}
		}
		rules.Settled = pmr.NewSettled()
		for round := range 4 {
			if round > 0 {
				disturb(random, have)
			}
			rules.Now = rules.Now.Add(time.Duration(random.IntN(3)) * time.Hour)
			plain := rules
			plain.Settled = nil
			want, got := pmr.Diff(want, have, plain), pmr.Diff(want, have, rules)
			if d := cmp.Diff(printed(want), printed(got)); d != "" || want.Digest() != got.Digest() || want.Profiles != got.Profiles ||
				want.Contributors != got.Contributors || !want.Next.Equal(got.Next) {
				t.Fatalf("seed %d, round %d: %+v with what is remembered, %+v without:\n%s", seed, round, got, want, d)
			}
		}
	}
}

// versioned is obj in another version.
func versioned(obj metav1.Object, random *rand.Rand) {
	obj.SetResourceVersion(fmt.Sprint(random.Uint64()))
	if obj.GetUID() == "" {
		obj.SetUID(types.UID(fmt.Sprint(random.Uint64())))
	}
}

// disturb changes something of one profile, as others might.
func disturb(random *rand.Rand, have pmr.Have) {
	names := slices.Sorted(maps.Keys(have.Profiles))
	if len(names) == 0 {
		return
	}
	h := have.Profiles[names[random.IntN(len(names))]]
	switch i := random.IntN(6); {
	case i == 0:
		h.Profile = h.Profile.DeepCopy()
		h.Profile.Spec.Owner.Name = "new@x.org"
		versioned(h.Profile, random)
	case i == 1:
		h.Profile = h.Profile.DeepCopy()
		delete(h.Profile.Labels, berthv1alpha1.SyncLabel)
		versioned(h.Profile, random)
	case i == 2 && h.Namespace != nil:
		h.Namespace = h.Namespace.DeepCopy()
		h.Namespace.OwnerReferences = nil
		versioned(h.Namespace, random)
	case i == 3 && len(h.Bindings) > 0:
		h.Bindings = slices.Delete(slices.Clone(h.Bindings), 0, 1)
	case i == 4 && len(h.Bindings) > 0:
		b := h.Bindings[0].DeepCopy()
		b.Subjects[0].Name = "eve@x.org"
		versioned(b, random)
		h.Bindings = append([]*rbacv1.RoleBinding{b}, h.Bindings[1:]...)
	default:
		b := binding(h.Profile.Name, "eve@x.org", "edit", "")
		versioned(b, random)
		h.Bindings = append(slices.Clone(h.Bindings), b)
	}
}

// Caches hand objects out in any order.
func TestDiff_orderOfObjects(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		want, have := anything(random)
		first := pmr.Diff(want, have, rulesFor("sync"))
		for _, h := range have.Profiles {
			random.Shuffle(len(h.Bindings), func(i, j int) { h.Bindings[i], h.Bindings[j] = h.Bindings[j], h.Bindings[i] })
			random.Shuffle(len(h.Policies), func(i, j int) { h.Policies[i], h.Policies[j] = h.Policies[j], h.Policies[i] })
		}
		again := pmr.Diff(want, have, rulesFor("sync"))
		if d := cmp.Diff(printed(first), printed(again)); d != "" || first.Digest() != again.Digest() {
			t.Fatalf("seed %d, in another order:\n%s", seed, d)
		}
	}
}

// What is there is the cache's.
func TestDiff_changesNothingItIsGiven(t *testing.T) {
	for seed := range uint64(50) {
		want, have := anything(rand.New(rand.NewPCG(seed, 0)))
		copied := map[string]*pmr.HaveProfile{}
		for name, h := range have.Profiles {
			c := &pmr.HaveProfile{Profile: h.Profile.DeepCopy()}
			for _, b := range h.Bindings {
				c.Bindings = append(c.Bindings, b.DeepCopy())
			}
			copied[name] = c
		}
		rules := rulesFor("sync")
		pmr.After(pmr.Diff(want, have, rules), have, rules)
		for name, h := range have.Profiles {
			if d := cmp.Diff(copied[name].Profile, h.Profile) + cmp.Diff(copied[name].Bindings, h.Bindings); d != "" {
				t.Fatalf("seed %d: %s was changed:\n%s", seed, name, d)
			}
		}
	}
}

func TestPlan_approval(t *testing.T) {
	want, have, rules := planned(t, "testdata/plan/last-admin")
	plan := pmr.Diff(want, have, rules)
	held := plan.HeldDigest()
	if plan.Approves("") || plan.Approves("sha256:00") || !plan.Approves(plan.Digest()) || !plan.Approves(held) {
		t.Error("a plan is approved by its digest and by that of what is held, and by nothing else")
	}
	// What is not held is done meanwhile, and the approval still stands.
	have = pmr.After(plan, have, rules)
	left := pmr.Diff(want, have, rules)
	if !left.Approves(held) || len(left.Held()) != len(left.Actions) {
		t.Errorf("of what is left, the approval does not stand:\n%s", printed(left))
	}
	left.Release()
	if len(left.Held()) > 0 || left.HeldDigest() != "" {
		t.Error("after approval, something waits")
	}
	have = pmr.After(left, have, rules)
	// That who is admin now was approved is noted.
	if last := pmr.Diff(want, have, rules); slices.ContainsFunc(last.Actions, func(a pmr.Action) bool { return a.Type != pmr.UpdateRecord }) {
		t.Errorf("after approval there is more to do than noting it:\n%s", printed(last))
	}
	if other := pmr.Diff(want, have, rules); other.Digest() == plan.Digest() {
		t.Error("another plan has the same digest")
	}
}

// Who is removed is part of what is approved.
func TestPlan_digestCoversBindings(t *testing.T) {
	want, have, rules := planned(t, "testdata/plan/empty")
	before := pmr.Diff(want, have, rules)
	have.Profiles["a"].Bindings = append(have.Profiles["a"].Bindings, binding("a", "late@x.org", "edit", "sync"))
	if after := pmr.Diff(want, have, rules); after.HeldDigest() == before.HeldDigest() {
		t.Error("one more contributor to be removed makes no other digest")
	}
	other, _, _ := planned(t, "testdata/plan/create")
	first := pmr.Diff(other, pmr.Have{}, rules)
	other.Profiles["new"].Labels[berthv1alpha1.ClassLabel] = "open"
	if second := pmr.Diff(other, pmr.Have{}, rules); second.Digest() == first.Digest() {
		t.Error("another class makes no other digest")
	}
}

func TestDiff_drift(t *testing.T) {
	text := one("  contributors: [{name: b@x.org, role: edit}]\n")
	rules := rulesFor("sync")
	rules.ReportDrift = true
	step := func(have pmr.Have, text string) (pmr.Have, pmr.Plan) {
		want := resolved(t, text)
		plan := pmr.Diff(want, have, rules)
		return pmr.After(plan, have, rules), plan
	}
	have, _ := step(pmr.Have{}, text)
	have, plan := step(have, text)
	if len(plan.Actions) != 1 || plan.Actions[0].Type != pmr.UpdateRecord {
		t.Fatalf("being in line is not noted:\n%s", printed(plan))
	}
	have.Profiles["team"].Bindings = []*rbacv1.RoleBinding{binding("team", "eve@x.org", "view", "")}
	have, plan = step(have, text)
	if len(plan.Actions) != 2 || !plan.Actions[0].Drift || !plan.Actions[1].Drift || len(plan.Held()) > 0 || have.Profiles["team"].Bindings[0].Subjects[0].Name != "eve@x.org" {
		t.Errorf("what was changed by hand is not left alone:\n%s", printed(plan))
	}
	// A change of the list is no drift, and neither is coming back.
	have, plan = step(have, one("  contributors: [{name: c@x.org, role: edit}]\n"))
	if len(plan.Actions) != 2 || plan.Actions[0].Drift {
		t.Errorf("a change of the list is taken for drift:\n%s", printed(plan))
	}
	have, _ = step(have, one("  contributors: [{name: c@x.org, role: edit}]\n"))
	rules.Limits.AllowEmpty = true
	have, _ = step(have, "profiles: []\n")
	_, plan = step(have, one("  contributors: [{name: c@x.org, role: edit}]\n"))
	if len(plan.Actions) == 0 || plan.Actions[0].Type != pmr.RestoreProfile || plan.Actions[0].Drift {
		t.Errorf("coming back is taken for drift:\n%s", printed(plan))
	}
}

// A stale profile goes step by step, and comes back as it was.
func TestDiff_staleLife(t *testing.T) {
	quarantine := 48 * time.Hour
	rules := rulesFor("sync")
	rules.Stale = pmr.StaleRules{RevokeAfter: 24 * time.Hour, QuarantineAfter: &quarantine, GracePeriod: 72 * time.Hour}
	listed := one("  resources: {hard: {cpu: 8}}\n  contributors: [{name: b@x.org, role: edit}]\n") + "- {name: stays, owner: {kind: User, name: a@x.org}}\n"
	gone := "profiles: [{name: stays, owner: {kind: User, name: a@x.org}}]\n"
	want := resolved(t, listed)
	have := pmr.After(pmr.Diff(want, pmr.Have{}, rules), pmr.Have{}, rules)
	begin := have
	have.Profiles["team"].Bindings = append(have.Profiles["team"].Bindings, binding("team", "guest@x.org", "view", ""))
	want = resolved(t, gone)
	var steps []string
	for range 8 {
		plan := pmr.Diff(want, have, rules)
		for _, a := range plan.Actions {
			steps = append(steps, fmt.Sprintf("%dh %s", int(rules.Now.Sub(now).Hours()), a.Type))
		}
		have = pmr.After(plan, have, rules)
		if plan.Next.IsZero() {
			break
		}
		rules.Now = plan.Next
	}
	if d := cmp.Diff([]string{"0h MarkStale", "24h RevokeAccess", "48h Quarantine", "72h MarkDeletable"}, steps); d != "" {
		t.Errorf("-want, +got:\n%s", d)
	}
	team := have.Profiles["team"]
	if len(team.Bindings) != 0 || team.Profile.Spec.ResourceQuotaSpec.Hard["pods"] != "0" {
		t.Errorf("it is not closed: %v %v", team.Bindings, team.Profile.Spec)
	}
	saved := pmr.SnapshotOf(team.Profile)
	if saved == nil || len(saved.Contributors) != 2 || saved.Quota.Hard["cpu"] != "8" {
		t.Errorf("the snapshot is %+v", saved)
	}
	want = resolved(t, listed)
	have = pmr.After(pmr.Diff(want, have, rules), have, rules)
	if d := cmp.Diff(begin.Profiles["team"].Profile, have.Profiles["team"].Profile); d != "" || len(have.Profiles["team"].Bindings) != 1 {
		t.Errorf("it did not come back as it was (-before, +after):\n%s%v", d, have.Profiles["team"].Bindings)
	}
}

func TestSnapshot_large(t *testing.T) {
	var large pmr.Snapshot
	for i := range 5000 {
		large.Contributors = append(large.Contributors, pmr.SnapshotContributor{Kind: "User", Name: fmt.Sprintf("person-%d@example.com", i), Role: "edit"})
	}
	text := large.Encode()
	p := testkit.Profile("a")
	p.Annotations = map[string]string{berthv1alpha1.SnapshotAnnotation: text}
	if back := pmr.SnapshotOf(p); len(text) > 64<<10 || back == nil || len(back.Contributors) != 5000 {
		t.Errorf("%d bytes, and back: %v", len(text), back != nil)
	}
	for _, broken := range []string{"{", "H4sI", "!"} {
		p.Annotations[berthv1alpha1.SnapshotAnnotation] = broken
		if pmr.SnapshotOf(p) != nil {
			t.Errorf("%q is read as a snapshot", broken)
		}
	}
}
