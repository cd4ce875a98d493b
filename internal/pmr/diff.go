// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/identity"
	"berth.dev/berth/internal/render"
)

// Rules are how a list is compared with a cluster.
type Rules struct {
	// Sync is the name of the sync, by which it knows what is its own.
	Sync string
	// Now decides what is over.
	Now time.Time
	// ConfigOf is the configuration for profiles of a class, empty for the default one: it has the roles.
	ConfigOf func(class string) render.Config
	// Reserved are names that no profile may have, besides those of the platform.
	Reserved []string
	// Contributors is the policy for profiles of which the list has none; Authoritative where it is empty.
	Contributors ContributorPolicy
	// AdoptAnnotated adopts of the profiles that are there only those annotated for it, and not all that are listed.
	AdoptAnnotated bool
	// AllStale takes every profile that is not listed for stale, as github-profiles-automator does, and not only those
	// that the sync made or adopted.
	AllStale bool
	// ReportDrift leaves what was changed by hand as it is.
	ReportDrift bool
	Stale       StaleRules
	Limits      Limits
	// Settled may remember what was compared before. It changes how long it takes, and nothing of the plan.
	Settled *Settled
}

// Diff plans what makes have equal to want. The same values make the same plan.
func Diff(want Want, have Have, rules Rules) Plan {
	d := differ{rules: rules, plan: Plan{Profiles: len(want.Profiles)}}
	for _, name := range slices.Sorted(maps.Keys(want.Profiles)) {
		if rules.Settled != nil {
			rules.Settled.profile(&d, want.Profiles[name], have.Profiles[name], have)
			continue
		}
		d.profile(want.Profiles[name], have.Profiles[name], have)
	}
	for _, name := range slices.Sorted(maps.Keys(have.Profiles)) {
		if _, listed := want.Profiles[name]; !listed {
			d.unlisted(have.Profiles[name])
		}
	}
	rules.Limits.hold(&d.plan, d.managed)
	return d.plan
}

// differ collects a plan.
type differ struct {
	rules Rules
	plan  Plan
	// managed counts what there is to lose.
	managed managed
}

// managed counts what a sync has under it, as it is.
type managed struct{ profiles, contributors int }

func (d *differ) add(a Action) {
	d.plan.Actions = append(d.plan.Actions, a)
}

func (d *differ) problem(profile, reason, format string, args ...any) {
	d.plan.Problems = append(d.plan.Problems, Problem{Profile: profile, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

func (d *differ) exceeded(format string, args ...any) {
	d.plan.Exceeded = append(d.plan.Exceeded, fmt.Sprintf(format, args...))
}

// configOf is the configuration for the class that w has.
func (d *differ) configOf(w *WantProfile) render.Config {
	return d.rules.ConfigOf(w.Labels[berthv1alpha1.ClassLabel])
}

// later makes moment the next at which something is to be done, if it is the first.
func (d *differ) later(moment time.Time) {
	if moment.After(d.rules.Now) && (d.plan.Next.IsZero() || moment.Before(d.plan.Next)) {
		d.plan.Next = moment
	}
}

// profile compares one that is listed. h is nil where it is not there.
func (d *differ) profile(w *WantProfile, h *HaveProfile, have Have) {
	d.plan.Contributors += len(w.Grants)
	target, state := d.target(w, h)
	namespace := have.Namespaces[w.Name]
	if h != nil {
		namespace = h.Namespace
	}
	if claim := render.ClaimNamespace(target, namespace, d.rules.Reserved); !claim.Allowed() {
		d.problem(w.Name, claim.Problem.Reason, "%s", claim.Problem.Message)
		return
	}
	if problem := render.OwnerProblem(w.Owner); problem != nil {
		d.problem(w.Name, problem.Reason, "%s", problem.Message)
		return
	}
	if h == nil {
		d.create(w, target)
		return
	}
	if !d.mayManage(w, h) {
		return
	}
	d.managed.profiles++
	first := len(d.plan.Actions)
	d.change(w, h, target)
	d.holdAdmins(w, h, state.Admins, first)
	if d.rules.ReportDrift {
		d.drift(w, h, target, first)
	}
}

// drift marks the actions from first on as drift, if the list asks for what the profile was in line with already. When it
// is in line with something new, that is noted.
func (d *differ) drift(w *WantProfile, h *HaveProfile, target *kubeflowv1.Profile, first int) {
	state := StateOf(h.Profile)
	begins := slices.ContainsFunc(d.plan.Actions[first:], func(a Action) bool { return a.Type == AdoptProfile || a.Type == RestoreProfile })
	if state.Want == w.hash() && !begins {
		for i := first; i < len(d.plan.Actions); i++ {
			d.plan.Actions[i].Drift = !d.plan.Actions[i].expired
		}
		return
	}
	if len(d.plan.Actions) == first {
		state.Want = w.hash()
		target.Annotations[berthv1alpha1.SyncStateAnnotation] = state.Encode()
		d.add(Action{Type: UpdateRecord, Profile: w.Name, Risk: LowRisk, Reason: "it is in line with the list", Position: &w.Source, Target: target})
	}
}

// mayManage says whether the sync may change a profile that is there.
func (d *differ) mayManage(w *WantProfile, h *HaveProfile) bool {
	switch owner := h.sync(); {
	case !h.Profile.DeletionTimestamp.IsZero():
		d.problem(w.Name, ReasonBeingDeleted, "the profile %q is being deleted: it is made anew when it is gone", w.Name)
		return false
	case owner == d.rules.Sync:
		return true
	case h.Profile.Annotations[berthv1alpha1.AdoptBySyncAnnotation] == d.rules.Sync:
		return true // an administrator says so, of another sync's, too
	case owner != "":
		d.problem(w.Name, ReasonOtherSync, "the profile %q belongs to the ProfileSync %q: take it out of one of the two lists, or, if it is to be this one's, "+
			"run: kubectl annotate profiles.kubeflow.org %s %s=%s", w.Name, owner, w.Name, berthv1alpha1.AdoptBySyncAnnotation, d.rules.Sync)
		return false
	case d.rules.AdoptAnnotated:
		d.problem(w.Name, ReasonNotAdopted, "the profile %q was not made by this ProfileSync; if it is to be kept equal to the list, run: "+
			"kubectl annotate profiles.kubeflow.org %s %s=%s", w.Name, w.Name, berthv1alpha1.AdoptBySyncAnnotation, d.rules.Sync)
		return false
	}
	return true
}

// Reasons why something of a list is not done, besides those of conditions of Profiles.
const (
	ReasonBeingDeleted   = "BeingDeleted"
	ReasonOtherSync      = "OtherSync"
	ReasonNotAdopted     = "NotAdopted"
	ReasonRoleUnknown    = "RoleUnknown"
	ReasonSubjectInvalid = "SubjectInvalid"
)

// target is the Profile as w wants it, and what the sync notes of it. What w does not speak of is as it is.
func (d *differ) target(w *WantProfile, h *HaveProfile) (*kubeflowv1.Profile, State) {
	p := &kubeflowv1.Profile{
		TypeMeta:   metav1.TypeMeta{APIVersion: kubeflowv1.GroupVersion.String(), Kind: "Profile"},
		ObjectMeta: metav1.ObjectMeta{Name: w.Name},
	}
	var state State
	if h != nil {
		p = h.Profile.DeepCopy()
		state = StateOf(p)
	}
	p.Spec.Owner = w.Owner
	if w.Quota != nil {
		p.Spec.ResourceQuotaSpec = *w.Quota
	} else if restored := SnapshotOf(p); restored != nil && restored.Quota != nil {
		p.Spec.ResourceQuotaSpec = *restored.Quota
	}
	if w.Plugins != nil {
		p.Spec.Plugins = w.Plugins
	}
	p.Labels = withKeys(p.Labels, state.Labels, w.Labels)
	p.Annotations = withKeys(p.Annotations, state.Annotations, w.Annotations)
	for _, key := range []string{berthv1alpha1.StaleAnnotation, berthv1alpha1.SnapshotAnnotation, berthv1alpha1.ApproveDeletionAnnotation} {
		delete(p.Annotations, key)
	}
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	p.Labels[berthv1alpha1.SyncLabel] = d.rules.Sync
	state.Labels, state.Annotations = sorted(slices.Collect(maps.Keys(w.Labels))), sorted(slices.Collect(maps.Keys(w.Annotations)))
	state.Admins = d.approvedAdmins(w, h, state.Admins)
	p.Annotations[berthv1alpha1.SyncStateAnnotation] = state.Encode()
	return p, state
}

// withKeys is live without the keys that the list had set before, and with those that it sets.
func withKeys(live map[string]string, before []string, want map[string]string) map[string]string {
	out := maps.Clone(live)
	for _, key := range before {
		delete(out, key)
	}
	return united(out, want)
}

// create plans a profile that is not there. All admins it begins with are approved: there is nothing in it yet.
func (d *differ) create(w *WantProfile, target *kubeflowv1.Profile) {
	d.add(Action{
		Type: CreateProfile, Profile: w.Name, Subject: &w.Owner, To: quotaText(target.Spec.ResourceQuotaSpec),
		Risk: LowRisk, Reason: "it is listed and not there", Position: &w.Source, Target: target,
	})
	d.access(w, &HaveProfile{Profile: target})
}

// change plans what differs in a profile that is there.
func (d *differ) change(w *WantProfile, h *HaveProfile, target *kubeflowv1.Profile) {
	live := h.Profile
	action := func(kind ActionType, risk Risk, from, to, reason string) *Action {
		d.add(Action{Type: kind, Profile: w.Name, From: from, To: to, Risk: risk, Reason: reason, Position: &w.Source, Target: target})
		return &d.plan.Actions[len(d.plan.Actions)-1]
	}
	if h.sync() != d.rules.Sync {
		action(AdoptProfile, LowRisk, "", "", "it is listed, and was made by others")
	}
	quota := live.Spec.ResourceQuotaSpec
	_, stale := live.Annotations[berthv1alpha1.StaleAnnotation]
	if _, unfinished := live.Annotations[berthv1alpha1.SnapshotAnnotation]; stale || unfinished {
		action(RestoreProfile, LowRisk, "", "", "it is listed again")
		if saved := SnapshotOf(live); saved != nil && saved.Quota != nil {
			quota = *saved.Quota
		}
	}
	if live.Spec.Owner.Kind != w.Owner.Kind || live.Spec.Owner.Name != w.Owner.Name || live.Spec.Owner.Namespace != w.Owner.Namespace {
		a := action(ChangeOwner, HighRisk, ownerText(live.Spec.Owner), ownerText(w.Owner), "the list has another owner")
		a.Subject = &w.Owner
	}
	if w.Quota != nil && !sameQuota(quota, *w.Quota) {
		action(ChangeQuota, LowRisk, quotaText(quota), quotaText(*w.Quota), "the list has another quota")
	}
	if from, to := changedKeys(live, target); from != to {
		action(ChangeMetadata, LowRisk, from, to, "the list has other labels or annotations")
	}
	if w.Plugins != nil && !samePlugins(live.Spec.Plugins, w.Plugins) {
		action(ChangePlugins, HighRisk, pluginText(live.Spec.Plugins), pluginText(w.Plugins), "the list has other plugins")
	}
	if h.sync() == d.rules.Sync && live.Annotations[berthv1alpha1.SyncStateAnnotation] != target.Annotations[berthv1alpha1.SyncStateAnnotation] {
		action(UpdateRecord, LowRisk, "", "", "what the sync notes of it has changed")
	}
	d.access(w, h)
}

// changedKeys are the labels and annotations that differ, as they are and as they are to be. What a sync notes for itself
// is written with the action that it belongs to.
func changedKeys(live, target *kubeflowv1.Profile) (from, to string) {
	var before, after []string
	compare := func(prefix string, was, is map[string]string) {
		keys := united(maps.Clone(was), is)
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			if strings.HasPrefix(key, berthv1alpha1.SyncPrefix) || was[key] == is[key] {
				continue
			}
			before, after = append(before, prefix+key+"="+was[key]), append(after, prefix+key+"="+is[key])
		}
	}
	compare("", live.Labels, target.Labels)
	compare("annotation ", live.Annotations, target.Annotations)
	return strings.Join(before, ", "), strings.Join(after, ", ")
}

func ownerText(s rbacv1.Subject) string {
	if s.Kind == rbacv1.ServiceAccountKind {
		return s.Kind + " " + s.Namespace + "/" + s.Name
	}
	return s.Kind + " " + s.Name
}

func pluginText(plugins []kubeflowv1.Plugin) string {
	var parts []string
	for _, p := range plugins {
		parts = append(parts, p.Kind+" "+string(specOf(p)))
	}
	return cmp.Or(strings.Join(parts, ", "), "none")
}

// hash is of what is asked for, not of where it is written.
func (w *WantProfile) hash() string {
	plain := *w
	plain.Source = Position{}
	data, err := json.Marshal(plain)
	if err != nil {
		panic(err) // it was read from YAML
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// adminHash names an approved admin in a Profile's annotation, in few bytes.
func adminHash(subject rbacv1.Subject) string {
	sum := sha256.Sum256([]byte(identity.Key(subject)))
	return hex.EncodeToString(sum[:6])
}
