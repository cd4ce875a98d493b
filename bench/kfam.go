// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/devcluster"
	"berth.dev/berth/internal/render"
)

// Goals, from the design.
const (
	goalReadP50    = 0.5 // milliseconds
	goalReadP99    = 5.0 // milliseconds
	goalReadAll    = 40.0
	goalWrites     = 0.85 // of the raw rate
	goalKFAMMemory = 200  // MB
)

const (
	// contributorsEach is how many contributors a profile has, besides its owner.
	contributorsEach = 10
	// clients is how many clients the access-management API has at once.
	clients = 8
	// reads is how many reads of a kind are measured, and allReads how many of everything.
	reads, allReads = 8000, 50
)

// measureKFAM is the part about the access-management API.
func (b *bench) measureKFAM(ctx context.Context) error {
	profiles := names("team", b.options.profiles)
	if _, err := b.start(ctx); err != nil {
		return err
	}
	if _, err := b.create(ctx, profiles); err != nil {
		return err
	}
	if err := b.invite(ctx, profiles); err != nil {
		return err
	}
	if _, err := b.rest(ctx); err != nil {
		return err
	}
	api, err := startKFAM(ctx, b.options, b.plane)
	if err != nil {
		return err
	}
	defer api.stop()
	if err := api.awaitReady(ctx); err != nil {
		return err
	}
	for _, stage := range []func(context.Context, *kfamAPI, []string) error{b.readKFAM, b.writeKFAM} {
		if err := stage(ctx, api, profiles); err != nil {
			return err
		}
	}
	now, most, err := resident(ctx, api.cmd.Process.Pid)
	memory := figure{What: "memory", Value: now, Unit: "MB", Note: fmt.Sprintf("at most %s MB since it started", number(most))}.atMost(goalKFAMMemory)
	b.report.add("access-management API, afterwards", memory)
	if err != nil {
		return err
	}
	return b.comparePolicies(profiles)
}

// invite gives every profile its contributors, as the API would, but without it.
func (b *bench) invite(ctx context.Context, profiles []string) error {
	say("inviting %d contributors to each of %d profiles", contributorsEach, len(profiles))
	return inParallel(ctx, slices.Collect(numbers(len(profiles))), func(ctx context.Context, i int) error {
		p, err := b.live(ctx, profiles[i])
		if err != nil {
			return err
		}
		for j := range contributorsEach {
			for _, obj := range b.pair(p, contributor((i+j*len(profiles)/contributorsEach)%len(profiles), render.Roles[j%3])) {
				if err := b.client.Create(ctx, obj); err != nil {
					return fmt.Errorf("invite a contributor: %w", err)
				}
			}
		}
		return nil
	})
}

func (b *bench) live(ctx context.Context, name string) (*kubeflowv1.Profile, error) {
	p := &kubeflowv1.Profile{}
	if err := b.client.Get(ctx, client.ObjectKey{Name: name}, p); err != nil {
		return nil, fmt.Errorf("read profile %q: %w", name, err)
	}
	return p, nil
}

// contributor is one of as many people as there are profiles, so that each is in ten of them.
func contributor(i int, role string) render.Contributor {
	return render.Contributor{Role: role, Subject: rbacv1.Subject{Kind: rbacv1.UserKind, Name: person(i)}}
}

func person(i int) string { return fmt.Sprintf("person-%05d@example.com", i) }

// pair are the two objects of a contributor.
func (b *bench) pair(p *kubeflowv1.Profile, c render.Contributor) []client.Object {
	binding := render.ContributorBinding(p, b.config, c, render.BindingNames(c)[0]).Resource
	role, ok := binding.(*rbacv1.RoleBinding)
	if !ok {
		return nil
	}
	policy, _ := render.ContributorPolicy(p, b.config, role)
	return []client.Object{binding, policy.Resource}
}

// comparePolicies shows what the mesh has to digest with a policy for each contributor, and with one for each namespace.
func (b *bench) comparePolicies(profiles []string) error {
	for _, mode := range []render.ContributorPolicies{render.PolicyPerContributor, render.PolicyAggregated} {
		config := b.config
		config.ContributorPolicies = mode
		objects, bytes := 0, 0
		for i, name := range profiles {
			p := profile(name)
			p.UID = b.first.UID
			var bindings []*rbacv1.RoleBinding
			for j := range contributorsEach {
				c := contributor((i+j)%len(profiles), render.Roles[j%3])
				if binding, ok := render.ContributorBinding(p, b.config, c, render.BindingNames(c)[0]).Resource.(*rbacv1.RoleBinding); ok {
					bindings = append(bindings, binding)
				}
			}
			for _, policy := range render.Contributors(p, config, false, bindings, nil).Objects {
				data, err := json.Marshal(policy.Resource)
				if err != nil {
					return fmt.Errorf("encode a policy: %w", err)
				}
				objects++
				bytes += len(data)
			}
		}
		b.report.add(fmt.Sprintf("policies of %d profiles with %d contributors each", len(profiles), contributorsEach),
			figure{What: string(mode), Value: float64(objects), Unit: "objects", Note: fmt.Sprintf("%s MB as JSON", number(float64(bytes)/1e6))})
	}
	return nil
}

// kfamAPI is a running "berth kfam".
type kfamAPI struct {
	*process

	url    string
	http   *http.Client
	header string
	prefix string
}

func startKFAM(ctx context.Context, o options, plane *devcluster.Process) (*kfamAPI, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	p, err := launch(exec.Command(o.berth, "kfam", "-kubeconfig", plane.Kubeconfig, "-bind-address", address, "-trust-header", "always"))
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it always is one
	transport.MaxIdleConnsPerHost = clients
	config := render.DefaultConfig()
	return &kfamAPI{process: p, url: "http://" + address, http: &http.Client{Transport: transport}, header: config.UserIDHeader, prefix: config.UserIDPrefix}, nil
}

// awaitReady waits until the API has read the cluster.
func (k *kfamAPI) awaitReady(ctx context.Context) error {
	began := time.Now()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		_, err := k.do(ctx, http.MethodGet, "/readyz", "", "")
		if err == nil {
			say("the access-management API was ready after %s s", number(time.Since(began).Seconds()))
			return nil
		}
		if k.alive() != nil || time.Since(began) > patience {
			return fmt.Errorf("the access-management API is not ready: %w", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// do sends a request, as user if that is not empty, and returns the length of the answer.
func (k *kfamAPI) do(ctx context.Context, method, path, user, body string) (int64, error) {
	r, err := http.NewRequestWithContext(ctx, method, k.url+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	if user != "" {
		r.Header.Set(k.header, k.prefix+user)
	}
	answer, err := k.http.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }() // all was read
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(answer.Body) // the code alone says enough
		return 0, fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	return io.Copy(io.Discard, answer.Body)
}

// readKFAM measures reads of every kind.
func (b *bench) readKFAM(ctx context.Context, api *kfamAPI, profiles []string) error {
	say("reading bindings")
	for _, kind := range []struct {
		what    string
		path    func(i int) string
		n       int
		clients int
		p50     float64
		p99     float64
	}{
		{"by user", func(i int) string { return "/kfam/v1/bindings?user=" + url.QueryEscape(person(i%len(profiles))) }, reads, clients, goalReadP50, goalReadP99},
		{"by namespace", func(i int) string { return "/kfam/v1/bindings?namespace=" + profiles[i%len(profiles)] }, reads, clients, goalReadP50, goalReadP99},
		{"everything", func(int) string { return "/kfam/v1/bindings" }, allReads, 1, goalReadAll, 0},
	} {
		took := make([]time.Duration, kind.n)
		var length int64
		began := time.Now()
		err := inParallelBy(ctx, kind.clients, slices.Collect(numbers(kind.n)), func(ctx context.Context, i int) error {
			asked := time.Now()
			n, err := api.do(ctx, http.MethodGet, kind.path(i*7919), "", "")
			took[i] = time.Since(asked)
			if i == 0 {
				length = n
			}
			return err
		})
		if err != nil {
			return err
		}
		all := time.Since(began)
		slices.Sort(took)
		p50 := milliseconds("p50", percentile(took, 50)).atMost(kind.p50)
		p50.Note = fmt.Sprintf("%d clients, %s/s, %d bytes each", kind.clients, number(float64(kind.n)/all.Seconds()), length)
		p99 := milliseconds("p99", percentile(took, 99))
		if kind.p99 > 0 {
			p99 = p99.atMost(kind.p99)
		}
		b.report.add(fmt.Sprintf("bindings %s, of %d", kind.what, len(profiles)*(contributorsEach+1)), p50, p99)
	}
	return nil
}

func milliseconds(what string, d time.Duration) figure {
	return figure{What: what, Value: float64(d.Microseconds()) / 1000, Unit: "ms"}
}

// numbers are those from 0 up to n.
func numbers(n int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}
