// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

// noticed is how soon a kind of the mesh that appears is to be put to use.
const noticed = 15 * time.Second

// Without Istio, everything else works, and status says what is missing. Installing it is noticed.
func TestMesh_installedLater(t *testing.T) {
	t.Parallel()
	cluster := testkit.StartCluster(t, testkit.WithoutIstio())
	c := controllertest.Client(t, cluster.Config())
	controllertest.Start(t, cluster.Config(), controllertest.WithLabelsFile(kubeflowLabels))
	p := newProfile(t, c, withOwner(user("alice@example.com")), controllertest.WithQuota("requests.cpu", "4"))
	message := awaitRefusal(t, c, p.Name, kubeflowv1.ReasonMeshNotInstalled)
	if !strings.Contains(message, "AuthorizationPolicy (security.istio.io/v1beta1)") {
		t.Errorf("the message does not say what is missing: %s", message)
	}
	want := map[string]string{
		"Ready": "False MeshNotInstalled", "MeshReady": "False MeshNotInstalled",
		"NamespaceReady": "True Ready", "QuotaReady": "True Ready", "AccessReady": "True Ready",
	}
	if d := cmp.Diff(want, conditions(t, c, p.Name)); d != "" {
		t.Errorf("conditions (-want +got):\n%s", d)
	}
	for _, obj := range golden(t, "tenant", p) {
		if obj.GetKind() != "AuthorizationPolicy" {
			read(t, c, kind{obj.GetAPIVersion(), obj.GetKind()}.object(obj.GetNamespace(), obj.GetName()))
		}
	}

	cluster.InstallIstio(t)
	begin := time.Now()
	controllertest.AwaitReady(t, c, p.Name)
	if took := time.Since(begin); took > noticed {
		t.Errorf("it took %s until Istio was noticed", took)
	}
	awaitOwnership(t, c, p.Name, user("alice@example.com"), userRule("alice@example.com"))
	awaitEvent(t, c, p, status.EventUpdated)
	remove(t, c, policyKind.object(p.Name, "ns-access-istio")) // it is watched from now on
	if note := awaitEvent(t, c, p, status.EventRepaired); !strings.Contains(note, "ns-access-istio") {
		t.Errorf("the first repair was of %q", note)
	}
}

func TestMesh_deletionWithoutIstio(t *testing.T) {
	t.Parallel()
	cluster := testkit.StartCluster(t, testkit.WithoutIstio())
	c := controllertest.Client(t, cluster.Config())
	controllertest.Start(t, cluster.Config())
	made, kept := newProfile(t, c), adopted(t, c, nil)
	for _, p := range []*kubeflowv1.Profile{made, kept} {
		awaitRefusal(t, c, p.Name, kubeflowv1.ReasonMeshNotInstalled)
		remove(t, c, p)
		controllertest.AwaitGone(t, c, p)
	}
	read(t, c, namespaceKind.object("", kept.Name))
}

func ambient(config *render.Config) {
	config.MeshMode, config.CreateWaypoint = render.MeshAmbient, true
}

// gatewayDefinition is the CustomResourceDefinition of Gateways.
func gatewayDefinition(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile("testdata/crds/gateways.yaml")
	if err != nil {
		t.Fatal(err)
	}
	crd := &unstructured.Unstructured{}
	if err := yaml.UnmarshalStrict(data, &crd.Object); err != nil {
		t.Fatal(err)
	}
	return crd
}

// installGateways has the cluster serve Gateways.
func installGateways(t *testing.T, c client.Client) {
	t.Helper()
	if err := c.Create(t.Context(), gatewayDefinition(t)); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() error {
		_, err := gateways(t, c, metav1.NamespaceDefault)
		return err
	})
}

// gateways are the names of the Gateways in a namespace.
func gateways(t *testing.T, c client.Client, namespace string) (have []string, err error) {
	t.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion(gatewayKind.apiVersion)
	list.SetKind(gatewayKind.name + "List")
	err = c.List(t.Context(), list, client.InNamespace(namespace))
	for _, gateway := range list.Items {
		have = append(have, gateway.GetName())
	}
	return have, err
}

// MUST keep: what Canonical's charm asks for with -service-mesh-mode istio-ambient and -create-waypoint, and its tests
// expect: one Gateway, four principals, and policies that are attached to the waypoint.
func TestAmbient_objects(t *testing.T) {
	cfg, c := onOwn(t)
	installGateways(t, c)
	first := controllertest.Start(t, cfg, controllertest.WithConfig(ambient), controllertest.WithLabelsFile(kubeflowLabels))
	p := readyProfile(t, c, withOwner(user("alice@example.com")))
	assertGolden(t, c, "ambient", p)
	if have, err := gateways(t, c, p.Name); err != nil || len(have) != 1 {
		t.Errorf("want one Gateway, have %v (error %v)", have, err)
	}
	want := read(t, c, gatewayKind.object(p.Name, "waypoint")).Object["spec"]
	for name, spoil := range map[string]drift{
		"edited":  edited(gatewayKind, "waypoint", set("istio", "spec", "gatewayClassName")),
		"deleted": deleted(gatewayKind, "waypoint"),
	} {
		spoil(t, c, p.Name)
		testkit.Eventually(t, patience, func() error {
			gateway := gatewayKind.object(p.Name, "waypoint")
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(gateway), gateway); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if d := cmp.Diff(want, gateway.Object["spec"]); d != "" {
				return fmt.Errorf("%s: the waypoint was not repaired (-want +got):\n%s", name, d)
			}
			return nil
		})
	}
	first.Stop(t)

	// Back to sidecars.
	foreign := gatewayKind.object(p.Name, "foreign")
	foreign.Object["spec"] = map[string]any{"gatewayClassName": "istio", "listeners": []any{}}
	create(t, c, foreign)
	controllertest.Start(t, cfg, controllertest.WithLabelsFile(kubeflowLabels))
	controllertest.AwaitGone(t, c, gatewayKind.object(p.Name, "waypoint"))
	testkit.Eventually(t, patience, func() error {
		if read(t, c, namespaceKind.object("", p.Name)).GetLabels()["istio-injection"] == "" {
			return fmt.Errorf("no sidecars yet")
		}
		return nil
	})
	controllertest.AwaitReady(t, c, p.Name)
	assertGolden(t, c, "tenant", p)
	read(t, c, foreign)
}

// assertGolden compares the objects of testdata/DIR with those of p, except the quota, which p may not have.
func assertGolden(t *testing.T, c client.Client, dir string, p *kubeflowv1.Profile) {
	t.Helper()
	for _, want := range golden(t, dir, p) {
		if want.GetKind() == "ResourceQuota" {
			continue
		}
		have := read(t, c, kind{want.GetAPIVersion(), want.GetKind()}.object(want.GetNamespace(), want.GetName()))
		if d := cmp.Diff(want.Object, written(have)); d != "" {
			t.Errorf("%s %s (-want +got):\n%s", want.GetKind(), want.GetName(), d)
		}
	}
}

// At rest in ambient mode as well, with what the API server fills in.
func TestAmbient_zeroWritesAtRest(t *testing.T) {
	cfg, c := onOwn(t)
	installGateways(t, c)
	first := controllertest.Start(t, cfg, controllertest.WithConfig(ambient))
	p := readyProfile(t, c)
	first.Stop(t)
	var seen activity
	controllertest.Start(t, cfg, controllertest.WithConfig(ambient), seen.watch)
	profiles := map[string]*kubeflowv1.Profile{"": p}
	testkit.Eventually(t, patience, func() error { return seen.lookedAt(profiles, 1) })
	edit(t, c, p, func(p *kubeflowv1.Profile) { p.Labels = labels{"touched": "yes"} })
	testkit.Eventually(t, patience, func() error { return seen.lookedAt(profiles, 2) })
	if have := seen.written(); len(have) > 0 {
		t.Errorf("the controllers wrote:\n%s", strings.Join(have, "\n"))
	}
}

func TestAmbient_waypointIsMadeOnlyWhereAsked(t *testing.T) {
	cfg, c := onOwn(t)
	installGateways(t, c)
	controllertest.Start(t, cfg, controllertest.WithConfig(func(config *render.Config) { config.MeshMode = render.MeshAmbient }))
	p := readyProfile(t, c)
	if have, err := gateways(t, c, p.Name); err != nil || len(have) > 0 {
		t.Errorf("Gateways %v (error %v)", have, err)
	}
}

// The Gateway API may come later than Istio.
func TestAmbient_gatewaysInstalledLater(t *testing.T) {
	cfg, c := onOwn(t)
	crd := gatewayDefinition(t)
	if err := client.IgnoreNotFound(c.Delete(t.Context(), crd.DeepCopy())); err != nil {
		t.Fatal(err)
	}
	controllertest.AwaitGone(t, c, crd)
	testkit.Eventually(t, patience, func() error {
		if _, err := gateways(t, c, metav1.NamespaceDefault); err == nil {
			return fmt.Errorf("Gateways are still served")
		}
		return nil
	})
	controllertest.Start(t, cfg, controllertest.WithConfig(ambient))
	p := newProfile(t, c)
	if message := awaitRefusal(t, c, p.Name, kubeflowv1.ReasonMeshNotInstalled); !strings.Contains(message, "Gateway (gateway.networking.k8s.io/v1)") {
		t.Errorf("the message does not say what is missing: %s", message)
	}
	installGateways(t, c)
	begin := time.Now()
	controllertest.AwaitReady(t, c, p.Name)
	if took := time.Since(begin); took > noticed {
		t.Errorf("it took %s until the Gateway API was noticed", took)
	}
	read(t, c, gatewayKind.object(p.Name, "waypoint"))
}
