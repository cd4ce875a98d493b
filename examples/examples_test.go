// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package examples_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/cli"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/controller/plugin"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

const patience = 30 * time.Second

var cluster testkit.SharedCluster

func TestMain(m *testing.M) { os.Exit(testkit.RunWithCluster(m, &cluster)) }

// Server-side apply refuses fields that the schema does not have.
func TestExamples_becomeReady(t *testing.T) {
	config := cluster.Use(t).Config()
	controllertest.Start(t, config, controllertest.WithProviders(map[string]plugin.Provider{
		render.PluginAWSIAM: willing{}, render.PluginWorkloadIdentity: willing{},
	}))
	c := controllertest.Client(t, config)
	for _, file := range files(t) {
		t.Run(file, func(t *testing.T) {
			object := read(t, file)
			err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("examples"))
			if err != nil {
				t.Fatal(err)
			}
			if object.GetKind() == "Profile" {
				awaitReady(t, c, object.GetName())
			}
		})
	}
}

func TestExamples_render(t *testing.T) {
	for _, file := range files(t) {
		if read(t, file).GetKind() != "Profile" {
			continue
		}
		t.Run(file, func(t *testing.T) {
			var class []string
			if beside := filepath.Join(filepath.Dir(file), "class.yaml"); slices.Contains(files(t), beside) {
				class = []string{"--class", beside}
			}
			if out := renderFile(t, file, class...); !strings.Contains(out, "kind: Namespace") {
				t.Errorf("rendered without a namespace:\n%s", out)
			}
		})
	}
}

// The list is one that nothing at all is to be said of, with each overlay and without.
func TestExamples_lists(t *testing.T) {
	overlays, err := filepath.Glob("pmr/overlays/*.yaml")
	if err != nil || len(overlays) == 0 {
		t.Fatalf("%d overlays: %v", len(overlays), err)
	}
	lint := func(args ...string) {
		t.Helper()
		var out bytes.Buffer
		root := cli.Root()
		root.SetArgs(append([]string{"pmr", "lint", "pmr/pmr.yaml", "--fail-on", "warning", "--allow-domain", "example.com"}, args...))
		root.SetOut(&out)
		if err := root.ExecuteContext(t.Context()); err != nil || out.String() != "0 errors, 0 warnings, 0 notes\n" {
			t.Errorf("%v: %v\n%s", args, err, out.String())
		}
	}
	lint()
	lint("--validation", "compat")
	for _, overlay := range overlays {
		lint("--overlay", overlay)
	}
}

func TestExamples_configurationIsTheDefault(t *testing.T) {
	const file = "quickstart/profile.yaml"
	configured := renderFile(t, file, "--config", "controller/config.yaml", "--namespace-labels-path", "controller/namespace-labels.yaml")
	if !strings.Contains(configured, "app.kubernetes.io/part-of: kubeflow-profile") {
		t.Errorf("the namespace lacks the label of the file:\n%s", configured)
	}
	plain := renderFile(t, file, "--userid-header", "kubeflow-userid", "--userid-prefix", "", "--namespace-labels-path", "controller/namespace-labels.yaml")
	if configured != plain {
		t.Errorf("the values of controller/config.yaml are not the defaults but for the header:\n%s\nwithout it:\n%s", configured, plain)
	}
}

// files are all files with objects for a cluster, in the order in which a reader applies them: a class is there before the
// profiles that name it.
func files(t *testing.T) (all []string) {
	t.Helper()
	found, err := filepath.Glob("*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range found {
		// Those of controller are for the controller's flags, those of pmr are lists, and those of access questions. Pods need a namespace that is ready, and have tests of their
		// own beside the profile controller.
		if !slices.Contains([]string{"access", "controller", "pmr"}, filepath.Dir(file)) && !strings.HasPrefix(filepath.Base(file), "pod-") {
			all = append(all, file)
		}
	}
	slices.SortStableFunc(all, func(a, b string) int {
		return -cmp.Compare(strings.Count(filepath.Base(a), "class.yaml"), strings.Count(filepath.Base(b), "class.yaml"))
	})
	return all
}

func read(t *testing.T, file string) *unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	object := &unstructured.Unstructured{}
	if err := yaml.UnmarshalStrict(data, &object.Object); err != nil {
		t.Fatal(err)
	}
	return object
}

func awaitReady(t *testing.T, c client.Client, name string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		var p kubeflowv1.Profile
		if err := c.Get(t.Context(), client.ObjectKey{Name: name}, &p); err != nil {
			return err
		}
		if !meta.IsStatusConditionPresentAndEqual(p.Status.Conditions, kubeflowv1.ConditionReady, metav1.ConditionTrue) {
			return fmt.Errorf("profile %q is not ready: %+v", name, p.Status.Conditions)
		}
		return nil
	})
}

// renderFile is what berth render prints.
func renderFile(t *testing.T, file string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	root := cli.Root()
	root.SetArgs(append([]string{"render", "-f", file}, args...))
	root.SetOut(&out)
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// willing is a cloud provider that does what it is asked.
type willing struct{}

func (willing) Apply(context.Context, string, string) error  { return nil }
func (willing) Revoke(context.Context, string, string) error { return nil }
