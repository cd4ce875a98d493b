// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/access"
	"berth.dev/berth/internal/snapshot"
)

// difference is what a change makes, a line for each gain and loss.
func difference(t *testing.T, s *snapshot.Snapshot, change string) []string {
	t.Helper()
	d := access.Diff(access.New(s, access.DefaultOptions()), access.New(s.With(changed(t, change)), access.DefaultOptions()))
	var lines []string
	for _, c := range d.Changes {
		outsider := ""
		if c.Outsider {
			outsider = " (outsider)"
		}
		for _, gain := range c.Gains {
			lines = append(lines, fmt.Sprintf("%s: %s%s + %s by %s", c.Namespace, c.Who, outsider, gain, strings.Join(c.By, ", ")))
		}
		for _, loss := range c.Loses {
			lines = append(lines, fmt.Sprintf("%s: %s%s - %s", c.Namespace, c.Who, outsider, loss))
		}
	}
	return lines
}

func TestDiff_RBAC(t *testing.T) {
	binding := func(kind, meta, role, subject string) string {
		return fmt.Sprintf("{apiVersion: rbac.authorization.k8s.io/v1, kind: %s, metadata: {%s}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %s}, subjects: [{%s}]}",
			kind, meta, role, subject)
	}
	cases := map[string]struct {
		change string
		want   []string
	}{
		"nothing new": {binding("RoleBinding", "namespace: risk-modeling, name: again", "kubeflow-view", "kind: User, name: rita@example.com"), nil},
		"a role that is less": {
			binding("RoleBinding", "namespace: risk-modeling, name: user-rob-example-com-clusterrole-edit, annotations: {user: rob@example.com, role: view}", "kubeflow-kserve-view", "kind: User, name: rob@example.com"),
			[]string{
				"risk-modeling: rob@example.com - get, list, watch: authorizationpolicies.security.istio.io, pods/log",
			},
		},
		"a contributor": {
			binding("RoleBinding", "namespace: risk-modeling, name: new, annotations: {user: new@example.com, role: view}", "kubeflow-kserve-view", "kind: User, name: new@example.com"),
			[]string{"risk-modeling: new@example.com + get, list, watch: inferenceservices.serving.kserve.io, inferenceservices/status.serving.kserve.io by RoleBinding risk-modeling/new"},
		},
		"somebody by hand": {
			binding("RoleBinding", "namespace: risk-modeling, name: new", "kubeflow-kserve-view", "kind: User, name: new@example.com"),
			[]string{"risk-modeling: new@example.com (outsider) + get, list, watch: inferenceservices.serving.kserve.io, inferenceservices/status.serving.kserve.io by RoleBinding risk-modeling/new"},
		},
		"a group, everywhere": {
			binding("ClusterRoleBinding", "name: new", "kubeflow-kserve-view", "kind: Group, name: all-hands"),
			[]string{": group all-hands (outsider) + get, list, watch: inferenceservices.serving.kserve.io, inferenceservices/status.serving.kserve.io by ClusterRoleBinding new"},
		},
		"the platform, everywhere": {
			binding("ClusterRoleBinding", "name: new", "kubeflow-kserve-view", "kind: ServiceAccount, namespace: kubeflow, name: models"),
			[]string{": service account kubeflow/models + get, list, watch: inferenceservices.serving.kserve.io, inferenceservices/status.serving.kserve.io by ClusterRoleBinding new"},
		},
		"a role that is more": {
			`{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: more, labels: {rbac.authorization.kubeflow.org/aggregate-to-kubeflow-view: "true"}}, rules: [{apiGroups: [x.io], resources: [things], verbs: [get]}]}`,
			[]string{
				"alice-research: service account alice-research/default-editor + get: things.x.io by ClusterRole kubeflow-edit",
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := difference(t, cluster(t), tc.change)
			if name == "a role that is more" {
				if len(got) != 11 { // owners, contributors and service accounts of three namespaces
					t.Errorf("%d changes:\n%s", len(got), strings.Join(got, "\n"))
				}
				got = got[1:2]
			}
			if name == "a role that is less" {
				got = got[len(got)-1:]
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("-want, +got:\n%s", d)
			}
		})
	}
}

// What rules ask for besides who, what and where is tried as well: each value, and with the requests that the rule is about.
func TestDiff_mesh(t *testing.T) {
	policy := func(spec string) string {
		return "{apiVersion: security.istio.io/v1beta1, kind: AuthorizationPolicy, metadata: {namespace: risk-modeling, name: new}, spec: " + spec + "}"
	}
	const tokens = `{apiVersion: security.istio.io/v1beta1, kind: RequestAuthentication, metadata: {namespace: risk-modeling, name: robots},
  spec: {jwtRules: [{issuer: "https://robots.example.com", audiences: [models]}]}}`
	const (
		plain = "callers in plain text, without identity"
		by    = " by ns[risk-modeling]-policy[new]-rule[0]"
	)
	cases := map[string]struct {
		before, change string
		// who is whose changes are looked at, and want what comes after "risk-modeling: " and that.
		who, want string
	}{
		"a namespace": {
			change: policy("{rules: [{from: [{source: {namespaces: [knative-serving]}}]}]}"),
			who:    "service account knative-serving/default", want: " + all methods: /x/api/kernels, all other paths" + by,
		},
		"another tenant's namespace": {
			change: policy("{rules: [{when: [{key: source.namespace, values: [alice-research]}]}]}"),
			who:    "service account alice-research/default-editor", want: " (outsider) + all methods: /x/api/kernels, all other paths" + by,
		},
		"a service account": {
			change: policy("{rules: [{from: [{source: {serviceAccounts: [robot, kubeflow/models]}}]}]}"),
			who:    "service account kubeflow/models", want: " + all methods: /x/api/kernels, all other paths" + by,
		},
		"a port": {
			change: policy(`{rules: [{when: [{key: destination.port, values: ["9090"]}]}]}`),
			who:    plain, want: " (outsider) + all methods: /x/api/kernels on port 9090, all other paths on port 9090" + by,
		},
		"a header": {
			change: policy(`{rules: [{when: [{key: "request.headers[X-Team]", values: [research]}]}]}`),
			who:    plain, want: " (outsider) + all methods: all paths with the header x-team: research" + by,
		},
		"one more value of a header": {
			before: policy(`{rules: [{to: [{operation: {paths: [/v1/*], methods: [GET]}}], when: [{key: "request.headers[X-Team]", values: [research]}]}]}`),
			change: policy(`{rules: [{to: [{operation: {paths: [/v1/*], methods: [GET]}}], when: [{key: "request.headers[X-Team]", values: [research, "sales-*"]}]}]}`),
			who:    plain, want: " (outsider) + GET: /v1/x with the header x-team: sales-*" + by,
		},
		"a header, but for those who send another": {
			change: policy(`{rules: [{when: [{key: "request.headers[X-Test]", notValues: ["*"]}, {key: "request.headers[X-Team]", values: [research]}]}]}`),
			who:    plain, want: " (outsider) + all methods: all paths with the header x-team: research" + by,
		},
		"a header, refused": {
			change: policy(`{action: DENY, rules: [{when: [{key: "request.headers[X-Team]", values: [research]}]}]}`),
			who:    "rita@example.com", want: " - all methods: all paths with the header x-team: research",
		},
		"a claim of a person": {
			change: policy(`{rules: [{from: [{source: {namespaces: [istio-system]}}], when: [{key: "request.headers[kubeflow-userid]", values: [new@example.com]}, {key: "request.auth.claims[team]", values: [research]}]}]}`) + `
---
{apiVersion: security.istio.io/v1beta1, kind: RequestAuthentication, metadata: {namespace: risk-modeling, name: people},
  spec: {jwtRules: [{issuer: "http://dex.auth.svc.cluster.local:5556/dex", outputClaimToHeaders: [{header: kubeflow-userid, claim: email}]}]}}`,
			who: "new@example.com", want: " (outsider) + all methods: all paths with a token whose team is research" + by,
		},
		"a claim": {
			before: tokens, change: policy(`{rules: [{when: [{key: "request.auth.claims[realm][team]", values: [research]}]}]}`),
			who: plain, want: " (outsider) + all methods: all paths with a token whose realm.team is research" + by,
		},
		"a claim that nobody verifies": {change: policy(`{rules: [{when: [{key: "request.auth.claims[team]", values: [research]}]}]}`), who: plain},
		"any token": {
			before: tokens, change: policy(`{rules: [{from: [{source: {requestPrincipals: ["*"]}}]}]}`),
			who: plain, want: " (outsider) + all methods: all paths with any token that is verified" + by,
		},
		"a token": {
			before: tokens, change: policy(`{rules: [{from: [{source: {requestPrincipals: ["https://robots.example.com/r2"]}}]}]}`),
			who: plain, want: " (outsider) + all methods: all paths with a token of https://robots.example.com/r2" + by,
		},
		"a host": {
			change: policy("{rules: [{to: [{operation: {hosts: [models.example.com]}}]}]}"),
			who:    plain, want: " (outsider) + all methods: all paths for the host models.example.com" + by,
		},
		"addresses of connections": {
			change: policy("{rules: [{from: [{source: {ipBlocks: [10.1.0.0/16]}}]}]}"),
			who:    plain, want: " (outsider) + all methods: all paths from the address 10.1.0.0/16" + by,
		},
		"addresses of connections, behind the gateway": {
			change: policy("{rules: [{from: [{source: {ipBlocks: [10.1.0.0/16]}}]}]}"), who: "anybody else who has signed in",
		},
		"addresses": {
			change: policy("{rules: [{from: [{source: {remoteIpBlocks: [10.1.0.0/16]}}]}]}"),
			who:    plain, want: " (outsider) + all methods: all paths of a client at 10.1.0.0/16" + by,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := cluster(t)
			if tc.before != "" {
				s = s.With(changed(t, tc.before))
			}
			all := difference(t, s, tc.change)
			got := ""
			for _, line := range all {
				if rest, found := strings.CutPrefix(line, "risk-modeling: "+tc.who); found {
					got += rest
				}
			}
			if got != tc.want {
				t.Errorf("%s: want %q, got %q; of all:\n%s", tc.who, tc.want, got, strings.Join(all, "\n"))
			}
		})
	}
}

// A change to what is there already changes nothing.
func TestDiff_same(t *testing.T) {
	s := cluster(t)
	for name, change := range map[string]*snapshot.Snapshot{"nothing": {}, "all of it": cluster(t)} {
		if d := access.Diff(access.New(s, access.DefaultOptions()), access.New(s.With(change), access.DefaultOptions())); len(d.Changes)+len(d.Notes) > 0 {
			t.Errorf("%s: %+v", name, d)
		}
	}
}
