// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"slices"
	"strings"

	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/identity"
)

// Reach is all that somebody reaches.
type Reach struct {
	User         string       `json:"user"`
	Capabilities []Capability `json:"capabilities"`
	// Everywhere are the roles that they have in all namespaces, and the cluster's own.
	Everywhere []rbac.Holding `json:"everywhere,omitempty"`
	// Namespaces are those where they have anything, by name.
	Namespaces []ReachIn `json:"namespaces"`
}

// ReachIn is what somebody reaches in one namespace.
type ReachIn struct {
	Namespace string `json:"namespace"`
	// Holdings are the roles that they have there, with the bindings that give them.
	Holdings []rbac.Holding `json:"holdings,omitempty"`
	// Owner is set for whoever owns the profile of the namespace.
	Owner bool `json:"owner,omitempty"`
	// Cells are by Capabilities.
	Cells []mesh.Verdict `json:"cells"`
	// LetInBy is the rule that lets them into notebooks, as Istio calls it; empty where none does.
	LetInBy string `json:"letInBy,omitempty"`
}

// What is all that user reaches. An error says that too much was asked at once.
func (e *Engine) What(user rbac.User) (Reach, error) {
	reach := Reach{User: user.Name, Capabilities: Capabilities()}
	table, err := e.rbac.Ask(questions(reach.Capabilities)...)
	if err != nil {
		return reach, err
	}
	row := table.Row(user)
	holdings := map[string][]rbac.Holding{}
	for _, h := range e.rbac.Holds(user) {
		if h.Binding.Kind == rbac.KindClusterRoleBinding {
			reach.Everywhere = append(reach.Everywhere, h)
			continue
		}
		holdings[h.Binding.Namespace] = append(holdings[h.Binding.Namespace], h)
	}
	owned, keys := map[string]bool{}, identity.User{Name: user.Name, Groups: user.Groups}.Keys()
	for _, p := range e.snapshot.Profiles {
		owned[p.Name] = slices.Contains(keys, identity.Key(p.Spec.Owner))
	}
	for _, namespace := range e.tenants(holdings) {
		in := ReachIn{Namespace: namespace, Holdings: holdings[namespace], Owner: owned[namespace], Cells: cells(reach.Capabilities, row.In(namespace))}
		door := e.door(namespace)
		in.Cells[0] = door.enters(user)
		if in.Cells[0] == mesh.Allowed {
			in.LetInBy = door.by(user)
		}
		if len(in.Holdings) > 0 || in.Owner || in.Cells[0] != mesh.Denied {
			reach.Namespaces = append(reach.Namespaces, in)
		}
	}
	return reach, nil
}

// tenants are the namespaces that belong to profiles, and those of holdings, sorted.
func (e *Engine) tenants(holdings map[string][]rbac.Holding) []string {
	var names []string
	for _, p := range e.snapshot.Profiles {
		names = append(names, p.Name)
	}
	for namespace := range holdings {
		names = append(names, namespace)
	}
	if len(e.snapshot.Profiles) == 0 {
		for _, ns := range e.snapshot.Namespaces {
			if strings.Contains(ns.Labels["app.kubernetes.io/part-of"], "kubeflow-profile") {
				names = append(names, ns.Name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
