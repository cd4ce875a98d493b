// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

func istio(kind, spec string) string {
	return "{apiVersion: networking.istio.io/v1, kind: " + kind + ", metadata: {generateName: mine-}, spec: {" + spec + "}}"
}

func TestGuardrails_mesh(t *testing.T) {
	r := newRails(t)
	refused := map[string]struct{ text, sentence string }{
		"another's service, gateway left out": {istio("VirtualService", "hosts: [web.other.svc.cluster.local]"), "VirtualService mine-"},
		"another's service, gateways empty":   {istio("VirtualService", "gateways: [], hosts: [web.other.svc.cluster.local]"), "meant for web.other.svc"},
		"another's service on mesh":           {istio("VirtualService", "gateways: [mine, mesh], hosts: [web.other.svc.cluster.local, web]"), "meant for web.other.svc"},
		"a name of the world on mesh":         {istio("VirtualService", "hosts: [pypi.org]"), "meant for pypi.org"},
		"a name of the world like ours":       {istio("VirtualService", "hosts: [example.NAMESPACE]"), "meant for example."},
		"everything on mesh":                  {istio("VirtualService", "hosts: ['*']"), "meant for *"},
		"all of one namespace":                {istio("VirtualService", "hosts: ['*.other.svc.cluster.local']"), "meant for *.other"},
		"a namespace whose name ends so":      {istio("VirtualService", "hosts: ['web.x-NAMESPACE.svc']"), "meant for web.x-"},
		"mesh by a single route":              {istio("VirtualService", "gateways: [mine], hosts: [pypi.org], http: [{match: [{gateways: [mesh]}], route: [{destination: {host: web}}]}]"), "meant for pypi.org"},
		"another's gateway":                   {istio("VirtualService", "gateways: [kubeflow/kubeflow-gateway], hosts: ['*']"), "gateway of another namespace"},
		"another's gateway by a single route": {istio("VirtualService", "gateways: [mine], hosts: [a.example.com], tcp: [{match: [{gateways: [kubeflow/kubeflow-gateway]}], route: [{destination: {host: web}}]}]"), "gateway of another namespace"},
		"the older version": {
			strings.Replace(istio("VirtualService", "hosts: [pypi.org]"), "io/v1,", "io/v1alpha3,", 1), "meant for pypi.org",
		},
		"an EnvoyFilter": {strings.Replace(istio("EnvoyFilter", ""), "io/v1,", "io/v1alpha3,", 1), "tenants make no EnvoyFilter"},
		"a Gateway":      {istio("Gateway", "selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]"), "tenants make no Gateway"},
		"a WasmPlugin": {
			"{apiVersion: extensions.istio.io/v1alpha1, kind: WasmPlugin, metadata: {name: mine}, spec: {url: 'oci://example.com/x'}}", "tenants make no WasmPlugin",
		},
		"a rule for another's service":    {istio("DestinationRule", "host: web.other.svc.cluster.local"), "reaches other namespaces"},
		"a rule for all services":         {istio("DestinationRule", "host: '*.local'"), "reaches other namespaces"},
		"a rule for others":               {istio("DestinationRule", "host: web, exportTo: ['*']"), "reaches other namespaces"},
		"a service for everybody":         {istio("ServiceEntry", "hosts: [pypi.org]"), "reaches other namespaces"},
		"a service for another":           {istio("ServiceEntry", "hosts: [pypi.org], exportTo: [other]"), "reaches other namespaces"},
		"another's service as one's own":  {istio("ServiceEntry", "hosts: [web.other.svc.cluster.local], exportTo: ['.']"), "reaches other namespaces"},
		"all services of the cluster":     {istio("ServiceEntry", "hosts: ['*.cluster.local'], exportTo: ['.']"), "reaches other namespaces"},
		"another's service by short name": {istio("ServiceEntry", "hosts: [web.other.svc], exportTo: ['.']"), "reaches other namespaces"},
	}
	for name, tc := range refused {
		t.Run(name, func(t *testing.T) {
			r.wantRefused(t, r.create(t, tc.text), "mesh", tc.sentence)
		})
	}
	for name, text := range map[string]string{
		"one's own service":                  istio("VirtualService", "hosts: [web, web.NAMESPACE.svc, web.NAMESPACE.svc.cluster.local], http: [{route: [{destination: {host: web}}]}]"),
		"anything on one's own gateway":      istio("VirtualService", "gateways: [mine, NAMESPACE/mine], hosts: [web.example.com]"),
		"a rule for one's own service":       istio("DestinationRule", "host: web.NAMESPACE.svc.cluster.local, exportTo: ['.']"),
		"a service of the world for oneself": istio("ServiceEntry", "hosts: [pypi.org], exportTo: ['.']"),
		"a sidecar":                          istio("Sidecar", "egress: [{hosts: ['./*']}]"),
	} {
		t.Run(name, func(t *testing.T) { wantDone(t, r.tenant, r.create(t, text)) })
	}
	t.Run("widened later", func(t *testing.T) {
		mine := r.parse(t, istio("VirtualService", "hosts: [web]"))
		if err := r.tenant.Create(t.Context(), mine); err != nil {
			t.Fatal(err)
		}
		r.wantRefused(t, merge(t, mine, `{"spec":{"hosts":["pypi.org"]}}`), "mesh", "meant for pypi.org")
	})
}

func TestGuardrails_profiles(t *testing.T) {
	r := newRails(t)
	mine := controllertest.Profile(r.namespace)
	for name, tc := range map[string]struct{ patch, sentence string }{
		"the class":             {`{"metadata":{"labels":{"berth.dev/class":"rich"}}}`, "the label berth.dev/class"},
		"an empty class":        {`{"metadata":{"labels":{"berth.dev/class":""}}}`, "the label berth.dev/class"},
		"the token of visitors": {`{"metadata":{"labels":{"berth.dev/user-token":"keep"}}}`, "the label berth.dev/user-token"},
		"the rails":             {`{"metadata":{"annotations":{"berth.dev/break-glass":"please"}}}`, "the annotation berth.dev/break-glass"},
	} {
		t.Run(name, func(t *testing.T) { r.wantRefused(t, merge(t, mine, tc.patch), "profiles", tc.sentence) })
	}
	t.Run("by the other version", func(t *testing.T) {
		beta := r.parse(t, "{apiVersion: kubeflow.org/v1beta1, kind: Profile, metadata: {name: NAMESPACE}}")
		beta.SetNamespace("")
		r.wantRefused(t, merge(t, beta, `{"metadata":{"labels":{"berth.dev/class":"rich"}}}`), "profiles", "the label berth.dev/class")
	})
	t.Run("at creation", func(t *testing.T) {
		r.wantRefused(t, func(c client.Client) error {
			p := controllertest.Profile(testkit.Name(t, "rich"))
			p.Labels = map[string]string{"berth.dev/class": "rich"}
			return c.Create(t.Context(), p)
		}, "profiles", "the label berth.dev/class")
	})
	wantDone(t, r.tenant, merge(t, mine, `{"metadata":{"labels":{"colour":"blue"},"annotations":{"note":"x"}}}`))
	wantDone(t, r.admin, merge(t, mine, `{"metadata":{"labels":{"berth.dev/class":"rich"},"annotations":{"berth.dev/break-glass":"incident"}}}`))
	t.Run("taken off", func(t *testing.T) {
		r.wantRefused(t, merge(t, mine, `{"metadata":{"labels":{"berth.dev/class":null}}}`), "profiles", "the label berth.dev/class")
		r.wantRefused(t, merge(t, mine, `{"metadata":{"annotations":{"berth.dev/break-glass":"longer"}}}`), "profiles", "the annotation berth.dev/break-glass")
	})
	wantDone(t, r.tenant, merge(t, mine, `{"metadata":{"labels":{"colour":"red"}}}`))
}

func TestGuardrails_classInUseStays(t *testing.T) {
	r := newRails(t)
	name := testkit.Name(t, "class")
	class := r.parse(t, "{apiVersion: berth.dev/v1alpha1, kind: ProfileClass, metadata: {name: "+name+"}}")
	class.SetNamespace("")
	if err := r.admin.Create(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	set := func(total string) {
		err := r.admin.Status().Patch(t.Context(), class, client.RawPatch("application/merge-patch+json", []byte(
			`{"status":{"profiles":{"total":`+total+`,"ready":0,"updating":0,"failed":0}}}`)))
		if err != nil {
			t.Fatal(err)
		}
	}
	set("3")
	err := remove(t, class)(r.admin)
	for _, sentence := range []string{"is that of 3 profiles", "kubectl get profiles -l berth.dev/class=" + name} {
		if err == nil || !strings.Contains(err.Error(), sentence) {
			t.Errorf("want a refusal that says %q, got: %v", sentence, err)
		}
	}
	set("0")
	wantDone(t, r.admin, remove(t, class))
}
