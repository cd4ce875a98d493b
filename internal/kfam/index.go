// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/identity"
	"berth.dev/berth/internal/render"
)

// index answers every read from memory: who has access where. It is kept current by watches (see watch.go).
type index struct {
	mu sync.RWMutex
	// spaces are the namespaces with anything in them that matters, by name.
	spaces map[string]*space
	// profiles are the names of all profiles, sorted; nil when they have to be sorted anew.
	profiles []string
	// annotated and subjects find namespaces: by the annotation user of a binding, and by the key of a subject of any
	// binding, which is what gives access. The number is that of bindings.
	annotated, subjects map[string]map[string]int
	// found are the rows that are annotated with a user, of those users who were asked about since they last changed, in
	// the order of their namespaces. Profiles come and go without them, so none is set.
	found map[string][]rowsIn
	// rights are who may create RoleBindings.
	rights rights
	// newest is the newest version of a RoleBinding that was taken in.
	newest version
	// news is closed and replaced whenever something was taken in, if somebody waits for it.
	news    chan struct{}
	waiting int
}

// space is what is known about one namespace.
type space struct {
	profile   *kubeflowv1.Profile
	namespace *corev1.Namespace
	bindings  map[string]*rbacv1.RoleBinding
	// rows are what clients are told, in order. They are replaced, never changed, so that they can be read unlocked.
	rows []row
}

func newIndex() *index {
	return &index{
		spaces:    map[string]*space{},
		annotated: map[string]map[string]int{},
		subjects:  map[string]map[string]int{},
		found:     map[string][]rowsIn{},
		rights:    newRights(),
		news:      make(chan struct{}),
	}
}

// change has f change the space of that name.
func (x *index) change(name string, f func(*space)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.spaces[name]
	if s == nil {
		s = &space{bindings: map[string]*rbacv1.RoleBinding{}}
		x.spaces[name] = s
	}
	hadProfile := s.profile != nil
	f(s)
	if hadProfile != (s.profile != nil) {
		x.profiles = nil
	}
	if s.profile == nil && s.namespace == nil && len(s.bindings) == 0 {
		delete(x.spaces, name)
	}
	if x.waiting > 0 {
		close(x.news)
		x.news = make(chan struct{})
	}
}

func (x *index) setProfile(p *kubeflowv1.Profile) {
	x.change(p.Name, func(s *space) { s.profile = p })
}

func (x *index) deleteProfile(name string) {
	x.change(name, func(s *space) { s.profile = nil })
}

func (x *index) setNamespace(ns *corev1.Namespace) {
	x.change(ns.Name, func(s *space) { s.namespace = ns })
}

func (x *index) deleteNamespace(name string) {
	x.change(name, func(s *space) { s.namespace = nil })
}

// setBinding takes in a RoleBinding, new or changed.
func (x *index) setBinding(binding *rbacv1.RoleBinding) {
	x.change(binding.Namespace, func(s *space) {
		x.count(s.bindings[binding.Name], -1)
		s.bindings[binding.Name] = binding
		x.count(binding, 1)
		s.rows = rowsOf(s.bindings)
		x.newest.advance(binding.ResourceVersion)
	})
}

// deleteBinding takes in that a RoleBinding is gone, of which gone is the last version.
func (x *index) deleteBinding(gone *rbacv1.RoleBinding) {
	x.change(gone.Namespace, func(s *space) {
		x.count(s.bindings[gone.Name], -1)
		delete(s.bindings, gone.Name)
		s.rows = rowsOf(s.bindings)
		x.newest.advance(gone.ResourceVersion)
	})
}

// count adds binding, if there is one, to what finds it, or takes it out again.
func (x *index) count(binding *rbacv1.RoleBinding, by int) {
	if binding == nil {
		return
	}
	if user, found := binding.Annotations[kubeflowv1.UserAnnotation]; found {
		delete(x.found, user)
		add(x.annotated, user, binding.Namespace, by)
	}
	for _, subject := range binding.Subjects {
		add(x.subjects, identity.Key(subject), binding.Namespace, by)
	}
}

func add(to map[string]map[string]int, key, namespace string, by int) {
	if to[key] == nil {
		to[key] = map[string]int{}
	}
	if to[key][namespace] += by; to[key][namespace] <= 0 {
		delete(to[key], namespace)
	}
	if len(to[key]) == 0 {
		delete(to, key)
	}
}

// profileNames are the names of all profiles, sorted.
func (x *index) profileNames() []string {
	x.mu.RLock()
	names := x.profiles
	x.mu.RUnlock()
	if names != nil {
		return names
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.profiles == nil {
		x.profiles = []string{}
		for name, s := range x.spaces {
			if s.profile != nil {
				x.profiles = append(x.profiles, name)
			}
		}
		slices.Sort(x.profiles)
	}
	return x.profiles
}

// rowsIn are the entries of one namespace.
type rowsIn struct {
	namespace string
	profile   *kubeflowv1.Profile // nil where there is none
	rows      []row
}

// rows are those of the namespaces, in that order. Where profilesOnly is set, a namespace without a profile has none.
func (x *index) rows(namespaces []string, profilesOnly bool) []rowsIn {
	x.mu.RLock()
	defer x.mu.RUnlock()
	all := make([]rowsIn, 0, len(namespaces))
	for _, name := range namespaces {
		if s := x.spaces[name]; s != nil && len(s.rows) > 0 && (s.profile != nil || !profilesOnly) {
			all = append(all, rowsIn{name, s.profile, s.rows})
		}
	}
	return all
}

// rowsOfUser are those annotated with user, sorted by namespace. A namespace without a profile has none.
func (x *index) rowsOfUser(user string) []rowsIn {
	x.mu.RLock()
	found, known := x.found[user]
	_, anywhere := x.annotated[user]
	all := x.withProfiles(found)
	x.mu.RUnlock()
	if known || !anywhere {
		return all
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, anywhere = x.annotated[user]; !anywhere {
		return nil // the user went while nobody held the lock
	}
	x.found[user] = x.find(user)
	return x.withProfiles(x.found[user])
}

// find looks up what belongs into found. It is called with the lock held, as is withProfiles.
func (x *index) find(user string) []rowsIn {
	var found []rowsIn
	for _, name := range slices.Sorted(maps.Keys(x.annotated[user])) {
		in := rowsIn{namespace: name}
		for _, row := range x.spaces[name].rows {
			if row.user == user {
				in.rows = append(in.rows, row)
			}
		}
		if len(in.rows) > 0 {
			found = append(found, in)
		}
	}
	return found
}

// withProfiles are those of found that are in a profile now, with it.
func (x *index) withProfiles(found []rowsIn) []rowsIn {
	all := make([]rowsIn, 0, len(found))
	for _, in := range found {
		if p := x.spaces[in.namespace].owner(); p != nil {
			all = append(all, rowsIn{in.namespace, p, in.rows})
		}
	}
	return all
}

// reach are the namespaces in which u has any access.
func (x *index) reach(u identity.User) map[string]bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	reached := map[string]bool{}
	for _, key := range u.Keys() {
		for namespace := range x.subjects[key] {
			reached[namespace] = true
		}
	}
	return reached
}

// profile returns the profile of that name, or nil.
func (x *index) profile(name string) *kubeflowv1.Profile {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.spaces[name].owner()
}

// owner is the profile of a namespace, or nil.
func (s *space) owner() *kubeflowv1.Profile {
	if s == nil {
		return nil
	}
	return s.profile
}

// holds says whether p has its namespace, and that is not going.
func (x *index) holds(p *kubeflowv1.Profile) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	s := x.spaces[p.Name]
	return s != nil && s.namespace != nil && s.namespace.DeletionTimestamp.IsZero() && render.Holds(p, s.namespace)
}

// held says whether the namespace was some profile's that is gone: what Berth or Kubeflow made it with is left.
func (x *index) held(name string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	s := x.spaces[name]
	if s == nil || s.namespace == nil {
		return false
	}
	_, made := s.namespace.Annotations[kubeflowv1.MadeForAnnotation]
	_, adopted := s.namespace.Annotations[kubeflowv1.AdoptedByAnnotation]
	return made || adopted || s.bindings[render.OwnerBindingName] != nil ||
		slices.ContainsFunc(s.namespace.OwnerReferences, func(ref metav1.OwnerReference) bool {
			return ref.Kind == "Profile" && strings.HasPrefix(ref.APIVersion, kubeflowv1.GroupVersion.Group+"/")
		})
}

// contributorBindings are the bindings of contributors in the namespace, sorted by name.
func (x *index) contributorBindings(namespace string) []*rbacv1.RoleBinding {
	x.mu.RLock()
	defer x.mu.RUnlock()
	s := x.spaces[namespace]
	if s == nil {
		return nil
	}
	var bindings []*rbacv1.RoleBinding
	for _, name := range slices.Sorted(maps.Keys(s.bindings)) {
		if binding := s.bindings[name]; render.IsContributorBinding(binding) && binding.DeletionTimestamp.IsZero() {
			bindings = append(bindings, binding)
		}
	}
	return bindings
}

// patience is how long a write that has been made is waited for. The watch is usually there in milliseconds; while it is
// broken, reads are behind, but the write is made all the same.
const patience = 2 * time.Second

// await returns when condition holds, which is asked whenever something was taken in: whoever wrote something is to find
// it in the next read.
func (x *index) await(ctx context.Context, condition func(*index) bool) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	x.mu.Lock()
	x.waiting++
	x.mu.Unlock()
	defer func() {
		x.mu.Lock()
		x.waiting--
		x.mu.Unlock()
	}()
	for {
		x.mu.RLock()
		holds, news := condition(x), x.news
		x.mu.RUnlock()
		if holds {
			return
		}
		select {
		case <-news:
		case <-ctx.Done():
			return
		}
	}
}

// awaitWritten returns when the index has the binding as it was written, or something newer.
func (x *index) awaitWritten(ctx context.Context, written *rbacv1.RoleBinding) {
	x.await(ctx, func(x *index) bool { return x.newest.includes(written.ResourceVersion) })
}

// awaitGone returns when the index knows that all those bindings are gone.
func (x *index) awaitGone(ctx context.Context, gone []*rbacv1.RoleBinding) {
	x.await(ctx, func(x *index) bool {
		return !slices.ContainsFunc(gone, func(b *rbacv1.RoleBinding) bool {
			s := x.spaces[b.Namespace]
			return s != nil && s.bindings[b.Name] != nil && s.bindings[b.Name].UID == b.UID
		})
	})
}
