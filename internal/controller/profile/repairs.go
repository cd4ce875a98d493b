// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/render"
)

const (
	// repairBurst repairs of one profile are made at once.
	repairBurst = 10
	// repairEvery is the pace after that, for somebody who keeps deleting what we keep making.
	repairEvery = 5 * time.Second
)

// repairs tells drift from work that was asked for, and paces whatever is done again although nobody asked for
// anything new, so that one tenant who undoes our work in a loop can't occupy the controller or the API server.
type repairs struct {
	now func() time.Time

	mu       sync.Mutex
	profiles map[types.UID]*repairState
}

type repairState struct {
	// labels, mesh, generation and class are those for which the profile was last worked on.
	labels     map[string]string
	mesh       render.MeshKinds
	generation int64
	class      string
	// complete means that everything was in place with them.
	complete bool
	limiter  *rate.Limiter
}

func newRepairs(now func() time.Time) *repairs {
	return &repairs{now: now, profiles: map[types.UID]*repairState{}}
}

// asked returns the state of p if what is asked for is still what was worked on last, and nil otherwise. At the first
// look after a start, nobody can say what has changed since: the configuration may have.
func (r *repairs) asked(p *kubeflowv1.Profile, in render.Input) *repairState {
	state := r.profiles[p.UID]
	if state == nil || state.generation != p.Generation || state.mesh != in.Mesh || state.class != askedOfClass(p, in) ||
		!maps.Equal(state.labels, in.Config.NamespaceLabels) {
		return nil
	}
	return state
}

// askedOfClass is all that a class is asked for: what is done after it changed is no repair.
func askedOfClass(p *kubeflowv1.Profile, in render.Input) string {
	if in.Class.Name == "" {
		return ""
	}
	return fmt.Sprint(in.Class.Name, in.Class.Generation, in.Class.Unknown, render.BreakGlass(p) != "",
		p.Labels[berthv1alpha1.KeepUserTokenLabel], slices.Sorted(slices.Values(in.InferenceServices)))
}

// occasion says why so many writes are due for p.
func (r *repairs) occasion(p *kubeflowv1.Profile, in render.Input, writes int) status.Occasion {
	if writes == 0 {
		return status.Changed
	}
	if ready := meta.FindStatusCondition(p.Status.Conditions, kubeflowv1.ConditionReady); ready == nil ||
		(ready.Status != metav1.ConditionTrue && ready.Reason == kubeflowv1.ReasonProgressing) {
		return status.New
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if state := r.asked(p, in); state != nil && state.complete {
		return status.Drift
	}
	return status.Changed
}

// pause is how long to wait before so many writes are made for p.
func (r *repairs) pause(p *kubeflowv1.Profile, in render.Input, occasion status.Occasion, writes int) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	state := r.asked(p, in)
	if state == nil || occasion == status.New || writes == 0 {
		return 0
	}
	if state.limiter == nil {
		state.limiter = rate.NewLimiter(rate.Every(repairEvery), repairBurst)
	}
	reservation := state.limiter.ReserveN(r.now(), 1)
	wait := reservation.DelayFrom(r.now())
	if wait > 0 {
		reservation.CancelAt(r.now()) // the next look asks again
	}
	return wait
}

// worked remembers that p was worked on as it is now, and whether everything is in place.
func (r *repairs) worked(p *kubeflowv1.Profile, in render.Input, complete bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if state := r.asked(p, in); state != nil {
		state.complete = state.complete || complete
		return
	}
	state := r.profiles[p.UID]
	if state == nil {
		state = &repairState{}
		r.profiles[p.UID] = state
	}
	state.generation, state.labels, state.mesh, state.complete = p.Generation, in.Config.NamespaceLabels, in.Mesh, complete
	state.class = askedOfClass(p, in)
}

// forget drops what is known about a profile that is gone, or that has no namespace to be kept in order.
func (r *repairs) forget(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.profiles, uid)
}
