// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"berth.dev/berth/internal/access/mesh"
)

// diffMesh tries requests before and after, in all namespaces that a change may concern. They vary in who asks, and in
// methods, paths and ports; what else a rule asks for, they have for the requests that this rule is about.
func diffMesh(before, after *Engine) (changes []Change, notes []string) {
	for _, namespace := range concerned(before, after) {
		found, cut := diffIn(before, after, namespace)
		changes = append(changes, found...)
		if cut {
			notes = append(notes, fmt.Sprintf("namespace %s: policies name more than can be tried: only the first %d of each were", namespace, mostProbes))
		}
	}
	return changes, notes
}

// concerned are the namespaces whose mesh may answer otherwise.
func concerned(before, after *Engine) []string {
	differ := map[string]bool{}
	differing(differ, before.snapshot.AuthorizationPolicies, after.snapshot.AuthorizationPolicies)
	differing(differ, before.snapshot.RequestAuthentications, after.snapshot.RequestAuthentications)
	differing(differ, before.snapshot.PeerAuthentications, after.snapshot.PeerAuthentications)
	differing(differ, before.snapshot.Pods, after.snapshot.Pods)
	differing(differ, before.snapshot.Services, after.snapshot.Services)
	differing(differ, before.snapshot.Namespaces, after.snapshot.Namespaces)
	everywhere := !equality.Semantic.DeepEqual(before.snapshot.Mesh, after.snapshot.Mesh) || !slices.Equal(before.snapshot.Gateways, after.snapshot.Gateways) ||
		differ[before.snapshot.Mesh.RootNamespace] || differ[after.snapshot.Mesh.RootNamespace] || differ[after.gateway.Namespace]
	if everywhere {
		for _, namespace := range after.tenants(nil) {
			differ[namespace] = true
		}
	}
	return slices.Sorted(maps.Keys(differ))
}

// comparableObject is an object that is a pointer.
type comparableObject interface {
	comparable
	metav1.Object
}

// same says whether two objects say the same. Istio's can't be compared field by field: they are protocol buffers, too.
func same[T comparableObject](a, b T) bool {
	if a == b {
		return true
	}
	one, err := json.Marshal(a)
	other, otherErr := json.Marshal(b)
	return err == nil && otherErr == nil && bytes.Equal(one, other)
}

// differing notes the namespaces of objects that are not the same in both lists. A Namespace is its own.
func differing[T comparableObject](differ map[string]bool, before, after []T) {
	type name struct{ namespace, name string }
	was := make(map[name]T, len(before))
	for _, object := range before {
		was[name{object.GetNamespace(), object.GetName()}] = object
	}
	note := func(object T) {
		namespace := object.GetNamespace()
		if namespace == "" {
			namespace = object.GetName()
		}
		differ[namespace] = true
	}
	for _, object := range after {
		key := name{object.GetNamespace(), object.GetName()}
		if old, found := was[key]; !found || !same(old, object) {
			note(object)
		}
		delete(was, key)
	}
	for _, object := range was {
		note(object)
	}
}

// diffIn compares one namespace.
func diffIn(before, after *Engine, namespace string) (changes []Change, cut bool) {
	c := comparison{before: before, after: after, was: before.kindsOf(namespace, after), is: after.kindsOf(namespace, before)}
	for _, e := range []*Engine{before, after} {
		policies := e.policiesFor(namespace)
		c.grid.collect(e, policies)
		c.variants = append(c.variants, variantsOf(policies, e.options.UserHeader)...)
	}
	slices.SortStableFunc(c.variants, func(a, b variant) int { return strings.Compare(a.key(), b.key()) })
	c.variants = slices.CompactFunc(c.variants, func(a, b variant) bool { return a.key() == b.key() })
	cut = c.grid.finish(after.snapshot.Mesh.TrustDomain, namespace) || len(c.variants) > mostProbes
	c.variants = c.variants[:min(len(c.variants), mostProbes)]
	for i := range c.variants {
		c.variants[i].finish(after.snapshot.Mesh.TrustDomain, namespace)
	}
	for _, who := range c.grid.callers(after, namespace) {
		found := c.changeFor(&who)
		if len(found.Gains)+len(found.Loses) == 0 {
			continue
		}
		found.Namespace = namespace
		found.Outsider = after.isTenant(namespace) && (who.outsider || who.subject.Name != "" && after.isOutsider(who.subject, namespace))
		if last := len(changes) - 1; who.header != "" && last >= 0 && slices.Equal(changes[last].Gains, found.Gains) && slices.Equal(changes[last].Loses, found.Loses) {
			continue // claiming to be a member changes nothing
		}
		changes = append(changes, found)
	}
	return changes, cut
}

// comparison is that of one namespace.
type comparison struct {
	before, after *Engine
	// was and is are the same workloads, as each side guards them.
	was, is  []place
	grid     probes
	variants []variant
}

// changeFor is what one caller gains and loses.
func (c *comparison) changeFor(who *caller) Change {
	found := Change{Layer: layerMesh, Who: who.who}
	rules := map[string]bool{}
	try := func(p *probes, x *variant) {
		gains, loses := tally{}, tally{}
		for i := range c.is {
			for _, r := range p.requests() {
				v, w := c.before.ask(who, &c.was[i], r, x), c.after.ask(who, &c.is[i], r, x)
				switch {
				case v.Verdict == w.Verdict || x != nil && c.plainly(who, i, r, v.Verdict, w.Verdict):
				case w.Verdict == mesh.Allowed || v.Verdict == mesh.Denied:
					gains.add(&c.is[i], r, w.Verdict)
					if rule := w.By(); rule != "" {
						rules[rule] = true
					}
				default:
					loses.add(&c.is[i], r, v.Verdict)
				}
			}
		}
		suffix := ""
		if x != nil {
			suffix = " " + x.text
		}
		for _, text := range gains.texts(p, len(c.is)) {
			found.Gains = append(found.Gains, text+suffix)
		}
		for _, text := range loses.texts(p, len(c.is)) {
			found.Loses = append(found.Loses, text+suffix)
		}
	}
	try(&c.grid, nil)
	for i := range c.variants {
		try(&c.variants[i].probes, &c.variants[i])
	}
	found.By = slices.Sorted(maps.Keys(rules))
	return found
}

// plainly says whether a request that is no variant is answered in the same way, so that this one tells nothing new.
func (c *comparison) plainly(who *caller, i int, r mesh.Request, before, after mesh.Verdict) bool {
	return c.before.ask(who, &c.was[i], r, nil).Verdict == before && c.after.ask(who, &c.is[i], r, nil).Verdict == after
}

// requests are all that are tried.
func (p *probes) requests() []mesh.Request {
	var all []mesh.Request
	for _, path := range p.paths {
		for _, method := range p.methods {
			for _, port := range p.ports {
				all = append(all, mesh.Request{Method: method, Path: path, Port: port})
			}
		}
	}
	return all
}

// kindsOf are the workloads of a namespace that policies can tell apart: those that are there, those that policies of either
// side select, and one that none does.
func (e *Engine) kindsOf(namespace string, other *Engine) []place {
	kinds := map[string]mesh.Workload{}
	add := func(name string, set labels.Set, enforcer mesh.Enforcer) {
		key := set.String()
		if _, known := kinds[key]; !known {
			kinds[key] = mesh.Workload{Namespace: namespace, Name: name, Labels: set, Enforcer: enforcer}
		}
	}
	for _, side := range []*Engine{e, other} {
		for _, policy := range side.policiesFor(namespace) {
			if selector := policy.Spec.GetSelector().GetMatchLabels(); len(selector) > 0 {
				add(labels.Set(selector).String(), selector, e.assumed(namespace, selector))
			}
		}
		for _, pod := range side.pods[namespace] {
			set := labels.Set(maps.Clone(pod.Labels))
			for _, key := range []string{"pod-template-hash", "controller-revision-hash", "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"} {
				delete(set, key)
			}
			add(workloadName(pod), set, e.workload(pod).Enforcer)
		}
	}
	add("any other workload", labels.Set{}, e.assumed(namespace, nil))
	var all []place
	for _, key := range slices.Sorted(maps.Keys(kinds)) {
		p := place{Workload: kinds[key]}
		e.guard(&p)
		all = append(all, p)
		if len(all) == mostProbes {
			break
		}
	}
	return all
}

// policiesFor are those of a namespace and of the whole mesh, but for those of the gateway itself.
func (e *Engine) policiesFor(namespace string) []*securityv1beta1.AuthorizationPolicy {
	root := e.snapshot.Mesh.RootNamespace
	if namespace == root {
		return e.byNamespace[root]
	}
	return slices.DeleteFunc(slices.Concat(e.byNamespace[namespace], e.byNamespace[root]), func(policy *securityv1beta1.AuthorizationPolicy) bool {
		selector := policy.Spec.GetSelector().GetMatchLabels()
		return policy.Namespace == e.gateway.Namespace && len(selector) > 0 && labels.SelectorFromSet(selector).Matches(labels.Set(e.gateway.Labels))
	})
}

// tally collects requests that are answered otherwise.
type tally struct {
	requests map[string]map[string]bool // workloads by "METHOD path"
	ports    map[string]map[uint16]bool // by the same
	unknown  bool
}

func (t *tally) add(at *place, r mesh.Request, v mesh.Verdict) {
	if t.requests == nil {
		t.requests, t.ports = map[string]map[string]bool{}, map[string]map[uint16]bool{}
	}
	key := r.Method + " " + r.Path
	if t.requests[key] == nil {
		t.requests[key], t.ports[key] = map[string]bool{}, map[uint16]bool{}
	}
	t.requests[key][at.Name], t.ports[key][r.Port] = true, true
	t.unknown = t.unknown || v == mesh.Unknown
}

// texts are the requests in few words: methods with the same paths together, and all as all.
func (t *tally) texts(p *probes, places int) []string {
	if len(t.requests) == 0 {
		return nil
	}
	workloads := func(names map[string]bool) string {
		if len(names) == places {
			return ""
		}
		return " of " + strings.Join(slices.Sorted(maps.Keys(names)), ", ")
	}
	byPath := map[string][]string{}
	for _, key := range slices.Sorted(maps.Keys(t.requests)) {
		method, path, _ := strings.Cut(key, " ")
		if path == elsewherePath {
			path = "all other paths"
		}
		where := path + workloads(t.requests[key])
		if len(t.ports[key]) < len(p.ports) {
			var ports []string
			for _, port := range slices.Sorted(maps.Keys(t.ports[key])) {
				ports = append(ports, strconv.Itoa(int(port)))
			}
			where += " on port " + strings.Join(ports, ", ")
		}
		byPath[where] = append(byPath[where], method)
	}
	byMethods := map[string][]string{}
	for _, where := range slices.Sorted(maps.Keys(byPath)) {
		methods := strings.Join(byPath[where], ", ")
		if len(byPath[where]) == len(p.methods) {
			methods = "all methods"
		}
		byMethods[methods] = append(byMethods[methods], where)
	}
	for methods, where := range byMethods {
		if len(where) == len(p.paths) && !slices.ContainsFunc(where, func(w string) bool { return strings.Contains(w, " of ") || strings.Contains(w, " on port ") }) {
			byMethods[methods] = []string{"all paths"}
		}
	}
	var out []string
	for _, methods := range slices.Sorted(maps.Keys(byMethods)) {
		text := methods + ": " + strings.Join(byMethods[methods], ", ")
		if t.unknown {
			text += " (perhaps: an external authorizer is asked)"
		}
		out = append(out, text)
	}
	return out
}
