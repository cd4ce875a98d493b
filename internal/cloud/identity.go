// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cloud

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// ServiceAccountName is the Kubernetes ServiceAccount of a profile's namespace that takes on the cloud identity.
const ServiceAccountName = "default-editor"

// RoleARN is an AWS IAM role, as named by its ARN.
type RoleARN struct {
	// Partition is aws, aws-cn or aws-us-gov.
	Partition string
	// Account is the number of the AWS account.
	Account string
	// Path begins and ends with a slash; it is "/" for most roles.
	Path string
	// Name is the role's name, unique in its account whatever the path.
	Name string
}

// String is the ARN again.
func (r RoleARN) String() string {
	return "arn:" + r.Partition + ":iam::" + r.Account + ":role" + r.Path + r.Name
}

// GoogleServiceAccount is a Google service account, as named by its e-mail address.
type GoogleServiceAccount struct {
	// Name is the part before the @.
	Name string
	// Project is the ID of the project, with its domain ("example.com:team") where it is domain-scoped.
	Project string
}

// Email is the address again.
func (g GoogleServiceAccount) Email() string {
	project := g.Project
	if domain, id, scoped := strings.Cut(project, ":"); scoped {
		project = id + "." + domain
	}
	return g.Name + "@" + project + googleSuffix
}

const (
	googleSuffix = ".iam.gserviceaccount.com"

	wantRoleARN       = "arn:aws:iam::<account>:role/<name>"
	wantGoogleAccount = "<name>@<project>" + googleSuffix
)

// The length of the account number is left to AWS, which compares it anyway; the character sets are those of the
// providers' own documentation, so that no value can leave its place in a request.
var (
	roleARN       = regexp.MustCompile(`^arn:(aws|aws-cn|aws-us-gov):iam::([0-9]+):role(/(?:[!-.0-~]+/)*)([\w+=,.@-]{1,64})$`)
	googleName    = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$`)
	googleProject = regexp.MustCompile(`^[a-z][a-z0-9-]*[a-z0-9]$`)
	domain        = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+$`)
	dnsLabel      = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$`)
)

// maxIdentity is more characters than an identity of either provider has.
const maxIdentity = 2048

// shown is s for a message: quoted, and cut where somebody wrote a book.
func shown(s string) string {
	const limit = 200
	if runes := []rune(s); len(runes) > limit {
		return strconv.Quote(string(runes[:limit])) + "..."
	}
	return strconv.Quote(s)
}

// ParseRoleARN takes the ARN of an AWS IAM role apart.
func ParseRoleARN(arn string) (RoleARN, error) {
	m := roleARN.FindStringSubmatch(arn)
	if m == nil || len(arn) > maxIdentity {
		return RoleARN{}, fmt.Errorf("%w: role ARN %s, want %s", ErrInvalid, shown(arn), wantRoleARN)
	}
	return RoleARN{Partition: m[1], Account: m[2], Path: m[3], Name: m[4]}, nil
}

// ParseServiceAccount takes the e-mail address of a Google service account apart.
func ParseServiceAccount(email string) (GoogleServiceAccount, error) {
	invalid := fmt.Errorf("%w: Google service account %s, want %s", ErrInvalid, shown(email), wantGoogleAccount)
	local, ok := strings.CutSuffix(email, googleSuffix)
	if !ok || len(email) > maxIdentity {
		return GoogleServiceAccount{}, invalid
	}
	name, host, ok := strings.Cut(local, "@")
	if !ok || !googleName.MatchString(name) {
		return GoogleServiceAccount{}, invalid
	}
	// A domain-scoped project example.com:team appears as team.example.com.
	project, scope, scoped := strings.Cut(host, ".")
	if !googleProject.MatchString(project) {
		return GoogleServiceAccount{}, invalid
	}
	if !scoped {
		return GoogleServiceAccount{Name: name, Project: project}, nil
	}
	if !domain.MatchString(scope) {
		return GoogleServiceAccount{}, invalid
	}
	return GoogleServiceAccount{Name: name, Project: scope + ":" + project}, nil
}

// Subject is the "sub" claim of the tokens of a namespace's default-editor.
func Subject(namespace string) (string, error) {
	if !dnsLabel.MatchString(namespace) {
		return "", fmt.Errorf("%w: namespace %q, want a DNS label", ErrInvalid, namespace)
	}
	return "system:serviceaccount:" + namespace + ":" + ServiceAccountName, nil
}

// WorkloadMember is a namespace's default-editor as Google IAM names it, in the workload identity pool of a project.
func WorkloadMember(project, namespace string) (string, error) {
	if !dnsLabel.MatchString(namespace) {
		return "", fmt.Errorf("%w: namespace %q, want a DNS label", ErrInvalid, namespace)
	}
	return "serviceAccount:" + project + ".svc.id.goog[" + namespace + "/" + ServiceAccountName + "]", nil
}
