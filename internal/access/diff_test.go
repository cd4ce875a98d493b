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

// A change to what is there already changes nothing.
func TestDiff_same(t *testing.T) {
	s := cluster(t)
	for name, change := range map[string]*snapshot.Snapshot{"nothing": {}, "all of it": cluster(t)} {
		if d := access.Diff(access.New(s, access.DefaultOptions()), access.New(s.With(change), access.DefaultOptions())); len(d.Changes)+len(d.Notes) > 0 {
			t.Errorf("%s: %+v", name, d)
		}
	}
}
