// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/access/rbac"
)

// web decides about a request hop by hop: the gateway first, where people have signed in, then where its routes lead.
func (e *Engine) web(q Question) (Decision, error) {
	if err := q.Web.check(); err != nil {
		return Decision{}, err
	}
	r := mesh.Request{Method: strings.ToUpper(q.Web.Method), Path: q.Web.Path, Host: q.Web.Host, Headers: map[string][]string{}}
	for name, values := range q.Web.Headers {
		r.Headers[strings.ToLower(name)] = slices.Clone(values)
	}
	to, port := q.Web.target()
	v := visit{Request: r}
	var steps []Step
	if q.Web.ViaGateway {
		var step Step
		step, v = e.enter(q.User, r)
		steps = append(steps, step)
		if to == "" && step.Verdict != mesh.Denied {
			way, found := e.follow(v.Request)
			steps = append(steps, way)
			v.Request, to, port = found.request, found.service, found.port
		}
		if to == "" || decided(steps).Verdict == mesh.Denied {
			return decided(append(steps, e.told(q)...)), nil
		}
	} else if from := q.Web.From; from != "" {
		namespace, account, _ := strings.Cut(from, "/")
		v.Principal = e.principal(namespace, account)
	}
	steps = append(steps, e.reach(to, port, v, q.Web)...)
	return decided(append(steps, e.told(q)...)), nil
}

// check says what in w makes no sense.
func (w *Web) check() error {
	switch {
	case !strings.HasPrefix(w.Path, "/"):
		return fmt.Errorf("the path %q does not begin with /", w.Path)
	case w.Method == "":
		return fmt.Errorf("there is no method for the path %q: GET, for example", w.Path)
	case !w.ViaGateway && w.To == "":
		return fmt.Errorf("where is %q? Say that it is asked by the gateway, or name a Service as namespace/name", w.Path)
	case w.To != "" && strings.Count(w.To, "/") != 1:
		return fmt.Errorf("the Service %q is not written namespace/name", w.To)
	case w.From != "" && strings.Count(w.From, "/") != 1:
		return fmt.Errorf("the service account %q is not written namespace/name", w.From)
	case w.ViaGateway && w.From != "":
		return fmt.Errorf("a request by the gateway comes from outside, and not from the service account %q", w.From)
	}
	if _, err := url.ParseRequestURI(w.Path); err != nil {
		return fmt.Errorf("the path %q can't be used: %w", w.Path, err)
	}
	if _, text, found := strings.Cut(w.To, ":"); found {
		if _, err := strconv.ParseUint(text, 10, 16); err != nil {
			return fmt.Errorf("the port of the Service %q is no number", w.To)
		}
	}
	return nil
}

// target is the Service that w names, and its port.
func (w *Web) target() (service string, port uint32) {
	service, text, _ := strings.Cut(w.To, ":")
	number, _ := strconv.ParseUint(text, 10, 16) // check has looked
	return service, uint32(number)
}

// enter is what happens at the gateway to a request of somebody who has signed in, and how it goes on.
func (e *Engine) enter(user rbac.User, r mesh.Request) (Step, visit) {
	at := &e.gateway
	step := Step{Layer: "gateway " + namespaced(at.Namespace, at.Name), Notes: slices.Clone(at.notes)}
	seen, denied := e.signIn(user, visit{Request: r}, &step)
	if denied {
		return step, seen
	}
	judge(&step, at, seen.Request)
	seen.Received, seen.Token = nil, nil // the next hop sees headers, and verifies tokens itself
	if path, usable := mesh.NormalizePath(seen.Path, e.snapshot.Mesh.PathNormalization); usable {
		seen.Path = path
	}
	seen.Principal = e.principal(at.Namespace, at.account)
	return step, seen
}

// follow is where the gateway's routes lead r.
func (e *Engine) follow(r mesh.Request) (Step, routed) {
	found, ok := e.route(r)
	way := Step{Layer: "route", Verdict: mesh.Allowed, By: found.route, Notes: found.notes}
	switch {
	case !ok && len(e.snapshot.VirtualServices) == 0:
		way.Verdict, way.Why = mesh.Unknown, "the snapshot has no VirtualServices: name the Service that the request is for"
	case !ok:
		way.Verdict, way.Why = mesh.Denied, fmt.Sprintf("no VirtualService of the Gateway %s leads %s anywhere: the answer is 404", e.options.Gateway, r.Path)
	case found.unknown:
		way.Verdict, way.Why = mesh.Unknown, found.says
	case found.service == "":
		way.Why = found.says
	default:
		way.Why = "leads to the Service " + found.service + " as " + found.request.Path
	}
	return way, found
}

// judge has the policies at a place decide.
func judge(step *Step, at *place, r mesh.Request) {
	filter := at.filter
	d := filter.Decide(r)
	step.Verdict, step.By, step.Why = d.Verdict, d.By(), d.Why
	if d.Verdict == mesh.Denied && d.Policy == "" {
		step.Notes = append(step.Notes, nearest(filter.Explain(r))...)
	}
	for _, what := range d.Unknown {
		step.Notes = append(step.Notes, "not known: "+what)
	}
	for _, audited := range d.Audited {
		step.Notes = append(step.Notes, "audited by "+audited)
	}
	for _, tried := range d.DryRun {
		step.Notes = append(step.Notes, "would be matched by "+tried+", which is only tried (dry-run)")
	}
	for _, ignored := range filter.Ignored() {
		step.Notes = append(step.Notes, "not enforced here: "+ignored.Policy+": "+ignored.Why)
	}
}

// nearest tells what the rules that came nearest to allowing a request ask for.
func nearest(e mesh.Explanation) []string {
	const most = 3
	var notes []string
	for _, rule := range e.Rules {
		if rule.Action != "ALLOW" || rule.Matches == "yes" || len(notes) == most {
			continue
		}
		var misses []string
		for _, m := range rule.Misses {
			misses = append(misses, m.String())
		}
		notes = append(notes, rule.By+" does not allow it: "+strings.Join(misses, "; "))
	}
	return notes
}

// reach is what happens to v on its way to a Service.
func (e *Engine) reach(name string, port uint32, v visit, w *Web) []Step {
	at, service, err := e.behind(name, port)
	if err != nil {
		return []Step{{Layer: "workload " + name, Verdict: mesh.Unknown, Why: err.Error() + ": who guards what is behind it is not known"}}
	}
	var steps []Step
	fromNamespace, _, _ := strings.Cut(w.From, "/")
	passes := w.ViaGateway || w.From != "" && e.isAmbient(fromNamespace, nil)
	if waypoint, found := e.waypoint(service, w.ViaGateway); found && at.Enforcer == mesh.Ztunnel && passes {
		step := e.hop(waypoint, &v)
		steps = append(steps, step)
		if step.Verdict == mesh.Denied {
			return steps
		}
		v.Principal = e.principal(waypoint.Namespace, waypoint.account)
	}
	v.Port = at.port
	return append(steps, e.hop(at, &v))
}

// hop is what one place says to v, which is changed to what comes out of it.
func (e *Engine) hop(at *place, v *visit) Step {
	step := Step{Layer: at.layer(), Notes: slices.Clone(at.notes)}
	admitted, d := at.peers.Admit(v.Request)
	if d.Verdict != mesh.Allowed {
		step.Verdict, step.Why = d.Verdict, d.Why
		return step
	}
	if v.Principal == "" && at.Enforcer != mesh.None {
		step.Notes = append(step.Notes, d.Why)
	}
	a := at.authenticator.Authenticate(admitted, v.tokens)
	if refusedToken(&step, a) {
		return step
	}
	v.Request = a.Request
	judge(&step, at, v.Request)
	v.Received, v.Token = nil, nil
	return step
}

// decide is what the hop to at says, without looking for reasons.
func (e *Engine) decide(at *place, v visit) mesh.Decision {
	admitted, d := at.peers.Admit(v.Request)
	if d.Verdict != mesh.Allowed {
		return mesh.Decision{Verdict: d.Verdict, Rule: -1}
	}
	a := at.authenticator.Authenticate(admitted, v.tokens)
	if a.Verdict == mesh.Denied {
		return mesh.Decision{Verdict: mesh.Denied, Rule: -1}
	}
	return at.filter.Decide(a.Request)
}

// stands are paths of Kubeflow that stand for resources, by what they begin with.
var stands = map[string]rbac.Question{
	"notebook":    {Verb: "get", Group: "kubeflow.org", Resource: "notebooks"},
	"tensorboard": {Verb: "get", Group: "tensorboard.kubeflow.org", Resource: "tensorboards"},
	"pvcviewer":   {Verb: "get", Group: "kubeflow.org", Resource: "pvcviewers"},
}

// told is what RBAC says of the resource that a path of Kubeflow stands for. It does not decide: nobody asks it there.
func (e *Engine) told(q Question) []Step {
	parts := strings.SplitN(strings.TrimPrefix(q.Web.Path, "/"), "/", 4) //nolint:mnd // what/namespace/name/rest
	if len(parts) < 3 || isNobody(q.User) || !q.Web.ViaGateway {
		return nil
	}
	about, known := stands[parts[0]]
	if !known {
		return nil
	}
	about.Namespace, about.Name = parts[1], parts[2]
	step := e.resource(q.User, about)
	step.Told, step.Notes = true, append(step.Notes, "this is "+about.String()+"; for requests through the mesh nobody asks it")
	return []Step{step}
}
