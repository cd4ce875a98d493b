// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package plugin_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/cloud/awsiam"
	"berth.dev/berth/internal/cloud/cloudtest"
	"berth.dev/berth/internal/cloud/gcpwi"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/controller/plugin"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

const patience = controllertest.Patience

var cluster testkit.SharedCluster

func TestMain(m *testing.M) { os.Exit(testkit.RunWithCluster(m, &cluster)) }

// Identities that exist at the providers.
const (
	reader  = "arn:aws:iam::123456789012:role/ml/reader"
	writer  = "arn:aws:iam::123456789012:role/ml/writer"
	trainer = "trainer@models.iam.gserviceaccount.com"

	annotationAWS = "eks.amazonaws.com/role-arn"
	annotationGCP = "iam.gke.io/gcp-service-account"
)

// clouds are both providers, behind their real SDKs.
type clouds struct {
	aws *cloudtest.AWS
	gcp *cloudtest.GCP
	// calls are the calls of the controllers, as "apply team-a arn:...". A hook may fail or hold them.
	mu    sync.Mutex
	calls []string
	hook  func(call string) error
}

func newClouds(t *testing.T) *clouds {
	t.Helper()
	c := &clouds{aws: cloudtest.NewAWS(t), gcp: cloudtest.NewGCP(t)}
	for _, role := range []string{reader, writer} {
		c.aws.SetRole(t, role, `{"Version":"2012-10-17","Statement":[{"Sid":"Cluster","Effect":"Allow","Action":"sts:AssumeRoleWithWebIdentity",`+
			`"Principal":{"Federated":"arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/A"},`+
			`"Condition":{"StringEquals":{"oidc.example.com/id/A:aud":"sts.amazonaws.com","oidc.example.com/id/A:sub":"system:serviceaccount:else:where"}}}]}`)
	}
	c.gcp.SetServiceAccount(t, trainer)
	return c
}

func (c *clouds) providers() map[string]plugin.Provider {
	return map[string]plugin.Provider{
		render.PluginAWSIAM: spied{c, awsiam.New(awsiam.Options{Config: c.aws.Config})},
		render.PluginWorkloadIdentity: spied{c, gcpwi.New(gcpwi.Options{
			Endpoint: c.gcp.URL, Credentials: c.gcp.Credentials("cluster"),
		})},
	}
}

// start runs the controllers with these clouds.
func (c *clouds) start(t *testing.T, options ...controllertest.Option) *controllertest.Controllers {
	t.Helper()
	options = append([]controllertest.Option{controllertest.WithProviders(c.providers())}, options...)
	return controllertest.Start(t, cluster.Use(t).Config(), options...)
}

// spied is a provider whose calls are recorded.
type spied struct {
	clouds *clouds
	plugin.Provider
}

// Apply records the call.
func (s spied) Apply(ctx context.Context, namespace, identity string) error {
	if err := s.clouds.record("apply " + namespace + " " + identity); err != nil {
		return err
	}
	return s.Provider.Apply(ctx, namespace, identity)
}

// Revoke records the call.
func (s spied) Revoke(ctx context.Context, namespace, identity string) error {
	if err := s.clouds.record("revoke " + namespace + " " + identity); err != nil {
		return err
	}
	return s.Provider.Revoke(ctx, namespace, identity)
}

func (c *clouds) record(call string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, call)
	if c.hook != nil {
		return c.hook(call)
	}
	return nil
}

// onCall has calls go through hook first; nil for none.
func (c *clouds) onCall(hook func(call string) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hook = hook
}

// callsOf are the calls for the profile so far.
func (c *clouds) callsOf(name string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.calls), func(call string) bool { return !strings.Contains(call, " "+name+" ") })
}

// bound says whether the profile may act as the identity.
func (c *clouds) bound(name, identity string) bool {
	if identity == trainer {
		for _, binding := range c.gcp.Bindings(trainer) {
			if slices.Contains(binding.Members, "serviceAccount:cluster.svc.id.goog["+name+"/default-editor]") {
				return true
			}
		}
		return false
	}
	return strings.Contains(c.aws.Trust(identity[strings.LastIndex(identity, "/")+1:]), `"system:serviceaccount:`+name+`:default-editor"`)
}

func (c *clouds) awaitBound(t *testing.T, name, identity string, want bool) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if got := c.bound(name, identity); got != want {
			return fmt.Errorf("%q bound to %q: %t, want %t", name, identity, got, want)
		}
		return nil
	})
}

// with asks for a plugin.
func with(kind, spec string) func(*kubeflowv1.Profile) {
	return func(p *kubeflowv1.Profile) {
		var object *runtime.RawExtension
		if spec != "" {
			object = &runtime.RawExtension{Raw: []byte(spec)}
		}
		p.Spec.Plugins = append(p.Spec.Plugins, kubeflowv1.Plugin{Kind: kind, Spec: object})
	}
}

func withRole(arn string) func(*kubeflowv1.Profile) {
	return with(render.PluginAWSIAM, `{"awsIamRole":"`+arn+`"}`)
}

// instead asks for the plugin and no other.
func instead(change func(*kubeflowv1.Profile)) func(*kubeflowv1.Profile) {
	return func(p *kubeflowv1.Profile) {
		p.Spec.Plugins = nil
		change(p)
	}
}

func none(p *kubeflowv1.Profile) { p.Spec.Plugins = nil }

// annotation is one of service account default-editor.
func annotation(t *testing.T, c client.Client, namespace, key string) string {
	t.Helper()
	account := &corev1.ServiceAccount{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "default-editor"}, account); err != nil {
		t.Fatal(err)
	}
	return account.Annotations[key]
}

func awaitAnnotation(t *testing.T, c client.Client, namespace, key, want string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if got := annotation(t, c, namespace, key); got != want {
			return fmt.Errorf("annotation %s of %s/default-editor is %q, want %q", key, namespace, got, want)
		}
		return nil
	})
}

// profile is the profile as it is now.
func profile(t *testing.T, c client.Client, name string) *kubeflowv1.Profile {
	t.Helper()
	p := &kubeflowv1.Profile{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: name}, p); err != nil {
		t.Fatal(err)
	}
	return p
}
