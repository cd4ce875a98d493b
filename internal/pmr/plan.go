// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// ActionType is what an action does.
type ActionType string

// Types of actions, in the order in which those of one profile are carried out.
const (
	// CreateProfile makes a profile.
	CreateProfile ActionType = "CreateProfile"
	// AdoptProfile makes a profile that is there the sync's own.
	AdoptProfile ActionType = "AdoptProfile"
	// RestoreProfile undoes what being stale brought about.
	RestoreProfile ActionType = "RestoreProfile"
	// ChangeOwner gives a profile to another owner.
	ChangeOwner ActionType = "ChangeOwner"
	// ChangeQuota changes the quota.
	ChangeQuota ActionType = "ChangeQuota"
	// ChangeMetadata changes labels, among them the class, and annotations.
	ChangeMetadata ActionType = "ChangeMetadata"
	// ChangePlugins changes the bindings to cloud identities.
	ChangePlugins ActionType = "ChangePlugins"
	// UpdateRecord brings up to date what the sync notes of a profile for itself.
	UpdateRecord ActionType = "UpdateRecord"
	// AddContributor gives somebody a role.
	AddContributor ActionType = "AddContributor"
	// ChangeContributor gives somebody another role, or the new name of the same person the same.
	ChangeContributor ActionType = "ChangeContributor"
	// RepairContributor replaces a RoleBinding that says one thing and does another.
	RepairContributor ActionType = "RepairContributor"
	// RemoveContributor takes a role away.
	RemoveContributor ActionType = "RemoveContributor"
	// MarkStale records that a profile is listed no more.
	MarkStale ActionType = "MarkStale"
	// RevokeAccess takes all contributors of a stale profile away, and keeps a snapshot of them.
	RevokeAccess ActionType = "RevokeAccess"
	// Quarantine stops the notebooks of a stale profile and lets no new pod in.
	Quarantine ActionType = "Quarantine"
	// MarkDeletable records that a stale profile may be deleted.
	MarkDeletable ActionType = "MarkDeletable"
	// DeleteProfile deletes a stale profile.
	DeleteProfile ActionType = "DeleteProfile"
)

// Risk is how much an action can do harm.
type Risk string

const (
	// LowRisk can be undone, and takes nobody's access away nor gives more than membership.
	LowRisk Risk = "low"
	// HighRisk is for somebody to look at.
	HighRisk Risk = "high"
)

// Action is one thing to do.
type Action struct {
	Type    ActionType `json:"type"`
	Profile string     `json:"profile"`
	// Subject is whom it is about, for contributors, and the new owner.
	Subject *rbacv1.Subject `json:"subject,omitempty"`
	// Role is the role that is given or taken.
	Role string `json:"role,omitempty"`
	// From and To say what changes, for people.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	Risk Risk   `json:"risk"`
	// Reason says why it is done.
	Reason string `json:"reason"`
	// Held says why it waits for approval; empty where it does not.
	Held string `json:"held,omitempty"`
	// Drift is set where the list did not change, and the cluster did.
	Drift bool `json:"drift,omitempty"`
	// Position is where the list asks for it.
	Position *Position `json:"position,omitempty"`

	// Grant is what is given.
	Grant *Grant `json:"-"`
	// Bindings are RoleBindings that go, after what comes is there, and Policies are AuthorizationPolicies.
	Bindings []*rbacv1.RoleBinding `json:"-"`
	Policies []string              `json:"-"`
	// Target is the Profile as the list wants it.
	Target *kubeflowv1.Profile `json:"-"`
	// expired is set where access ends because its time is over, which the list said before.
	expired bool
}

// Problem is why something of the list is not done.
type Problem struct {
	Profile string `json:"profile"`
	// Reason is one word for conditions.
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Plan is what makes a cluster equal to a list, in order.
type Plan struct {
	Actions  []Action  `json:"actions"`
	Problems []Problem `json:"problems,omitempty"`
	// Exceeded are the limits because of which actions are held.
	Exceeded []string `json:"exceeded,omitempty"`
	// Next is when something is to be done that no change announces, such as the end of somebody's access; zero for never.
	Next time.Time `json:"-"`
	// Profiles and Contributors count what the list asks for.
	Profiles     int `json:"profiles"`
	Contributors int `json:"contributors"`
}

// Held are the actions that wait for the approval of the plan. Deletions are approved one by one, by the profile's name.
func (p *Plan) Held() []Action {
	return slices.DeleteFunc(slices.Clone(p.Actions), func(a Action) bool { return !a.waits() })
}

// waits says whether a is to be done once the plan is approved.
func (a *Action) waits() bool { return a.Held != "" && a.Held != LimitDeletion && !a.Drift }

// Digest names the plan: another one has another digest. Of a plan of which only some actions are held, HeldDigest
// is what is left when the others are done.
func (p *Plan) Digest() string { return digest(p.Actions) }

// HeldDigest names the actions that wait for approval; it is empty where none does.
func (p *Plan) HeldDigest() string {
	held := p.Held()
	if len(held) == 0 {
		return ""
	}
	return digest(held)
}

// digest is over what is done, not over why it is held or where it is written.
func digest(actions []Action) string {
	sum := sha256.New()
	encoder := json.NewEncoder(sum)
	for _, a := range actions {
		var subject rbacv1.Subject
		if a.Subject != nil {
			subject = *a.Subject
		}
		var expires string
		if a.Grant != nil && !a.Grant.Expires.IsZero() {
			expires = a.Grant.Expires.Format(time.RFC3339)
		}
		var names []string
		for _, b := range a.Bindings {
			names = append(names, b.Name)
		}
		// What else a profile begins with is not in From and To.
		var made any
		if a.Type == CreateProfile {
			made = []any{a.Target.Labels, a.Target.Annotations, a.Target.Spec}
		}
		if err := encoder.Encode([]any{
			a.Type, a.Profile, subject.Kind, subject.Namespace, subject.Name, a.Role, a.From, a.To, expires, names, a.Policies, made,
		}); err != nil {
			panic(err) // it was read from YAML, and a hash takes all
		}
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil))
}

// Approves says whether approved names this plan, or all that is held of it.
func (p *Plan) Approves(approved string) bool {
	return approved != "" && (approved == p.Digest() || approved == p.HeldDigest())
}

// Release lets the held actions through.
func (p *Plan) Release() {
	for i := range p.Actions {
		if p.Actions[i].waits() {
			p.Actions[i].Held = ""
		}
	}
}

// Why all actions of a plan are held.
const (
	// HeldByMode: every plan waits for approval.
	HeldByMode = "Mode"
	// HeldByReport: nothing is carried out at all.
	HeldByReport = "ReportOnly"
)

// HoldAll holds all actions. Where they wait for approval, access that was given with an end ends all the same, and what a
// sync notes for itself is noted.
func (p *Plan) HoldAll(why string) {
	for i := range p.Actions {
		a := &p.Actions[i]
		free := why == HeldByMode && (a.expired || a.Type == UpdateRecord)
		if a.Held == "" && !a.Drift && !free {
			a.Held = why
		}
	}
}
