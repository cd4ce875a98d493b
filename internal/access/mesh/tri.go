// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

// A truth is a value of Kleene's logic, in the order in which "and" is the least and "or" the greatest.
type truth int8

const (
	no truth = iota
	unknown
	yes
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

func (t truth) not() truth { return yes - t }

// A matcher says whether a request has one of the values of a condition.
type matcher func(*view) truth

func anyOf(matchers []matcher, v *view) truth {
	found := no
	for _, m := range matchers {
		if found = max(found, m(v)); found == yes {
			break
		}
	}
	return found
}
