// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"berth.dev/berth/internal/labelsfile"
	"berth.dev/berth/internal/render"
)

// defaultLabelsPath is where the manifests mount the namespace labels file.
const defaultLabelsPath = "/etc/profile-controller/namespace-labels.yaml"

// settings are what an administrator decides, from defaults, environment, file and flags; the later win.
type settings struct {
	render.Config

	labelsPath string
	configPath string
	createWP   boolOrWord
	meshMode   string
	policies   string
}

// newSettings has the defaults and what the environment says. The variables are those of Kubeflow's profile
// controller; an empty one counts as unset.
func newSettings(getenv func(string) string) *settings {
	s := &settings{Config: render.DefaultConfig(), labelsPath: defaultLabelsPath}
	s.policies = string(s.ContributorPolicies)
	for name, value := range map[string]*string{
		"ISTIO_INGRESS_GATEWAY_PRINCIPAL": &s.Principals.IngressGateway,
		"KFP_UI_PRINCIPAL":                &s.Principals.KFPUI,
		"NOTEBOOK_CONTROLLER_PRINCIPAL":   &s.Principals.NotebookController,
		"KATIB_CONTROLLER_PRINCIPAL":      &s.Principals.Katib,
	} {
		if set := getenv(name); set != "" {
			*value = set
		}
	}
	return s
}

// bind adds the flags of Kubeflow's profile controller that decide what is rendered.
func (s *settings) bind(flags *flag.FlagSet) {
	s.bindAdmission(flags)
	flags.StringVar(&s.DefaultWorkloadIdentity, "workload-identity", "", "the Google service account of profiles that name none")
	flags.StringVar(&s.labelsPath, "namespace-labels-path", s.labelsPath, "the YAML `file` with labels for every namespace")
	flags.Var(&s.createWP, "create-waypoint", "make a waypoint in every namespace; in ambient mode only")
}

// bindAdmission adds the flags that decide how people get in, which whoever writes policies has to have alike.
func (s *settings) bindAdmission(flags *flag.FlagSet) {
	flags.StringVar(&s.UserIDHeader, "userid-header", s.UserIDHeader, "the request header that names the user")
	flags.StringVar(&s.UserIDPrefix, "userid-prefix", s.UserIDPrefix, "what stands before the user's name in that header")
	flags.StringVar(&s.meshMode, "service-mesh-mode", string(render.MeshSidecar), "istio-sidecar or istio-ambient")
	flags.StringVar(&s.policies, "contributor-policies", s.policies, "per-contributor: a policy of the mesh for each contributor; aggregated: one for each namespace")
	flags.BoolVar(&s.ViewMethods, "view-methods", s.ViewMethods, "keep contributors with the role view from sending more than GET, HEAD and OPTIONS")
	flags.StringVar(&s.configPath, "config", "", "a YAML `file` with these settings; flags win over it")
}

// finish reads the file that flags named and checks the whole. given are the flags that were set.
func (s *settings) finish(given []string) error {
	if s.configPath != "" {
		if err := s.load(given); err != nil {
			return err
		}
	}
	s.MeshMode, s.CreateWaypoint = render.MeshMode(s.meshMode), bool(s.createWP)
	s.ContributorPolicies = render.ContributorPolicies(s.policies)
	return s.Validate()
}

// configFile is the file of -config. Fields that are not there keep what the environment or the defaults say.
type configFile struct {
	APIVersion          string  `json:"apiVersion"`
	Kind                string  `json:"kind"`
	UserIDHeader        *string `json:"userIDHeader"`
	UserIDPrefix        *string `json:"userIDPrefix"`
	WorkloadIdentity    *string `json:"workloadIdentity"`
	NamespaceLabelsPath *string `json:"namespaceLabelsPath"`
	ServiceMeshMode     *string `json:"serviceMeshMode"`
	CreateWaypoint      *bool   `json:"createWaypoint"`
	ContributorPolicies *string `json:"contributorPolicies"`
	ViewMethods         *bool   `json:"viewMethods"`
	Principals          struct {
		IngressGateway     *string `json:"ingressGateway"`
		KFPUI              *string `json:"kfpUI"`
		NotebookController *string `json:"notebookController"`
		Katib              *string `json:"katib"`
	} `json:"principals"`
}

const (
	configAPIVersion = "config.berth.dev/v1alpha1"
	configKind       = "ControllerConfig"
)

func (s *settings) load(given []string) error {
	data, err := os.ReadFile(s.configPath)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	var file configFile
	if err := yaml.UnmarshalStrict(data, &file); err != nil {
		return fmt.Errorf("configuration %q: %w", s.configPath, err)
	}
	if file.APIVersion != configAPIVersion || file.Kind != configKind {
		return fmt.Errorf("configuration %q is a %q of %q: want kind %s of apiVersion %s",
			s.configPath, file.Kind, file.APIVersion, configKind, configAPIVersion)
	}
	take := func(flagName string, from *string, into *string) {
		if from != nil && !slices.Contains(given, flagName) {
			*into = *from
		}
	}
	take("userid-header", file.UserIDHeader, &s.UserIDHeader)
	take("userid-prefix", file.UserIDPrefix, &s.UserIDPrefix)
	take("workload-identity", file.WorkloadIdentity, &s.DefaultWorkloadIdentity)
	take("namespace-labels-path", file.NamespaceLabelsPath, &s.labelsPath)
	take("service-mesh-mode", file.ServiceMeshMode, &s.meshMode)
	take("contributor-policies", file.ContributorPolicies, &s.policies)
	take("", file.Principals.IngressGateway, &s.Principals.IngressGateway)
	take("", file.Principals.KFPUI, &s.Principals.KFPUI)
	take("", file.Principals.NotebookController, &s.Principals.NotebookController)
	take("", file.Principals.Katib, &s.Principals.Katib)
	if file.CreateWaypoint != nil && !slices.Contains(given, "create-waypoint") {
		s.createWP = boolOrWord(*file.CreateWaypoint)
	}
	if file.ViewMethods != nil && !slices.Contains(given, "view-methods") {
		s.ViewMethods = *file.ViewMethods
	}
	return nil
}

// openLabels opens the namespace labels file. Only the one at the default path may be missing.
func (s *settings) openLabels(options labelsfile.Options) (*labelsfile.File, error) {
	options.Optional = s.labelsPath == defaultLabelsPath
	return labelsfile.Open(s.labelsPath, options)
}

// boolOrWord is a boolean flag that may also be given as two words, -create-waypoint false, which is how some
// installations of Kubeflow's profile controller pass it.
type boolOrWord bool

func (b *boolOrWord) String() string {
	if b != nil && *b {
		return "true"
	}
	return "false"
}

// Set takes true or false.
func (b *boolOrWord) Set(value string) error {
	switch value {
	case "true", "false":
		*b = value == "true"
		return nil
	}
	return fmt.Errorf("want true or false")
}

// IsBoolFlag lets the flag stand alone.
func (b *boolOrWord) IsBoolFlag() bool { return true }

// joinWords writes -create-waypoint false as -create-waypoint=false.
func joinWords(args []string) []string {
	var joined []string
	for i := 0; i < len(args); i++ {
		name := strings.TrimLeft(args[i], "-")
		if name == "create-waypoint" && args[i] != name && i+1 < len(args) && (args[i+1] == "true" || args[i+1] == "false") {
			joined = append(joined, args[i]+"="+args[i+1])
			i++
			continue
		}
		joined = append(joined, args[i])
	}
	return joined
}
