// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"cmp"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/access/rbac"
)

// Capability is something that people do in a namespace, in their words.
type Capability struct {
	// Name is short enough for the head of a column.
	Name string `json:"name"`
	// Means says what it is.
	Means string `json:"means"`
	// Question is what RBAC is asked, without a namespace. It is empty for what the mesh decides about.
	Question rbac.Question `json:"question,omitzero"`
}

// enter is the capability that the mesh decides about: opening a notebook in a browser.
const enter = "enter"

// Capabilities are what people ask about, in the order of columns.
func Capabilities() []Capability {
	ask := func(name, means, verb, group, resource, sub string) Capability {
		return Capability{name, means, rbac.Question{Verb: verb, Group: group, Resource: resource, Subresource: sub}}
	}
	return []Capability{
		{Name: enter, Means: "open notebooks in a browser"},
		ask("see", "list notebooks", "list", "kubeflow.org", "notebooks", ""),
		ask("notebook", "create notebooks", "create", "kubeflow.org", "notebooks", ""),
		ask("train", "create training jobs (PyTorchJob)", "create", "kubeflow.org", "pytorchjobs", ""),
		ask("pipeline", "create pipeline runs", "create", "pipelines.kubeflow.org", "runs", ""),
		ask("deploy", "deploy models (InferenceService)", "create", "serving.kserve.io", "inferenceservices", ""),
		ask("pods", "create pods", "create", "", "pods", ""),
		ask("exec", "run commands in pods", "create", "", "pods", "exec"),
		ask("secrets", "read secrets", "get", "", "secrets", ""),
		ask("members", "manage members (RoleBindings)", "create", rbacv1.GroupName, "rolebindings", ""),
		ask("policies", "change whom the mesh lets in", "create", "security.istio.io", "authorizationpolicies", ""),
	}
}

// Matrix is who has which capability in a namespace.
type Matrix struct {
	Namespace    string       `json:"namespace"`
	Capabilities []Capability `json:"capabilities"`
	// Rows are by the namespace's bindings first, then of those who have something everywhere.
	Rows []Row `json:"rows"`
	// Anybody is what everybody who has signed in has.
	Anybody []mesh.Verdict `json:"anybody"`
}

// Row is one subject's.
type Row struct {
	Subject rbacv1.Subject `json:"subject"`
	// Cells are by Capabilities.
	Cells []mesh.Verdict `json:"cells"`
	// Everywhere is set where all of it comes from ClusterRoleBindings.
	Everywhere bool `json:"everywhere,omitempty"`
}

// some says whether there is anything in cells.
func some(cells []mesh.Verdict) bool {
	return slices.ContainsFunc(cells, func(v mesh.Verdict) bool { return v != mesh.Denied })
}

// Matrices answers for each of the namespaces who can do what there. An error says that too much was asked at once.
func (e *Engine) Matrices(namespaces ...string) ([]Matrix, error) {
	all := Capabilities()
	table, err := e.rbac.Ask(questions(all)...)
	if err != nil {
		return nil, err
	}
	perNamespace := make(map[string][]Row, len(namespaces))
	asked := make(map[string]bool, len(namespaces))
	for _, namespace := range namespaces {
		asked[namespace] = true
	}
	var everywhere []Row
	for subject, row := range table.Rows() {
		if row.Everywhere != 0 {
			everywhere = append(everywhere, Row{Subject: subject, Cells: cells(all, row.Everywhere), Everywhere: true})
		}
		for _, cell := range row.Namespaces {
			if asked[cell.Namespace] {
				perNamespace[cell.Namespace] = append(perNamespace[cell.Namespace], Row{Subject: subject, Cells: cells(all, row.Everywhere|cell.Mask)})
			}
		}
	}
	anybody := table.Row(rbac.SignedIn(stranger))
	out := make([]Matrix, 0, len(namespaces))
	for _, namespace := range namespaces {
		m := Matrix{Namespace: namespace, Capabilities: all, Anybody: cells(all, anybody.In(namespace))}
		m.Rows = append(withMentioned(perNamespace[namespace], all, e.mentioned(namespace)), everywhere...)
		door := e.door(namespace)
		for i := range m.Rows {
			m.Rows[i].Cells = slices.Clone(m.Rows[i].Cells)
			m.Rows[i].Cells[0] = door.enters(rbac.Of(m.Rows[i].Subject))
		}
		m.Anybody[0] = door.enters(rbac.SignedIn(stranger))
		m.Rows = slices.DeleteFunc(m.Rows, func(r Row) bool { return !some(r.Cells) })
		// Who has something here comes before who has it everywhere; service accounts come last.
		slices.SortStableFunc(m.Rows, func(a, b Row) int {
			return cmp.Or(compareBool(a.Everywhere, b.Everywhere), cmp.Compare(rankOf(a.Subject), rankOf(b.Subject)), cmp.Compare(a.Subject.Name, b.Subject.Name))
		})
		m.Rows = slices.CompactFunc(m.Rows, func(a, b Row) bool { return a.Subject == b.Subject })
		out = append(out, m)
	}
	return out, nil
}

// stranger is somebody who has signed in and is known to nobody.
const stranger = "somebody-who-has-signed-in"

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func rankOf(s rbacv1.Subject) int {
	return slices.Index([]string{rbacv1.UserKind, rbacv1.GroupKind, rbacv1.ServiceAccountKind}, s.Kind)
}

func questions(all []Capability) []rbac.Question {
	out := make([]rbac.Question, len(all))
	for i, c := range all {
		out[i] = c.Question
	}
	return out
}

// cells are what RBAC gives of the capabilities.
func cells(all []Capability, mask rbac.Mask) []mesh.Verdict {
	out := make([]mesh.Verdict, len(all))
	for i, c := range all {
		out[i] = mesh.Denied
		if c.Name != enter && mask.Has(i) {
			out[i] = mesh.Allowed
		}
	}
	return out
}

// mentioned are the people whom policies of a namespace name by the header of the user.
func (e *Engine) mentioned(namespace string) []string {
	var names []string
	for _, policy := range e.byNamespace[namespace] {
		for _, rule := range policy.Spec.GetRules() {
			for _, when := range rule.GetWhen() {
				if !strings.EqualFold(when.GetKey(), "request.headers["+e.options.UserHeader+"]") {
					continue
				}
				for _, value := range when.GetValues() {
					if name, ours := strings.CutPrefix(value, e.options.UserPrefix); ours && name != "" && !strings.Contains(name, "*") {
						names = append(names, name)
					}
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// withMentioned adds rows of people who are in none.
func withMentioned(rows []Row, all []Capability, names []string) []Row {
	for _, name := range names {
		subject := rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
		if !slices.ContainsFunc(rows, func(r Row) bool { return r.Subject == subject }) {
			rows = append(rows, Row{Subject: subject, Cells: cells(all, 0)})
		}
	}
	return rows
}

// door is how people come into the notebooks of a namespace.
type door struct {
	engine *Engine
	inside place
	path   string
	// known are answers given before.
	known map[string]mesh.Verdict
}

// door is that of a namespace: of its first notebook, or of one that there might be.
func (e *Engine) door(namespace string) *door {
	const label = "notebook-name"
	d := &door{engine: e, known: map[string]mesh.Verdict{}}
	name := "notebook"
	d.inside.Workload = mesh.Workload{Namespace: namespace, Name: name, Labels: map[string]string{label: name, "app": name}}
	d.inside.Enforcer = e.assumed(namespace, d.inside.Labels)
	for _, pod := range e.pods[namespace] {
		if pod.Labels[label] != "" {
			name = pod.Labels[label]
			d.inside.Workload = e.workload(pod)
			break
		}
	}
	const notebookPort = 8888 // Kubeflow's notebook controller has them listen there
	d.path, d.inside.port = "/notebook/"+namespace+"/"+name+"/lab", notebookPort
	e.guard(&d.inside)
	return d
}

// enters says whether user gets in by the gateway. Members of groups and service accounts have no header of the user; they
// are let in only if everybody is.
func (d *door) enters(user rbac.User) mesh.Verdict {
	name := user.Name
	if name == "" || strings.HasPrefix(name, "system:") {
		name = stranger
	}
	if known, found := d.known[name]; found {
		return known
	}
	verdict, seen := d.knock(rbac.SignedIn(name, user.Groups...))
	if verdict != mesh.Denied {
		if inside := d.engine.decide(&d.inside, seen).Verdict; inside != mesh.Allowed {
			verdict = inside
		}
	}
	d.known[name] = verdict
	return verdict
}

// knock is what the gateway says, and the request that it sends on.
func (d *door) knock(user rbac.User) (mesh.Verdict, visit) {
	e := d.engine
	var step Step
	seen, denied := e.signIn(user, visit{Request: mesh.Request{Method: "GET", Path: d.path, Headers: map[string][]string{}}}, &step)
	if denied {
		return mesh.Denied, seen
	}
	verdict := e.gateway.filter.Decide(seen.Request).Verdict
	seen.Received, seen.Token = nil, nil
	seen.Principal, seen.Port = e.principal(e.gateway.Namespace, e.gateway.account), d.inside.port
	return verdict, seen
}

// by names the rule that lets user in.
func (d *door) by(user rbac.User) string {
	_, seen := d.knock(user)
	return d.engine.hop(&d.inside, &seen).By
}
