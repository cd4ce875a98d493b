// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// A class may ask for what the cluster can't do: the rest is in place, and status says what is missing. Installing it is
// noticed.
func TestClass_onAClusterWithoutTheRest(t *testing.T) {
	t.Parallel()
	cluster := testkit.StartCluster(t, testkit.WithoutIstio()) // nor KServe nor External Secrets, which no devcluster has
	c := controllertest.Client(t, cluster.Config())
	controllertest.Start(t, deployedIdentity(t, cluster, c), controllertest.WithLabelsFile(kubeflowLabels))
	class := newClass(t, c, isolated+"inferenceAccess: {}\n"+withSecrets)
	p := newProfile(t, c, ofClass(class.Name))

	const noMesh, noSecrets = "MeshNotInstalled", "ExternalSecretsUnavailable"
	for condition, missing := range map[string]string{
		"Mesh": "AuthorizationPolicy", "MTLS": "PeerAuthentication", "UserToken": "RequestAuthentication", "InferenceAccess": "AuthorizationPolicy",
	} {
		message := controllertest.AwaitCondition(t, c, p.Name, condition+"Ready", "False", noMesh)
		if want := missing + " (security.istio.io/"; !strings.Contains(message, want) {
			t.Errorf("%sReady does not say that %q is missing: %s", condition, want, message)
		}
	}
	controllertest.AwaitCondition(t, c, p.Name, "CredentialsReady", "False", noSecrets)
	want := map[string]string{
		"Ready": "False " + noMesh, "NamespaceReady": "True Ready", "MeshReady": "False " + noMesh, "QuotaReady": "True Ready",
		"AccessReady": "True Ready", "ClassReady": "True Ready", "NetworkReady": "True Ready", "MTLSReady": "False " + noMesh,
		"UserTokenReady": "False " + noMesh, "LimitRangeReady": "True Ready", "InferenceAccessReady": "False " + noMesh,
		"CredentialsReady": "False " + noSecrets, "ServiceAccountsReady": "True Ready",
	}
	if d := cmp.Diff(want, conditions(t, c, p.Name)); d != "" {
		t.Errorf("conditions (-want +got):\n%s", d)
	}
	for _, obj := range isolation(p.Name) {
		if !strings.HasPrefix(obj.GetAPIVersion(), "security.istio.io/") {
			read(t, c, obj)
		}
	}
	read(t, c, quotaKind.object(p.Name, "kf-resource-quota"))

	cluster.InstallIstio(t)
	begin := time.Now()
	for _, condition := range []string{"Mesh", "MTLS", "UserToken"} {
		controllertest.AwaitCondition(t, c, p.Name, condition+"Ready", "True", "Ready")
	}
	controllertest.AwaitCondition(t, c, p.Name, "InferenceAccessReady", "True", "KServeNotInstalled")
	if took := time.Since(begin); took > noticed {
		t.Errorf("it took %s until Istio was noticed", took)
	}
	for _, obj := range isolation(p.Name) {
		read(t, c, obj)
	}
	awaitRefusal(t, c, p.Name, noSecrets) // all that is still missing
}
