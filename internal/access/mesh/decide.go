// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"strings"
)

func compareStrings(a, b string) int { return strings.Compare(a, b) }

// Decide says what the policies make of r: CUSTOM policies come first, then DENY, then ALLOW, of which one has to match if
// there are any. What is not known counts as unknown, and makes the decision unknown only where it matters.
//
// An external authorizer that a CUSTOM policy asks may refuse, and it may write headers that other policies see, a token
// among them. So with it a request is Denied only if that is so whatever the authorizer does, and else Unknown.
func (f *Filter) Decide(r Request) Decision {
	if f.enforcer == None {
		return f.undecided(Allowed, "the workload is not in the mesh: nothing is enforced")
	}
	c := f.chainFor(&r)
	v, refused := newView(&r, f.mesh.PathNormalization)
	if refused != "" {
		return f.undecided(Denied, "the proxy refuses the request by itself: "+refused)
	}
	asked, custom := f.custom(c, &r, v)
	d := f.judge(c, v)
	if custom != no && d.Verdict != Denied {
		d = customDecision(asked, custom, v)
	}
	d.Audited, d.DryRun = matching(c.audit, v), matching(c.dryRun, v)
	return d
}

// ChainFor makes a connection of a request where that is all that is seen.
func (f *Filter) chainFor(r *Request) *chain {
	if r.TCP || f.enforcer == Ztunnel {
		r.TCP = true
		return &f.tcp
	}
	return &f.http
}

// Custom looks for a CUSTOM rule that matches, and makes v what is known after its provider was asked.
func (f *Filter) custom(c *chain, r *Request, v *view) (*rule, truth) {
	if len(c.custom) == 0 && len(c.refused) == 0 {
		return nil, no
	}
	before := *v
	if r.Received != nil {
		received := *r.Received
		received.TCP = r.TCP
		if seen, refused := newView(&received, f.mesh.PathNormalization); refused == "" {
			before = *seen
		}
	}
	// Tokens are verified after that.
	before.token = nil
	asked, custom := first(c.custom, &before)
	v.refusedBy, v.refusal = first(c.refused, &before)
	if custom != no || v.refusal == unknown {
		v.unknowns = before.unknowns
	}
	v.answered = custom != no && !r.TCP
	return asked, custom
}

func (f *Filter) judge(c *chain, v *view) Decision {
	if v.refusal == yes {
		return decided(Denied, v.refusedBy, v.refusedBy.String()+", matches, and the request is denied, as "+v.refusedBy.refused)
	}
	deny, denies := first(c.deny, v)
	if denies == yes {
		return decided(Denied, deny, deny.why)
	}
	allow, allows := (*rule)(nil), yes
	if len(c.allows) > 0 {
		allow, allows = first(c.allow, v)
	}
	switch {
	case allows == no:
		return f.undecided(Denied, c.noneAllows)
	case v.refusal == unknown:
		return open(v.refusedBy, v)
	case denies == unknown:
		return open(deny, v)
	case allows == unknown:
		return open(allow, v)
	case allow == nil:
		return f.undecided(Allowed, "no policy denies, and there is no ALLOW policy here")
	}
	return decided(Allowed, allow, allow.why)
}

// Undecided is a decision that no rule made.
func (f *Filter) undecided(verdict Verdict, why string) Decision {
	return Decision{Verdict: verdict, Rule: -1, Why: why}
}

func decided(verdict Verdict, r *rule, why string) Decision {
	return Decision{
		Verdict: verdict, Policy: r.policy.key(), Rule: r.index, Action: r.policy.action.String(), Why: why,
	}
}

func open(r *rule, v *view) Decision {
	d := decided(Unknown, r, r.String()+", may match or not: "+strings.Join(v.unknowns, ", ")+" is not known")
	d.Unknown = v.unknowns
	return d
}

func customDecision(asked *rule, custom truth, v *view) Decision {
	provider := fmt.Sprintf("extension provider %q", asked.policy.provider)
	why := "matches: it is up to " + provider + ", which was not asked"
	if custom == unknown {
		why = "may match, and then it is up to " + provider + ", which was not asked"
	}
	if asked.policy.dryRun {
		why += "; it is only tried (istio.io/dry-run), by which versions of Istio mean that it is ignored, asked or denied"
	}
	d := decided(Unknown, asked, asked.String()+", "+why)
	d.Unknown = append([]string{provider}, v.unknowns...)
	return d
}

func matching(rules []*rule, v *view) []string {
	var names []string
	for _, r := range rules {
		if r.match(v) == yes {
			names = append(names, r.by)
		}
	}
	return names
}

func namesOf(policies []*policy) string {
	names := make([]string, len(policies))
	for i, p := range policies {
		names[i] = p.key()
	}
	return strings.Join(names, ", ")
}
