// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"fmt"
	"maps"
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
	var steps []Step
	if q.Web.ViaGateway {
		step, seen := e.enter(q.User, r)
		steps = append(steps, step)
		if to == "" && step.Verdict != mesh.Denied {
			way, found := e.follow(seen)
			steps = append(steps, way)
			seen, to, port = found.request, found.service, found.port
		}
		if to == "" || decided(steps).Verdict == mesh.Denied {
			return decided(append(steps, e.told(q)...)), nil
		}
		r = seen
	} else if from := q.Web.From; from != "" {
		namespace, account, _ := strings.Cut(from, "/")
		r.Principal = e.principal(namespace, account)
	}
	steps = append(steps, e.reach(to, port, r, q.Web)...)
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
func (e *Engine) enter(user rbac.User, r mesh.Request) (Step, mesh.Request) {
	at := &e.gateway
	step := Step{Layer: "gateway " + namespaced(at.Namespace, at.Name), Notes: slices.Clone(at.notes)}
	seen, denied := e.signIn(user, r, &step)
	if denied {
		return step, seen
	}
	judge(&step, at, seen)
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
		way.Why = fmt.Sprintf("leads to the Service %s as %s", found.service, found.request.Path)
	}
	return way, found
}

// signedIn is the text of the token of somebody who has signed in: what it says is known, not how it is written.
const signedIn = "signed-in"

// signIn has the request carry what a user who has signed in carries: a token of an issuer whose claims the gateway writes
// into the header of the user, or, where none does that, the header itself.
func (e *Engine) signIn(user rbac.User, r mesh.Request, step *Step) (mesh.Request, bool) {
	authenticator := e.gateway.authenticator
	if isNobody(user) {
		a := authenticator.Authenticate(r, nil)
		return a.Request, refusedToken(step, a)
	}
	for _, candidate := range e.tokens(user) {
		bearing := r
		bearing.Headers = maps.Clone(r.Headers)
		bearing.Headers["authorization"] = []string{"Bearer " + signedIn}
		a := authenticator.Authenticate(bearing, map[string]mesh.Presented{signedIn: {Token: candidate}})
		if a.Verdict == mesh.Allowed && strings.Join(a.Request.Headers[e.options.UserHeader], ",") == e.options.UserPrefix+user.Name {
			step.Notes = append(step.Notes, fmt.Sprintf("%s has signed in with a token of %s", user.Name, candidate.Issuer))
			return a.Request, false
		}
	}
	a := authenticator.Authenticate(r, nil)
	if refusedToken(step, a) {
		return a.Request, true
	}
	step.Notes = append(step.Notes, fmt.Sprintf("no RequestAuthentication of the gateway writes %s: it is taken for granted that whoever signs people in does, "+
		"and that what clients send of it is removed", e.options.UserHeader))
	a.Request.Headers = maps.Clone(a.Request.Headers)
	a.Request.Headers[e.options.UserHeader] = []string{e.options.UserPrefix + user.Name}
	return a.Request, false
}

func isNobody(user rbac.User) bool { return slices.Contains(user.Groups, rbac.GroupUnauthenticated) }

func refusedToken(step *Step, a mesh.Authentication) bool {
	if a.Verdict == mesh.Denied {
		step.Verdict, step.Why = mesh.Denied, a.Why
	}
	return a.Verdict == mesh.Denied
}

// tokens are those that user may have: of each issuer that has a claim written into the header of the user.
func (e *Engine) tokens(user rbac.User) []mesh.Token {
	var groups []any
	for _, group := range user.Groups {
		if !strings.HasPrefix(group, "system:") {
			groups = append(groups, group)
		}
	}
	var found []mesh.Token
	for _, a := range e.snapshot.RequestAuthentications {
		for _, rule := range a.Spec.GetJwtRules() {
			claims := map[string]any{"iss": rule.GetIssuer(), "sub": user.Name, "groups": groups}
			writes := false
			for _, out := range rule.GetOutputClaimToHeaders() {
				if strings.EqualFold(out.GetHeader(), e.options.UserHeader) {
					claims[out.GetClaim()], writes = user.Name, true
				}
			}
			if len(rule.GetAudiences()) > 0 {
				claims["aud"] = rule.GetAudiences()[0]
			}
			if subject, ok := claims["sub"].(string); ok && writes {
				found = append(found, mesh.Token{Issuer: rule.GetIssuer(), Subject: subject, Claims: claims})
			}
		}
	}
	return found
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

// reach is what happens to r on its way to a Service.
func (e *Engine) reach(name string, port uint32, r mesh.Request, w *Web) []Step {
	at, service, err := e.behind(name, port)
	if err != nil {
		return []Step{{Layer: "workload " + name, Verdict: mesh.Unknown, Why: err.Error() + ": who guards what is behind it is not known"}}
	}
	var steps []Step
	fromNamespace, _, _ := strings.Cut(w.From, "/")
	passes := w.ViaGateway || w.From != "" && e.isAmbient(fromNamespace, nil)
	if waypoint, found := e.waypoint(service, w.ViaGateway); found && at.Enforcer == mesh.Ztunnel && passes {
		step := e.hop(waypoint, &r)
		steps = append(steps, step)
		if step.Verdict == mesh.Denied {
			return steps
		}
		r.Principal = e.principal(waypoint.Namespace, waypoint.account)
	}
	r.Port = at.port
	return append(steps, e.hop(at, &r))
}

// hop is what one place says to r, which is changed to what comes out of it.
func (e *Engine) hop(at *place, r *mesh.Request) Step {
	step := Step{Layer: at.layer(), Notes: slices.Clone(at.notes)}
	admitted, d := at.peers.Admit(*r)
	if d.Verdict != mesh.Allowed {
		step.Verdict, step.Why = d.Verdict, d.Why
		return step
	}
	if r.Principal == "" && at.Enforcer != mesh.None {
		step.Notes = append(step.Notes, d.Why)
	}
	a := at.authenticator.Authenticate(admitted, e.presented(admitted))
	if refusedToken(&step, a) {
		return step
	}
	*r = a.Request
	judge(&step, at, *r)
	r.Received, r.Token = nil, nil
	return step
}

// verdict is what the hop to at says, without the reasons.
func (e *Engine) verdict(at *place, r mesh.Request) mesh.Verdict {
	admitted, d := at.peers.Admit(r)
	if d.Verdict != mesh.Allowed {
		return d.Verdict
	}
	a := at.authenticator.Authenticate(admitted, e.presented(admitted))
	if a.Verdict == mesh.Denied {
		return mesh.Denied
	}
	return at.filter.Decide(a.Request).Verdict
}

// presented are the tokens that a request still carries from having signed in: what they say, the gateway has seen.
func (e *Engine) presented(r mesh.Request) map[string]mesh.Presented {
	user := strings.TrimPrefix(strings.Join(r.Headers[e.options.UserHeader], ","), e.options.UserPrefix)
	known := e.tokens(rbac.SignedIn(user))
	if user == "" || len(known) == 0 {
		return nil
	}
	return map[string]mesh.Presented{signedIn: {Token: known[0]}}
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
