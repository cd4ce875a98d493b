// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package plugin_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	iamv1 "google.golang.org/api/iam/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

func TestPlugins_bindTheEditorAndAreTakenBackOnDeletion(t *testing.T) {
	clouds := newClouds(t)
	c := controllertest.Client(t, cluster.Use(t).Config())
	clouds.start(t)
	name := testkit.Name(t, "both")
	controllertest.Create(t, c, controllertest.Profile(name, withRole(reader), with(render.PluginWorkloadIdentity, `{"gcpServiceAccount":"`+trainer+`"}`)))
	controllertest.AwaitReady(t, c, name)

	got := map[string]string{}
	for _, key := range []string{annotationAWS, annotationGCP} {
		got[key] = annotation(t, c, name, key)
	}
	if diff := cmp.Diff(map[string]string{annotationAWS: reader, annotationGCP: trainer}, got); diff != "" {
		t.Errorf("annotations of default-editor (-want +got):\n%s", diff)
	}
	for _, identity := range []string{reader, trainer} {
		if !clouds.bound(name, identity) {
			t.Errorf("not bound to %s", identity)
		}
	}
	if !strings.Contains(clouds.aws.Trust("reader"), `"Sid":"Cluster"`) || !strings.Contains(clouds.aws.Trust("reader"), "system:serviceaccount:else:where") {
		t.Errorf("the role lost what others had written: %s", clouds.aws.Trust("reader"))
	}

	controllertest.Delete(t, c, name)
	controllertest.AwaitGone(t, c, controllertest.Profile(name))
	for _, identity := range []string{reader, trainer} {
		if clouds.bound(name, identity) {
			t.Errorf("still bound to %s after the deletion", identity)
		}
	}
}

func TestPlugins_thatCanNotBeUsedBlockNothingElse(t *testing.T) {
	cases := map[string]struct{ kind, spec, wantMessage string }{
		"no spec":                  {render.PluginAWSIAM, "", "awsIamRole"},
		"an empty spec":            {render.PluginAWSIAM, "{}", "awsIamRole"},
		"an empty role":            {render.PluginAWSIAM, `{"awsIamRole":""}`, "awsIamRole"},
		"a role of a wrong type":   {render.PluginAWSIAM, `{"awsIamRole":5}`, `field "awsIamRole" is of the type number, want a string`},
		"a role that is no ARN":    {render.PluginAWSIAM, `{"awsIamRole":"reader"}`, "arn:aws:iam::"},
		"a flag of a wrong type":   {render.PluginAWSIAM, `{"awsIamRole":"` + reader + `","annotateOnly":"yes"}`, `field "annotateOnly" is of the type string, want a bool`},
		"no Google spec":           {render.PluginWorkloadIdentity, "", "gcpServiceAccount"},
		"a short Google account":   {render.PluginWorkloadIdentity, `{"gcpServiceAccount":"x"}`, "iam.gserviceaccount.com"},
		"a Google account in list": {render.PluginWorkloadIdentity, `{"gcpServiceAccount":["x"]}`, `field "gcpServiceAccount" is of the type array, want a string`},
		"an unknown kind":          {"Teapot", "{}", `kind "Teapot" is unknown`},
		"no kind":                  {"", "{}", `kind "" is unknown`},
	}
	clouds := newClouds(t)
	c := controllertest.Client(t, cluster.Use(t).Config())
	log := controllertest.Logs(t)
	clouds.start(t)
	var deleted []string
	for title, tc := range cases {
		t.Run(title, func(t *testing.T) {
			name := testkit.Name(t, "invalid")
			controllertest.Create(t, c, controllertest.Profile(name, with(tc.kind, tc.spec)))
			message := controllertest.AwaitCondition(t, c, name, "PluginsReady", metav1.ConditionFalse, kubeflowv1.ReasonPluginInvalid)
			if !strings.Contains(message, tc.wantMessage) || !strings.HasPrefix(message, "spec.plugins[0]: ") {
				t.Errorf("message %q", message)
			}
			controllertest.AwaitCondition(t, c, name, "Ready", metav1.ConditionFalse, kubeflowv1.ReasonPluginInvalid)
			for _, part := range []string{"NamespaceReady", "MeshReady", "QuotaReady", "AccessReady"} {
				if !meta.IsStatusConditionTrue(profile(t, c, name).Status.Conditions, part) {
					t.Errorf("%s is not true", part)
				}
			}
			controllertest.Delete(t, c, name)
			deleted = append(deleted, name)
		})
	}
	for _, name := range deleted {
		controllertest.AwaitGone(t, c, controllertest.Profile(name))
		if calls := clouds.callsOf(name); len(calls) > 0 {
			t.Errorf("a provider was called: %v", calls)
		}
	}
	if panics := log.Lines("panic"); len(panics) > 0 {
		t.Errorf("panics: %v", panics)
	}
}

func TestPlugins_followTheSpec(t *testing.T) {
	clouds := newClouds(t)
	c := controllertest.Client(t, cluster.Use(t).Config())
	clouds.start(t)
	name := testkit.Name(t, "moving")
	controllertest.Create(t, c, controllertest.Profile(name, withRole(reader)))
	controllertest.AwaitReady(t, c, name)

	steps := []struct {
		title          string
		change         func(*kubeflowv1.Profile)
		wantCalls      []string // apart from earlier ones
		wantAnnotation string
		wantReady      metav1.ConditionStatus
		wantReason     string
	}{
		{"another identity", instead(withRole(writer)), []string{"apply " + name + " " + writer, "revoke " + name + " " + reader}, writer, metav1.ConditionTrue, "Ready"},
		{"a slip of the pen", instead(withRole("arn:aws:iam::writer")), nil, writer, metav1.ConditionFalse, kubeflowv1.ReasonPluginInvalid},
		{"mended", instead(withRole(writer)), nil, writer, metav1.ConditionTrue, "Ready"},
		{"annotate only", instead(with(render.PluginAWSIAM, `{"awsIamRole":"`+reader+`","annotateOnly":true}`)), []string{"revoke " + name + " " + writer}, reader, metav1.ConditionTrue, "Ready"},
		{"bound again", instead(withRole(reader)), []string{"apply " + name + " " + reader}, reader, metav1.ConditionTrue, "Ready"},
		{"annotate the same only", instead(with(render.PluginAWSIAM, `{"awsIamRole":"`+reader+`","annotateOnly":true}`)), nil, reader, metav1.ConditionTrue, "Ready"},
		{"bound once more", instead(withRole(reader)), []string{"apply " + name + " " + reader}, reader, metav1.ConditionTrue, "Ready"},
		{"no plugin any more", none, []string{"revoke " + name + " " + reader}, "", metav1.ConditionTrue, "Ready"},
	}
	for _, step := range steps {
		before := len(clouds.callsOf(name))
		controllertest.Change(t, c, name, step.change)
		controllertest.AwaitCondition(t, c, name, "Ready", step.wantReady, step.wantReason)
		testkit.Eventually(t, patience, func() error {
			if diff := cmp.Diff(step.wantCalls, append([]string(nil), clouds.callsOf(name)[before:]...)); diff != "" {
				return fmt.Errorf("%s: calls (-want +got):\n%s", step.title, diff)
			}
			return nil
		})
		awaitAnnotation(t, c, name, annotationAWS, step.wantAnnotation)
	}
	if clouds.bound(name, reader) || clouds.bound(name, writer) {
		t.Errorf("still bound: %s %s", clouds.aws.Trust("reader"), clouds.aws.Trust("writer"))
	}
	if p := profile(t, c, name); len(p.Status.Plugins) > 0 || meta.FindStatusCondition(p.Status.Conditions, "PluginsReady") != nil {
		t.Errorf("the status still tells of plugins: %+v", p.Status)
	}
}

func TestDefaultWorkloadIdentity_leavesTheSpecAlone(t *testing.T) {
	clouds := newClouds(t)
	c := controllertest.Client(t, cluster.Use(t).Config())
	controllers := clouds.start(t, controllertest.WithConfig(func(config *render.Config) { config.DefaultWorkloadIdentity = trainer }))
	name, other := testkit.Name(t, "default"), testkit.Name(t, "other")
	controllertest.Create(t, c, controllertest.Profile(name))
	controllertest.Create(t, c, controllertest.Profile(other, withRole(reader)))
	for _, name := range []string{name, other} {
		controllertest.AwaitReady(t, c, name)
		clouds.awaitBound(t, name, trainer, true)
		awaitAnnotation(t, c, name, annotationGCP, trainer)
	}
	if p := profile(t, c, name); len(p.Spec.Plugins) > 0 || p.Generation != 1 {
		t.Errorf("the spec was changed: %+v (generation %d)", p.Spec, p.Generation)
	}
	controllers.Stop(t)
	// Without the default it is taken back.
	clouds.start(t)
	for _, name := range []string{name, other} {
		clouds.awaitBound(t, name, trainer, false)
		awaitAnnotation(t, c, name, annotationGCP, "")
	}
	clouds.awaitBound(t, other, reader, true)
}

func TestPlugins_ofAForeignNamespaceAreNeverApplied(t *testing.T) {
	clouds := newClouds(t)
	c := controllertest.Client(t, cluster.Use(t).Config())
	clouds.start(t)
	name := testkit.Name(t, "foreign")
	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
		t.Fatal(err)
	}
	controllertest.Create(t, c, controllertest.Profile(name, withRole(reader)))
	controllertest.AwaitCondition(t, c, name, "Ready", metav1.ConditionFalse, kubeflowv1.ReasonNamespaceNotOwned)
	controllertest.AwaitCondition(t, c, name, "PluginsReady", metav1.ConditionFalse, kubeflowv1.ReasonProgressing)
	if calls := clouds.callsOf(name); len(calls) > 0 {
		t.Errorf("a provider was called: %v", calls)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := c.Patch(t.Context(), ns, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"owner":"`+controllertest.Owner+`"}}}`))); err != nil {
		t.Fatal(err)
	}
	controllertest.AwaitReady(t, c, name)
	clouds.awaitBound(t, name, reader, true)
}

func TestPlugins_ofANamespaceMadeAnewAreAppliedAgain(t *testing.T) {
	clouds := newClouds(t)
	c := controllertest.Client(t, cluster.Use(t).Config())
	clouds.start(t)
	name := testkit.Name(t, "anew")
	controllertest.Create(t, c, controllertest.Profile(name, withRole(reader)))
	controllertest.AwaitReady(t, c, name)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := c.Delete(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() error {
		want := []string{"apply " + name + " " + reader, "apply " + name + " " + reader}
		if diff := cmp.Diff(want, clouds.callsOf(name)); diff != "" {
			return fmt.Errorf("calls (-want +got):\n%s", diff)
		}
		return nil
	})
	controllertest.AwaitReady(t, c, name)
	awaitAnnotation(t, c, name, annotationAWS, reader)
}

func TestPlugins_areVerifiedNowAndThen(t *testing.T) {
	clouds := newClouds(t)
	c := controllertest.Client(t, cluster.Use(t).Config())
	clouds.start(t, controllertest.WithPluginVerify(300*time.Millisecond))
	name := testkit.Name(t, "verified")
	controllertest.Create(t, c, controllertest.Profile(name, with(render.PluginWorkloadIdentity, `{"gcpServiceAccount":"`+trainer+`"}`)))
	controllertest.AwaitReady(t, c, name)
	clouds.gcp.Interfere(1, func(*iamv1.Policy) {}) // a write that gets in between is not lost either
	clouds.gcp.SetServiceAccount(t, trainer)
	clouds.awaitBound(t, name, trainer, true)
}

func TestPlugins_areNotVerifiedWhereThatIsOff(t *testing.T) {
	clouds := newClouds(t)
	c := controllertest.Client(t, cluster.Use(t).Config())
	controllers := clouds.start(t, controllertest.WithPluginVerify(0))
	name := testkit.Name(t, "trusted")
	controllertest.Create(t, c, controllertest.Profile(name, withRole(reader)))
	controllertest.AwaitReady(t, c, name)
	controllers.Stop(t)

	log := controllertest.Logs(t)
	clouds.start(t, controllertest.WithPluginVerify(0))
	controllertest.Change(t, c, name, instead(withRole(writer)))
	controllertest.AwaitReady(t, c, name)
	if calls := clouds.callsOf(name); len(calls) != 3 {
		t.Errorf("calls: %v", calls)
	}
	if panics := log.Lines("panic"); len(panics) > 0 {
		t.Errorf("panics: %v", panics)
	}
}
