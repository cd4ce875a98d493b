// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"

	istionetworking "istio.io/api/networking/v1beta1"
	networkingv1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"

	"berth.dev/berth/internal/access/mesh"
)

// routed is where the gateway sends a request.
type routed struct {
	// route names the VirtualService, and the route in it.
	route string
	// service is namespace/name; empty where the gateway answers by itself, which says says.
	service string
	port    uint32
	says    string
	// unknown is set where it leads on, and nobody knows where to.
	unknown bool
	// request is the request as it goes on.
	request mesh.Request
	notes   []string
}

// candidate is a route of a VirtualService that is for a gateway and a host.
type candidate struct {
	service *networkingv1beta1.VirtualService
	index   int
	route   *istionetworking.HTTPRoute
}

// routes are those behind the gateway, in the order in which it tries them.
type routes struct {
	all []candidate
	// under are the places in all of those for paths below two segments, such as notebook/risk; and others of all else.
	under  map[string][]int
	others []int
}

// routesOf orders the routes of a gateway: of several VirtualServices for one host the oldest comes first, and those that
// match everything last. Source: Istio's merging of VirtualServices at gateways.
func routesOf(services []*networkingv1beta1.VirtualService, gateway string) routes {
	services = slices.DeleteFunc(slices.Clone(services), func(vs *networkingv1beta1.VirtualService) bool { return !isFor(vs, gateway) })
	slices.SortStableFunc(services, func(a, b *networkingv1beta1.VirtualService) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Namespace, b.Namespace))
	})
	var first, last []candidate
	for _, vs := range services {
		for i, route := range vs.Spec.GetHttp() {
			c := candidate{vs, i, route}
			if catchesAll(route) {
				last = append(last, c)
			} else {
				first = append(first, c)
			}
		}
	}
	r := routes{all: append(first, last...), under: map[string][]int{}}
	for i, c := range r.all {
		if segments, found := c.segments(); found {
			r.under[segments] = append(r.under[segments], i)
		} else {
			r.others = append(r.others, i)
		}
	}
	return r
}

// segments are the first two of all paths that c is for, if they have the same.
func (c candidate) segments() (string, bool) {
	if len(c.route.GetMatch()) != 1 || c.route.GetMatch()[0].GetIgnoreUriCase() {
		return "", false
	}
	uri := c.route.GetMatch()[0].GetUri()
	return twoSegments(uri.GetPrefix() + uri.GetExact())
}

// twoSegments are the first two segments of path, if a slash ends them.
func twoSegments(path string) (string, bool) {
	parts := strings.SplitN(path, "/", 4) //nolint:mnd // nothing, two segments, and the rest
	if len(parts) < 4 {                   //nolint:mnd // as above
		return "", false
	}
	return parts[1] + "/" + parts[2], true
}

// route finds where the gateway sends r.
func (e *Engine) route(r mesh.Request) (routed, bool) {
	path, _, _ := strings.Cut(r.Path, "?")
	places := e.routes.others
	if segments, found := twoSegments(path); found {
		places = slices.Concat(e.routes.under[segments], places)
		slices.Sort(places)
	}
	for _, i := range places {
		c := e.routes.all[i]
		if !slices.ContainsFunc(c.service.Spec.GetHosts(), func(host string) bool { return hostMatches(host, r.Host) }) {
			continue
		}
		if match, fits := c.match(&r); fits {
			return c.follow(match, r), true
		}
	}
	return routed{}, false
}

func isFor(vs *networkingv1beta1.VirtualService, gateway string) bool {
	return slices.ContainsFunc(vs.Spec.GetGateways(), func(name string) bool {
		return name == gateway || !strings.Contains(name, "/") && vs.Namespace+"/"+name == gateway
	})
}

// hostMatches compares the host of a VirtualService, where * may stand for the first labels. No host matches all.
func hostMatches(pattern, host string) bool {
	host, _, _ = strings.Cut(strings.ToLower(host), ":")
	pattern = strings.ToLower(pattern)
	if suffix, wild := strings.CutPrefix(pattern, "*"); wild {
		return strings.HasSuffix(host, suffix)
	}
	return host == "" || pattern == host
}

func catchesAll(route *istionetworking.HTTPRoute) bool {
	return len(route.GetMatch()) == 0 || slices.ContainsFunc(route.GetMatch(), func(m *istionetworking.HTTPMatchRequest) bool {
		return (m.GetUri() == nil || m.GetUri().GetPrefix() == "/" || m.GetUri().GetRegex() == "*") && len(m.GetHeaders()) == 0 && m.GetMethod() == nil
	})
}

// match finds the condition of c that r meets; nil for a route without any.
func (c candidate) match(r *mesh.Request) (*istionetworking.HTTPMatchRequest, bool) {
	if len(c.route.GetMatch()) == 0 {
		return nil, true
	}
	for _, m := range c.route.GetMatch() {
		if meets(m, r) {
			return m, true
		}
	}
	return nil, false
}

func meets(m *istionetworking.HTTPMatchRequest, r *mesh.Request) bool {
	path, _, _ := strings.Cut(r.Path, "?")
	if m.GetIgnoreUriCase() {
		path = strings.ToLower(path)
	}
	if !text(m.GetUri(), path, m.GetIgnoreUriCase()) || !text(m.GetMethod(), r.Method, false) || !text(m.GetAuthority(), r.Host, false) {
		return false
	}
	header := func(name string) (string, bool) {
		values, found := r.Headers[strings.ToLower(name)]
		return strings.Join(values, ","), found
	}
	for name, want := range m.GetHeaders() {
		if value, found := header(name); !found || !text(want, value, false) {
			return false
		}
	}
	for name, not := range m.GetWithoutHeaders() {
		if value, found := header(name); found && text(not, value, false) {
			return false
		}
	}
	return true
}

// text says whether value meets m. None is met by everything.
func text(m *istionetworking.StringMatch, value string, fold bool) bool {
	of := func(want string) string {
		if fold {
			return strings.ToLower(want)
		}
		return want
	}
	switch m.GetMatchType().(type) {
	case *istionetworking.StringMatch_Exact:
		return value == of(m.GetExact())
	case *istionetworking.StringMatch_Prefix:
		return strings.HasPrefix(value, of(m.GetPrefix()))
	case *istionetworking.StringMatch_Regex:
		expression, err := regexp.Compile("^(?:" + m.GetRegex() + ")$")
		return err == nil && expression.MatchString(value)
	}
	return true
}

// follow is r behind the route.
func (c candidate) follow(m *istionetworking.HTTPMatchRequest, r mesh.Request) routed {
	found := routed{route: "VirtualService " + c.service.Namespace + "/" + c.service.Name, request: r}
	if m != nil && len(m.GetQueryParams())+len(m.GetSourceLabels()) > 0 || m.GetPort() != 0 || m.GetScheme() != nil {
		found.notes = append(found.notes, "conditions of the route on ports, schemes, query parameters and sources are taken for met")
	}
	switch {
	case c.route.GetRedirect() != nil:
		found.says = "the gateway answers with a redirect"
		return found
	case c.route.GetDirectResponse() != nil:
		found.says = "the gateway answers by itself"
		return found
	case c.route.GetDelegate() != nil || len(c.route.GetRoute()) == 0:
		found.says, found.unknown = "the route leads on in a way that is not followed", true
		return found
	}
	target := c.route.GetRoute()[0]
	for _, other := range c.route.GetRoute()[1:] {
		if other.GetWeight() > target.GetWeight() {
			target = other
		}
	}
	if len(c.route.GetRoute()) > 1 {
		found.notes = append(found.notes, "the route has several destinations; this is the first of those with the most weight")
	}
	found.request.Path = rewritten(c.route.GetRewrite(), m, r.Path)
	if authority := c.route.GetRewrite().GetAuthority(); authority != "" {
		found.request.Host = authority
	}
	found.request.Headers = edited(edited(r.Headers, c.route.GetHeaders().GetRequest()), target.GetHeaders().GetRequest())
	namespace, name := c.service.Namespace, target.GetDestination().GetHost()
	if short, rest, dotted := strings.Cut(name, "."); dotted {
		name = short
		namespace, _, _ = strings.Cut(rest, ".")
	}
	found.service, found.port = namespace+"/"+name, target.GetDestination().GetPort().GetNumber()
	return found
}

// rewritten is path as the route sends it on: of a prefix only the prefix changes.
func rewritten(rewrite *istionetworking.HTTPRewrite, m *istionetworking.HTTPMatchRequest, path string) string {
	if rewrite == nil {
		return path
	}
	if with := rewrite.GetUriRegexRewrite(); with != nil {
		expression, err := regexp.Compile(with.GetMatch())
		if err != nil {
			return path
		}
		return expression.ReplaceAllString(path, strings.ReplaceAll(with.GetRewrite(), `\`, `$`))
	}
	if rewrite.GetUri() == "" {
		return path
	}
	if prefix := m.GetUri().GetPrefix(); prefix != "" {
		return rewrite.GetUri() + strings.TrimPrefix(path, prefix)
	}
	return rewrite.GetUri()
}

// edited are headers after a route has changed them.
func edited(headers map[string][]string, by *istionetworking.Headers_HeaderOperations) map[string][]string {
	if by == nil {
		return headers
	}
	out := make(map[string][]string, len(headers))
	maps.Copy(out, headers)
	for _, name := range by.GetRemove() {
		delete(out, strings.ToLower(name))
	}
	for name, value := range by.GetSet() {
		out[strings.ToLower(name)] = []string{value}
	}
	for name, value := range by.GetAdd() {
		out[strings.ToLower(name)] = append(slices.Clone(out[strings.ToLower(name)]), value)
	}
	return out
}
