// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"berth.dev/berth/internal/controller"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// The controllers run under their own role and that of the component prometheus-authz.
func TestMetricsSecure_areForThoseWhoMayGetThem(t *testing.T) {
	t.Parallel() // on a cluster of its own
	server := testkit.StartCluster(t, testkit.WithCRDs("testdata/crds"))
	c := controllertest.Client(t, server.Config())
	installRole(t, c)
	installMetricsRoles(t, c)
	reader, stranger := serviceAccount(t, c, "prometheus"), serviceAccount(t, c, "stranger")
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "prometheus"}}
	binding.RoleRef = rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "profiles-metrics-reader"}
	binding.Subjects = []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: controllerHome, Name: reader}}
	if err := c.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	controllertest.Start(t, server.ServiceAccountConfig(t, controllerHome, controllerAccount), func(o *controller.Options) {
		o.MetricsAddress, o.MetricsSecure = address, true
	})
	readerToken := server.ServiceAccountConfig(t, controllerHome, reader).BearerToken
	testkit.Eventually(t, patience, func() error { // the server starts beside the controllers, and roles take a moment to count
		if status, body, err := scrape(t, "https://"+address+"/metrics", "Bearer "+readerToken); status != http.StatusOK {
			return fmt.Errorf("a reader gets %d: %s (error %w)", status, body, err)
		}
		return nil
	})

	cases := map[string]struct {
		path, authorization string
		wantStatus          int
		wantMetrics         bool
	}{
		"a reader":                         {"/metrics", "Bearer " + readerToken, http.StatusOK, true},
		"a reader, in small letters":       {"/metrics", "bearer " + readerToken, http.StatusOK, true},
		"nobody":                           {"/metrics", "", http.StatusUnauthorized, false},
		"an empty token":                   {"/metrics", "Bearer ", http.StatusUnauthorized, false},
		"a token that nobody issued":       {"/metrics", "Bearer made-up", http.StatusUnauthorized, false},
		"a reader by another scheme":       {"/metrics", "Basic " + readerToken, http.StatusUnauthorized, false},
		"somebody who may not":             {"/metrics", "Bearer " + server.ServiceAccountConfig(t, controllerHome, stranger).BearerToken, http.StatusForbidden, false},
		"a reader of what there is not":    {"/debug", "Bearer " + readerToken, http.StatusNotFound, false},
		"a token with the end cut off":     {"/metrics", "Bearer " + readerToken[:len(readerToken)-4], http.StatusUnauthorized, false},
		"a token with something before it": {"/metrics", "Bearer x" + readerToken, http.StatusUnauthorized, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			status, body, err := scrape(t, "https://"+address+tc.path, tc.authorization)
			if err != nil || status != tc.wantStatus {
				t.Errorf("status %d (error %v), want %d: %s", status, err, tc.wantStatus, body)
			}
			if served := strings.Contains(body, "service_heartbeat"); served != tc.wantMetrics {
				t.Errorf("metrics served: %v, want %v", served, tc.wantMetrics)
			}
		})
	}
	if status, body, err := scrape(t, "http://"+address+"/metrics", "Bearer "+readerToken); err == nil && status == http.StatusOK {
		t.Errorf("metrics are served without TLS: %s", body)
	}
}

// scrape sends what a Prometheus does.
func scrape(t *testing.T, url, authorization string) (status int, body string, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the certificate is self-made
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

func installMetricsRoles(t *testing.T, c client.Client) {
	t.Helper()
	data, err := os.ReadFile("../../deploy/kustomize/components/prometheus-authz/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for doc := range bytes.SplitSeq(data, []byte("\n---\n")) {
		obj := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(doc, &obj.Object); err != nil {
			t.Fatal(err)
		}
		if subjects, found, _ := unstructured.NestedSlice(obj.Object, "subjects"); found {
			subjects[0].(map[string]any)["namespace"] = controllerHome // as kustomize does
			if err := unstructured.SetNestedSlice(obj.Object, subjects, "subjects"); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
}

func serviceAccount(t *testing.T, c client.Client, name string) string {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: controllerHome, Name: name}}
	if err := c.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	return name
}
