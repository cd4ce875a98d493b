// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	istiosecurity "istio.io/api/security/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/identity"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

// policyNamed is a policy as somebody made it: "berth" for us, empty for nobody that says so.
func policyNamed(name, keeper string, annotations ...string) *securityv1beta1.AuthorizationPolicy {
	p := &securityv1beta1.AuthorizationPolicy{}
	p.Name, p.Namespace = name, "team-a"
	if keeper != "" {
		p.Labels = map[string]string{kubeflowv1.ManagedByLabel: keeper}
	}
	if len(annotations) == 0 {
		annotations = []string{"user", "role"}
	}
	p.Annotations = map[string]string{}
	for _, key := range annotations {
		p.Annotations[key] = "x"
	}
	return p
}

func TestContributors(t *testing.T) {
	going := bindingFor("alice", "alice@example.com")
	going.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	alice, bob := bindingFor("alice", "alice@example.com"), bindingFor("bob", "bob@example.com")
	owned := policyNamed("alice", "", "other")
	owned.OwnerReferences = []metav1.OwnerReference{render.OwnerReference(testkit.Profile("team-a"))}
	type bindings = []*rbacv1.RoleBinding
	type policies = []*securityv1beta1.AuthorizationPolicy
	type result struct {
		// Kept are the policies to be there, besides that for all; those that stay somebody else's have a star.
		Kept, Replaced, Stale, Refused []string
		// Rules are those of the policy for all.
		Rules int
	}
	cases := map[string]struct {
		aggregated, adopted bool
		bindings            bindings
		policies            policies
		want                result
	}{
		"nobody":                   {},
		"a policy each, by name":   {bindings: bindings{bob, alice}, want: result{Kept: []string{"alice", "bob"}}},
		"no annotations":           {bindings: bindings{bindingOf("x", nil, rbacv1.Subject{Kind: "User", Name: "x"})}},
		"the owner's binding":      {bindings: bindings{bindingFor("namespaceAdmin", "ann@example.com")}},
		"a binding that is going":  {bindings: bindings{going}, policies: policies{policyNamed("alice", "berth")}, want: result{Stale: []string{"alice"}}},
		"an unlabelled pair":       {bindings: bindings{alice}, policies: policies{policyNamed("alice", "")}, want: result{Kept: []string{"alice*"}}},
		"an adopted pair":          {adopted: true, bindings: bindings{alice}, policies: policies{policyNamed("alice", "")}, want: result{Kept: []string{"alice*"}}},
		"our own in an adopted":    {adopted: true, bindings: bindings{alice}, policies: policies{policyNamed("alice", "berth")}, want: result{Kept: []string{"alice"}}},
		"another program's pair":   {bindings: bindings{alice}, policies: policies{policyNamed("alice", "Helm")}, want: result{Kept: []string{"alice*"}}},
		"half annotated":           {bindings: bindings{alice}, policies: policies{policyNamed("alice", "", "user")}, want: result{Refused: []string{"alice"}}},
		"a policy of the platform": {bindings: bindings{alice, bob}, policies: policies{policyNamed("alice", "Helm", "other")}, want: result{Kept: []string{"bob"}, Refused: []string{"alice"}}},
		"ours without annotations": {bindings: bindings{alice}, policies: policies{policyNamed("alice", "berth", "other")}, want: result{Kept: []string{"alice"}}},
		"ours without label":       {bindings: bindings{alice}, policies: policies{owned}, want: result{Kept: []string{"alice"}}},
		"nobody's any more":        {policies: policies{policyNamed("gone", "berth"), policyNamed("foreign", ""), policyNamed("other", "Helm")}, want: result{Stale: []string{"gone"}}},
		"the profile's own":        {policies: policies{policyNamed("ns-owner-access-istio", "berth"), policyNamed("ns-access-istio", "berth")}},
		"a refused one's policy":   {bindings: bindings{bindingFor("alice", "*")}, policies: policies{policyNamed("alice", "berth")}, want: result{Stale: []string{"alice"}, Refused: []string{"alice"}}},
		"some of the subjects":     {bindings: bindings{bindingFor("alice", "*", "alice@example.com")}, want: result{Kept: []string{"alice"}}},
		"nobody in it":             {bindings: bindings{bindingFor("alice")}, want: result{Refused: []string{"alice"}}},
		"refused ones, by name":    {bindings: bindings{bindingFor("b", "*"), bindingFor("a", "two words"), bindingFor("c", "")}, want: result{Refused: []string{"a", "b", "c"}}},
		"an odd name":              {bindings: bindings{bindingFor("ns-access-istio", "alice@example.com")}, want: result{Kept: []string{render.ContributorPolicyName("ns-access-istio")}}},

		"aggregated: nobody":   {aggregated: true},
		"aggregated: everyone": {aggregated: true, bindings: bindings{alice, bob}, want: result{Rules: 1}},
		"aggregated: after policies of their own": {
			aggregated: true, bindings: bindings{alice, bob},
			policies: policies{policyNamed("alice", "berth"), policyNamed("bob", ""), policyNamed("gone", "berth"), policyNamed("foreign", "")},
			want:     result{Replaced: []string{"alice", "bob"}, Stale: []string{"gone"}, Rules: 1},
		},
		"aggregated: another program's stays": {aggregated: true, bindings: bindings{alice}, policies: policies{policyNamed("alice", "Helm")}, want: result{Rules: 1}},
		"aggregated: in an adopted namespace": {
			aggregated: true, adopted: true, bindings: bindings{alice, bob}, policies: policies{policyNamed("alice", ""), policyNamed("bob", "berth")},
			want: result{Replaced: []string{"bob"}, Rules: 1},
		},
		"aggregated: a policy of the platform": {aggregated: true, bindings: bindings{alice}, policies: policies{policyNamed("alice", "", "other")}, want: result{Rules: 1}},
		"aggregated: a wildcard":               {aggregated: true, bindings: bindings{bindingFor("alice", "*")}, policies: policies{policyNamed("alice", "berth")}, want: result{Stale: []string{"alice"}, Refused: []string{"alice"}}},
		"aggregated: one that is going":        {aggregated: true, bindings: bindings{going}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			config := render.DefaultConfig()
			if tc.aggregated {
				config.ContributorPolicies = render.PolicyAggregated
			}
			got := render.Contributors(testkit.Profile("team-a"), config, tc.adopted, tc.bindings, tc.policies)
			last := got.Objects[len(got.Objects)-1]
			if last.GetName() != render.InviteesPolicyName {
				t.Fatalf("the last object is %q", last.GetName())
			}
			have := result{Refused: got.Refused, Rules: len(spec(last).Rules)}
			for _, object := range got.Objects[:len(got.Objects)-1] {
				name := object.GetName()
				if len(object.GetLabels()) == 0 && len(object.GetOwnerReferences()) == 0 {
					name += "*"
				}
				have.Kept = append(have.Kept, name)
			}
			for _, policy := range got.Replaced {
				have.Replaced = append(have.Replaced, policy.Name)
			}
			for _, policy := range got.Stale {
				have.Stale = append(have.Stale, policy.Name)
			}
			if diff := cmp.Diff(tc.want, have); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func spec(object render.Object) *istiosecurity.AuthorizationPolicy {
	return &object.Resource.(*securityv1beta1.AuthorizationPolicy).Spec
}

// The gateway carries everybody's requests: letting it in as somebody would let in all.
func TestContributorPolicy_notThroughThePlatformsAccounts(t *testing.T) {
	account := func(namespace, name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: "ServiceAccount", Namespace: namespace, Name: name}
	}
	for _, subject := range []rbacv1.Subject{
		account("istio-system", "istio-ingressgateway-service-account"),
		account("kubeflow", "ml-pipeline-ui"),
		{Kind: "User", Name: "system:serviceaccount:istio-system:istio-ingressgateway-service-account"},
	} {
		binding := bindingFor("gateway")
		binding.Subjects = []rbacv1.Subject{subject}
		if object, possible := render.ContributorPolicy(testkit.Profile("team-a"), render.DefaultConfig(), binding); possible {
			t.Errorf("%+v is let in: %v", subject, spec(object))
		}
	}
}

// Whatever whoever writes RoleBindings chooses, everything that is let in is named in full: Istio reads a star at either
// end as a wildcard, and an empty value or rule as everybody.
func TestContributorPolicy_hasNoWildcards(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	kinds := []string{"User", "Group", "ServiceAccount", "", "Robot"}
	for _, name := range randomNames(rng, 3000) {
		for _, spelled := range []string{name, "system:serviceaccount:" + name, "system:serviceaccount:ci:" + name} {
			subject := rbacv1.Subject{Kind: kinds[rng.IntN(len(kinds))], Name: spelled}
			if rng.IntN(2) == 0 {
				subject.Namespace = []string{"ci", "*", name}[rng.IntN(3)]
			}
			for _, mode := range []render.ContributorPolicies{render.PolicyPerContributor, render.PolicyAggregated} {
				config := render.DefaultConfig()
				config.UserIDPrefix = []string{"", "oidc:"}[rng.IntN(2)]
				config.ContributorPolicies = mode
				assertNamesOne(t, config, subject)
			}
		}
	}
}

func assertNamesOne(t *testing.T, config render.Config, subject rbacv1.Subject) {
	t.Helper()
	p, binding := testkit.Profile("team-a"), bindingFor("x")
	binding.Subjects = []rbacv1.Subject{subject}
	invitees := render.InviteesPolicy(p, config, []*rbacv1.RoleBinding{binding})
	rules := slices.Clone(spec(invitees).Rules)
	object, possible := render.ContributorPolicy(p, config, binding)
	if possible != (identity.CheckSubject(subject) == nil) {
		t.Fatalf("%+v has a policy: %t", subject, possible)
	}
	if possible {
		rules = append(rules, spec(object).Rules...)
	}
	for _, rule := range rules {
		values := []string{}
		for _, from := range rule.From {
			values = append(values, from.Source.Principals...)
		}
		for _, when := range rule.When {
			values = append(values, when.Values...)
			if len(when.Values) == 0 || len(when.NotValues) > 0 {
				t.Fatalf("%+v makes the condition %v", subject, when)
			}
		}
		if len(rule.From) == 0 || len(values) == 0 {
			t.Fatalf("%+v makes the rule %v", subject, rule)
		}
		for _, value := range values {
			if value == "" || strings.HasPrefix(value, "*") || strings.HasSuffix(value, "*") {
				t.Fatalf("%+v makes the value %q", subject, value)
			}
		}
		// A person is never let in by the gateway's identity alone.
		if people := rule.From[0].Source.Principals; slices.Contains(people, config.Principals.IngressGateway) && len(rule.When) == 0 {
			t.Fatalf("%+v lets the whole gateway in", subject)
		}
	}
}
