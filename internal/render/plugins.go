// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/cloud"
)

// Kinds of plugins. The match is exact, as in Kubeflow's profile controller.
const (
	PluginWorkloadIdentity = "WorkloadIdentity"
	PluginAWSIAM           = "AwsIamForServiceAccount"

	annotationGCP = "iam.gke.io/gcp-service-account"
	annotationAWS = "eks.amazonaws.com/role-arn"
)

// pluginAnnotations are all annotations that plugins put on a service account.
var pluginAnnotations = []string{annotationAWS, annotationGCP}

// Plugin is one plugin of a profile, understood.
type Plugin struct {
	Kind string
	// Identity is the role ARN or the Google service account.
	Identity string
	// AnnotateOnly leaves the provider alone.
	AnnotateOnly bool
	// Problem says why the plugin can't be used as written.
	Problem *Problem
}

// annotation is the one by which the provider knows the identity of a service account; empty for unknown kinds.
func (p Plugin) annotation() string {
	switch p.Kind {
	case PluginAWSIAM:
		return annotationAWS
	case PluginWorkloadIdentity:
		return annotationGCP
	}
	return ""
}

// Plugins are the plugins that are in force for p: its own and the default workload identity, which applies where p
// names none. Each kind counts once, because a service account has one identity with each provider.
func Plugins(p *kubeflowv1.Profile, config Config) []Plugin {
	var plugins []Plugin
	var seen []string
	for i, written := range p.Spec.Plugins {
		plugin := parsePlugin(written)
		if plugin.Problem == nil && slices.Contains(seen, plugin.Kind) {
			plugin.Problem = pluginProblem("there is more than one plugin of kind %s: keep one", plugin.Kind)
		}
		if plugin.Problem != nil {
			plugin.Problem.Message = fmt.Sprintf("spec.plugins[%d]: %s", i, plugin.Problem.Message)
		}
		seen = append(seen, plugin.Kind)
		plugins = append(plugins, plugin)
	}
	if config.DefaultWorkloadIdentity != "" && !slices.Contains(seen, PluginWorkloadIdentity) {
		plugin := checkPlugin(Plugin{Kind: PluginWorkloadIdentity, Identity: config.DefaultWorkloadIdentity})
		if plugin.Problem != nil {
			plugin.Problem.Message = "the controller's default workload identity: " + plugin.Problem.Message
		}
		plugins = append(plugins, plugin)
	}
	return plugins
}

// PluginsReported says whether the plugins of p were ever reported on. Before, an earlier controller may have bound them
// without a record.
func PluginsReported(p *kubeflowv1.Profile) bool {
	return len(p.Status.Plugins) > 0 || slices.ContainsFunc(p.Status.Conditions,
		func(c metav1.Condition) bool { return c.Type == kubeflowv1.ConditionPluginsReady })
}

// PluginsToRevoke says whether identities of p may still be bound: recorded ones, and, where nobody has ever reported on
// them, those that an earlier controller may have bound.
func PluginsToRevoke(p *kubeflowv1.Profile, config Config) bool {
	if len(p.Status.Plugins) > 0 {
		return true
	}
	if PluginsReported(p) {
		return false
	}
	return slices.ContainsFunc(Plugins(p, config), func(plugin Plugin) bool { return plugin.Problem == nil && !plugin.AnnotateOnly })
}

func parsePlugin(written kubeflowv1.Plugin) Plugin {
	var spec struct {
		GCPServiceAccount string `json:"gcpServiceAccount"`
		AWSIAMRole        string `json:"awsIamRole"`
		AnnotateOnly      bool   `json:"annotateOnly"`
	}
	plugin := Plugin{Kind: written.Kind}
	if written.Kind != PluginWorkloadIdentity && written.Kind != PluginAWSIAM {
		plugin.Problem = pluginProblem("kind %q is unknown: use %s or %s", written.Kind, PluginWorkloadIdentity, PluginAWSIAM)
		return plugin
	}
	if written.Spec != nil && len(written.Spec.Raw) > 0 {
		if err := json.Unmarshal(written.Spec.Raw, &spec); err != nil {
			plugin.Problem = pluginProblem("the spec of %s can't be read: %s", written.Kind, decodeMessage(err))
			return plugin
		}
	}
	if written.Kind == PluginAWSIAM {
		plugin.Identity, plugin.AnnotateOnly = spec.AWSIAMRole, spec.AnnotateOnly
	} else {
		plugin.Identity = spec.GCPServiceAccount
	}
	return checkPlugin(plugin)
}

func checkPlugin(plugin Plugin) Plugin {
	var err error
	field := "gcpServiceAccount"
	if plugin.Kind == PluginAWSIAM {
		field = "awsIamRole"
		_, err = cloud.ParseRoleARN(plugin.Identity)
	} else {
		_, err = cloud.ParseServiceAccount(plugin.Identity)
	}
	if err != nil {
		plugin.Problem = pluginProblem("%s: %s", field, err)
	}
	return plugin
}

// decodeMessage names what is of a wrong type without Go's words for types.
func decodeMessage(err error) string {
	wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case !ok:
		return err.Error()
	case wrong.Field == "":
		return fmt.Sprintf("it is of the type %s, want an object", wrong.Value)
	}
	return fmt.Sprintf("field %q is of the type %s, want a %s", wrong.Field, wrong.Value, wrong.Type)
}

func pluginProblem(format string, args ...any) *Problem {
	return &Problem{Reason: kubeflowv1.ReasonPluginInvalid, Message: fmt.Sprintf(format, args...)}
}
