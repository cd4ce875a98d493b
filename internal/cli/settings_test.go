// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/render"
)

const configHead = "apiVersion: config.berth.dev/v1alpha1\nkind: ControllerConfig\n"

// parsed are the controller's settings by environment, the file of -config, if it is not empty, and flags.
func parsed(t *testing.T, env map[string]string, file string, args ...string) (*settings, error) {
	t.Helper()
	if file != "" {
		args = append([]string{"-config", write(t, "config.yaml", file)}, args...)
	}
	c := newControllerFlags(func(name string) string { return env[name] })
	err := c.parse(args, io.Discard, io.Discard)
	return c.settings, err
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSettings(t *testing.T) {
	cases := map[string]struct {
		env  map[string]string
		file string
		args []string
		want func(*settings)
	}{
		"nothing said: the defaults of Kubeflow's profile controller": {want: func(*settings) {}},
		"the environment names principals": {
			env: map[string]string{
				"ISTIO_INGRESS_GATEWAY_PRINCIPAL": "gateway", "KFP_UI_PRINCIPAL": "kfp",
				"NOTEBOOK_CONTROLLER_PRINCIPAL": "notebook", "KATIB_CONTROLLER_PRINCIPAL": "katib",
			},
			want: func(s *settings) {
				s.Principals = render.Principals{IngressGateway: "gateway", KFPUI: "kfp", NotebookController: "notebook", Katib: "katib"}
			},
		},
		"an empty variable counts as unset": {env: map[string]string{"KFP_UI_PRINCIPAL": ""}, want: func(*settings) {}},
		"the variables that only the manifests expand are not read": {
			env: map[string]string{"USERID_HEADER": "h", "USERID_PREFIX": "p", "WORKLOAD_IDENTITY": "w"}, want: func(*settings) {},
		},
		"the file wins over the environment, where it says something": {
			env:  map[string]string{"KFP_UI_PRINCIPAL": "env", "KATIB_CONTROLLER_PRINCIPAL": "env"},
			file: configHead + "principals: {kfpUI: file}\n",
			want: func(s *settings) { s.Principals.KFPUI, s.Principals.Katib = "file", "env" },
		},
		"the file says everything": {
			file: configHead + "userIDHeader: h\nuserIDPrefix: ''\nworkloadIdentity: w\nnamespaceLabelsPath: /l\n" +
				"serviceMeshMode: istio-ambient\ncreateWaypoint: true\ncontributorPolicies: aggregated\nviewMethods: true\n" +
				"principals: {ingressGateway: g, kfpUI: k, notebookController: nb, katib: c}\n",
			want: func(s *settings) {
				s.Config = render.Config{
					UserIDHeader: "h", DefaultWorkloadIdentity: "w", MeshMode: render.MeshAmbient, CreateWaypoint: true, ContributorPolicies: render.PolicyAggregated, ViewMethods: true,
					Principals: render.Principals{IngressGateway: "g", KFPUI: "k", NotebookController: "nb", Katib: "c"},
				}
				s.labelsPath = "/l"
			},
		},
		"flags win over the file": {
			file: configHead + "userIDHeader: h\nuserIDPrefix: p\nworkloadIdentity: w\nnamespaceLabelsPath: /l\nserviceMeshMode: istio-ambient\ncreateWaypoint: true\n",
			args: []string{"-userid-header", "H", "-userid-prefix", "P", "-workload-identity", "W", "-namespace-labels-path", "/L", "-service-mesh-mode", "istio-sidecar", "-create-waypoint", "false"},
			want: func(s *settings) {
				s.UserIDHeader, s.UserIDPrefix, s.DefaultWorkloadIdentity, s.labelsPath = "H", "P", "W", "/L"
			},
		},
		"flags with the value of the default win over the file, too": {
			file: configHead + "userIDHeader: h\n", args: []string{"-userid-header", "x-goog-authenticated-user-email"}, want: func(*settings) {},
		},
		"flags that are empty win over the file": {
			file: configHead + "userIDPrefix: p\nworkloadIdentity: w\n", args: []string{"-userid-prefix", "", "-workload-identity="},
			want: func(s *settings) { s.UserIDPrefix, s.DefaultWorkloadIdentity = "", "" },
		},
		"two dashes": {
			args: []string{"--userid-header", "h", "--userid-prefix=p", "--service-mesh-mode", "istio-ambient"},
			want: func(s *settings) { s.UserIDHeader, s.UserIDPrefix, s.MeshMode = "h", "p", render.MeshAmbient },
		},
		"the command line of Kubeflow's manifests, with nothing set": {
			args: []string{"-userid-header", "kubeflow-userid", "-userid-prefix", "", "-workload-identity", "", "--leader-elect", "--health-probe-bind-address=:9876", "--metrics-bind-address=0"},
			want: func(s *settings) { s.UserIDHeader, s.UserIDPrefix = "kubeflow-userid", "" },
		},
		"a waypoint by the flag alone": {args: []string{"-create-waypoint"}, want: func(s *settings) { s.CreateWaypoint = true }},
		"a waypoint in two words": {
			args: []string{"-create-waypoint", "true", "-service-mesh-mode", "istio-ambient"},
			want: func(s *settings) { s.CreateWaypoint, s.MeshMode = true, render.MeshAmbient },
		},
		"no waypoint in two words": {
			args: []string{"--create-waypoint", "false", "-service-mesh-mode", "istio-ambient"},
			want: func(s *settings) { s.MeshMode = render.MeshAmbient },
		},
		"no waypoint in one word":  {args: []string{"-create-waypoint=false", "-userid-header", "h"}, want: func(s *settings) { s.UserIDHeader = "h" }},
		"the last flag wins":       {args: []string{"-create-waypoint", "true", "-create-waypoint", "false"}, want: func(*settings) {}},
		"words after the flags":    {args: []string{"-userid-header", "h", "true", "-userid-prefix", "ignored"}, want: func(s *settings) { s.UserIDHeader = "h" }},
		"a flag without its value": {args: []string{"-userid-prefix", "-x"}, want: func(s *settings) { s.UserIDPrefix = "-x" }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := parsed(t, tc.env, tc.file, tc.args...)
			if err != nil {
				t.Fatal(err)
			}
			want := &settings{Config: render.DefaultConfig(), labelsPath: defaultLabelsPath}
			tc.want(want)
			if diff := cmp.Diff(want.Config, got.Config); diff != "" || got.labelsPath != want.labelsPath {
				t.Errorf("labels path is %q, want %q; -want, +got:\n%s", got.labelsPath, want.labelsPath, diff)
			}
		})
	}
}

// What is wrong is refused before anything starts, with the value and where it was said.
func TestSettings_refused(t *testing.T) {
	cases := map[string]struct {
		env   map[string]string
		file  string
		args  []string
		wants []string
	}{
		"an unknown field":                  {file: configHead + "userIdHaeder: h\n", wants: []string{"config.yaml", `"userIdHaeder"`}},
		"an unknown principal":              {file: configHead + "principals: {dashboard: d}\n", wants: []string{"config.yaml", `"dashboard"`}},
		"a field twice":                     {file: configHead + "userIDHeader: a\nuserIDHeader: b\n", wants: []string{"config.yaml", `"userIDHeader"`}},
		"a field of a wrong type":           {file: configHead + "createWaypoint: sure\n", wants: []string{"config.yaml", "createWaypoint"}},
		"no YAML":                           {file: "\tx", wants: []string{"config.yaml"}},
		"another kind":                      {file: "apiVersion: v1\nkind: ConfigMap\n", wants: []string{"config.yaml", "ConfigMap", "ControllerConfig"}},
		"another version":                   {file: "apiVersion: config.berth.dev/v1\nkind: ControllerConfig\n", wants: []string{"config.berth.dev/v1", "config.berth.dev/v1alpha1"}},
		"no kind":                           {file: "userIDHeader: h\n", wants: []string{"config.yaml", "ControllerConfig"}},
		"a file that is not there":          {args: []string{"-config", "/not/there.yaml"}, wants: []string{"/not/there.yaml"}},
		"an unknown flag":                   {args: []string{"-userid-haeder", "h"}, wants: []string{"userid-haeder", "-help"}},
		"an unknown mesh":                   {args: []string{"-service-mesh-mode", "linkerd"}, wants: []string{`"linkerd"`, "istio-sidecar", "istio-ambient"}},
		"an unknown mesh in the file":       {file: configHead + "serviceMeshMode: linkerd\n", wants: []string{`"linkerd"`}},
		"a waypoint of an odd kind":         {args: []string{"-create-waypoint=maybe"}, wants: []string{"maybe", "true or false"}},
		"no header":                         {args: []string{"-userid-header", " "}, wants: []string{"header"}},
		"a wildcard in the prefix":          {args: []string{"-userid-prefix", "*"}, wants: []string{"prefix", `"*"`}},
		"a wildcard in the environment":     {env: map[string]string{"KFP_UI_PRINCIPAL": "cluster.local/*"}, wants: []string{"KFP", `"cluster.local/*"`}},
		"an empty principal in the file":    {file: configHead + "principals: {katib: ''}\n", wants: []string{"Katib"}},
		"leader election of an odd kind":    {args: []string{"-leader-elect=perhaps"}, wants: []string{"perhaps"}},
		"a verification that is no time":    {args: []string{"-plugin-verify-interval", "often"}, wants: []string{"often"}},
		"a verification that never ends":    {args: []string{"-plugin-verify-interval", "0s"}, wants: []string{"-plugin-verify-interval", "0s"}},
		"a verification that goes backward": {args: []string{"-plugin-verify-interval", "-1h"}, wants: []string{"-1h"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := parsed(t, tc.env, tc.file, tc.args...)
			if err == nil {
				t.Fatal("it was accepted")
			}
			for _, want := range tc.wants {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not name %s: %v", want, err)
				}
			}
		})
	}
}

func TestController_flags(t *testing.T) {
	wantDefaults := map[string]string{ // as Kubeflow's profile controller prints them
		"metrics-bind-address": ":8080", "health-probe-bind-address": ":9876", "leader-elect": "false",
		"userid-header": "x-goog-authenticated-user-email", "userid-prefix": "accounts.google.com:", "workload-identity": "",
		"namespace-labels-path": "/etc/profile-controller/namespace-labels.yaml", "kubeconfig": "",
		"zap-devel": "true", "zap-encoder": "", "zap-log-level": "", "zap-stacktrace-level": "", "zap-time-encoding": "",
		"service-mesh-mode": "istio-sidecar", "create-waypoint": "false", // the two of the ambient one
	}
	var help bytes.Buffer
	c := newControllerFlags(os.Getenv)
	if err := c.parse([]string{"-help"}, &help, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Fatalf("-help is %v", err)
	}
	for name, want := range wantDefaults {
		f := c.Lookup(name)
		if f == nil || f.DefValue != want {
			t.Errorf("flag -%s is %+v, want the default %q", name, f, want)
		}
		if !strings.Contains(help.String(), "  -"+name) {
			t.Errorf("-help does not list -%s", name)
		}
	}
	if !c.logging.Development {
		t.Error("logging is not in development mode, which is the default")
	}
}

func TestController_warnsOfWords(t *testing.T) {
	var warning bytes.Buffer
	if err := newControllerFlags(os.Getenv).parse([]string{"word", "-userid-header", "h"}, io.Discard, &warning); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(warning.String(), `"word"`) {
		t.Errorf("the warning is %q", warning.String())
	}
}

func TestSettings_labelsFile(t *testing.T) {
	s, err := parsed(t, nil, "", "-namespace-labels-path", filepath.Join(t.TempDir(), "none.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.withLabels(); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "-namespace-labels-path") {
		t.Errorf("a file that was named and is not there: %v", err)
	}
	s.labelsPath = write(t, "bad.yaml", "- a\n")
	if _, err := s.withLabels(); err == nil || !strings.Contains(err.Error(), "bad.yaml") {
		t.Errorf("a bad file: %v", err)
	}
	s.labelsPath = write(t, "good.yaml", "k: v\n")
	config, err := s.withLabels()
	if err != nil || config.NamespaceLabels["k"] != "v" {
		t.Errorf("labels are %v: %v", config.NamespaceLabels, err)
	}
}

func TestJoinWords(t *testing.T) {
	cases := map[string]struct{ in, want []string }{
		"nothing":           {nil, nil},
		"two words":         {[]string{"-create-waypoint", "true", "-x"}, []string{"-create-waypoint=true", "-x"}},
		"at the end":        {[]string{"-x", "--create-waypoint"}, []string{"-x", "--create-waypoint"}},
		"another flag next": {[]string{"-create-waypoint", "-x"}, []string{"-create-waypoint", "-x"}},
		"no flag":           {[]string{"create-waypoint", "true"}, []string{"create-waypoint", "true"}},
		"joined already":    {[]string{"-create-waypoint=true", "false"}, []string{"-create-waypoint=true", "false"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := joinWords(slices.Clone(tc.in)); !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
