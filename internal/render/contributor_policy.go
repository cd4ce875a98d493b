// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	istiosecurity "istio.io/api/security/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
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
	// Objects are to be there. The last is the policy for all.
	Objects []Object
	// Replaced are policies that are to go once all Objects are there, which let the same people in.
	Replaced []*securityv1beta1.AuthorizationPolicy
	// Stale are policies of ours that are to go, as they let in whom no binding names any more.
	Stale []*securityv1beta1.AuthorizationPolicy
	// Refused are the names of the bindings of which nobody can be let in.
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
	aggregated := config.ContributorPolicies == PolicyAggregated
	paired := map[string]bool{}
	for _, binding := range byName(bindings) {
		if !IsContributorBinding(binding) || binding.DeletionTimestamp != nil {
			continue
		}
		object, possible := ContributorPolicy(p, config, binding)
		if !possible {
			admission.Refused = append(admission.Refused, binding.Name)
			continue
		}
		there := live[object.GetName()]
		if !aggregated && there != nil && object.Foreign(there) {
			admission.Refused = append(admission.Refused, binding.Name)
			continue
		}
		paired[object.GetName()] = true
		if aggregated {
			continue
		}
		switch {
		case there == nil:
			// One that has come since, by others, is for the next look.
			object.Foreign = func(live metav1.Object) bool { return !IsOurs(live, p) }
		case !IsOurs(there, p):
			object.SetLabels(nil)
			object.SetOwnerReferences(nil)
		}
		admission.Objects = append(admission.Objects, object)
	}
	admission.Objects = append(admission.Objects, InviteesPolicy(p, config, bindings))
	for _, policy := range policies {
		switch {
		case !IsContributorPolicy(policy):
		case paired[policy.Name]:
			if aggregated && !staysForeign(policy, p, adopted) {
				admission.Replaced = append(admission.Replaced, policy)
			}
		case IsOurs(policy, p):
			admission.Stale = append(admission.Stale, policy)
		}
	}
	return admission
}

// byName sorts bindings, which a cache hands out in any order: the same bindings make the same policies and Events.
func byName(bindings []*rbacv1.RoleBinding) []*rbacv1.RoleBinding {
	return slices.SortedFunc(slices.Values(bindings), func(a, b *rbacv1.RoleBinding) int { return cmp.Compare(a.Name, b.Name) })
}

// IsContributorPolicy says whether policy lets contributors in, by its two annotations, whoever made it.
func IsContributorPolicy(policy metav1.Object) bool {
	return annotated(policy) && !slices.Contains(Names, policy.GetName())
}

// IsOurs says whether we made obj for p. Policies of contributors that others made are put right, and stay theirs.
func IsOurs(obj metav1.Object, p *kubeflowv1.Profile) bool {
	return obj.GetLabels()[kubeflowv1.ManagedByLabel] == kubeflowv1.ManagedByValue || ownedBy(obj, p)
}

// staysForeign says whether policy is not for us to replace by the one for all: where another program keeps it, and in
// a namespace that outlives the profile.
func staysForeign(policy metav1.Object, p *kubeflowv1.Profile, adopted bool) bool {
	return !IsOurs(policy, p) && (adopted || policy.GetLabels()[kubeflowv1.ManagedByLabel] != "")
}

// ContributorPolicy lets the subjects of a contributor's binding in through the mesh. Without anybody who could be let
// in, such as after a name with a wildcard, there is none.
func ContributorPolicy(p *kubeflowv1.Profile, config Config, binding *rbacv1.RoleBinding) (Object, bool) {
	rules := contributorRules(config, roleForMesh(config, binding), binding.Subjects)
	if len(rules) == 0 {
		return Object{}, false
	}
	annotations := map[string]string{
		kubeflowv1.UserAnnotation: binding.Annotations[kubeflowv1.UserAnnotation],
		kubeflowv1.RoleAnnotation: binding.Annotations[kubeflowv1.RoleAnnotation],
	}
	object := policy(p, config, ContributorPolicyName(binding.Name), "lets a contributor in through the mesh", annotations, rules)
	object.Foreign = func(live metav1.Object) bool {
		// Whoever may make a RoleBinding must not rewrite any policy by choosing its name.
		return !annotated(live) && !IsOurs(live, p)
	}
	return object, true
}

// Admissible says whether c can be let in through the mesh without letting others in.
func Admissible(config Config, c Contributor) bool {
	return len(contributorRules(config, c.Role, []rbacv1.Subject{c.Subject})) > 0
}

func ownedBy(obj metav1.Object, p *kubeflowv1.Profile) bool {
	return slices.ContainsFunc(obj.GetOwnerReferences(), func(ref metav1.OwnerReference) bool { return p.UID != "" && ref.UID == p.UID })
}

// derivedName is what ContributorPolicyName makes of names that it can't take over.
var derivedName = regexp.MustCompile(`^contributor-.*-[0-9a-f]{8}$`)

// ContributorPolicyName is the name of the policy of the binding called name: the same, where no policy of the profile
// itself or of another binding is called so and the kind allows it, which is stricter.
func ContributorPolicyName(name string) string {
	if len(validation.IsDNS1123Subdomain(name)) == 0 && !slices.Contains(Names, name) && !derivedName.MatchString(name) &&
		!strings.HasPrefix(name, inferencePrefix) {
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
			if IsContributorBinding(binding) && binding.DeletionTimestamp == nil {
				role := roleForMesh(config, binding)
				byRole[role] = append(byRole[role], binding.Subjects...)
			}
		}
		for _, role := range append(config.RoleNames(), "") {
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

// noRole is the role of a binding that we made for a role which the profile's class does not have: nobody is let in.
const noRole = "-"

// roleForMesh is the role that decides which requests the subjects of binding may send. Bindings made by hand may be to
// other roles than ours; then the annotation tells, and failing that it is the least.
func roleForMesh(config Config, binding *rbacv1.RoleBinding) string {
	if role := RoleOf(binding.RoleRef); role != "" && roleOfClass(binding) == "" {
		return role
	}
	role := binding.Annotations[kubeflowv1.RoleAnnotation]
	if bound, found := config.RoleNamed(role); found && (slices.Contains(Roles, role) || bound == binding.RoleRef.Name) {
		return role
	}
	if binding.Labels[kubeflowv1.ManagedByLabel] == kubeflowv1.ManagedByValue {
		return noRole
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
			principal := fmt.Sprintf("%s/ns/%s/sa/%s", config.trustDomain(), namespace, name)
			if principal == config.Principals.IngressGateway || principal == config.Principals.KFPUI {
				continue // it carries everybody's requests
			}
			accounts = append(accounts, principal)
		case subject.Kind == rbacv1.GroupKind:
			groups = append(groups, subject.Name)
		default:
			users = append(users, config.UserIDPrefix+subject.Name)
		}
	}
	if role == noRole {
		return nil
	}
	to := meshOperations(config, role)
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

// meshOperations are what those with the role may do through the mesh; nil for everything.
func meshOperations(config Config, role string) []*istiosecurity.Rule_To {
	if i := slices.IndexFunc(config.Roles, func(r berthv1alpha1.Role) bool { return r.Name == role }); i >= 0 {
		var to []*istiosecurity.Rule_To
		for _, allowed := range config.Roles[i].Mesh {
			if len(allowed.Methods)+len(allowed.Paths) == 0 {
				return nil // everything, whatever the others say; the mesh refuses an operation without fields
			}
			to = append(to, operation(&istiosecurity.Operation{Methods: slices.Clone(allowed.Methods), Paths: slices.Clone(allowed.Paths)})...)
		}
		return to
	}
	if config.ViewMethods && role != "admin" && role != "edit" {
		return operation(&istiosecurity.Operation{Methods: readMethods})
	}
	return nil
}

// distinct sorts names and drops those that are there twice.
func distinct[T cmp.Ordered](names []T) []T {
	slices.Sort(names)
	return slices.Compact(names)
}
