// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/cloud/awsiam"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/controller/plugin"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

var errAway = errors.New("the test keeps the provider away")

func TestPlugins_ofAProviderThatIsDownAreRetried(t *testing.T) {
	clouds := newClouds(t)
	c := controllertest.Client(t, cluster.Use(t).Config())
	clouds.onCall(func(call string) error {
		if strings.Contains(call, reader) {
			return errAway
		}
		return nil
	})
	clouds.start(t)
	name, other := testkit.Name(t, "waiting"), testkit.Name(t, "served")
	controllertest.Create(t, c, controllertest.Profile(name, withRole(reader)))
	controllertest.Create(t, c, controllertest.Profile(other, with(render.PluginWorkloadIdentity, `{"gcpServiceAccount":"`+trainer+`"}`)))
	controllertest.AwaitReady(t, c, other)
	message := controllertest.AwaitCondition(t, c, name, "PluginsReady", metav1.ConditionFalse, kubeflowv1.ReasonPluginFailed)
	if message != errAway.Error() {
		t.Errorf("message %q", message)
	}
	controllertest.AwaitCondition(t, c, name, "Ready", metav1.ConditionFalse, kubeflowv1.ReasonPluginFailed)
	testkit.Eventually(t, patience, func() error {
		if n := len(clouds.callsOf(name)); n < 3 {
			return fmt.Errorf("only %d tries", n)
		}
		return nil
	})
	warnings := 0
	var list eventsv1.EventList
	if err := c.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	for _, e := range list.Items {
		if e.Regarding.Name == name && e.Type == "Warning" {
			warnings++
		}
	}
	if warnings != 1 {
		t.Errorf("%d warnings about one failure", warnings)
	}
	clouds.onCall(nil)
	controllertest.AwaitReady(t, c, name)
	clouds.awaitBound(t, name, reader, true)
}

// A failure that changed nothing at the provider is taken off the record again. Neither write is a reason to try again.
func TestPlugins_withoutCredentialsAreNoHotLoopAndBlockNoDeletion(t *testing.T) {
	c := controllertest.Client(t, cluster.Use(t).Config())
	clouds := newClouds(t)
	clouds.start(t, controllertest.WithProviders(map[string]plugin.Provider{
		render.PluginAWSIAM: spied{clouds, awsiam.New(awsiam.Options{Config: func(context.Context) (aws.Config, error) {
			return aws.Config{}, errors.New("no credentials")
		}})},
	}))
	name, none := testkit.Name(t, "poor"), testkit.Name(t, "none")
	controllertest.Create(t, c, controllertest.Profile(name, withRole(reader)))
	controllertest.Create(t, c, controllertest.Profile(none, with(render.PluginWorkloadIdentity, `{"gcpServiceAccount":"`+trainer+`"}`)))
	message := controllertest.AwaitCondition(t, c, name, "PluginsReady", metav1.ConditionFalse, kubeflowv1.ReasonPluginFailed)
	if !strings.Contains(message, "no credentials") || strings.Contains(message, "\n") {
		t.Errorf("message %q", message)
	}
	message = controllertest.AwaitCondition(t, c, none, "PluginsReady", metav1.ConditionFalse, kubeflowv1.ReasonPluginFailed)
	if !strings.Contains(message, "no provider for plugins of kind WorkloadIdentity") || strings.Contains(message, "\n") {
		t.Errorf("message %q", message)
	}
	quiet(t, 3*time.Second)
	if calls := clouds.callsOf(name); len(calls) > 4 {
		t.Errorf("%d tries within a few seconds", len(calls))
	}
	for _, name := range []string{name, none} {
		testkit.Eventually(t, controllertest.Patience, func() error { // it is there while the provider is being called
			if records := profile(t, c, name).Status.Plugins; len(records) > 0 {
				return fmt.Errorf("on record although nothing was bound: %v", records)
			}
			return nil
		})
		controllertest.Delete(t, c, name)
	}
	for _, name := range []string{name, none} {
		controllertest.AwaitGone(t, c, controllertest.Profile(name))
	}
}

// quiet lets some time pass, in which too many calls would show.
func quiet(t *testing.T, pause time.Duration) {
	t.Helper()
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

func TestPlugins_areNotCalledOnEveryLook(t *testing.T) {
	clouds := newClouds(t)
	c := controllertest.Client(t, cluster.Use(t).Config())
	controllers := clouds.start(t)
	name := testkit.Name(t, "quiet")
	controllertest.Create(t, c, controllertest.Profile(name, withRole(reader), with(render.PluginWorkloadIdentity, `{"gcpServiceAccount":"`+trainer+`"}`)))
	controllertest.AwaitReady(t, c, name)
	requests := func() []int {
		return []int{clouds.aws.Reads(), clouds.aws.Writes(), clouds.gcp.Reads(), clouds.gcp.Writes()}
	}
	before := requests()

	looks := func() {
		for i := range 10 {
			controllertest.Change(t, c, name, func(p *kubeflowv1.Profile) {
				p.Labels = map[string]string{"look": fmt.Sprint(i)}
				p.Spec.Owner.Name = fmt.Sprintf("owner-%d@example.com", i)
			})
			controllertest.AwaitReady(t, c, name)
		}
	}
	looks()
	controllers.Stop(t)
	clouds.start(t)
	looks()
	if diff := cmp.Diff(before, requests()); diff != "" {
		t.Errorf("requests to the providers (-after binding +after many looks and a restart):\n%s", diff)
	}
}

func TestPlugins_surviveACrashBetweenRecordAndCall(t *testing.T) {
	clouds := newClouds(t)
	c := controllertest.Client(t, cluster.Use(t).Config())
	bind, drop, remove := testkit.Name(t, "bind"), testkit.Name(t, "drop"), testkit.Name(t, "remove")
	all := []string{bind, drop, remove}
	controllers := clouds.start(t)
	controllertest.Create(t, c, controllertest.Profile(drop, withRole(reader)))
	controllertest.AwaitReady(t, c, drop)
	// The process ends in the middle of the call: what it was about to do is on record, what came of it is not.
	clouds.onCall(func(string) error { return errAway })
	controllertest.Change(t, c, drop, none)
	controllertest.Create(t, c, controllertest.Profile(bind, withRole(reader)))
	controllertest.Create(t, c, controllertest.Profile(remove, withRole(reader)))
	want := map[string]kubeflowv1.PluginPhase{bind: kubeflowv1.PluginApplying, remove: kubeflowv1.PluginApplying, drop: kubeflowv1.PluginRevoking}
	for name, phase := range want {
		testkit.Eventually(t, patience, func() error {
			records := profile(t, c, name).Status.Plugins
			wantRecords := []kubeflowv1.PluginStatus{{Kind: render.PluginAWSIAM, Identity: reader, Phase: phase}}
			if diff := cmp.Diff(wantRecords, records, cmpopts.IgnoreFields(kubeflowv1.PluginStatus{}, "NamespaceUID")); diff != "" {
				return fmt.Errorf("records of %q (-want +got):\n%s", name, diff)
			}
			return nil
		})
	}
	controllers.Stop(t)
	// That call had reached the provider after all.
	if err := awsiam.New(awsiam.Options{Config: clouds.aws.Config}).Apply(t.Context(), remove, reader); err != nil {
		t.Fatal(err)
	}
	controllertest.Delete(t, c, remove)

	clouds.onCall(nil)
	clouds.start(t)
	clouds.awaitBound(t, bind, reader, true)
	clouds.awaitBound(t, drop, reader, false)
	clouds.awaitBound(t, remove, reader, false)
	controllertest.AwaitGone(t, c, controllertest.Profile(remove))
	for _, name := range all[:2] {
		controllertest.AwaitReady(t, c, name)
	}
}

func TestRevoke_thatKeepsFailingIsToldAndCanBeSkipped(t *testing.T) {
	clouds := newClouds(t)
	c := controllertest.Client(t, cluster.Use(t).Config())
	clouds.start(t)
	name := testkit.Name(t, "stuck")
	controllertest.Create(t, c, controllertest.Profile(name, withRole(reader)))
	controllertest.AwaitReady(t, c, name)
	clouds.onCall(func(call string) error {
		if strings.HasPrefix(call, "revoke ") {
			return errAway
		}
		return nil
	})
	controllertest.Delete(t, c, name)
	command := "kubectl annotate profile " + name + " berth.dev/skip-plugin-revoke=true"
	testkit.Eventually(t, patience, func() error {
		message := controllertest.AwaitCondition(t, c, name, "Ready", metav1.ConditionFalse, kubeflowv1.ReasonDeletionBlocked)
		if !strings.Contains(message, errAway.Error()) || !strings.HasSuffix(message, "run: "+command) {
			return fmt.Errorf("message %q", message)
		}
		return nil
	})
	err := c.Patch(t.Context(), controllertest.Profile(name), client.RawPatch("application/merge-patch+json",
		[]byte(`{"metadata":{"annotations":{"berth.dev/skip-plugin-revoke":"true"}}}`)))
	if err != nil {
		t.Fatal(err)
	}
	controllertest.AwaitGone(t, c, controllertest.Profile(name))
	if !clouds.bound(name, reader) {
		t.Error("the binding went although revoking it failed")
	}
}

// Kubeflow's profile controller binds without a record, and its finalizer waits for somebody who takes that back.
func TestPlugins_ofAnEarlierControllerAreRevoked(t *testing.T) {
	clouds := newClouds(t)
	c := controllertest.Client(t, cluster.Use(t).Config())
	earlier := awsiam.New(awsiam.Options{Config: clouds.aws.Config})
	var all []string
	for i := range 12 {
		all = append(all, testkit.Name(t, fmt.Sprintf("old-%d", i)))
	}
	for _, name := range all {
		p := controllertest.Profile(name, withRole(reader))
		p.Finalizers = []string{kubeflowv1.ProfileFinalizer}
		controllertest.Create(t, c, p)
		if err := earlier.Apply(t.Context(), name, reader); err != nil {
			t.Fatal(err)
		}
		controllertest.Delete(t, c, name)
	}
	// Slow enough that the profile controller has seen all of them before the last one's turn.
	clouds.onCall(func(string) error { quiet(t, 200*time.Millisecond); return nil })
	clouds.start(t)
	for _, name := range all {
		controllertest.AwaitGone(t, c, controllertest.Profile(name))
		if clouds.bound(name, reader) {
			t.Errorf("profile %q is gone, its binding is not", name)
		}
	}
}

func TestPlugins_twoOfOneKindAreRefusedWithoutHarm(t *testing.T) {
	clouds := newClouds(t)
	c := controllertest.Client(t, cluster.Use(t).Config())
	clouds.start(t)
	name := testkit.Name(t, "twice")
	controllertest.Create(t, c, controllertest.Profile(name, withRole(reader)))
	controllertest.AwaitReady(t, c, name)
	controllertest.Change(t, c, name, withRole(writer))
	message := controllertest.AwaitCondition(t, c, name, "PluginsReady", metav1.ConditionFalse, kubeflowv1.ReasonPluginInvalid)
	if !strings.Contains(message, "spec.plugins[1]: there is more than one plugin of kind AwsIamForServiceAccount") {
		t.Errorf("message %q", message)
	}
	if !clouds.bound(name, reader) || clouds.bound(name, writer) {
		t.Errorf("bound to reader %t, to writer %t", clouds.bound(name, reader), clouds.bound(name, writer))
	}
}
