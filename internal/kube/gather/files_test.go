// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package gather_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"berth.dev/berth/internal/kube/gather"
)

const (
	profile = "apiVersion: kubeflow.org/v1\nkind: Profile\nmetadata: {name: team}\nspec: {owner: {kind: User, name: ann}}\n"
	binding = `{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"namespace": "team", "name": "b", "annotations": {"user": "b", "role": "edit"}}}`
	policy  = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {namespace: team, name: p, annotations: {user: b, role: edit}}\nspec: {rules: [{anything: 1}]}\n"
)

func dir(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

func TestFiles(t *testing.T) {
	have, err := gather.Files(dir(map[string]string{
		"README.md":       "not read: {",
		"z/profile.yaml":  "# a comment\n---\n" + profile + "--- # and\n" + policy,
		"all.yml":         "kind: List\napiVersion: v1\nitems:\n- {kind: Namespace, apiVersion: v1, metadata: {name: team}}\n- {kind: Namespace, apiVersion: v1, metadata: {name: free}}\n- {kind: Pod, apiVersion: v1, metadata: {name: x}}\n",
		"binding.json":    binding,
		"old.yaml":        strings.NewReplacer("/v1", "/v1beta1", "team", "old").Replace(profile),
		"bindings.yaml":   "kind: RoleBindingList\napiVersion: rbac.authorization.k8s.io/v1\nitems:\n- {metadata: {namespace: team, name: by-hand}}\n- {metadata: {namespace: free, name: c, annotations: {user: c, role: edit}}}\n",
		"configmaps.yaml": "kind: ConfigMap\napiVersion: v1\ndata: {a: b}\n",
	}))
	if err != nil {
		t.Fatal(err)
	}
	team := have.Profiles["team"]
	if len(have.Profiles) != 2 || team == nil || team.Profile.Spec.Owner.Name != "ann" || team.Namespace == nil || have.Namespaces["free"] == nil || have.Namespaces["team"] != nil {
		t.Fatalf("%+v", have)
	}
	if len(team.Bindings) != 1 || team.Bindings[0].Name != "b" || len(team.Policies) != 1 || team.Policies[0].GetName() != "p" {
		t.Errorf("bindings %v, policies %v", team.Bindings, team.Policies)
	}
}

// An error says in which file, and from which line on, something is wrong.
func TestFiles_refused(t *testing.T) {
	cases := map[string]struct{ text, want string }{
		"no YAML":               {profile + "---\n\n# next\na: [\n", "a/b.yaml, in the document from line 7 on: this is not YAML"},
		"no object":             {"- a\n", "a/b.yaml, in the document from line 1 on: this is no Kubernetes object"},
		"another shape":         {"---\n" + strings.Replace(profile, "metadata: {", "metadata: {labels: 1, ", 1), "from line 2 on: this is no Profile"},
		"an item of that shape": {"kind: List\napiVersion: v1\nitems:\n- {kind: Namespace, apiVersion: v1, metadata: 1}\n", "items[0]: this is no Namespace"},
		"nothing":               {"# nothing\n", "there is no Profile"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := gather.Files(dir(map[string]string{"a/b.yaml": tc.text})); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("want %q in: %v", tc.want, err)
			}
		})
	}
}
