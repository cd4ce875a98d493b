// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"strings"
	"testing"
)

func TestConfig_Validate(t *testing.T) {
	const star = "cluster.local/ns/*"
	cases := map[string]struct {
		change func(*Config)
		wants  []string // in the error; none where there is none
	}{
		"the defaults":                       {change: func(*Config) {}},
		"no prefix":                          {change: func(c *Config) { c.UserIDPrefix = "" }},
		"ambient mode":                       {change: func(c *Config) { c.MeshMode = MeshAmbient }},
		"a star in the default identity":     {change: func(c *Config) { c.DefaultWorkloadIdentity = "*" }}, // a problem of each profile
		"no mode":                            {change: func(c *Config) { c.MeshMode = "" }, wants: []string{`""`, string(MeshSidecar), string(MeshAmbient)}},
		"an unknown mode":                    {change: func(c *Config) { c.MeshMode = "Ambient" }, wants: []string{`"Ambient"`}},
		"no header":                          {change: func(c *Config) { c.UserIDHeader = "" }, wants: []string{"header"}},
		"a header of blanks":                 {change: func(c *Config) { c.UserIDHeader = " \t" }, wants: []string{"header"}},
		"a star as prefix":                   {change: func(c *Config) { c.UserIDPrefix = "*" }, wants: []string{"user id prefix", `"*"`}},
		"a star in the prefix":               {change: func(c *Config) { c.UserIDPrefix = "a*b" }, wants: []string{`"a*b"`}},
		"a star in the gateway's principal":  {change: func(c *Config) { c.Principals.IngressGateway = star }, wants: []string{"ingress gateway", star}},
		"a star in the KFP UI's principal":   {change: func(c *Config) { c.Principals.KFPUI = star }, wants: []string{"KFP UI", star}},
		"a star in the notebooks' principal": {change: func(c *Config) { c.Principals.NotebookController = star }, wants: []string{"notebook controller", star}},
		"a star in Katib's principal":        {change: func(c *Config) { c.Principals.Katib = star }, wants: []string{"Katib", star}},
		"no gateway's principal":             {change: func(c *Config) { c.Principals.IngressGateway = "" }, wants: []string{"ingress gateway", "empty"}},
		"no KFP UI's principal":              {change: func(c *Config) { c.Principals.KFPUI = " " }, wants: []string{"KFP UI", "empty"}},
		"two mistakes: the first":            {change: func(c *Config) { c.Principals = Principals{} }, wants: []string{"ingress gateway"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			config := DefaultConfig()
			tc.change(&config)
			err := config.Validate()
			if (err != nil) != (len(tc.wants) > 0) {
				t.Fatalf("error is %v", err)
			}
			for _, want := range tc.wants {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not name %s: %v", want, err)
				}
			}
		})
	}
}

func TestConfig_trustDomain(t *testing.T) {
	cases := map[string]struct{ principal, want string }{
		"the default":            {DefaultConfig().Principals.IngressGateway, "cluster.local"},
		"a domain of one's own":  {"mesh.example.com/ns/istio-system/sa/gateway", "mesh.example.com"},
		"a namespace called ns":  {"td/ns/ns/sa/sa", "td"},
		"no principal":           {"", "cluster.local"},
		"no domain in it":        {"/ns/istio-system/sa/gateway", "cluster.local"},
		"something else written": {"istio-ingressgateway", "cluster.local"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := (Config{Principals: Principals{IngressGateway: tc.principal}}).trustDomain(); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
