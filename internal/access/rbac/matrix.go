// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// Mask is a set of questions: bit i is the one with index i.
type Mask uint64

// Has says whether question i is in m.
func (m Mask) Has(i int) bool { return i >= 0 && i < MaxQuestions && m&(1<<i) != 0 }

// MaxQuestions is how many questions a Table answers at once.
const MaxQuestions = 64

// Table answers the same few questions for anybody in any namespace. Each role was asked once, so that a row costs no
// more than to look at the bindings of the subject.
type Table struct {
	authorizer *Authorizer
	roles      []Mask // by the number of the role
	paths      Mask   // questions that ClusterRoleBindings alone answer
	every      Mask
}

// Ask prepares questions, at most MaxQuestions. Their Namespace is not looked at: they are asked in each. For resources
// without namespaces, only what a Row has Everywhere counts.
func (a *Authorizer) Ask(questions ...Question) (*Table, error) {
	if len(questions) > MaxQuestions {
		return nil, fmt.Errorf("%d questions at once: at most %d can be asked", len(questions), MaxQuestions)
	}
	t := &Table{authorizer: a, roles: make([]Mask, len(a.roles))}
	for i := range questions {
		bit := Mask(1) << i
		t.every |= bit
		if questions[i].Path != "" {
			t.paths |= bit
		}
		for _, r := range a.roles {
			if _, found := r.answers(&questions[i]); found {
				t.roles[r.number] |= bit
			}
		}
	}
	return t, nil
}

// Row is what somebody may do.
type Row struct {
	// Everywhere is what they may do in all namespaces.
	Everywhere Mask
	// Namespaces are those where RoleBindings give something, sorted.
	Namespaces []Cell
}

// Cell is what RoleBindings give in one namespace.
type Cell struct {
	Namespace string
	Mask      Mask
}

// In is what can be done in the namespace.
func (r Row) In(namespace string) Mask {
	i, found := slices.BinarySearchFunc(r.Namespaces, namespace, func(c Cell, namespace string) int {
		return strings.Compare(c.Namespace, namespace)
	})
	if !found {
		return r.Everywhere
	}
	return r.Everywhere | r.Namespaces[i].Mask
}

// Row is that of user.
func (t *Table) Row(user User) Row {
	var row Row
	if user.isMaster() {
		row.Everywhere = t.every
	}
	sources := 0
	for _, p := range user.principals() {
		before := len(row.Namespaces)
		for _, h := range t.authorizer.held[p] {
			if h.role == nil {
				continue
			}
			mask, namespace := t.roles[h.role.number], h.Binding.Binding.Namespace
			if namespace == "" {
				row.Everywhere |= mask
				continue
			}
			if mask &^= t.paths; mask == 0 {
				continue
			}
			if last := len(row.Namespaces) - 1; last >= before && row.Namespaces[last].Namespace == namespace {
				row.Namespaces[last].Mask |= mask
				continue
			}
			row.Namespaces = append(row.Namespaces, Cell{namespace, mask})
		}
		if len(row.Namespaces) > before {
			sources++
		}
	}
	if sources > 1 {
		row.Namespaces = merge(row.Namespaces)
	}
	return row
}

// merge sorts cells and makes those of one namespace one.
func merge(cells []Cell) []Cell {
	slices.SortFunc(cells, func(x, y Cell) int { return strings.Compare(x.Namespace, y.Namespace) })
	merged := cells[:1]
	for _, c := range cells[1:] {
		if last := &merged[len(merged)-1]; last.Namespace == c.Namespace {
			last.Mask |= c.Mask
		} else {
			merged = append(merged, c)
		}
	}
	return merged
}

// Rows are those of everybody whom any binding names, in the order of Subjects. A group's is what its members have by
// being in it.
func (t *Table) Rows() iter.Seq2[rbacv1.Subject, Row] {
	return func(yield func(rbacv1.Subject, Row) bool) {
		for _, p := range t.authorizer.principals() {
			subject := p.subject()
			if !yield(subject, t.Row(Of(subject))) {
				return
			}
		}
	}
}
