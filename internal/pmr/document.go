// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package pmr reads declared lists of profiles and contributors (PMR: Profile Management Representation), compares them
// with what a cluster has, and plans what makes the two equal.
package pmr

import (
	"time"
)

// APIVersion and Kind may stand at the top of a list. Lists without them are read alike.
const (
	APIVersion = "berth.dev/v1alpha1"
	Kind       = "PMR"
)

// Document is a declared list as it is written. The fields name, owner, resources and contributors of a profile are those
// of github-profiles-automator, which skips all the others.
type Document struct {
	// Source is where the list begins.
	Source Position `json:"-"`

	APIVersion string `json:"apiVersion,omitempty" jsonschema:"berth.dev/v1alpha1"`
	Kind       string `json:"kind,omitempty" jsonschema:"PMR"`
	// Defaults are for profiles that do not say otherwise.
	Defaults *Defaults `json:"defaults,omitempty" jsonschema:"what profiles get that do not say otherwise"`
	// Users are what is known of people besides their names.
	Users []User `json:"users,omitempty" jsonschema:"what is known of people besides their names"`
	// Groups are lists of people, which profiles can name.
	Groups []Group `json:"groups,omitempty" jsonschema:"lists of people, which profiles can name"`
	// Profiles are the profiles that are to be there.
	Profiles []Profile `json:"profiles" jsonschema:"the profiles that are to be there"`
}

// Defaults are for profiles that do not say otherwise.
type Defaults struct {
	Source Position `json:"-"`

	Resources *Resources `json:"resources,omitempty" jsonschema:"the quota of profiles without one"`
	Class     string     `json:"class,omitempty" jsonschema:"the ProfileClass of profiles that name none"`
	// Labels and Annotations are given to every profile, besides its own.
	Labels            map[string]string `json:"labels,omitempty" jsonschema:"labels of every Profile, besides its own"`
	Annotations       map[string]string `json:"annotations,omitempty" jsonschema:"annotations of every Profile, besides its own"`
	Groups            []GroupGrant      `json:"groups,omitempty" jsonschema:"groups with access to every profile, besides its own"`
	ContributorPolicy ContributorPolicy `json:"contributorPolicy,omitempty" jsonschema:"what becomes of contributors who are not listed"`
}

// User is what is known of somebody besides the name.
type User struct {
	Source Position `json:"-"`

	Name string `json:"name" jsonschema:"the name that contributors are listed by"`
	// ID stays the same when the name changes.
	ID string `json:"id,omitempty" jsonschema:"an identifier that stays the same when the name changes"`
}

// Group is a list of people.
type Group struct {
	Source Position `json:"-"`

	Name    string   `json:"name" jsonschema:"the name that profiles refer to"`
	Members []string `json:"members" jsonschema:"names of users"`
}

// Profile is one profile that is to be there.
type Profile struct {
	Source Position `json:"-"`

	Name string `json:"name" jsonschema:"name of the Profile and of its namespace"`
	// Owner is the subject that the namespace belongs to. Only an overlay leaves it out.
	Owner *Owner `json:"owner" jsonschema:"whom the namespace belongs to"`
	// Resources is the quota. Nil leaves the one that is there alone; an empty one takes it away.
	Resources *Resources `json:"resources,omitempty" jsonschema:"the quota; left out, the one that is there stays, and {} takes it away"`
	// Contributors are the people with access besides the owner. Nil in an overlay leaves those of the base.
	Contributors []Contributor `json:"contributors,omitempty" jsonschema:"the people with access besides the owner"`

	Groups            []GroupGrant      `json:"groups,omitempty" jsonschema:"groups with access"`
	Labels            map[string]string `json:"labels,omitempty" jsonschema:"labels of the Profile"`
	Annotations       map[string]string `json:"annotations,omitempty" jsonschema:"annotations of the Profile"`
	Class             string            `json:"class,omitempty" jsonschema:"the ProfileClass"`
	Plugins           []Plugin          `json:"plugins,omitempty" jsonschema:"bindings to cloud identities; left out, those that are there stay"`
	ContributorPolicy ContributorPolicy `json:"contributorPolicy,omitempty" jsonschema:"what becomes of contributors who are not listed"`
	// Remove, in an overlay, takes the profile out of the list.
	Remove bool `json:"remove,omitempty" jsonschema:"in an overlay: takes the profile out of the list"`
}

// Owner is the subject that a profile belongs to.
type Owner struct {
	Source Position `json:"-"`

	Kind OwnerKind `json:"kind" jsonschema:"User, Group or ServiceAccount; github-profiles-automator takes no Group"`
	Name string    `json:"name" jsonschema:"name of the user, group or service account"`
	// Namespace is that of a service account; left out, it is the profile's own.
	Namespace string `json:"namespace,omitempty" jsonschema:"namespace of a ServiceAccount; left out, the profile's own"`
}

// Contributor is a user with access to a profile.
type Contributor struct {
	Source Position `json:"-"`

	Name string `json:"name" jsonschema:"name of the user, such as an e-mail address"`
	Role Role   `json:"role" jsonschema:"admin, edit or view"`
	// ClassRole is a role of the profile's class, which is given instead of Role.
	ClassRole string `json:"classRole,omitempty" jsonschema:"a role of the profile's class, given instead of role"`
	// ID stays the same when the name changes.
	ID string `json:"id,omitempty" jsonschema:"an identifier that stays the same when the name changes"`
	// Expires is when the access ends by itself. A date ends with its day, in UTC.
	Expires *Expiry `json:"expires,omitempty" jsonschema:"when the access ends: a date, whose end is meant in UTC, or an RFC 3339 time"`
	Reason  string  `json:"reason,omitempty" jsonschema:"why, such as a ticket"`
}

// GroupGrant is a group with access to a profile: one of Document.Groups, whose members get it, or else one that the
// identity provider knows.
type GroupGrant struct {
	Source Position `json:"-"`

	Name    string  `json:"name" jsonschema:"a group of this list, whose members get access, or one of the identity provider"`
	Role    string  `json:"role" jsonschema:"admin, edit, view or a role of the profile's class"`
	Expires *Expiry `json:"expires,omitempty" jsonschema:"when the access ends: a date, whose end is meant in UTC, or an RFC 3339 time"`
	Reason  string  `json:"reason,omitempty" jsonschema:"why, such as a ticket"`
}

// Resources is the spec of a ResourceQuota. It has no further fields: github-profiles-automator refuses those.
type Resources struct {
	Source Position `json:"-"`

	Hard          map[string]Quantity `json:"hard,omitempty" jsonschema:"the limit of each resource, such as requests.cpu: '50'"`
	Scopes        []string            `json:"scopes,omitempty" jsonschema:"scopes that a pod must match to count"`
	ScopeSelector *ScopeSelector      `json:"scopeSelector,omitempty" jsonschema:"scopes with operators and values"`
}

// ScopeSelector selects pods by scope.
type ScopeSelector struct {
	MatchExpressions []ScopeExpression `json:"matchExpressions" jsonschema:"all of which a pod must match to count"`
}

// ScopeExpression is one expression of a ScopeSelector.
type ScopeExpression struct {
	Source Position `json:"-"`

	Operator  ScopeOperator `json:"operator" jsonschema:"In, NotIn, Exists or DoesNotExist"`
	ScopeName string        `json:"scopeName" jsonschema:"name of the scope, such as PriorityClass"`
	Values    []string      `json:"values,omitempty" jsonschema:"values of the scope, for In and NotIn"`
}

// Plugin binds a profile to an identity outside the cluster.
type Plugin struct {
	Source Position `json:"-"`

	Kind string         `json:"kind" jsonschema:"WorkloadIdentity or AwsIamForServiceAccount"`
	Spec map[string]any `json:"spec,omitempty" jsonschema:"settings of the plugin"`
}

// Quantity is a Kubernetes quantity, as text.
type Quantity string

// Expiry is a moment at which access ends.
type Expiry time.Time

// OwnerKind is the kind of an owner.
type OwnerKind string

// Role is a role of a contributor that every class has.
type Role string

// ScopeOperator is an operator of a ScopeExpression.
type ScopeOperator string

// ContributorPolicy is what becomes of contributors who are not listed.
type ContributorPolicy string

const (
	// Authoritative takes away what is not listed.
	Authoritative ContributorPolicy = "Authoritative"
	// Additive leaves contributors alone that others added.
	Additive ContributorPolicy = "Additive"
)

// Values are the allowed kinds.
func (OwnerKind) Values() []string { return []string{"User", "Group", "ServiceAccount"} }

// Values are the allowed roles.
func (Role) Values() []string { return []string{"admin", "edit", "view"} }

// Values are the allowed operators.
func (ScopeOperator) Values() []string { return []string{"In", "NotIn", "Exists", "DoesNotExist"} }

// Values are the allowed policies.
func (ContributorPolicy) Values() []string {
	return []string{string(Authoritative), string(Additive)}
}

// IsZero says whether there is no end.
func (e *Expiry) IsZero() bool { return e == nil || time.Time(*e).IsZero() }

// Time is the moment, or the zero time where there is no end.
func (e *Expiry) Time() time.Time {
	if e == nil {
		return time.Time{}
	}
	return time.Time(*e)
}
