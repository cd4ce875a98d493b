// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kfam"
)

var update = flag.Bool("update", false, "write the golden files")

// stored is an object as the API server has it, as YAML, without what no two clusters share.
func stored(t *testing.T, at place, apiVersion, kind, namespace, name string) string {
	t.Helper()
	obj := &unstructured.Unstructured{}
	obj.SetGroupVersionKind(schema.FromAPIVersionAndKind(apiVersion, kind))
	get(t, at, namespace, name, obj)
	for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"} {
		unstructured.RemoveNestedField(obj.Object, "metadata", field)
	}
	owner := obj.GetOwnerReferences()
	for i := range owner {
		owner[i].UID = "UID"
	}
	obj.SetOwnerReferences(owner)
	text, err := yaml.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), namespace, "NAMESPACE")
}

func golden(t *testing.T, name, have string) {
	t.Helper()
	file := filepath.Join("testdata", "objects", name+".yaml")
	if *update {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(have), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), have); diff != "" {
		t.Errorf("%s: -want, +got:\n%s", file, diff)
	}
}

// pairs are contributors and the names of their objects, which clients compute themselves.
var pairs = map[string]struct{ user, role, want string }{
	"user":                    {`{"kind":"User","name":"alice@example.com"}`, "edit", "user-alice-example-com-clusterrole-edit"},
	"dots":                    {`{"kind":"User","name":"lalith.vaka@zq.msds.kp.org"}`, "edit", "user-lalith-vaka-zq-msds-kp-org-clusterrole-edit"},
	"digits":                  {`{"kind":"User","name":"397401@zq.msds.kp.org"}`, "edit", "user-397401-zq-msds-kp-org-clusterrole-edit"},
	"letter and digits":       {`{"kind":"User","name":"i397401@zq.msds.kp.org"}`, "edit", "user-i397401-zq-msds-kp-org-clusterrole-edit"},
	"viewer":                  {`{"kind":"User","name":"Zed_X+1@Example.com"}`, "view", "user-zed-x-1-example-com-clusterrole-view"},
	"group":                   {`{"kind":"Group","name":"ml-team"}`, "edit", "group-ml-team-clusterrole-edit"},
	"serviceaccount":          {`{"kind":"ServiceAccount","name":"bot","namespace":"robots"}`, "edit", "serviceaccount-bot-clusterrole-edit"},
	"serviceaccount by name":  {`{"kind":"ServiceAccount","name":"system:serviceaccount:robots:c3po"}`, "view", "serviceaccount-c3po-clusterrole-view"},
	"serviceaccount as user":  {`{"kind":"User","name":"system:serviceaccount:robots:r2d2"}`, "admin", "user-system-serviceaccount-robots-r2d2-clusterrole-admin"},
	"case and spaces in keys": {`{"KIND":"User","Name":"admin@example.com"}`, "admin", "user-admin-example-com-clusterrole-admin"},
}

// TestKeep_objectNamesAnnotationsRoleRefsAndRules: "object names, annotations, roleRefs and AuthorizationPolicy rules
// byte-compatible". The owner reference and the labels are ours besides. The controllers agree: they change nothing.
func TestKeep_objectNamesAnnotationsRoleRefsAndRules(t *testing.T) {
	t.Parallel()
	at := onShared(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	for name, tc := range pairs {
		a.must(http.MethodPost, bindingsPath, `{"user":`+tc.user+`,"referredNamespace":"`+ns+
			`","RoleRef":{"kind":"ClusterRole","name":"`+tc.role+`"}}`, user(ann))
		if !slices.Contains(invited(t, at, ns), "binding "+tc.want) || !slices.Contains(invited(t, at, ns), "policy "+tc.want) {
			t.Errorf("%s: want a pair %q, have %q", name, tc.want, invited(t, at, ns))
			continue
		}
		golden(t, strings.ReplaceAll(name, " ", "-"), stored(t, at, "rbac.authorization.k8s.io/v1", "RoleBinding", ns, tc.want)+
			"---\n"+stored(t, at, "security.istio.io/v1beta1", "AuthorizationPolicy", ns, tc.want))
	}
}

// TestKeep_resourceQuotaSpecIsReadableAsEmpty: "spec.resourceQuotaSpec readable as {}".
func TestKeep_resourceQuotaSpecIsReadableAsEmpty(t *testing.T) {
	t.Parallel()
	at := onShared(t)
	a := serve(t, at)
	name := profileName(t)
	a.must(http.MethodPost, profilesPath, profileBody(name, ann), user(ann))
	for _, version := range []string{"kubeflow.org/v1", "kubeflow.org/v1beta1"} {
		obj := &unstructured.Unstructured{}
		obj.SetGroupVersionKind(schema.FromAPIVersionAndKind(version, "Profile"))
		get(t, at, "", name, obj)
		quota, found, err := unstructured.NestedMap(obj.Object, "spec", "resourceQuotaSpec")
		if err != nil || !found || len(quota) != 0 {
			t.Errorf("%s: want resourceQuotaSpec {}, got %v, found %v, error %v", version, quota, found, err)
		}
	}
}

// TestKeep_annotationBasedListing: "annotation-based listing incl. hand-made and Canonical bindings". What lacks one of
// the two is nobody's, and the owner's binding is listed under whatever its annotations say.
func TestKeep_annotationBasedListing(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	half := handMade(ns, "half", "half@example.com", "edit")
	delete(half.Annotations, "role")
	otherHalf := handMade(ns, "other-half", "other-half@example.com", "edit")
	delete(otherHalf.Annotations, "user")
	for _, b := range []client.Object{half, otherHalf, handMade(ns, "by-hand", ns+ben, "edit"), handMade(ns, "cleo-view", cleo, "view")} {
		create(t, at, b)
	}
	a.eventuallyListed("?namespace="+ns, "User "+ann+" admin", "User "+ns+ben+" edit", "User "+cleo+" view")
	a.eventuallyListed("?user="+ns+ben, "User "+ns+ben+" edit")
}

// TestKeep_metrics: "request_kf, request_kf_failure, service_heartbeat{component=...}", with the labels that alerts use.
func TestKeep_metrics(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at, dropIn)
	ns := tenant(t, at, a)
	a.must(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann))
	a.wants(http.StatusForbidden, "", http.MethodPost, bindingsPath, invite(ns, cleo, "edit"), user(eve))
	a.wants(http.StatusForbidden, "", http.MethodPost, bindingsPath, "{bad}", user(ann))
	a.listed("", user(ann))
	a.must(http.MethodDelete, bindingsPath, invite(ns, ben, "edit"), user(ann))
	a.wants(http.StatusUnauthorized, "", http.MethodDelete, profilesPath+"/"+ns, "", user(eve))
	a.must(http.MethodDelete, profilesPath+"/"+ns, "", user(ann))
	text := a.must(http.MethodGet, "/metrics", "", nobody())
	for _, want := range []string{
		`request_kf{action="create",component="kfam",kind="",path="/kfam/v1/bindings",user=""} 1`,
		`request_kf{action="create",component="kfam",kind="forbidden",path="/kfam/v1/bindings",user=""} 1`,
		`request_kf{action="read",component="kfam",kind="",path="/kfam/v1/bindings",user=""} 1`,
		`request_kf{action="delete",component="kfam",kind="",path="/kfam/v1/bindings",user=""} 1`,
		`request_kf{action="delete",component="kfam",kind="forbidden",path="/kfam/v1/profiles/{profile}",user=""} 1`,
		`request_kf_failure{action="create",component="kfam",kind="refused",path="/kfam/v1/bindings",severity="major",user=""} 1`,
		`service_heartbeat{component="kfam",severity="critical"} 1`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("the metrics lack %s", want)
		}
	}
	// Defect 27: no name, address or path that somebody sent.
	for _, secret := range []string{"@", "example.com", ns} {
		if strings.Contains(text, secret) {
			t.Errorf("the metrics contain %q", secret)
		}
	}
}

// A profile is stored with what was sent, by a cluster admin, and nothing is lost of either version.
func TestCreateProfile_storesWhatAClusterAdminSends(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	name := profileName(t)
	a.must(http.MethodPost, profilesPath, `{"apiVersion":"kubeflow.org/v1beta1","kind":"Profile","metadata":{"name":"`+name+
		`","labels":{"team":"ml"},"annotations":{"note":"hello"},"namespace":"ignored","uid":"mine"},"spec":{"owner":{"kind":"User","name":"`+ann+
		`"},"plugins":[{"kind":"WorkloadIdentity","spec":{"gcpServiceAccount":"a@b"}}],"resourceQuotaSpec":{"hard":{"cpu":"2"}},"unknown":1},"status":{"conditions":[]},"x":2}`, user(root))
	p := get(t, at, "", name, &kubeflowv1.Profile{})
	plugin, err := json.Marshal(p.Spec.Plugins[0].Spec)
	if err != nil {
		t.Fatal(err)
	}
	have := []any{p.Labels, p.Annotations, p.Spec.Owner, p.Spec.ResourceQuotaSpec.Hard, p.Spec.Plugins[0].Kind, string(plugin)}
	want := []any{
		map[string]string{"team": "ml"},
		map[string]string{"note": "hello"},
		rbacv1.Subject{Kind: "User", Name: ann},
		map[corev1.ResourceName]kubeflowv1.Quantity{"cpu": "2"},
		"WorkloadIdentity", `{"gcpServiceAccount":"a@b"}`,
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
	if p.UID == "mine" {
		t.Error("the caller chose the UID")
	}
}

// The policy of a contributor follows the configuration: header, prefix, principals, methods of viewers, ambient mesh.
func TestCreateBinding_policyFollowsTheConfiguration(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at, func(o *kfam.Options) {
		o.Render.UserIDHeader, o.Render.UserIDPrefix = "kubeflow-userid", ""
		o.Render.Principals.IngressGateway = "corp.example/ns/mesh/sa/gateway"
		o.Render.ViewMethods, o.Render.MeshMode = true, "istio-ambient"
	})
	ns := tenant(t, at, a)
	a.must(http.MethodPost, bindingsPath, invite(ns, ben, "view"), user(ann))
	golden(t, "configured", stored(t, at, "security.istio.io/v1beta1", "AuthorizationPolicy", ns, "user-ben-example-com-clusterrole-view"))
	var policies securityv1beta1.AuthorizationPolicyList
	if err := at.client.List(t.Context(), &policies, client.InNamespace(ns)); err != nil || len(policies.Items) != 1 {
		t.Errorf("want one policy, got %d (error %v)", len(policies.Items), err)
	}
	if owners := policies.Items[0].OwnerReferences; len(owners) != 1 || !metav1.IsControlledBy(policies.Items[0], get(t, at, "", ns, &kubeflowv1.Profile{})) {
		t.Errorf("want the profile as its owner, got %+v", owners)
	}
}
