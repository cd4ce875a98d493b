// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity says what a finding means for tenants.
type Severity string

const (
	// Error means that tenants have less than the policy says, or more.
	Error Severity = "error"
	// Warning means that a role does not say what was likely meant.
	Warning Severity = "warning"
	// Note is worth knowing, and harms nobody.
	Note Severity = "note"
)

// Code tells findings apart. docs/reference/roles.md has them all.
type Code string

// Codes.
const (
	CodeRoleAbsent    Code = "role-absent"
	CodeNoRole        Code = "no-role"
	CodeViewLacks     Code = "view-lacks"
	CodeEditLacks     Code = "edit-lacks"
	CodeAdminLacks    Code = "admin-lacks"
	CodeViewWrites    Code = "view-writes"
	CodeViewSecrets   Code = "view-secrets"
	CodeGrantsAccess  Code = "grants-access"
	CodeBadSelector   Code = "bad-selector"
	CodeMisspelt      Code = "misspelt"
	CodeSelectsNone   Code = "selects-none"
	CodeUnserved      Code = "unserved"
	CodeClusterScoped Code = "cluster-scoped"
	CodeStatusLacks   Code = "status-lacks"
)

// codes are in the order in which findings about one kind are told.
var codes = []Code{
	CodeRoleAbsent, CodeBadSelector, CodeNoRole, CodeViewLacks, CodeEditLacks, CodeAdminLacks, CodeViewWrites, CodeViewSecrets,
	CodeGrantsAccess, CodeMisspelt, CodeClusterScoped, CodeStatusLacks, CodeUnserved, CodeSelectsNone,
}

var lackCodes = map[Level]Code{View: CodeViewLacks, Edit: CodeEditLacks, Admin: CodeAdminLacks}

// Finding is one thing about the roles of tenants that an administrator should know.
type Finding struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	// Role is the ClusterRole that it is about: one of the three, or the part of them that is wrong.
	Role     string `json:"role,omitempty"`
	Group    string `json:"group,omitempty"`
	Resource string `json:"resource,omitempty"`
	// Verbs are those that are missing, or too many.
	Verbs []string `json:"verbs,omitempty"`
	// Message says what is wrong.
	Message string `json:"message"`
	// Evidence is where in which roles it comes from.
	Evidence []string `json:"evidence,omitempty"`
	// Fix says what to do.
	Fix string `json:"fix"`
}

// Gap says whether f is something that tenants lack, which another role can supply.
func (f Finding) Gap() bool {
	return slices.Contains([]Code{CodeNoRole, CodeViewLacks, CodeEditLacks, CodeAdminLacks, CodeStatusLacks}, f.Code)
}

// HasErrors says whether tenants have less or more than the policy says.
func HasErrors(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity == Error })
}

var severities = []Severity{Error, Warning, Note}

func (f Finding) compare(other Finding) int {
	return cmp.Or(
		slices.Index(severities, f.Severity)-slices.Index(severities, other.Severity),
		cmp.Compare(f.Group, other.Group), cmp.Compare(f.Resource, other.Resource),
		slices.Index(codes, f.Code)-slices.Index(codes, other.Code), cmp.Compare(f.Role, other.Role), cmp.Compare(f.Message, other.Message),
	)
}

// kind is how a resource is written: trainedmodels.serving.kserve.io.
func (f Finding) kind() string {
	if f.Group == "" {
		return f.Resource
	}
	name, sub, isSub := strings.Cut(f.Resource, "/")
	if isSub {
		return name + "." + f.Group + "/" + sub
	}
	return name + "." + f.Group
}

const (
	fixGenerate = "berth roles generate | kubectl apply -f -"
	fixWider    = "take the verbs out of the role in evidence, or list them under accepted in the policy; roles only add rights, so none can take them back"
)

// explanation is the severity of a code, and the words for it.
type explanation struct {
	severity Severity
	message  func(Finding) string
	fix      func(Finding) string
}

func fixed(text string) func(Finding) string { return func(Finding) string { return text } }

func lacks(f Finding) string {
	return fmt.Sprintf("%s lacks %s on %s", f.Role, strings.Join(f.Verbs, ", "), f.kind())
}

var explanations = map[Code]explanation{
	CodeRoleAbsent: {
		Error, func(f Finding) string { return "there is no ClusterRole " + f.Role }, fixed("install Kubeflow's roles: common/kubeflow-roles of its manifests"),
	},
	CodeNoRole: {
		Error, func(f Finding) string { return "no role of tenants gives anything on " + f.kind() }, fixed(fixGenerate),
	},
	CodeViewLacks:  {Error, lacks, fixed(fixGenerate)},
	CodeEditLacks:  {Error, lacks, fixed(fixGenerate)},
	CodeAdminLacks: {Error, lacks, fixed(fixGenerate)},
	CodeViewWrites: {
		Error, func(f Finding) string {
			return fmt.Sprintf("%s, which is for reading, gives %s on %s%s", View.Role(), strings.Join(f.Verbs, ", "), f.kind(), consequence(f))
		}, fixed(fixWider),
	},
	CodeViewSecrets: {
		Error, func(f Finding) string {
			return View.Role() + " gives " + strings.Join(f.Verbs, ", ") + " on " + f.kind()
		}, fixed(fixWider),
	},
	CodeGrantsAccess: {
		Error, func(f Finding) string {
			return fmt.Sprintf("%s gives %s on %s: whoever has it lets others in", f.Role, strings.Join(f.Verbs, ", "), f.kind())
		}, fixed(fixWider),
	},
	CodeBadSelector: {
		Error, func(f Finding) string {
			return "Kubernetes can't read the aggregation rule of " + f.Role + ", and leaves the role as it is"
		},
		func(f Finding) string { return "kubectl edit clusterrole " + f.Role },
	},
	CodeMisspelt: {
		Warning, func(f Finding) string {
			return fmt.Sprintf("%s names %s, which nobody serves; likely %s is meant", f.Role, f.kind(), f.Evidence[0])
		}, fixed("tell whoever wrote the role; meanwhile: " + fixGenerate),
	},
	CodeSelectsNone: {
		Note, func(f Finding) string { return "the aggregation rule of " + f.Role + " selects no role" },
		fixed("nothing, if no component is missing; else look at its labels: kubectl get clusterroles --show-labels"),
	},
	CodeUnserved: {
		Note, func(f Finding) string { return fmt.Sprintf("%s names %s, which nobody serves", f.Role, f.kind()) },
		fixed("nothing, if that component is not installed; if a program asks about it, list it under unserved in the policy"),
	},
	CodeClusterScoped: {
		Note, func(f Finding) string { return f.kind() + " is in no namespace: RoleBindings can't give it" },
		func(f Finding) string {
			return fmt.Sprintf("if tenants are to see it: kubectl create clusterrole read-%[1]s --verb=get,list,watch --resource=%[2]s, and a ClusterRoleBinding of it to their group", f.Resource, f.kind())
		},
	},
	CodeStatusLacks: {
		Note, func(f Finding) string {
			return lacks(f) + "; reading the object shows its status anyway"
		}, fixed(fixGenerate),
	},
}

// explained is f with its severity, and in words.
func (f Finding) explained() Finding {
	e := explanations[f.Code]
	f.Severity, f.Message, f.Fix = e.severity, e.message(f), e.fix(f)
	return f
}

// consequence is why it matters that somebody may write a kind, where that is not plain.
func consequence(f Finding) string {
	if f.Group == "kubeflow.org" && f.Resource == "viewers" {
		return ": Kubeflow Pipelines makes pods from what a Viewer says, of any image and as any ServiceAccount of the namespace"
	}
	return ""
}
