// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"fmt"

	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/access/rbac"
)

// Question is whether somebody may do something: with a resource of the Kubernetes API, or with a web address behind the
// mesh. Exactly one of Resource and Web is set.
type Question struct {
	User     rbac.User
	Resource *rbac.Question
	Web      *Web
}

// Web is a request to a workload, as a browser or a service makes it.
type Web struct {
	Method string `json:"method"`
	// Path is that of the request, with its query if there is one.
	Path string `json:"path"`
	Host string `json:"host,omitempty"`
	// Headers are what the client sends, by lower-case name.
	Headers map[string][]string `json:"headers,omitempty"`
	// ViaGateway is set for a request from outside by the ingress gateway, where the user has signed in. Otherwise it comes
	// straight to To.
	ViaGateway bool `json:"viaGateway,omitempty"`
	// From is the service account that a request from inside comes with, as namespace/name; empty for a caller without
	// identity, in plain text.
	From string `json:"from,omitempty"`
	// To is what the request is for: a Service as namespace/name, with :port behind it where it has several. Behind the
	// gateway it may be empty: the routes say.
	To string `json:"to,omitempty"`
}

// String is such as "alice@example.com: get pods in risk".
func (q Question) String() string {
	who := q.User.Name
	if who == "" || isNobody(q.User) {
		who = "nobody"
	}
	if q.Resource != nil {
		return who + ": " + q.Resource.String()
	}
	text := fmt.Sprintf("%s: %s %s", who, q.Web.Method, q.Web.Path)
	if q.Web.ViaGateway {
		text += " through the gateway"
	}
	return text
}

// Decision answers a Question.
type Decision struct {
	Verdict mesh.Verdict `json:"verdict"`
	// Steps are what was asked, one after the other. The last that is not only told decides.
	Steps []Step `json:"steps"`
}

// Step is what one layer says.
type Step struct {
	// Layer is RBAC, or what in the mesh is passed: the gateway, a route, a waypoint, a workload.
	Layer   string       `json:"layer"`
	Verdict mesh.Verdict `json:"verdict"`
	// By is the binding and rule, or the policy and rule, that decided; empty where none did.
	By  string `json:"by,omitempty"`
	Why string `json:"why"`
	// Notes are what was taken for granted, and what could not be decided.
	Notes []string `json:"notes,omitempty"`
	// Told is set for what does not decide: RBAC, for addresses behind the mesh.
	Told bool `json:"told,omitempty"`
}

// decided is the decision of steps: all that decide have to allow it.
func decided(steps []Step) Decision {
	d := Decision{Verdict: mesh.Allowed, Steps: steps}
	for _, s := range steps {
		switch {
		case s.Told:
		case s.Verdict == mesh.Denied:
			d.Verdict = mesh.Denied
			return d
		case s.Verdict == mesh.Unknown:
			d.Verdict = mesh.Unknown
		}
	}
	return d
}
