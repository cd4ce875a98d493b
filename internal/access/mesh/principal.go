// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"regexp"
	"slices"
	"strings"

	"berth.dev/berth/internal/snapshot"
)

// Peer makes a matcher of what the peer's certificate says. Without one nothing matches.
func peer(p predicate) matcher {
	return func(v *view) truth { return truthOf(v.principal != "" && p(v.principal)) }
}

// Principal compiles a value of principals: exact or with one leading or trailing star.
func principal(value string) matcher {
	switch {
	case value == "*":
		return peer(something)
	case strings.HasPrefix(value, "*"):
		suffix := value[1:]
		return peer(func(s string) bool {
			rest, found := strings.CutPrefix(s, spiffeScheme)
			rest, fits := strings.CutSuffix(rest, suffix)
			return found && fits && !strings.Contains(rest, "\n")
		})
	case strings.HasSuffix(value, "*"):
		return peer(beginsWith(spiffeScheme + value[:len(value)-1]))
	}
	return peer(is(spiffeScheme + value))
}

// SourceNamespace compiles a value of namespaces, the one field where a star may be anywhere; it even goes across
// slashes.
func sourceNamespace(value string) matcher {
	if !strings.Contains(value, "*") {
		part := "/ns/" + value + "/"
		return peer(func(s string) bool { return strings.Contains(s, part) && !strings.Contains(s, "\n") })
	}
	parts := strings.Split(value, "*")
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(part)
	}
	return peerPattern(".*/ns/" + strings.Join(parts, ".*") + "/.*")
}

// PeerPattern compiles a regular expression for the whole principal. What is no text in UTF-8 Envoy refuses, and keeps
// what it had before, whatever that was.
func peerPattern(expression string) matcher {
	pattern, err := regexp.Compile("^(?:" + expression + ")$")
	if err != nil {
		return func(v *view) truth { return v.missing("policy, which has a value that Envoy refuses") }
	}
	return peer(pattern.MatchString)
}

// SourceAccount compiles a value of serviceAccounts, ACCOUNT or NAMESPACE/ACCOUNT; namespace is the policy's own.
func sourceAccount(value, namespace string) matcher {
	account := value
	if before, after, found := strings.Cut(value, "/"); found {
		namespace, account = before, after
	}
	whole := peerPattern("spiffe://.+/ns/" + regexp.QuoteMeta(namespace) + "/(?:.+/|)sa/" + regexp.QuoteMeta(account) + "(?:/.+)?")
	part, end := "/ns/"+namespace+"/", "sa/"+account
	return func(v *view) truth {
		// Cheap, and false for nearly all.
		if !strings.Contains(v.principal, part) || !strings.Contains(v.principal, end) {
			return no
		}
		return whole(v)
	}
}

// SourceTrustDomain compiles a value of trustDomains.
func sourceTrustDomain(value string) matcher {
	if value == "*" {
		return peer(beginsWith(spiffeScheme))
	}
	before, after, found := strings.Cut(value, "*")
	if !found {
		return peer(beginsWith(spiffeScheme + value + "/"))
	}
	return peerPattern("spiffe://" + regexp.QuoteMeta(before) + "[^/]*" + regexp.QuoteMeta(after) + "/.*")
}

// TrustDomains are the mesh's own and its aliases.
type trustDomains []string

// ClusterLocal stands for the mesh's own trust domain in policies, whatever that is.
const clusterLocal = "cluster.local"

func domainsOf(m snapshot.Mesh) trustDomains {
	own := m.TrustDomain
	if own == "" {
		own = clusterLocal
	}
	return append(trustDomains{own}, m.TrustDomainAliases...)
}

// Principals writes each principal once for each trust domain, where it names one of them.
func (t trustDomains) principals(values []string) []string {
	var all []string
	for _, value := range values {
		domain, rest, _ := strings.Cut(value, "/")
		if strings.Count(value, "/") != 4 || domain == "*" || domain != clusterLocal && !t.has(domain) {
			all = append(all, value)
			continue
		}
		var own []string
		for _, alias := range t {
			written := alias + "/" + rest
			if strings.HasPrefix(domain, "*") && strings.HasSuffix(alias, domain[1:]) {
				written = value
			}
			if !slices.Contains(own, written) {
				own = append(own, written)
			}
		}
		all = append(all, own...)
	}
	return all
}

// Has says whether domain, which may have a star, is one of t, which may have stars, too.
func (t trustDomains) has(domain string) bool {
	return slices.ContainsFunc(t, func(own string) bool {
		return domain == own || own == "*" || fits(domain, own) || fits(own, domain)
	})
}

func fits(s, pattern string) bool {
	return strings.HasSuffix(pattern, "*") && strings.HasPrefix(s, strings.TrimSuffix(pattern, "*")) ||
		strings.HasPrefix(pattern, "*") && strings.HasSuffix(s, strings.TrimPrefix(pattern, "*"))
}

// Expand writes all trust domains where values has one of them.
func (t trustDomains) expand(values []string) []string {
	var all []string
	for _, value := range values {
		added := []string{value}
		if slices.Contains(t, value) {
			added = t
		}
		for _, domain := range added {
			if !slices.Contains(all, domain) {
				all = append(all, domain)
			}
		}
	}
	return all
}
