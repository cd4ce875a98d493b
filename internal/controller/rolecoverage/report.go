// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package rolecoverage

import (
	"context"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"berth.dev/berth/internal/access/coverage"
	"berth.dev/berth/internal/kube/status"
)

// Reasons of Events. docs/reference/roles.md has them all.
const (
	// EventGapClosed is on a kind: tenants lacked something on it, and have it now.
	EventGapClosed = "RoleGapClosed"
	// EventGapOpen is on a kind or a role: tenants lack something, or have too much.
	EventGapOpen = "RoleGapOpen"
	// EventPolicyInvalid is on the ConfigMap with the policy.
	EventPolicyInvalid = "RolePolicyInvalid"
)

// States of gaps in metrics.
const (
	stateClosed = "closed"
	stateOpen   = "open"
)

// What is measured. Groups, resources and roles are few, and an administrator's.
var (
	gaps = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "berth_role_gaps", Help: "Where the roles of tenants give less than the policy says, or more: closed by a role of Berth's, or open.",
	}, []string{"group", "resource", "role", "code", "state"})
	policyInvalid = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "berth_role_policy_invalid", Help: "1 while the policy of roles can't be used, and the last one that could stays in force.",
	})
)

// RegisterMetrics registers what is measured, once in a process.
func RegisterMetrics() error {
	for _, collector := range []prometheus.Collector{gaps, policyInvalid} {
		if err := metrics.Registry.Register(collector); err != nil {
			return err
		}
	}
	return nil
}

// readPolicy takes over the policy, if it can be used. What can't be used is told once, and changes nothing.
func (r *Reconciler) readPolicy(ctx context.Context, config *corev1.ConfigMap) {
	policy, err := coverage.DefaultPolicy(), error(nil)
	if config != nil {
		policy, err = policyIn(config)
	}
	if err == nil {
		r.policy, r.refused = &policy, ""
		policyInvalid.Set(0)
		return
	}
	policyInvalid.Set(1)
	if r.refused == config.ResourceVersion {
		return
	}
	r.refused = config.ResourceVersion
	log.FromContext(ctx).Error(err, "Could not use the policy of roles; the last good one stays in force, if there was one")
	r.Recorder.Eventf(config, nil, corev1.EventTypeWarning, EventPolicyInvalid, "Reload", "%s", status.Note(err.Error()))
}

func policyIn(config *corev1.ConfigMap) (coverage.Policy, error) {
	text, has := config.Data[PolicyKey]
	if !has {
		return coverage.Policy{}, fmt.Errorf("ConfigMap %q has no key %s", config.Name, PolicyKey)
	}
	policy, err := coverage.ReadPolicy([]byte(text))
	if err != nil {
		return policy, fmt.Errorf("ConfigMap %q, key %s: %w", config.Name, PolicyKey, err)
	}
	return policy, nil
}

// key tells gaps apart.
func key(f coverage.Finding) string {
	return strings.Join([]string{string(f.Code), f.Role, f.Group, f.Resource, strings.Join(f.Verbs, ",")}, " ")
}

// report measures gaps, and tells each once.
func (r *Reconciler) report(in input, d decision, out outcome) {
	gaps.Reset()
	now := map[string]bool{}
	for _, f := range d.closed {
		supplied, err := r.suppliers(f, d, out)
		if err != nil {
			r.open(in, f, now, "; "+refusal(err))
			continue
		}
		gaps.WithLabelValues(f.Group, f.Resource, f.Role, string(f.Code), stateClosed).Set(1)
		id := stateClosed + " " + key(f)
		now[id] = true
		// After a start, nothing has happened to a gap that was closed before.
		if wrote := supplied.wrote; !r.told[id] && (r.told != nil || wrote) {
			r.Recorder.Eventf(in.regarding(f), nil, corev1.EventTypeNormal, EventGapClosed, "Cover", "%s",
				status.Note(fmt.Sprintf("%s; now given by ClusterRole %s", f.Message, strings.Join(supplied.names, ", "))))
		}
	}
	for _, f := range d.open {
		r.open(in, f, now, "; "+f.Fix)
	}
	r.told = now
}

// GrantLabel on a ClusterRole, with the value "true", lets the controller hand out what the role gives.
const GrantLabel = "berth.dev/aggregate-to-role-coverage"

// refusal is why a gap could not be closed.
func refusal(err error) string {
	if apierrors.IsForbidden(err) {
		return "the controller may not hand it out: a ClusterRole that gives it and has the label " + GrantLabel + ` with the value "true" lets it`
	}
	return "it could not be supplied: " + err.Error()
}

// open tells of a gap that stays.
func (r *Reconciler) open(in input, f coverage.Finding, now map[string]bool, more string) {
	gaps.WithLabelValues(f.Group, f.Resource, f.Role, string(f.Code), stateOpen).Set(1)
	id := stateOpen + " " + key(f)
	now[id] = true
	if !r.told[id] {
		r.Recorder.Eventf(in.regarding(f), nil, corev1.EventTypeWarning, EventGapOpen, "Cover", "%s", status.Note(f.Message+more))
	}
}

// supply is the roles that close a gap, and whether they were written just now.
type supply struct {
	names []string
	wrote bool
}

// suppliers are the roles about the kind of f; an error, where one of them could not be written.
func (r *Reconciler) suppliers(f coverage.Finding, d decision, out outcome) (s supply, err error) {
	for _, level := range []coverage.Level{coverage.View, coverage.Edit, coverage.Admin} {
		name := coverage.Name(f.Group, f.Resource, level)
		for _, role := range d.roles {
			if role.Name == name {
				s.names = append(s.names, name)
				s.wrote = s.wrote || out.changed[name]
			}
		}
		if failed := out.failed[name]; failed != nil && err == nil {
			err = failed
		}
	}
	return s, err
}

// regarding is the kind or the role that a gap is about.
func (in input) regarding(f coverage.Finding) client.Object {
	for _, kind := range in.kinds {
		if kind.Name == f.Resource+"."+f.Group {
			return &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: kind.Name, UID: kind.UID}}
		}
	}
	for _, role := range in.roles {
		if role.Name == f.Role {
			return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: role.Name, UID: role.UID}}
		}
	}
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: f.Role}}
}
