// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package oracle answers what Istio's policies say of a request without Berth's evaluator: Istio's own code selects and
// translates the policies, and gRPC's engine evaluates the translation as Envoy would. What gRPC's engine leaves out is
// written here again, from Envoy's documentation: see probes.go.
package oracle

import (
	"fmt"
	"slices"
	"strings"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacpb "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbachttp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	rbactcp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/grpc/rbacbridge"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/snapshot"
)

// Answer is what an oracle says of a request.
type Answer struct {
	// Allowed is false for a request that a DENY rule matches, or that there are ALLOW policies for and none that match.
	// Extension providers are taken to allow.
	Allowed bool
	// Asked are the extension providers that are asked.
	Asked []string
	// Audited are the AUDIT rules that match, DryRun those that are only tried, and Matched those that are enforced, as Istio
	// names rules: ns[a]-policy[b]-rule[0].
	Audited, DryRun, Matched []string
}

// Oracle answers for the policies of one workload.
type Oracle struct {
	http, tcp []filter
	probes    *probes
}

// filter is what one of Envoy's filters for role-based access control does.
type filter struct {
	action rbacpb.RBAC_Action
	// provider is set where a match means that this extension provider is asked.
	provider string
	// shadow is set for rules that are only watched.
	shadow bool
	// engine decides. rules are the same rules, each alone, to tell which one it was.
	engine rbacbridge.Engine
	rules  map[string]rbacbridge.Engine
}

// Filters returns the oracle of the filters that a proxy got for HTTP and for TCP. It normalizes paths first.
func Filters(forHTTP []*hcm.HttpFilter, forTCP []*listener.Filter, normalization snapshot.PathNormalization) (*Oracle, error) {
	o := &Oracle{probes: &probes{normalization: normalization}}
	for _, f := range forHTTP {
		rules, err := httpRules(f)
		if err != nil {
			return nil, err
		}
		if o.http, err = o.add(o.http, rules); err != nil {
			return nil, err
		}
	}
	for _, f := range forTCP {
		rules, err := tcpRules(f)
		if err != nil {
			return nil, err
		}
		if o.tcp, err = o.add(o.tcp, rules); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// Answer says what is done with a request.
func (o *Oracle) Answer(r mesh.Request) Answer {
	ctx := o.probes.context(r)
	filters := o.http
	if r.TCP {
		filters = o.tcp
	}
	answer := Answer{Allowed: true}
	for _, f := range filters {
		matched := f.engine.IsAuthorized(ctx) == nil
		var names []string
		for name, e := range f.rules {
			if e.IsAuthorized(ctx) == nil {
				names = append(names, name)
			}
		}
		if matched != (len(names) > 0) {
			panic("all rules together say something else than each alone")
		}
		switch {
		case f.shadow:
			answer.DryRun = append(answer.DryRun, names...)
			continue
		case f.provider != "":
			if matched {
				answer.Asked = append(answer.Asked, f.provider)
			}
			continue
		case f.action == rbacpb.RBAC_LOG:
			answer.Audited = append(answer.Audited, names...)
			continue
		case matched == (f.action == rbacpb.RBAC_DENY):
			answer.Allowed = false
		}
		answer.Matched = append(answer.Matched, names...)
	}
	slices.Sort(answer.Audited)
	slices.Sort(answer.DryRun)
	slices.Sort(answer.Matched)
	return answer
}

// envoyRules are the two halves of one filter's configuration.
type envoyRules struct {
	enforced, shadow *rbacpb.RBAC
	prefix           string
}

func httpRules(f *hcm.HttpFilter) (envoyRules, error) {
	var config rbachttp.RBAC
	ok, err := unmarshal(f.GetTypedConfig(), &config)
	if err != nil || !ok {
		return envoyRules{}, err
	}
	return envoyRules{config.GetRules(), config.GetShadowRules(), config.GetShadowRulesStatPrefix()}, nil
}

func tcpRules(f *listener.Filter) (envoyRules, error) {
	var config rbactcp.RBAC
	ok, err := unmarshal(f.GetTypedConfig(), &config)
	if err != nil || !ok {
		return envoyRules{}, err
	}
	return envoyRules{config.GetRules(), config.GetShadowRules(), config.GetShadowRulesStatPrefix()}, nil
}

// unmarshal says false for a filter of another kind: the one that asks extension providers.
func unmarshal(from *anypb.Any, to proto.Message) (bool, error) {
	if !from.MessageIs(to) {
		if strings.Contains(from.GetTypeUrl(), ".ext_authz.") {
			return false, nil
		}
		return false, fmt.Errorf("unknown filter %q", from.GetTypeUrl())
	}
	return true, from.UnmarshalTo(to)
}

// The prefixes by which Istio tells apart rules that are only watched, and those that lead to an extension provider.
const (
	askPrefix  = "istio_ext_authz_"
	ruleMarker = "-ns["
	askMarker  = "istio-ext-authz-"
)

func (o *Oracle) add(filters []filter, rules envoyRules) ([]filter, error) {
	if rules.enforced != nil {
		f, err := o.filter(rules.enforced)
		if err != nil {
			return nil, err
		}
		if rules.prefix == askPrefix {
			// CUSTOM policies that are only tried. Istio means them to be watched and puts them where Envoy denies what they
			// match, and older versions leave them out: that is as little known as what a provider says.
			f.provider = "tried"
		}
		filters = append(filters, f)
	}
	if rules.shadow == nil {
		return filters, nil
	}
	f, err := o.filter(rules.shadow)
	if err != nil {
		return nil, err
	}
	if rules.prefix != askPrefix {
		f.shadow = true
		return append(filters, f), nil
	}
	for name := range f.rules {
		provider, _, _ := strings.Cut(strings.TrimPrefix(name, askMarker), ruleMarker)
		if f.provider != "" && f.provider != provider {
			return nil, fmt.Errorf("two providers in one filter: %q and %q", f.provider, provider)
		}
		f.provider = provider
	}
	if f.provider == "" {
		return filters, nil
	}
	return append(filters, f), nil
}

// filter makes the engines. They are all told to allow what matches, since gRPC's knows no other way to say that rules do.
func (o *Oracle) filter(config *rbacpb.RBAC) (filter, error) {
	f := filter{action: config.GetAction(), rules: map[string]rbacbridge.Engine{}}
	all := &rbacpb.RBAC{Action: rbacpb.RBAC_ALLOW, Policies: map[string]*rbacpb.Policy{}}
	for name, policy := range config.GetPolicies() {
		policy = o.probes.rewrite(policy)
		all.Policies[name] = policy
		engine, err := rbacbridge.NewEngine(&rbacpb.RBAC{
			Action: rbacpb.RBAC_ALLOW, Policies: map[string]*rbacpb.Policy{name: policy},
		})
		if err != nil {
			return filter{}, fmt.Errorf("rule %q: %w", name, err)
		}
		f.rules[name] = engine
	}
	var err error
	f.engine, err = rbacbridge.NewEngine(all)
	return f, err
}
