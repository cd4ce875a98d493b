// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/testkit"
)

// kubeconfig is one for the tests' own cluster, with change made to it.
func kubeconfig(t *testing.T, change func(*clientcmdapi.Cluster, *clientcmdapi.AuthInfo)) []byte {
	t.Helper()
	config := cluster.Use(t).ServiceAccountConfig(t, home, "profiles-controller-service-account")
	if err := rest.LoadTLSFiles(config); err != nil {
		t.Fatal(err)
	}
	made := clientcmdapi.NewConfig()
	there := &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	who := &clientcmdapi.AuthInfo{Token: config.BearerToken}
	if change != nil {
		change(there, who)
	}
	made.Clusters["there"], made.AuthInfos["who"] = there, who
	made.Contexts["it"], made.CurrentContext = &clientcmdapi.Context{Cluster: "there", AuthInfo: "who"}, "it"
	text, err := clientcmd.Write(*made)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// keep stores a kubeconfig in the Secret called name.
func keep(t *testing.T, c client.Client, name string, text []byte) {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: name}, Data: map[string][]byte{"kubeconfig": text}}
	if err := c.Create(t.Context(), secret); apierrors.IsAlreadyExists(err) {
		err = c.Update(t.Context(), secret)
		if err != nil {
			t.Fatal(err)
		}
	} else if err != nil {
		t.Fatal(err)
	}
}

func TestSync_ofAnotherCluster(t *testing.T) {
	c := start(t)
	team, secret := testkit.Name(t, "team"), testkit.Name(t, "secret")
	s := newSync(t, c, listOf(entry(team, people("ann:edit"))), "kubeConfig: {name: "+secret+"}")
	unchanged := func() {
		t.Helper()
		if err := c.Get(t.Context(), client.ObjectKey{Name: team}, &kubeflowv1.Profile{}); !apierrors.IsNotFound(err) {
			t.Fatalf("there is a profile (error %v)", err)
		}
	}
	awaitSync(t, c, s, berthv1alpha1.ConditionClusterReady, berthv1alpha1.ReasonUnreachable)
	for _, tc := range map[string]struct {
		change func(*clientcmdapi.Cluster, *clientcmdapi.AuthInfo)
		said   string
	}{
		"a program": {func(_ *clientcmdapi.Cluster, who *clientcmdapi.AuthInfo) {
			who.Token, who.Exec = "", &clientcmdapi.ExecConfig{Command: "id", APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: "Never"}
		}, "runs a program"},
		"a file":  {func(_ *clientcmdapi.Cluster, who *clientcmdapi.AuthInfo) { who.TokenFile = "/etc/hostname" }, "names files"},
		"nowhere": {func(there *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo) { there.Server = "https://127.0.0.1:1" }, "127.0.0.1:1"},
	} {
		keep(t, c, secret, kubeconfig(t, tc.change))
		testkit.Eventually(t, patience, func() error {
			syncNow(t, c, s)
			return said(s, berthv1alpha1.ConditionClusterReady, tc.said)
		})
		unchanged()
	}

	keep(t, c, secret, kubeconfig(t, nil))
	awaitAccess(t, c, team, at("ann:edit")...)
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)

	// It is never taken for empty, nor is anything told of profiles.
	keep(t, c, secret, kubeconfig(t, func(there *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo) { there.Server = "https://127.0.0.1:1" }))
	declare(t, c, s.Name, listOf(entry(team, people("bob:edit"))))
	testkit.Eventually(t, patience, func() error {
		syncNow(t, c, s)
		return said(s, berthv1alpha1.ConditionClusterReady, "127.0.0.1:1")
	})
	if err := has(t, c, team, "ann:edit"); err != nil {
		t.Error(err)
	}
	keep(t, c, secret, kubeconfig(t, nil))
	awaitAccess(t, c, team, at("bob:edit")...)
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
}

func TestProfileSync_isValidated(t *testing.T) {
	c := installed(t)
	git := `git: {url: "https://example.com/a.git"}`
	for title, tc := range map[string]struct {
		name, spec string
		accepted   bool
	}{
		"one source":                  {"", "source: {" + git + "}", true},
		"no source":                   {"", "source: {path: a.yaml}", false},
		"two sources":                 {"", "source: {" + git + ", configMap: {name: a}}", false},
		"an unknown mode":             {"", "mode: Dry", false},
		"an unknown validation":       {"", "validation: lax", false},
		"an unknown drift":            {"", "drift: Ignore", false},
		"an unknown naming":           {"", "naming: mine", false},
		"an unknown adoption":         {"", "adopt: All", false},
		"an unknown deletion policy":  {"", "stale: {deletionPolicy: Now}", false},
		"a percentage above hundred":  {"", "limits: {maxRemovalPercent: 101}", false},
		"a negative number":           {"", "limits: {maxRemovals: -1}", false},
		"http without a scheme":       {"", "source: {http: {url: example.com/pmr.yaml}}", false},
		"a name with a dot":           {"a.b", "{}", false},
		"a name too long for a label": {strings.Repeat("a", 64), "{}", false},
		"all that has a default":      {"", "{stale: {}, limits: {}}", true},
	} {
		t.Run(title, func(t *testing.T) {
			name := tc.name
			if name == "" {
				name = testkit.Name(t, "sync")
			}
			s := written(t, name, tc.spec)
			err := c.Create(t.Context(), s, client.DryRunAll)
			if (err == nil) != tc.accepted || err != nil && !apierrors.IsInvalid(err) {
				t.Errorf("the answer is %v", err)
			}
		})
	}
}
