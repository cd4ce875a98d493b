// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const profileA = "apiVersion: kubeflow.org/v1\nkind: Profile\nmetadata: {name: a}\nspec: {owner: {kind: User, name: ann}}\n"

// rendered runs `berth render` with args.
func rendered(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := Root()
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetArgs(append([]string{"render"}, args...))
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// The golden files of render are what this command prints, to the byte.
func TestRender_printsTheGoldenFiles(t *testing.T) {
	inputs, err := filepath.Glob("../render/testdata/*.in.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("found %d: %v", len(inputs), err)
	}
	whole := 0
	for _, in := range inputs {
		input, err := os.ReadFile(in)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(input, []byte("# shows:")) || bytes.Contains(input, []byte("---")) {
			continue // parts only, or what no file says
		}
		whole++
		want, err := os.ReadFile(strings.TrimSuffix(in, ".in.yaml") + ".out.yaml")
		if err != nil {
			t.Fatal(err)
		}
		for _, source := range []string{in, "-"} {
			got, err := rendered(t, string(input), "-f", source)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s from %q, -want, +got:\n%s", in, source, diff)
			}
		}
	}
	if whole == 0 {
		t.Error("no golden file is a whole one")
	}
}

func TestRender(t *testing.T) {
	cases := map[string]struct {
		stdin string
		args  []string
		// wants are in what is printed, wantNot is not.
		wants   []string
		wantNot string
	}{
		"a profile of v1":      {stdin: profileA, wants: []string{"name: namespaceAdmin", "accounts.google.com:ann"}},
		"a profile of v1beta1": {stdin: strings.Replace(profileA, "/v1", "/v1beta1", 1), wants: []string{"apiVersion: kubeflow.org/v1\n", "name: namespaceAdmin"}, wantNot: "v1beta1\n  "},
		"as JSON":              {stdin: `{"apiVersion": "kubeflow.org/v1", "kind": "Profile", "metadata": {"name": "a"}, "spec": {"owner": {"kind": "User", "name": "ann"}}}`, wants: []string{"name: namespaceAdmin"}},
		"several documents":    {stdin: "# first\n---\n" + profileA + "---\n---\n# nothing\n---\n" + strings.Replace(profileA, "name: a}", "name: b}", 1) + "---\n", wants: []string{"namespace: a\n", "namespace: b\n"}},
		"as the server hands it out": {
			stdin: "apiVersion: kubeflow.org/v1\nkind: Profile\nmetadata: {name: a, uid: u-1, generation: 3, managedFields: [{manager: kubectl}]}\n" +
				"spec: {owner: {kind: User, name: ann}}\nstatus: {conditions: [{type: Failed, status: 'True', message: m}]}\n",
			wants: []string{"uid: u-1", "berth.dev/made-for: u-1"},
		},
		"with flags":           {stdin: profileA, args: []string{"--userid-header", "kubeflow-userid", "--userid-prefix", ""}, wants: []string{"request.headers[kubeflow-userid]", "- ann\n"}},
		"in ambient mode":      {stdin: profileA, args: []string{"--service-mesh-mode", "istio-ambient", "--create-waypoint"}, wants: []string{"kind: Gateway", "targetRefs:"}},
		"without a waypoint":   {stdin: profileA, args: []string{"--service-mesh-mode=istio-ambient", "--create-waypoint=false"}, wantNot: "kind: Gateway\nmetadata"},
		"with a labels file":   {stdin: profileA, args: []string{"--namespace-labels-path", write(t, "l.yaml", "k: yes\nistio-injection: ''\n")}, wants: []string{`k: "yes"`}, wantNot: "istio-injection"},
		"with configuration":   {stdin: profileA, args: []string{"--config", write(t, "c.yaml", configHead+"userIDHeader: h\nuserIDPrefix: p\n"), "--userid-prefix", "q"}, wants: []string{"request.headers[h]", "- qann\n"}},
		"with an odd quantity": {stdin: strings.Replace(profileA, "spec: {", "spec: {resourceQuotaSpec: {hard: {cpu: 1.5}}, ", 1), wants: []string{"cpu: 1500m"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := rendered(t, tc.stdin, append([]string{"-f", "-"}, tc.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tc.wants {
				if !strings.Contains(got, want) {
					t.Errorf("there is no %q in:\n%s", want, got)
				}
			}
			if tc.wantNot != "" && strings.Contains(got, tc.wantNot) {
				t.Errorf("there is %q in:\n%s", tc.wantNot, got)
			}
		})
	}
}

// A mistake in the input is told with where it is and what to do, and nothing is printed.
func TestRender_refused(t *testing.T) {
	second := "standard input, document 2"
	cases := map[string]struct {
		stdin string
		args  []string
		wants []string
	}{
		"nothing":                         {wants: []string{"standard input", "no Profile"}},
		"comments alone":                  {stdin: "# a\n---\n# b\n", wants: []string{"standard input", "no Profile"}},
		"another kind":                    {stdin: profileA + "---\napiVersion: v1\nkind: ConfigMap\ndata: {}\n", wants: []string{second, `"ConfigMap"`, "Profile"}},
		"no kind":                         {stdin: profileA + "---\nname: a\n", wants: []string{second, "Profile"}},
		"a Profile of another API":        {stdin: "apiVersion: other.org/v1\nkind: Profile\n", wants: []string{"document 1", `"other.org/v1"`, "kubeflow.org/v1"}},
		"a Profile of an unknown version": {stdin: "apiVersion: kubeflow.org/v7\nkind: Profile\n", wants: []string{`"kubeflow.org/v7"`}},
		"a list":                          {stdin: "[a, b]\n", wants: []string{"document 1"}},
		"a word":                          {stdin: "word\n", wants: []string{"document 1"}},
		"no YAML":                         {stdin: profileA + "---\n\tx: {\n", wants: []string{second}},
		"an unknown field":                {stdin: profileA + "---\n" + strings.Replace(profileA, "owner", "onwer", 1), wants: []string{second, `"onwer"`}},
		"a field twice":                   {stdin: profileA + "spec: {}\n", wants: []string{"document 1", `"spec"`}},
		"a field of a wrong type":         {stdin: strings.Replace(profileA, "name: ann", "name: {}", 1), wants: []string{"document 1", "owner.name"}},
		"a name that is reserved":         {stdin: profileA + "---\n" + strings.Replace(profileA, "name: a}", "name: kube-a}", 1), wants: []string{second, `"kube-a"`}},
		"a name that no namespace has":    {stdin: strings.Replace(profileA, "name: a}", "name: a.b}", 1), wants: []string{`"a.b"`}},
		"no name":                         {stdin: strings.Replace(profileA, "name: a}", "}", 1), wants: []string{`""`}},
		"a bad configuration":             {stdin: profileA, args: []string{"--service-mesh-mode", "x"}, wants: []string{`"x"`}},
		"a labels file that is not there": {stdin: profileA, args: []string{"--namespace-labels-path", "/not/there.yaml"}, wants: []string{"/not/there.yaml"}},
		"a bad labels file":               {stdin: profileA, args: []string{"--namespace-labels-path", write(t, "l.yaml", "k: a b\n")}, wants: []string{"l.yaml", `"k"`, `"a b"`}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := rendered(t, tc.stdin, append([]string{"-f", "-"}, tc.args...)...)
			if err == nil {
				t.Fatalf("it was accepted:\n%s", got)
			}
			if got != "" {
				t.Errorf("something was printed:\n%s", got)
			}
			for _, want := range tc.wants {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not name %s: %v", want, err)
				}
			}
		})
	}
}

func TestRender_fileNamedInErrors(t *testing.T) {
	file := write(t, "profiles.yaml", profileA+"---\nkind: Secret\n")
	if _, err := rendered(t, "", "-f", file); err == nil || !strings.Contains(err.Error(), file+", document 2") {
		t.Errorf("error is %v", err)
	}
	if _, err := rendered(t, "", "-f", file+".not"); err == nil || !strings.Contains(err.Error(), file+".not") {
		t.Errorf("error is %v", err)
	}
	if _, err := rendered(t, ""); err == nil {
		t.Error("no file is no error")
	}
}

// Of a profile that is wrong in part, the controller applies the rest; the command prints the rest, and fails.
func TestRender_partlyWrong(t *testing.T) {
	cases := map[string]struct {
		stdin   string
		wants   []string // in the error
		wantNot string   // in what is printed
	}{
		"a wildcard as owner": {
			stdin: strings.Replace(profileA, "name: ann", `name: "*@example.com"`, 1),
			wants: []string{"standard input, document 1", `"*@example.com"`}, wantNot: "name: namespaceAdmin",
		},
		"no owner": {
			stdin: strings.Replace(profileA, "{owner: {kind: User, name: ann}}", "{}", 1),
			wants: []string{"spec.owner.kind"}, wantNot: "name: namespaceAdmin",
		},
		"a bad quantity": {
			stdin: strings.Replace(profileA, "spec: {", "spec: {resourceQuotaSpec: {hard: {memory: 4 GB}}, ", 1),
			wants: []string{"hard[memory]", `"4 GB"`}, wantNot: "kind: ResourceQuota",
		},
		"a bad plugin": {
			stdin: strings.Replace(profileA, "spec: {", "spec: {plugins: [{kind: AwsIamForServiceAccount, spec: {awsIamRole: r}}], ", 1),
			wants: []string{"spec.plugins[0]", "awsIamRole", `"r"`}, wantNot: "eks.amazonaws.com",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := rendered(t, tc.stdin+"---\n"+strings.Replace(profileA, "name: a}", "name: b}", 1), "-f", "-")
			if err == nil {
				t.Fatal("it was accepted")
			}
			for _, want := range tc.wants {
				if strings.Count(err.Error(), want) != 1 {
					t.Errorf("the error does not name %s once: %v", want, err)
				}
			}
			a, b, _ := strings.Cut(got, "namespace: b\n")
			if !strings.Contains(a, "name: default-editor") || strings.Contains(a, tc.wantNot) || !strings.Contains(b, "name: namespaceAdmin") {
				t.Errorf("printed:\n%s", got)
			}
		})
	}
}
