// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package generate makes random meshes, policies and requests, such that requests match policies often and in all the ways
// in which they can just miss.
package generate

import (
	"slices"
	"strings"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"

	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/snapshot"
)

// Chooser makes every choice: a random generator, or the input of a fuzzer.
type Chooser interface {
	// IntN returns a number from 0 up to but not n.
	IntN(n int) int
}

// Bytes choose what they say, and the first of all when they end.
type Bytes []byte

// IntN takes one or two bytes.
func (b *Bytes) IntN(n int) int {
	taken := 0
	for range 1 + n/257 {
		taken <<= 8
		if len(*b) > 0 {
			taken |= int((*b)[0])
			*b = (*b)[1:]
		}
	}
	return taken % n
}

// World is what requests are decided in.
type World struct {
	Mesh     snapshot.Mesh
	Policies []*securityv1beta1.AuthorizationPolicy
	Workload mesh.Workload
}

// Options are what a world may have in it.
type Options struct {
	// Enforcers are those of the workload.
	Enforcers []mesh.Enforcer
	// Invalid lets in values that an API server with Istio's webhook refuses.
	Invalid bool
	// Connections is for policies of which most can be told from a connection alone, since requests are connections.
	Connections bool
	// NoConnections is for requests alone.
	NoConnections bool
}

// Generator makes worlds and requests.
type Generator struct {
	Chooser
	Options

	// precise is for requests that are to match one rule in all that it asks for, but for an odd mistake.
	precise bool
}

// World returns a random world.
func (g Generator) World() World {
	w := World{Mesh: g.mesh()}
	w.Workload = g.workload(w.Mesh)
	for range 1 + g.IntN(4) {
		w.Policies = append(w.Policies, g.policy(w, len(w.Policies)))
	}
	return w
}

func (g Generator) mesh() snapshot.Mesh {
	m := snapshot.DefaultMesh()
	m.PathNormalization = pick(g, []snapshot.PathNormalization{
		snapshot.NormalizeNone, snapshot.NormalizeNone, snapshot.NormalizeBase, snapshot.NormalizeMergeSlashes,
		snapshot.NormalizeDecodeAndMerge,
	})
	m.TrustDomain = pick(g, trustDomains)
	for range g.IntN(3) {
		if alias := pick(g, trustDomains); alias != m.TrustDomain && !slices.Contains(m.TrustDomainAliases, alias) {
			m.TrustDomainAliases = append(m.TrustDomainAliases, alias)
		}
	}
	m.Providers = pick(g, [][]string{{"oidc"}, {"oidc", "opa"}, {"opa"}})
	return m
}

func (g Generator) workload(m snapshot.Mesh) mesh.Workload {
	w := mesh.Workload{
		Namespace: pick(g, []string{"a", "a", "b", m.RootNamespace}),
		Name:      "w",
		Labels:    map[string]string{"app": pick(g, apps), "version": pick(g, versions)},
		Enforcer:  pick(g, g.Enforcers),
	}
	switch w.Enforcer {
	case mesh.Gateway:
		w.Gateway, w.GatewayClass = pick(g, gateways), "istio"
	case mesh.Waypoint:
		w.Gateway, w.GatewayClass = pick(g, gateways), snapshot.WaypointClass
		switch g.IntN(5) {
		case 0, 1:
			w.Service = pick(g, services)
		case 2:
			w.ServiceEntry = pick(g, services)
		case 3:
			w.Service, w.ServiceNamespace = pick(g, services), pick(g, []string{"a", "b"})
		}
	}
	return w
}

// oneIn is true once in n times.
func (g Generator) oneIn(n int) bool { return g.IntN(n) == n-1 }

func pick[T any](g Generator, from []T) T { return from[g.IntN(len(from))] }

// some returns up to n of what make makes, and at least one.
func some[T any](g Generator, n int, one func() T) []T {
	var all []T
	for range 1 + g.IntN(n) {
		all = append(all, one())
	}
	return all
}

// pattern returns a value of a policy that matches the word, or just not, or would if wildcards meant what they don't.
func (g Generator) pattern(word string) string {
	if word == "" {
		return "*"
	}
	cut := g.IntN(len(word) + 1)
	switch g.IntN(24) {
	case 12, 13, 14:
		return word[:cut] + "*"
	case 15, 16, 17:
		return "*" + word[cut:]
	case 18:
		return "*"
	case 19:
		return word[:cut] + "*" + word[cut:]
	case 20:
		return "*" + word + "*"
	case 21:
		return strings.ToUpper(word)
	case 22:
		return "**" + word[cut:]
	case 23:
		return word[:cut] + "**"
	}
	return word
}

// like returns a word that a pattern matches, more often than not.
func (g Generator) like(pattern string, words []string) string {
	if pattern == "*" {
		return pick(g, words)
	}
	word := pattern
	if inner, ok := strings.CutSuffix(word, "*"); ok {
		word = inner + pick(g, []string{"", "x", "/x", "-1", "*", ".y/z"})
	}
	if inner, ok := strings.CutPrefix(word, "*"); ok {
		word = pick(g, []string{"", "x", "x/", "1-", "*", "y.z/"}) + inner
	}
	if g.oneIn(2) {
		word = strings.ReplaceAll(word, "*", pick(g, []string{"", "x", "a/b"}))
	}
	mutation := g.IntN(16)
	if g.precise && !g.oneIn(8) {
		mutation = 0
	}
	switch mutation {
	case 10:
		return word + pick(g, []string{"x", "/", ",", " ", "."})
	case 11:
		return pick(g, []string{"x", "/", "a,", "."}) + word
	case 12:
		return strings.ToUpper(word)
	case 13:
		return strings.ToLower(word)
	case 14:
		return word[:len(word)/2]
	case 15:
		return word[len(word)/2:]
	}
	return word
}
