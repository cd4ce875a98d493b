// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	istiosecurity "istio.io/api/security/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	rbacv1 "k8s.io/api/rbac/v1"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/testkit"
)

// The subject is as the API server stores it: compared with what is stored, it must not differ.
func TestOwnerSubject(t *testing.T) {
	cases := map[string]struct{ in, want rbacv1.Subject }{
		"a user":                        {rbacv1.Subject{Kind: "User", Name: "ann"}, rbacv1.Subject{Kind: "User", Name: "ann", APIGroup: rbacv1.GroupName}},
		"a user with the API group":     {rbacv1.Subject{Kind: "User", Name: "ann", APIGroup: rbacv1.GroupName}, rbacv1.Subject{Kind: "User", Name: "ann", APIGroup: rbacv1.GroupName}},
		"a user with a namespace":       {rbacv1.Subject{Kind: "User", Name: "ann", Namespace: "x"}, rbacv1.Subject{Kind: "User", Name: "ann", APIGroup: rbacv1.GroupName}},
		"a group":                       {rbacv1.Subject{Kind: "Group", Name: "g"}, rbacv1.Subject{Kind: "Group", Name: "g", APIGroup: rbacv1.GroupName}},
		"a service account":             {rbacv1.Subject{Kind: "ServiceAccount", Name: "s", Namespace: "n"}, rbacv1.Subject{Kind: "ServiceAccount", Name: "s", Namespace: "n"}},
		"a service account with groups": {rbacv1.Subject{Kind: "ServiceAccount", Name: "s", Namespace: "n", APIGroup: rbacv1.GroupName}, rbacv1.Subject{Kind: "ServiceAccount", Name: "s", Namespace: "n"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, ownerSubject(tc.in)); diff != "" {
				t.Errorf("-want, +got:\n%s", diff)
			}
		})
	}
}

// With an owner who can't be told apart from others, nobody gets in as owner, through the mesh or by a role; all else
// is as ever.
func TestOwnerProblem(t *testing.T) {
	cases := map[string]struct {
		owner rbacv1.Subject
		wants []string // in the message; none where there is no problem
	}{
		"a user":                              {owner: rbacv1.Subject{Kind: "User", Name: "ann"}},
		"a group":                             {owner: rbacv1.Subject{Kind: "Group", Name: "team"}},
		"a service account":                   {owner: rbacv1.Subject{Kind: "ServiceAccount", Name: "s", Namespace: "n"}},
		"nobody":                              {wants: []string{"spec.owner.kind", `""`, "User"}},
		"another kind":                        {owner: rbacv1.Subject{Kind: "user", Name: "ann"}, wants: []string{"spec.owner.kind", `"user"`}},
		"no name":                             {owner: rbacv1.Subject{Kind: "Group"}, wants: []string{"spec.owner.name", "Group"}},
		"everybody":                           {owner: rbacv1.Subject{Kind: "User", Name: "*"}, wants: []string{"spec.owner.name", `"*"`}},
		"a whole domain":                      {owner: rbacv1.Subject{Kind: "User", Name: "*@example.com"}, wants: []string{`"*@example.com"`}},
		"whoever begins so":                   {owner: rbacv1.Subject{Kind: "Group", Name: "team-*"}, wants: []string{`"team-*"`}},
		"a star within":                       {owner: rbacv1.Subject{Kind: "User", Name: "a*b"}, wants: []string{`"a*b"`}},
		"a service account of no namespace":   {owner: rbacv1.Subject{Kind: "ServiceAccount", Name: "s"}, wants: []string{"spec.owner.namespace", `"s"`}},
		"a service account of any namespace":  {owner: rbacv1.Subject{Kind: "ServiceAccount", Name: "s", Namespace: "*"}, wants: []string{"spec.owner.namespace", `"*"`}},
		"any service account of a namespace":  {owner: rbacv1.Subject{Kind: "ServiceAccount", Name: "*", Namespace: "n"}, wants: []string{"spec.owner.name"}},
		"any service account of any of these": {owner: rbacv1.Subject{Kind: "ServiceAccount", Name: "s", Namespace: "team-*"}, wants: []string{`"team-*"`}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p := testkit.Profile("a", testkit.OwnerOf(tc.owner.Kind, tc.owner.Name, tc.owner.Namespace))
			tenant := Profile(p, Input{Config: DefaultConfig(), Mesh: MeshKinds{AuthorizationPolicy: true, Gateway: true}})
			problems := tenant.Problems()
			if len(tc.wants) == 0 {
				if len(problems) > 0 {
					t.Errorf("problems are %+v", problems)
				}
				return
			}
			if len(problems) != 1 || problems[0].Reason != kubeflowv1.ReasonOwnerInvalid {
				t.Fatalf("problems are %+v", problems)
			}
			for _, want := range tc.wants {
				if !strings.Contains(problems[0].Message, want) {
					t.Errorf("the message does not name %s: %s", want, problems[0].Message)
				}
			}
			if slices.ContainsFunc(tenant.Objects(), func(o Object) bool { return o.GetName() == OwnerBindingName }) {
				t.Error("there is a binding for the owner")
			}
			if got, want := len(tenant.Objects()), 7; got != want {
				t.Errorf("%d objects are rendered, want %d", got, want)
			}
			if rules := ownerRules(p, Input{Config: DefaultConfig()}); len(rules) != 3 {
				t.Errorf("there are %d rules, want the 3 that are nobody's", len(rules))
			}
		})
	}
}

// Whatever the configuration, no value of a policy is a wildcard, but for the one path that the incumbent has.
func TestMesh_noWildcards(t *testing.T) {
	for _, owner := range []func(*kubeflowv1.Profile){
		testkit.Owner("ann"), testkit.Owner("*"), testkit.OwnerOf("Group", "*", ""), testkit.OwnerOf("ServiceAccount", "*", "*"),
	} {
		for _, mode := range []MeshMode{MeshSidecar, MeshAmbient} {
			config := DefaultConfig()
			config.MeshMode = mode
			tenant := Profile(testkit.Profile("a", owner), Input{Config: config, Mesh: MeshKinds{AuthorizationPolicy: true, Gateway: true}})
			for _, object := range tenant.Objects() {
				policy, ok := object.Resource.(*securityv1beta1.AuthorizationPolicy)
				if !ok {
					continue
				}
				for _, value := range valuesOf(policy.Spec.GetRules()) {
					if strings.Contains(value, "*") && value != "*/api/kernels" {
						t.Errorf("%s has the value %q", policy.Name, value)
					}
				}
				if policy.Name == InviteesPolicyName && len(policy.Spec.GetRules()) > 0 {
					t.Error("invitees get in before anybody is invited")
				}
			}
		}
	}
}

func valuesOf(rules []*istiosecurity.Rule) []string {
	var values []string
	for _, rule := range rules {
		for _, from := range rule.GetFrom() {
			values = append(values, from.GetSource().GetPrincipals()...)
		}
		for _, to := range rule.GetTo() {
			values = append(values, to.GetOperation().GetPaths()...)
		}
		for _, when := range rule.GetWhen() {
			values = append(values, when.GetValues()...)
		}
	}
	return values
}

func TestMesh_whatTheClusterServes(t *testing.T) {
	cases := map[string]struct {
		kinds              MeshKinds
		ambient, waypoint  bool
		want, wantAbsent   []string
		wantReason, inText string
		wantUnenforced     bool
	}{
		"everything":                         {kinds: MeshKinds{AuthorizationPolicy: true, Gateway: true}, want: []string{OwnerPolicyName, InviteesPolicyName}, wantAbsent: []string{waypointName}},
		"no gateways":                        {kinds: MeshKinds{AuthorizationPolicy: true, Gateway: false}, want: []string{OwnerPolicyName, InviteesPolicyName}},
		"nothing":                            {wantReason: kubeflowv1.ReasonMeshNotInstalled, inText: "AuthorizationPolicy"},
		"gateways alone":                     {kinds: MeshKinds{AuthorizationPolicy: false, Gateway: true}, wantAbsent: []string{waypointName}, wantReason: kubeflowv1.ReasonMeshNotInstalled, inText: "AuthorizationPolicy"},
		"everything, with a waypoint":        {kinds: MeshKinds{AuthorizationPolicy: true, Gateway: true}, ambient: true, waypoint: true, want: []string{waypointName, OwnerPolicyName, InviteesPolicyName}},
		"no gateways, with a waypoint":       {kinds: MeshKinds{AuthorizationPolicy: true, Gateway: false}, ambient: true, waypoint: true, want: []string{OwnerPolicyName, InviteesPolicyName}, wantReason: kubeflowv1.ReasonMeshNotInstalled, inText: "Gateway"},
		"nothing, with a waypoint":           {ambient: true, waypoint: true, wantReason: kubeflowv1.ReasonMeshNotInstalled, inText: "AuthorizationPolicy"},
		"ambient, with another's waypoint":   {kinds: MeshKinds{AuthorizationPolicy: true, Gateway: true}, ambient: true, want: []string{OwnerPolicyName, InviteesPolicyName}, wantAbsent: []string{waypointName}, wantUnenforced: true},
		"a waypoint is of ambient mode only": {kinds: MeshKinds{AuthorizationPolicy: true, Gateway: true}, waypoint: true, want: []string{OwnerPolicyName, InviteesPolicyName}, wantAbsent: []string{waypointName}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			config := DefaultConfig()
			config.CreateWaypoint = tc.waypoint
			if tc.ambient {
				config.MeshMode = MeshAmbient
			}
			part := mesh(testkit.Profile("a"), Input{Config: config, Mesh: tc.kinds})
			if got := names(part.Objects); !slices.Equal(got, tc.want) {
				t.Errorf("objects are %q, want %q", got, tc.want)
			}
			if got := names(part.Absent); !slices.Equal(got, tc.wantAbsent) {
				t.Errorf("absent are %q, want %q", got, tc.wantAbsent)
			}
			if (part.Message == UnenforcedMessage) != tc.wantUnenforced {
				t.Errorf("message is %q", part.Message)
			}
			if (part.Problem != nil) != (tc.wantReason != "") {
				t.Fatalf("problem is %+v", part.Problem)
			}
			if part.Problem != nil && (part.Problem.Reason != tc.wantReason || !strings.Contains(part.Problem.Message, tc.inText)) {
				t.Errorf("problem is %+v, want %s about %s", *part.Problem, tc.wantReason, tc.inText)
			}
		})
	}
}

func names(objects []Object) []string {
	var all []string
	for _, object := range objects {
		all = append(all, object.GetName())
	}
	return all
}

// Every object that is rendered has a name that the controller watches, an owner and our label.
func TestProfile_objectsAreKnown(t *testing.T) {
	config := DefaultConfig()
	config.MeshMode, config.CreateWaypoint = MeshAmbient, true
	p := testkit.Profile("a", testkit.Quota("cpu", "1"))
	for _, object := range Profile(p, Input{Config: config, Mesh: MeshKinds{AuthorizationPolicy: true, Gateway: true}}).Objects()[1:] {
		if !slices.Contains(Names, object.GetName()) || object.GetNamespace() != "a" || object.Purpose == "" {
			t.Errorf("%s/%s is not among %q, or serves no purpose: %q", object.GetNamespace(), object.GetName(), Names, object.Purpose)
		}
		if diff := cmp.Diff([]any{OwnerReference(p)}, []any{object.GetOwnerReferences()[0]}); diff != "" || object.GetLabels()[kubeflowv1.ManagedByLabel] != "berth" {
			t.Errorf("%s has the labels %v, owner:\n%s", object.GetName(), object.GetLabels(), diff)
		}
	}
}
