// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/identity"
	"berth.dev/berth/internal/kfam"
	"berth.dev/berth/internal/render"
)

const gateway = "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"

func TestKFAMFlags(t *testing.T) {
	cases := map[string]struct {
		env  map[string]string
		args []string
		want func(*kfam.Options)
	}{
		"the defaults": {want: func(*kfam.Options) {}},
		"those of Kubeflow's API": {
			args: []string{"-userid-header", "kubeflow-userid", "-userid-prefix", "", "-cluster-admin", ""},
			want: func(o *kfam.Options) { o.Authentication.Header, o.Authentication.Prefix = "kubeflow-userid", "" },
		},
		"as /access-management the later trust wins": {
			args: []string{"-trust-header=always", "-trust-header", "principal"}, want: func(*kfam.Options) {},
		},
		"trusted principals replace the defaults": {
			args: []string{"--trusted-principal=a/ns/b/sa/c, d/ns/e/sa/f", "--trusted-principal", gateway},
			want: func(o *kfam.Options) { o.Authentication.Platform = []string{"a/ns/b/sa/c", "d/ns/e/sa/f"} },
		},
		"without the gateway among them nobody believes it": {
			args: []string{"--trusted-principal=a/ns/b/sa/c"},
			want: func(o *kfam.Options) {
				o.Authentication.Platform, o.Authentication.Gateways = []string{"a/ns/b/sa/c"}, nil
			},
		},
		"a gateway of another name": {
			env:  map[string]string{"ISTIO_INGRESS_GATEWAY_PRINCIPAL": "td/ns/gw/sa/gw"},
			want: func(o *kfam.Options) { o.Authentication.Gateways = []string{"td/ns/gw/sa/gw"} },
		},
		"always asking the API server": {args: []string{"-always-review"}, want: func(o *kfam.Options) { o.AlwaysReview = true }},
		"no limit":                     {args: []string{"-writes-per-second=0"}, want: func(o *kfam.Options) { o.WritesPerSecond = 0 }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			k := newKFAMFlags(func(name string) string { return tc.env[name] })
			if err := k.parse(tc.args, io.Discard, io.Discard); err != nil {
				t.Fatal(err)
			}
			got, err := k.options()
			if err != nil {
				t.Fatal(err)
			}
			want := kfam.Options{
				Authentication: kfam.Authentication{
					Header: "x-goog-authenticated-user-email", Prefix: "accounts.google.com:", Trust: kfam.TrustPrincipal,
					Gateways: []string{gateway}, Platform: platformPrincipals,
				},
				WritesPerSecond: defaultWritesPerSecond,
			}
			tc.want(&want)
			for _, list := range []*[]string{&got.Authentication.Gateways, &got.Authentication.Platform} {
				if len(*list) == 0 {
					*list = nil
				}
			}
			if diff := cmp.Diff(want.Authentication, got.Authentication); diff != "" || got.WritesPerSecond != want.WritesPerSecond {
				t.Errorf("%d writes a second, want %d; -want +got:\n%s", got.WritesPerSecond, want.WritesPerSecond, diff)
			}
		})
	}
}

func TestKFAMFlags_whatIsWrong(t *testing.T) {
	cases := map[string]struct {
		args  []string
		wants []string
	}{
		"an unknown trust":         {[]string{"-trust-header", "maybe"}, []string{`"maybe"`, "principal", "always"}},
		"a certificate, no key":    {[]string{"-tls-cert-file", "c"}, []string{"-tls-private-key-file"}},
		"an admin with a wildcard": {[]string{"-cluster-admin", "a@x,*@x"}, []string{`"*@x"`, "-cluster-admin"}},
		"an issuer, no audience":   {[]string{"-oidc-issuer", "https://x"}, []string{"audience"}},
		"unknown policies":         {[]string{"-contributor-policies", "some"}, []string{`"some"`, "aggregated"}},
		"a lost authority":         {[]string{"-oidc-issuer", "https://x", "-oidc-audience", "a", "-oidc-ca-file", "/not/there"}, []string{"/not/there"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			k := newKFAMFlags(func(string) string { return "" })
			err := k.parse(tc.args, io.Discard, io.Discard)
			if err == nil {
				_, err = k.options()
			}
			if err == nil {
				t.Fatal("want an error")
			}
			for _, want := range tc.wants {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error says nothing of %s: %v", want, err)
				}
			}
		})
	}
}

func TestKFAMFlags_decideWhatIsRendered(t *testing.T) {
	k := newKFAMFlags(func(string) string { return "" })
	args := []string{"-contributor-policies=aggregated", "-view-methods", "-service-mesh-mode", "istio-ambient", "-cluster-admin", "root@x, group:ops"}
	if err := k.parse(args, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	got, err := k.options()
	if err != nil {
		t.Fatal(err)
	}
	if c := got.Render; c.ContributorPolicies != render.PolicyAggregated || !c.ViewMethods || c.MeshMode != render.MeshAmbient {
		t.Errorf("got %+v", c)
	}
	if !got.Admins.Has(identity.User{Name: "root@x"}) || !got.Admins.Has(identity.User{Name: "a", Groups: []string{"ops"}}) ||
		got.Admins.Has(identity.User{Name: "ops"}) {
		t.Errorf("the cluster admins are %+v", got.Admins)
	}
}
