// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"

	"berth.dev/berth/conformance/generate"
	"berth.dev/berth/internal/access/mesh"
)

// shrink takes away what can be taken away from a world and a request while they still fail.
func shrink(w generate.World, r mesh.Request, fails func(generate.World, mesh.Request) bool) (generate.World, mesh.Request) {
	for smaller := true; smaller; {
		smaller = false
		for _, candidate := range withoutPolicy(w) {
			if fails(candidate, r) {
				w, smaller = candidate, true
				break
			}
		}
		for i := range w.Policies {
			for n := 0; ; n++ {
				candidate, ok := withoutPart(w, i, n)
				if !ok {
					break
				}
				if fails(candidate, r) {
					w, smaller = candidate, true
					n--
				}
			}
		}
		for _, candidate := range lesserRequests(r) {
			if fails(w, candidate) {
				r, smaller = candidate, true
				break
			}
		}
	}
	return w, r
}

func withoutPolicy(w generate.World) []generate.World {
	var all []generate.World
	for i := range w.Policies {
		c := w
		c.Policies = slices.Delete(slices.Clone(w.Policies), i, i+1)
		all = append(all, c)
	}
	if len(w.Mesh.TrustDomainAliases) > 0 {
		c := w
		c.Mesh.TrustDomainAliases = nil
		all = append(all, c)
	}
	return all
}

// withoutPart returns the world without the nth part of its ith policy, and false when there are fewer.
func withoutPart(w generate.World, i, n int) (generate.World, bool) {
	w.Policies = slices.Clone(w.Policies)
	p := w.Policies[i].DeepCopy()
	w.Policies[i] = p
	if n == 0 && len(p.Annotations) > 0 {
		p.Annotations = nil
		return w, true
	}
	return w, remove(specOf(p), &n)
}

func specOf(p *securityv1beta1.AuthorizationPolicy) protoreflect.Message {
	return p.Spec.ProtoReflect()
}

// remove takes the nth part out of a message, counting down n.
func remove(m protoreflect.Message, n *int) bool {
	var fields []protoreflect.FieldDescriptor
	m.Range(func(field protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		fields = append(fields, field)
		return true
	})
	slices.SortFunc(fields, func(a, b protoreflect.FieldDescriptor) int { return int(a.Number()) - int(b.Number()) })
	for _, field := range fields {
		switch {
		case field.IsList():
			if removeFromList(m.Mutable(field).List(), field, n) {
				return true
			}
			continue
		case field.Kind() == protoreflect.EnumKind:
			continue
		}
		if *n == 0 {
			m.Clear(field)
			return true
		}
		*n--
		if field.Kind() == protoreflect.MessageKind && !field.IsMap() && remove(m.Mutable(field).Message(), n) {
			return true
		}
	}
	return false
}

func removeFromList(list protoreflect.List, field protoreflect.FieldDescriptor, n *int) bool {
	for i := range list.Len() {
		if *n == 0 {
			for j := i; j < list.Len()-1; j++ {
				list.Set(j, list.Get(j+1))
			}
			list.Truncate(list.Len() - 1)
			return true
		}
		*n--
		if field.Kind() == protoreflect.MessageKind && remove(list.Get(i).Message(), n) {
			return true
		}
	}
	return false
}

func lesserRequests(r mesh.Request) []mesh.Request {
	var all []mesh.Request
	for name := range r.Headers {
		c := r
		c.Headers = maps.Clone(r.Headers)
		delete(c.Headers, name)
		all = append(all, c)
	}
	if r.Token != nil {
		c := r
		c.Token = nil
		all = append(all, c)
		for name := range r.Token.Claims {
			if name == "iss" || name == "sub" {
				continue
			}
			c, token := r, *r.Token
			token.Claims = maps.Clone(token.Claims)
			delete(token.Claims, name)
			c.Token = &token
			all = append(all, c)
		}
	}
	if r.SNI != "" {
		c := r
		c.SNI = ""
		all = append(all, c)
	}
	return all
}
