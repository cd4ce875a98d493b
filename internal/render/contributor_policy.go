// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	istiosecurity "istio.io/api/security/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/identity"
)

// ContributorPolicies is how contributors are let in through the mesh.
type ContributorPolicies string

const (
	// PolicyPerContributor is one policy for each RoleBinding of a contributor, which is what clients know.
	PolicyPerContributor ContributorPolicies = "per-contributor"
	// PolicyAggregated is one policy for each namespace, so that the mesh's configuration grows with namespaces and
	// not with people.
	PolicyAggregated ContributorPolicies = "aggregated"
)

// readMethods are what contributors with the role view may do under Config.ViewMethods.
var readMethods = []string{"GET", "HEAD", "OPTIONS"}

// Admission is how the contributors of a profile get in through the mesh.
type Admission struct {
	// Objects are to be there, in this order, before anything is removed.
	Objects []Object
	// Stale are policies that are to go.
	Stale []*securityv1beta1.AuthorizationPolicy
	// Refused are the bindings of which nobody can be let in.
	Refused []string
}

// Contributors renders the policies of all contributors of p. bindings and policies are what is in the namespace;
// adopted says whether that was there before p.
func Contributors(p *kubeflowv1.Profile, config Config, adopted bool,
	bindings []*rbacv1.RoleBinding, policies []*securityv1beta1.AuthorizationPolicy,
) Admission {
	var admission Admission
	live := map[string]*securityv1beta1.AuthorizationPolicy{}
	for _, policy := range policies {
		live[policy.Name] = policy
	}
	invitees := InviteesPolicy(p, config, bindings)
	paired := map[string]bool{}
	for _, binding := range bindings {
		if !IsContributorBinding(binding) || binding.DeletionTimestamp != nil {
			continue
		}
		object, possible := ContributorPolicy(p, config, binding)
		switch {
		case !possible:
			admission.Refused = append(admission.Refused, binding.Name)
			continue
		case paired[object.GetName()]:
			continue
		}
		paired[object.GetName()] = true
		if config.ContributorPolicies == PolicyAggregated {
			continue
		}
		if isForeign(live[object.GetName()], adopted) {
			object.SetLabels(nil)
			object.SetOwnerReferences(nil)
		}
		admission.Objects = append(admission.Objects, object)
	}
	for _, policy := range policies {
		ours := policy.Labels[kubeflowv1.ManagedByLabel] == kubeflowv1.ManagedByValue
		aggregated := config.ContributorPolicies == PolicyAggregated && paired[policy.Name] && !isForeign(policy, adopted)
		if IsContributorPolicy(policy) && (aggregated || ours && !paired[policy.Name]) {
			admission.Stale = append(admission.Stale, policy)
		}
	}
	admission.Objects = append(admission.Objects, invitees)
	return admission
}

// IsContributorPolicy says whether policy lets contributors in, by its two annotations, whoever made it.
func IsContributorPolicy(policy *securityv1beta1.AuthorizationPolicy) bool {
	_, user := policy.Annotations[kubeflowv1.UserAnnotation]
	_, role := policy.Annotations[kubeflowv1.RoleAnnotation]
	return user && role && !slices.Contains(Names, policy.Name)
}

// isForeign says whether policy is to stay somebody else's although its contents are ours: where another program keeps
// it, and in a namespace that outlives the profile.
func isForeign(policy *securityv1beta1.AuthorizationPolicy, adopted bool) bool {
	if policy == nil {
		return false
	}
	keeper := policy.Labels[kubeflowv1.ManagedByLabel]
	return keeper != kubeflowv1.ManagedByValue && (adopted || keeper != "")
}

// ContributorPolicy lets the subjects of a contributor's binding in through the mesh. Without anybody who could be let
// in, such as after a name with a wildcard, there is none.
func ContributorPolicy(p *kubeflowv1.Profile, config Config, binding *rbacv1.RoleBinding) (Object, bool) {
	rules := contributorRules(config, roleForMesh(binding), binding.Subjects)
	if len(rules) == 0 {
		return Object{}, false
	}
	annotations := map[string]string{
		kubeflowv1.UserAnnotation: binding.Annotations[kubeflowv1.UserAnnotation],
		kubeflowv1.RoleAnnotation: binding.Annotations[kubeflowv1.RoleAnnotation],
	}
	return policy(p, config, ContributorPolicyName(binding.Name), "lets a contributor in through the mesh", annotations, rules), true
}

// ContributorPolicyName is the name of the policy of the binding called name: the same, where no policy of the profile
// itself is called so and the kind allows it, which is stricter.
func ContributorPolicyName(name string) string {
	if len(validation.IsDNS1123Subdomain(name)) == 0 && !slices.Contains(Names, name) {
		return name
	}
	const longest = 200
	plain := strings.Trim(outsideNames.ReplaceAllString(strings.ToLower(name), "-"), "-")
	return "contributor-" + plain[:min(len(plain), longest)] + "-" + shortHash(name)
}

// InviteesPolicy is the one policy for all contributors of a namespace: a rule for each role, or none at all where each
// contributor has a policy of their own. Bindings without their two annotations are not looked at.
func InviteesPolicy(p *kubeflowv1.Profile, config Config, bindings []*rbacv1.RoleBinding) Object {
	var rules []*istiosecurity.Rule
	if config.ContributorPolicies == PolicyAggregated {
		byRole := map[string][]rbacv1.Subject{}
		for _, binding := range bindings {
			if IsContributorBinding(binding) {
				role := roleForMesh(binding)
				byRole[role] = append(byRole[role], binding.Subjects...)
			}
		}
		for _, role := range append(slices.Clone(Roles), "") {
			rules = append(rules, contributorRules(config, role, byRole[role])...)
		}
	}
	return policy(p, config, InviteesPolicyName, inviteesPurpose, nil, rules)
}

// inviteesPlace is the policy as a profile begins with it. What it says is up to InviteesPolicy from then on.
func inviteesPlace(p *kubeflowv1.Profile, config Config) Object {
	object := policy(p, config, InviteesPolicyName, inviteesPurpose, nil, nil)
	object.Exact = nil
	return object
}

const inviteesPurpose = "is for all whom the owner invites, where they have no policies of their own"

// roleForMesh is the role that decides which requests the subjects of binding may send. Bindings made by hand may be to
// other roles than ours; then the annotation tells, and failing that it is the least.
func roleForMesh(binding *rbacv1.RoleBinding) string {
	if role := RoleOf(binding.RoleRef); role != "" {
		return role
	}
	if role := binding.Annotations[kubeflowv1.RoleAnnotation]; slices.Contains(Roles, role) {
		return role
	}
	return ""
}

// contributorRules let subjects in: users by the header that the gateway sets, groups by the verified token's claim,
// and service accounts by their own mesh identity. Subjects that can't be told apart from others are left out: they may
// be hostile, as whoever may write RoleBindings chose them.
func contributorRules(config Config, role string, subjects []rbacv1.Subject) []*istiosecurity.Rule {
	var users, groups, accounts []string
	for _, subject := range subjects {
		if identity.CheckSubject(subject) != nil {
			continue
		}
		switch namespace, name, isAccount := identity.ServiceAccount(subject); {
		case isAccount:
			accounts = append(accounts, fmt.Sprintf("%s/ns/%s/sa/%s", config.trustDomain(), namespace, name))
		case subject.Kind == rbacv1.GroupKind:
			groups = append(groups, subject.Name)
		default:
			users = append(users, config.UserIDPrefix+subject.Name)
		}
	}
	var to []*istiosecurity.Rule_To
	if config.ViewMethods && role != "admin" && role != "edit" {
		to = operation(&istiosecurity.Operation{Methods: readMethods})
	}
	people := principals(config.Principals.IngressGateway, config.Principals.KFPUI)
	var rules []*istiosecurity.Rule
	if len(users) > 0 {
		rules = append(rules, &istiosecurity.Rule{From: people, To: to, When: []*istiosecurity.Condition{
			{Key: fmt.Sprintf("request.headers[%s]", config.UserIDHeader), Values: distinct(users)},
		}})
	}
	if len(groups) > 0 {
		rules = append(rules, &istiosecurity.Rule{From: people, To: to, When: []*istiosecurity.Condition{
			{Key: "request.auth.claims[groups]", Values: distinct(groups)},
		}})
	}
	if len(accounts) > 0 {
		rules = append(rules, &istiosecurity.Rule{From: principals(distinct(accounts)...), To: to})
	}
	return rules
}

// distinct sorts names and drops those that are there twice.
func distinct[T cmp.Ordered](names []T) []T {
	slices.Sort(names)
	return slices.Compact(names)
}
