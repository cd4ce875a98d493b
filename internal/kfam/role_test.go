// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"berth.dev/berth/internal/access"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/kfam"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

const (
	roleFile    = "../../deploy/kustomize/components/kfam/role/role.yaml"
	kfamHome    = "kubeflow"
	kfamAccount = "profiles-kfam"
	roleAdmin   = "root@example.com"
)

// unseen are rights that no request shows.
var unseen = []string{
	"bind clusterroles.rbac.authorization.k8s.io", // asked for when a RoleBinding is written
	"list namespaces", // where a server can't begin a watch with a list
	"list clusterrolebindings.rbac.authorization.k8s.io", // the same
	"list clusterroles.rbac.authorization.k8s.io",
	"list profiles.kubeflow.org",
	"list roles.rbac.authorization.k8s.io",
	"update profiles/finalizers.kubeflow.org", // asked for where owner references are checked, which this cluster does not
}

func TestRole_isWhatTheAPINeedsAndNoMore(t *testing.T) {
	t.Parallel() // on a cluster of its own, which records what is asked of it
	records := testkit.NewAudit(t, "system:serviceaccount:"+kfamHome+":"+kfamAccount)
	server := testkit.StartCluster(t, records.Option())
	c := controllertest.Client(t, server.Config())
	rules := installKFAMRole(t, c)
	controllertest.Start(t, server.Config())
	account := server.ServiceAccountConfig(t, kfamHome, kfamAccount)
	name := testkit.Name(t, "role")

	asAdmin, asOwner := by(roleAdmin), by(controllertest.Owner)
	perContributor := serveUnderRole(t, account, render.PolicyPerContributor)
	perContributor.wants(t, http.StatusOK, asAdmin, "POST", "/kfam/v1/profiles",
		fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"owner":{"kind":"User","name":%q}}}`, name, controllertest.Owner))
	controllertest.AwaitReady(t, c, name)
	doEverything(t, c, server, perContributor, name)

	aggregated := serveUnderRole(t, account, render.PolicyAggregated)
	aggregated.wants(t, http.StatusOK, asOwner, "POST", "/kfam/v1/bindings", bindingOf("carol@example.com", name))
	aggregated.wants(t, http.StatusOK, asOwner, "DELETE", "/kfam/v1/bindings", bindingOf("carol@example.com", name))
	aggregated.wants(t, http.StatusOK, asOwner, "DELETE", "/kfam/v1/profiles/"+name, "")

	records.AwaitExactly(t, controllertest.Patience, rules, unseen)
}

// doEverything has the API do all that it ever does in the profile, but for making and deleting it.
func doEverything(t *testing.T, c client.Client, server *testkit.Cluster, api roleAPI, name string) {
	t.Helper()
	asOwner := by(controllertest.Owner)
	api.wants(t, http.StatusOK, asOwner, "GET", "/kfam/v1/bindings", "")
	for _, person := range []string{"a.b@example.com", "a-b@example.com"} { // the name of the second one's binding is taken
		api.wants(t, http.StatusOK, asOwner, "POST", "/kfam/v1/bindings", bindingOf(person, name))
	}
	api.wants(t, http.StatusOK, asOwner, "DELETE", "/kfam/v1/bindings", bindingOf("a.b@example.com", name))
	api.wants(t, http.StatusForbidden, asOwner, "DELETE", "/kfam/v1/bindings", bindingOf("nobody@example.com", name))
	api.wants(t, http.StatusForbidden, asOwner, "POST", "/kfam/v1/bindings", // whether there is such a role, the class says
		strings.Replace(bindingOf("nobody@example.com", name), "edit", "auditor", 1))

	twoInOne := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "by-hand", Namespace: name, Annotations: map[string]string{"user": "dan@example.com", "role": "edit"}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kubeflow-edit"},
		Subjects: []rbacv1.Subject{
			{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "dan@example.com"},
			{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "eve@example.com"},
		},
	}
	if err := c.Create(t.Context(), twoInOne); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, controllertest.Patience, func() error { // the controller makes the policy, which the API then changes
		return c.Get(t.Context(), client.ObjectKeyFromObject(twoInOne), &securityv1beta1.AuthorizationPolicy{})
	})
	api.wants(t, http.StatusOK, asOwner, "DELETE", "/kfam/v1/bindings", bindingOf("eve@example.com", name))

	// Neither owner nor admin: whose token it is, and whether they may create RoleBindings, is the API server's to say.
	token := server.ServiceAccountConfig(t, name, "default-editor").BearerToken
	withToken := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	api.wants(t, http.StatusForbidden, withToken, "POST", "/kfam/v1/bindings", bindingOf("frank@example.com", name))
}

// installKFAMRole creates the account of the API and what it may do, as the manifests say, and returns the rules.
func installKFAMRole(t *testing.T, c client.Client) []rbacv1.PolicyRule {
	t.Helper()
	data, err := os.ReadFile(roleFile)
	if err != nil {
		t.Fatal(err)
	}
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(data, &role); err != nil {
		t.Fatal(err)
	}
	rules := role.Rules
	for _, obj := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: kfamHome}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: kfamAccount, Namespace: kfamHome}},
		&role,
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: kfamAccount},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: kfamAccount, Namespace: kfamHome}},
		},
	} {
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatalf("create %T %q: %v", obj, obj.GetName(), err)
		}
	}
	return rules
}

// roleAPI is the URL of the API under the role.
type roleAPI string

// serveUnderRole serves the API until the test ends.
func serveUnderRole(t *testing.T, config *rest.Config, policies render.ContributorPolicies) roleAPI {
	t.Helper()
	admins, err := access.ParseAdmins(roleAdmin)
	if err != nil {
		t.Fatal(err)
	}
	options := kfam.Options{
		Render:         render.DefaultConfig(),
		Authentication: kfam.Authentication{Header: controllertest.Header, Trust: kfam.TrustAlways},
		Admins:         admins,
		Log:            logr.Discard(),
	}
	options.Render.UserIDHeader, options.Render.UserIDPrefix = controllertest.Header, ""
	options.Render.ContributorPolicies = policies
	if err := kfam.Connect(rest.CopyConfig(config), &options); err != nil {
		t.Fatal(err)
	}
	options.Authentication.Tokens = []kfam.TokenVerifier{kfam.NewTokenReview(options.Client, nil)}

	ctx, cancel := context.WithCancel(context.Background())
	listening, ended := make(chan net.Addr, 1), make(chan error, 1)
	go func() {
		ended <- kfam.New(options).Serve(ctx, kfam.Listen{Address: "127.0.0.1:0", Listening: func(a net.Addr) { listening <- a }})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the API failed: %v", err)
		}
	})
	api := roleAPI("http://" + (<-listening).String())
	testkit.Eventually(t, controllertest.Patience, func() error {
		if code, text := api.ask(t, by(""), "GET", "/readyz", ""); code != http.StatusOK {
			return fmt.Errorf("/readyz says %d: %s", code, text)
		}
		return nil
	})
	return api
}

// by says who asks.
func by(user string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(controllertest.Header, user) }
}

func bindingOf(user, namespace string) string {
	return fmt.Sprintf(`{"user":{"kind":"User","name":%q},"referredNamespace":%q,"RoleRef":{"kind":"ClusterRole","name":"edit"}}`, user, namespace)
}

func (api roleAPI) wants(t *testing.T, want int, as func(*http.Request), method, path, body string) {
	t.Helper()
	if code, text := api.ask(t, as, method, path, body); code != want {
		t.Errorf("%s %s %s: %d %q, want %d", method, path, body, code, text, want)
	}
}

func (api roleAPI) ask(t *testing.T, as func(*http.Request), method, path, body string) (code int, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, string(api)+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	as(r)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(data)
}
