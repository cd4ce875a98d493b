// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access_test

import (
	"slices"
	"strings"
	"testing"

	"berth.dev/berth/internal/access"
)

// policy is an AuthorizationPolicy of risk-modeling with a spec.
func policy(spec string) string {
	return "{apiVersion: security.istio.io/v1beta1, kind: AuthorizationPolicy, metadata: {namespace: risk-modeling, name: p}, spec: " + spec + "}"
}

// Each trap is found where it is, and only there.
func TestEngine_Lint(t *testing.T) {
	const gateway = "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"
	strict := "\n---\n{apiVersion: security.istio.io/v1beta1, kind: PeerAuthentication, metadata: {namespace: risk-modeling, name: strict}, spec: {mtls: {mode: STRICT}}}"
	ambient := "\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: risk-modeling, labels: {istio.io/dataplane-mode: ambient}}}"
	rbac := "apiVersion: rbac.authorization.k8s.io/v1"
	cases := map[string]struct{ change, want string }{
		"an empty rule":                       {policy("{rules: [{}]}"), "error allows-everything"},
		"all but some principals":             {policy("{rules: [{from: [{source: {notPrincipals: [a]}}]}]}"), "error not-on-missing"},
		"all but some, with an identity":      {policy(`{rules: [{from: [{source: {principals: ["*"], notPrincipals: [a]}}]}]}`), ""},
		"all but some tokens":                 {policy("{rules: [{from: [{source: {notRequestPrincipals: [a]}}]}]}"), "error not-on-missing"},
		"all but some header":                 {policy("{rules: [{when: [{key: 'request.headers[x]', notValues: [a]}]}]}"), "error not-on-missing"},
		"without a header":                    {policy(`{rules: [{when: [{key: 'request.headers[x]', notValues: ["*"]}]}]}`), ""},
		"deny by identity":                    {policy("{action: DENY, rules: [{from: [{source: {namespaces: [a]}}]}]}"), "error deny-needs-identity"},
		"deny by identity with mTLS":          {policy("{action: DENY, rules: [{from: [{source: {namespaces: [a]}}]}]}") + strict, ""},
		"two wildcards":                       {policy(`{rules: [{from: [{source: {principals: ["*/ns/x/sa/*"]}}]}]}`), "error inner-wildcard"},
		"one wildcard":                        {policy(`{rules: [{from: [{source: {principals: ["*/sa/x"]}}]}]}`), ""},
		"a template of a path":                {policy(`{rules: [{to: [{operation: {paths: ["/a/{*}/b/{**}"]}}]}]}`), ""},
		"the beginning of a header":           {policy("{rules: [{when: [{key: 'request.headers[x-team]', values: ['a*']}]}]}"), "error header-pattern"},
		"people of a domain":                  {policy("{rules: [{from: [{source: {principals: [" + gateway + "]}}], when: [{key: 'request.headers[kubeflow-userid]', values: ['*@example.com']}]}]}"), "error identity-wildcard"},
		"a group in the header":               {policy("{rules: [{when: [{key: 'request.headers[kubeflow-groups]', values: [a]}]}]}"), "error groups-header"},
		"a user from anywhere":                {policy("{rules: [{when: [{key: 'request.headers[kubeflow-userid]', values: [a]}]}]}"), "error header-unguarded"},
		"a user by the activator":             {policy("{rules: [{from: [{source: {principals: [cluster.local/ns/knative-serving/sa/activator]}}], when: [{key: 'request.headers[kubeflow-userid]', values: [a]}]}]}"), "error header-unguarded"},
		"a user by the gateway":               {policy("{rules: [{from: [{source: {principals: [" + gateway + "]}}], when: [{key: 'request.headers[kubeflow-userid]', values: [a]}]}]}"), ""},
		"deny a path":                         {policy("{action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}"), "warning deny-path"},
		"a host without port":                 {policy("{rules: [{to: [{operation: {hosts: [a.example.com]}}]}]}"), "warning host-port"},
		"a host both ways":                    {policy(`{rules: [{to: [{operation: {hosts: [a.example.com, "a.example.com:*"]}}]}]}`), ""},
		"labels that nothing has":             {policy("{selector: {matchLabels: {app: none}}, rules: [{from: [{source: {principals: [a]}}]}]}"), "warning selects-nothing"},
		"a Service that is not there":         {policy("{targetRefs: [{kind: Service, name: none}], rules: [{from: [{source: {principals: [a]}}]}]}"), "error target-missing"},
		"requests in ambient":                 {policy("{rules: [{to: [{operation: {methods: [GET]}}]}]}") + ambient, "warning http-in-ambient"},
		"denied requests in ambient":          {policy("{action: DENY, rules: [{from: [{source: {principals: [a]}}], to: [{operation: {methods: [GET]}}]}]}") + ambient + strict, "error http-in-ambient"},
		"a provider that is not there":        {policy("{action: CUSTOM, provider: {name: none}, rules: [{}]}"), "error provider-missing"},
		"two providers":                       {policy("{action: CUSTOM, provider: {name: oauth2-proxy}, rules: [{}]}") + "\n---\n" + strings.Replace(policy("{action: CUSTOM, provider: {name: none}, rules: [{}]}"), "name: p}", "name: q}", 1), "error provider-missing, error several-providers"},
		"an address that is none":             {policy("{rules: [{from: [{source: {ipBlocks: [nowhere]}}]}]}"), "error invalid-value"},
		"tokens that nobody asks for":         {"{apiVersion: security.istio.io/v1beta1, kind: RequestAuthentication, metadata: {namespace: kubeflow, name: p}, spec: {selector: {matchLabels: {app: x}}, jwtRules: [{issuer: a}]}}", "warning token-optional"},
		"a role that is not there":            {"{" + rbac + ", kind: RoleBinding, metadata: {namespace: risk-modeling, name: p}, roleRef: {kind: Role, name: none}, subjects: [{kind: User, name: a}]}", "error role-missing"},
		"everybody":                           {"{" + rbac + ", kind: RoleBinding, metadata: {namespace: risk-modeling, name: p}, roleRef: {kind: ClusterRole, name: kubeflow-view}, subjects: [{kind: Group, name: 'system:authenticated'}]}", "error everybody"},
		"viewers for whoever looks on":        {"{" + rbac + ", kind: ClusterRole, metadata: {name: kubeflow-pipelines-view, labels: {rbac.authorization.kubeflow.org/aggregate-to-kubeflow-view: 'true'}}, rules: [{apiGroups: [kubeflow.org], resources: [viewers], verbs: [create]}]}", "error escalation"},
		"policies of the mesh for everybody":  {"{" + rbac + ", kind: ClusterRole, metadata: {name: x, labels: {rbac.authorization.kubeflow.org/aggregate-to-kubeflow-edit: 'true'}}, rules: [{apiGroups: ['*'], resources: [authorizationpolicies], verbs: [create]}]}", "error escalation, error escalation"},
		"requests to a port that carries TCP": {policy("{selector: {matchLabels: {statefulset: nb1}}, rules: [{to: [{operation: {methods: [GET]}}]}]}") + "\n---\n{apiVersion: v1, kind: Service, metadata: {namespace: risk-modeling, name: db}, spec: {selector: {statefulset: nb1}, ports: [{name: tcp-db, port: 5432}]}}", "warning http-on-tcp"},
		"a waypoint that nothing guards":      {"{apiVersion: v1, kind: Namespace, metadata: {name: payments-engineering, labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint}}}", "error waypoint-open"},
	}
	before := access.New(cluster(t), access.DefaultOptions()).Lint("")
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, f := range access.New(cluster(t).With(changed(t, tc.change)), access.DefaultOptions()).Lint("") {
				// What else there is to say about the same change is in a case of its own.
				other := strings.HasSuffix(f.Object, "/ns-owner-access-istio") || strings.Contains(f.Object, "-clusterrole-")
				if !slices.Contains(before, f) && !other {
					got = append(got, string(f.Severity)+" "+f.Code)
				}
				if f.Fix == "" || f.Message == "" || f.Object == "" {
					t.Errorf("it does not say all: %+v", f)
				}
			}
			if got := strings.Join(got, ", "); got != tc.want {
				t.Errorf("found %q, want %q", got, tc.want)
			}
		})
	}
}
