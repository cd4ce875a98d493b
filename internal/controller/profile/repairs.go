// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

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

// repairs tells drift from work that was asked for, and paces the repair of drift, so that one tenant who undoes our
// work in a loop can't occupy the controller or the API server.
type repairs struct {
	now func() time.Time

	mu       sync.Mutex
	profiles map[types.UID]*repairState
}

type repairState struct {
	// labels and generation are those for which the profile was last found or made complete.
	labels     map[string]string
	generation int64
	limiter    *rate.Limiter
}

func newRepairs(now func() time.Time) *repairs {
	return &repairs{now: now, profiles: map[types.UID]*repairState{}}
}

// occasion says why so many writes are due for p.
func (r *repairs) occasion(p *kubeflowv1.Profile, config render.Config, writes int) status.Occasion {
	if writes == 0 {
		return status.Changed
	}
	if ready := meta.FindStatusCondition(p.Status.Conditions, kubeflowv1.ConditionReady); ready == nil ||
		(ready.Status != metav1.ConditionTrue && ready.Reason == kubeflowv1.ReasonProgressing) {
		return status.New
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// At the first look after a start, nobody can say what has changed since: the configuration may have.
	state := r.profiles[p.UID]
	if state == nil || state.generation != p.Generation || !maps.Equal(state.labels, config.NamespaceLabels) {
		return status.Changed
	}
	return status.Drift
}

// pause is how long to wait before repairing p.
func (r *repairs) pause(p *kubeflowv1.Profile, occasion status.Occasion) time.Duration {
	if occasion != status.Drift {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	state := r.profiles[p.UID]
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

// settled remembers that p is complete as it is now.
func (r *repairs) settled(p *kubeflowv1.Profile, config render.Config) {
	r.mu.Lock()
	defer r.mu.Unlock()
	state := r.profiles[p.UID]
	if state == nil {
		state = &repairState{}
		r.profiles[p.UID] = state
	}
	state.generation, state.labels = p.Generation, config.NamespaceLabels
}

// forget drops what is known about a profile that is gone.
func (r *repairs) forget(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.profiles, uid)
}
