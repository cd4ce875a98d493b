// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/cloud"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/render"
)

// steps are what has to be done for the plugins of a profile.
type steps struct {
	// calls are made in order: new identities are bound before old ones are taken back.
	calls []call
	// kept are the records that need no call.
	kept []kubeflowv1.PluginStatus
	// problems say which plugins can't be used as written.
	problems []render.Problem
	// waiting means that plugins wait for the namespace.
	waiting bool
	// asked means that plugins are asked for.
	asked bool
	// deleting means that the profile goes, and its plugins with it.
	deleting bool
}

// call is one call of a provider.
type call struct {
	record kubeflowv1.PluginStatus
	revoke bool
	// verify means that the binding is known to be there.
	verify bool
}

// decide compares the plugins that p asks for with the ones on record. ns is p's namespace, nil while there is none to
// bind for.
func decide(p *kubeflowv1.Profile, ns *corev1.Namespace, config render.Config, verify bool) steps {
	plugins := render.Plugins(p, config)
	s := steps{asked: len(plugins) > 0, deleting: !p.DeletionTimestamp.IsZero()}
	var wanted []kubeflowv1.PluginStatus // identities in force, those included that are not ours to bind
	for _, plugin := range plugins {
		record := kubeflowv1.PluginStatus{Kind: plugin.Kind, Identity: plugin.Identity, Phase: kubeflowv1.PluginApplying}
		switch {
		case s.deleting:
		case plugin.Problem != nil:
			s.problems = append(s.problems, *plugin.Problem)
			// What is bound stays bound: a slip of the pen must not cost a team its access.
			for _, have := range p.Status.Plugins {
				if have.Kind == plugin.Kind && !slices.ContainsFunc(wanted, func(w kubeflowv1.PluginStatus) bool { return same(w, have) }) {
					wanted, s.kept = append(wanted, have), append(s.kept, have)
				}
			}
		case plugin.AnnotateOnly:
			// The provider is somebody else's to set up; a record of earlier times is dropped and nothing revoked.
			wanted = append(wanted, record)
		case ns == nil:
			s.waiting = true
			wanted = append(wanted, record)
			s.kept = append(s.kept, recorded(p, record)...)
		default:
			record.NamespaceUID = ns.UID
			wanted = append(wanted, record)
			s.bind(p, record, verify)
		}
	}
	for _, record := range leftovers(p, plugins) {
		if !slices.ContainsFunc(wanted, func(w kubeflowv1.PluginStatus) bool { return same(w, record) }) {
			record.Phase = kubeflowv1.PluginRevoking
			s.calls = append(s.calls, call{record: record, revoke: true})
		}
	}
	return s
}

// bind adds what it takes for record to be in place.
func (s *steps) bind(p *kubeflowv1.Profile, record kubeflowv1.PluginStatus, verify bool) {
	applied := slices.ContainsFunc(recorded(p, record), func(have kubeflowv1.PluginStatus) bool {
		return have.Phase == kubeflowv1.PluginApplied && have.NamespaceUID == record.NamespaceUID
	})
	if applied {
		record.Phase = kubeflowv1.PluginApplied
	}
	if applied && !verify {
		s.kept = append(s.kept, record)
		return
	}
	s.calls = append(s.calls, call{record: record, verify: applied})
}

// leftovers are the identities that may be bound: the recorded ones, and those of a profile in deletion that an
// earlier controller bound without recording it.
func leftovers(p *kubeflowv1.Profile, plugins []render.Plugin) []kubeflowv1.PluginStatus {
	if render.PluginsReported(p) || p.DeletionTimestamp.IsZero() {
		return p.Status.Plugins
	}
	var found []kubeflowv1.PluginStatus
	for _, plugin := range plugins {
		if plugin.Problem == nil && !plugin.AnnotateOnly {
			found = append(found, kubeflowv1.PluginStatus{Kind: plugin.Kind, Identity: plugin.Identity})
		}
	}
	return found
}

func recorded(p *kubeflowv1.Profile, record kubeflowv1.PluginStatus) []kubeflowv1.PluginStatus {
	if i := slices.IndexFunc(p.Status.Plugins, func(have kubeflowv1.PluginStatus) bool { return same(have, record) }); i >= 0 {
		return p.Status.Plugins[i : i+1]
	}
	return nil
}

func same(a, b kubeflowv1.PluginStatus) bool { return a.Kind == b.Kind && a.Identity == b.Identity }

// intended are the records while the calls are under way.
func (s steps) intended() []kubeflowv1.PluginStatus {
	records := slices.Clone(s.kept)
	for _, c := range s.calls {
		records = append(records, c.record)
	}
	return inOrder(records)
}

// achieved are the records after the calls. What may have been bound stays on record until it is taken back.
func (s steps) achieved(results []error) []kubeflowv1.PluginStatus {
	records := slices.Clone(s.kept)
	for i, c := range s.calls {
		switch {
		case c.revoke && results[i] == nil:
			continue
		case !c.revoke && results[i] == nil:
			c.record.Phase = kubeflowv1.PluginApplied
		case !c.revoke && !c.verify && errors.Is(results[i], cloud.ErrUntouched):
			continue
		}
		records = append(records, c.record)
	}
	return inOrder(records)
}

func inOrder(records []kubeflowv1.PluginStatus) []kubeflowv1.PluginStatus {
	slices.SortFunc(records, func(a, b kubeflowv1.PluginStatus) int {
		return strings.Compare(a.Kind+" "+a.Identity, b.Kind+" "+b.Identity)
	})
	return records
}

// condition says how the plugins stand after the calls; nil where there is nothing to say.
func (s steps) condition(results []error, records []kubeflowv1.PluginStatus) *status.Condition {
	if !s.asked && len(records) == 0 {
		return nil
	}
	var reason string
	var messages []string
	add := func(r, message string) {
		if reason == "" {
			reason = r
		}
		messages = append(messages, message)
	}
	for _, problem := range s.problems {
		add(problem.Reason, problem.Message)
	}
	for i, err := range results {
		if err == nil {
			continue
		}
		if s.calls[i].revoke {
			add(kubeflowv1.ReasonPluginRevokeFailed, "the binding of "+s.calls[i].record.Identity+" could not be taken back: "+err.Error())
		} else {
			add(kubeflowv1.ReasonPluginFailed, err.Error())
		}
	}
	if s.waiting && reason == "" {
		add(kubeflowv1.ReasonProgressing, "plugins wait for the namespace")
	}
	if s.deleting && reason == "" {
		// It also tells that there is a report: without any, an earlier controller's bindings would be looked for again.
		add(kubeflowv1.ReasonDeleting, "plugins are revoked")
	}
	if reason == "" {
		return &status.Condition{
			Type: kubeflowv1.ConditionPluginsReady, Status: metav1.ConditionTrue,
			Reason: kubeflowv1.ReasonReady, Message: "plugins are applied",
		}
	}
	return &status.Condition{
		Type: kubeflowv1.ConditionPluginsReady, Status: metav1.ConditionFalse,
		Reason: reason, Message: strings.Join(messages, "; "),
	}
}
