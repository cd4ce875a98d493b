// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package render turns a Profile and what surrounds it into the objects that a tenant consists of. It is pure: the
// same values give the same objects, whoever asks, the controller, the command line or a test.
package render

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
)

// MeshMode is how the service mesh takes part in a tenant's namespace.
type MeshMode string

const (
	// MeshSidecar is Istio with a proxy in every pod.
	MeshSidecar MeshMode = "istio-sidecar"
	// MeshAmbient is Istio without sidecars: policies are enforced by the namespace's waypoint.
	MeshAmbient MeshMode = "istio-ambient"
)

// Principals are the mesh identities of the platform's own workloads, without the scheme spiffe://.
type Principals struct {
	// IngressGateway carries people's requests.
	IngressGateway string
	// KFPUI is the user interface of Kubeflow Pipelines.
	KFPUI string
	// NotebookController asks notebooks for idle kernels.
	NotebookController string
	// Katib reaches the suggestion services of experiments; in ambient mode only, as they have no sidecar otherwise.
	Katib string
}

// Config is what an administrator decides for all profiles.
type Config struct {
	// UserIDHeader is the request header that names the user.
	UserIDHeader string
	// UserIDPrefix stands before the user's name in that header.
	UserIDPrefix string
	// Principals are the mesh identities that policies let in.
	Principals Principals
	// MeshMode is sidecar or ambient.
	MeshMode MeshMode
	// CreateWaypoint makes a waypoint Gateway in every namespace; in ambient mode only.
	CreateWaypoint bool
	// ContributorPolicies says how contributors are let in through the mesh.
	ContributorPolicies ContributorPolicies
	// ViewMethods keeps contributors with the role view from sending more than GET, HEAD and OPTIONS through the mesh.
	ViewMethods bool
	// Roles are the roles of contributors that the class of the profile at hand has besides admin, edit and view.
	Roles []berthv1alpha1.Role
	// DefaultWorkloadIdentity is the Google service account of profiles that name none; empty for none.
	DefaultWorkloadIdentity string
	// NamespaceLabels are the labels of the namespace labels file: an empty value removes a label, any other is added
	// where the label is absent.
	NamespaceLabels map[string]string
}

// With is c for profiles of a class.
func (c Config) With(class Class) Config {
	c.Roles = class.Spec.Roles
	return c
}

// DefaultConfig has the defaults of Kubeflow's profile controller.
func DefaultConfig() Config {
	return Config{
		UserIDHeader: "x-goog-authenticated-user-email",
		UserIDPrefix: "accounts.google.com:",
		Principals: Principals{
			IngressGateway:     "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account",
			KFPUI:              "cluster.local/ns/kubeflow/sa/ml-pipeline-ui",
			NotebookController: "cluster.local/ns/kubeflow/sa/notebook-controller-service-account",
			Katib:              "cluster.local/ns/kubeflow/sa/katib-controller",
		},
		MeshMode:            MeshSidecar,
		ContributorPolicies: PolicyPerContributor,
	}
}

// Validate says what in c can't work, naming the value.
func (c Config) Validate() error {
	if c.MeshMode != MeshSidecar && c.MeshMode != MeshAmbient {
		return fmt.Errorf("service mesh mode %q is unknown: use %q or %q", c.MeshMode, MeshSidecar, MeshAmbient)
	}
	if c.ContributorPolicies != PolicyPerContributor && c.ContributorPolicies != PolicyAggregated {
		return fmt.Errorf("contributor policies %q are unknown: use %q or %q", c.ContributorPolicies, PolicyPerContributor, PolicyAggregated)
	}
	if strings.TrimSpace(c.UserIDHeader) == "" {
		return fmt.Errorf("the user id header is empty: name the header that carries the user, for example kubeflow-userid")
	}
	if strings.Contains(c.UserIDPrefix, "*") {
		return wildcard("user id prefix", c.UserIDPrefix)
	}
	for _, principal := range []struct{ name, value string }{
		{"principal of the ingress gateway", c.Principals.IngressGateway},
		{"principal of the KFP UI", c.Principals.KFPUI},
		{"principal of the notebook controller", c.Principals.NotebookController},
		{"principal of the Katib controller", c.Principals.Katib},
	} {
		if strings.TrimSpace(principal.value) == "" {
			return fmt.Errorf("the %s is empty: name it as TRUST-DOMAIN/ns/NAMESPACE/sa/NAME, or leave it out to have the default", principal.name)
		}
		if strings.Contains(principal.value, "*") {
			return wildcard(principal.name, principal.value)
		}
	}
	return nil
}

// wildcard refuses a value with a star: Istio reads one at either end as a wildcard, which would open every namespace
// at once.
func wildcard(name, value string) error {
	return fmt.Errorf("the %s %q contains '*', which the mesh reads as a wildcard: write it out", name, value)
}

// trustDomain is the mesh's trust domain, as the gateway's principal names it.
func (c Config) trustDomain() string {
	domain, _, found := strings.Cut(c.Principals.IngressGateway, "/ns/")
	if !found || domain == "" {
		return "cluster.local"
	}
	return domain
}

// Resource is any Kubernetes object.
type Resource interface {
	metav1.Object
	runtime.Object
}

// Object is one desired object and how much of it is ours.
type Object struct {
	Resource

	// Purpose says in a few words what the object is for.
	Purpose string
	// Exact lists the top-level fields that are ours alone: what others add there is taken out again. All other
	// fields are shared: only what is rendered is kept in place.
	Exact []string
	// AbsentLabels and AbsentAnnotations are keys that must not be there.
	AbsentLabels, AbsentAnnotations []string
	// Foreign says of one that is there already that it is somebody else's and stays as it is; nil for never.
	Foreign func(live metav1.Object) bool
}

// Problem is why something could not be rendered, in the words of a condition.
type Problem struct {
	Reason  string
	Message string
}
