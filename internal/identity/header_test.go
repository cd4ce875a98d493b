// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/identity"
)

func TestFromHeader(t *testing.T) {
	const google = "accounts.google.com:"
	cases := map[string]struct {
		values    []string
		prefix    string
		want      string
		wantError bool
	}{
		"no header is nobody":                   {},
		"no header is nobody, prefix or not":    {prefix: google},
		"an empty header is nobody":             {values: []string{""}},
		"a name":                                {values: []string{"ann@example.com"}, want: "ann@example.com"},
		"a name behind the prefix":              {values: []string{google + "ann@example.com"}, prefix: google, want: "ann@example.com"},
		"the prefix is taken off once":          {values: []string{google + google + "ann"}, prefix: google, want: google + "ann"},
		"a name without the prefix":             {values: []string{"ann@example.com"}, prefix: google, wantError: true},
		"a name as long as the prefix":          {values: []string{"accounts.example.com:ann"}, prefix: google, wantError: true},
		"half the prefix":                       {values: []string{"accounts"}, prefix: google, wantError: true},
		"the prefix alone names nobody":         {values: []string{google}, prefix: google, wantError: true},
		"an empty header lacks the prefix":      {values: []string{""}, prefix: google, wantError: true},
		"two headers":                           {values: []string{"ann@example.com", "bob@example.com"}, wantError: true},
		"the same twice":                        {values: []string{"ann@example.com", "ann@example.com"}, wantError: true},
		"an empty one and another":              {values: []string{"", "ann@example.com"}, wantError: true},
		"a star":                                {values: []string{"*"}, wantError: true},
		"two people, joined by a proxy":         {values: []string{"ann@example.com, bob@example.com"}, wantError: true},
		"a space alone":                         {values: []string{" "}, wantError: true},
		"a name that is too long":               {values: []string{longest + "a"}, wantError: true},
		"bytes that are no text":                {values: []string{"ann\xff"}, wantError: true},
		"the prefix is compared by case":        {values: []string{"Accounts.google.com:ann"}, prefix: google, wantError: true},
		"a service account is a name like any":  {values: []string{"system:serviceaccount:ci:robot"}, want: "system:serviceaccount:ci:robot"},
		"a comma that no proxy put there stays": {values: []string{"cn=ann,ou=ml"}, want: "cn=ann,ou=ml"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := identity.FromHeader(tc.values, tc.prefix)
			if (err != nil) != tc.wantError || err != nil && !got.IsNobody() {
				t.Fatalf("got %+v, error %v; want error %t", got, err, tc.wantError)
			}
			if diff := cmp.Diff(identity.User{Name: tc.want}, got); diff != "" {
				t.Errorf("user (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCallerPrincipal(t *testing.T) {
	const (
		gateway   = "cluster.local/ns/istio-system/sa/gateway"
		dashboard = "cluster.local/ns/kubeflow/sa/dashboard"
		hop       = "By=spiffe://cluster.local/ns/kubeflow/sa/default;Hash=468e;"
	)
	cases := map[string]struct {
		values    []string
		want      string
		wantError bool
	}{
		"no header":                             {},
		"an empty header":                       {values: []string{""}},
		"one hop":                               {values: []string{hop + `Subject="";URI=spiffe://` + gateway}, want: gateway},
		"a quoted URI":                          {values: []string{hop + `URI="spiffe://` + gateway + `"`}, want: gateway},
		"the key in other case":                 {values: []string{`uri=spiffe://` + gateway}, want: gateway},
		"spaces around":                         {values: []string{` Hash=1 ; URI = spiffe://` + gateway + " "}, want: gateway},
		"other keys before and after":           {values: []string{`URI=spiffe://` + gateway + `;DNS=a;DNS=b`}, want: gateway},
		"the last of two hops":                  {values: []string{hop + `URI=spiffe://` + gateway + "," + hop + "URI=spiffe://" + dashboard}, want: dashboard},
		"the last of two lines":                 {values: []string{"URI=spiffe://" + gateway, "URI=spiffe://" + dashboard}, want: dashboard},
		"a last hop without a URI has none":     {values: []string{"URI=spiffe://" + gateway + "," + `Hash=1;Subject="CN=x"`}},
		"a last line that is empty has none":    {values: []string{"URI=spiffe://" + gateway, ""}},
		"a trailing comma is an empty hop":      {values: []string{"URI=spiffe://" + gateway + ","}},
		"a comma in quotes parts no hops":       {values: []string{`Subject="O=a,URI=spiffe://` + gateway + `";URI=spiffe://` + dashboard}, want: dashboard},
		"a semicolon in quotes parts no pairs":  {values: []string{`Subject="O=a;URI=spiffe://` + gateway + `";Hash=1`}},
		"a quote that is escaped ends nothing":  {values: []string{`Subject="O=\",URI=spiffe://` + gateway + `";URI=spiffe://` + dashboard}, want: dashboard},
		"a backslash that is escaped":           {values: []string{`Subject="O=\\";URI=spiffe://` + gateway}, want: gateway},
		"a backslash outside quotes is nothing": {values: []string{`Hash=\;URI=spiffe://` + gateway}, want: gateway},
		"two identities in the last hop":        {values: []string{"URI=spiffe://" + gateway + ";URI=spiffe://" + dashboard}, wantError: true},
		"the same identity twice":               {values: []string{"URI=spiffe://" + gateway + ";URI=spiffe://" + gateway}, wantError: true},
		"two identities in an earlier hop":      {values: []string{"URI=spiffe://x;URI=spiffe://y,URI=spiffe://" + gateway}, want: gateway},
		"no SPIFFE identity":                    {values: []string{"URI=https://" + gateway}, wantError: true},
		"an empty URI":                          {values: []string{"URI="}, wantError: true},
		"an empty SPIFFE identity":              {values: []string{"URI=spiffe://"}, wantError: true},
		"a key without a value":                 {values: []string{"URI"}, wantError: true},
		"a quote that is never closed":          {values: []string{`Subject="O=a;URI=spiffe://` + gateway}, wantError: true},
		"a caller opens a quote":                {values: []string{`Hash="`, hop + "URI=spiffe://" + gateway}, wantError: true},
		"a caller's element is not the last":    {values: []string{"URI=spiffe://" + gateway, hop + "URI=spiffe://cluster.local/ns/mallory/sa/x"}, want: "cluster.local/ns/mallory/sa/x"},
		"a caller swallows the hop's subject":   {values: []string{`URI=spiffe://` + gateway + `;Hash="`, `By=b;Subject="";URI=spiffe://cluster.local/ns/mallory/sa/x`}, wantError: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := identity.CallerPrincipal(tc.values)
			if got != tc.want || (err != nil) != tc.wantError {
				t.Errorf("got %q, error %v; want %q, error %t", got, err, tc.want, tc.wantError)
			}
		})
	}
}

func TestBearerToken(t *testing.T) {
	cases := map[string]struct {
		values []string
		want   string
	}{
		"none":                     {},
		"a token":                  {[]string{"Bearer abc.def"}, "abc.def"},
		"the scheme in lower case": {[]string{"bearer abc"}, "abc"},
		"spaces":                   {[]string{"  Bearer   abc  "}, "abc"},
		"no token":                 {[]string{"Bearer"}, ""},
		"an empty token":           {[]string{"Bearer "}, ""},
		"no scheme":                {[]string{"abc"}, ""},
		"another scheme":           {[]string{"Basic YTpi"}, ""},
		"a scheme that begins so":  {[]string{"BearerX abc"}, ""},
		"two headers":              {[]string{"Bearer abc", "Bearer def"}, ""},
		"an empty header":          {[]string{""}, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := identity.BearerToken(tc.values); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
