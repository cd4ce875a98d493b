// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"berth.dev/berth/internal/snapshot"
)

// What Istio's TestNormalization expects of real proxies; each row has what they forward under NONE, BASE, MERGE_SLASHES
// and DECODE_AND_MERGE_SLASHES.
func TestNormalizePath(t *testing.T) {
	modes := []snapshot.PathNormalization{
		snapshot.NormalizeNone, snapshot.NormalizeBase, snapshot.NormalizeMergeSlashes, snapshot.NormalizeDecodeAndMerge,
	}
	for in, want := range map[string][4]string{
		"/":                     {"/", "/", "/", "/"},
		"/app#foo":              {"/app", "/app", "/app", "/app"},
		"/app/":                 {"/app/", "/app/", "/app/", "/app/"},
		"/app/../admin":         {"/app/../admin", "/admin", "/admin", "/admin"},
		"/app//":                {"/app//", "/app//", "/app/", "/app/"},
		"/app/%2f":              {"/app/%2f", "/app/%2f", "/app/%2f", "/app/"},
		"/app%2f/":              {"/app%2f/", "/app%2f/", "/app%2f/", "/app/"},
		"/xyz%30..//abc":        {"/xyz%30..//abc", "/xyz0..//abc", "/xyz0../abc", "/xyz0../abc"},
		"/app/%2E./admin":       {"/app/%2E./admin", "/admin", "/admin", "/admin"},
		`/app\admin`:            {`/app\admin`, "/app/admin", "/app/admin", "/app/admin"},
		`/app/\/\/\admin`:       {`/app/\/\/\admin`, "/app//////admin", "/app/admin", "/app/admin"},
		`/%2Fapp%5cadmin%5Cabc`: {`/%2Fapp%5cadmin%5Cabc`, "/%2Fapp%5cadmin%5Cabc", "/%2Fapp%5cadmin%5Cabc", "/app/admin/abc"},
		"/app//../admin":        {"/app//../admin", "/app/admin", "/app/admin", "/app/admin"},
		"/app//../../admin":     {"/app//../../admin", "/admin", "/admin", "/admin"},
		"/a//b?x=//y/../z":      {"/a//b?x=//y/../z", "/a//b?x=//y/../z", "/a/b?x=//y/../z", "/a/b?x=//y/../z"},
		"/a/../../../b":         {"/a/../../../b", "/b", "/b", "/b"},
		"/a/b/..":               {"/a/b/..", "/a/", "/a/", "/a/"},
		"/a/b/.":                {"/a/b/.", "/a/b/", "/a/b/", "/a/b/"},
		"/a/.b/..c/...":         {"/a/.b/..c/...", "/a/.b/..c/...", "/a/.b/..c/...", "/a/.b/..c/..."},
		"/a b\"<>`{|}^\u00e9":   {"/a b\"<>`{|}^\u00e9", "/a%20b%22%3C%3E%60%7B%7C%7D%5E%C3%A9", "/a%20b%22%3C%3E%60%7B%7C%7D%5E%C3%A9", "/a%20b%22%3C%3E%60%7B%7C%7D%5E%C3%A9"},
		"/a%":                   {"/a%", "/a%", "/a%", "/a%"},
		"/%%30%30":              {"/%%30%30", "/%2500", "/%2500", "/%2500"},
		"/%%300":                {"/%%300", "/%2500", "/%2500", "/%2500"},
		"/%%31/..":              {"/%%31/..", "/", "/", "/"},
		"/%%41x":                {"/%%41x", "/%Ax", "/%Ax", "/%Ax"},
		"/%3%30":                {"/%3%30", "/%2530", "/%2530", "/%2530"},
		"/a/%/../%41":           {"/a/%/../%41", "/a/A", "/a/A", "/a/A"},
		`/%5Capp%2f%5c%2F%2e%2e%2fadmin%5c\abc`: {
			`/%5Capp%2f%5c%2F%2e%2e%2fadmin%5c\abc`, "/%5Capp%2f%5c%2F..%2fadmin%5c/abc", "/%5Capp%2f%5c%2F..%2fadmin%5c/abc", "/app/admin/abc",
		},
	} {
		for i, mode := range modes {
			if got, ok := NormalizePath(in, mode); !ok || got != want[i] {
				t.Errorf("NormalizePath(%q, %s) = %q, %t, want %q", in, mode, got, ok, want[i])
			}
		}
	}
}

func TestNormalizePath_decodeAndMerge(t *testing.T) {
	for in, want := range map[string]string{
		"/%c0%2e%c0%2e/admin": "/%c0.%c0./admin", "/%c0%2fadmin": "/%c0/admin", "/..;/admin": "/admin", "/.;x/admin": "/admin",
		"/a/..;jsessionid=1/admin": "/admin",
	} {
		if got, ok := NormalizePath(in, snapshot.NormalizeDecodeAndMerge); !ok || got != want {
			t.Errorf("NormalizePath(%q) = %q, %t, want %q", in, got, ok, want)
		}
	}
	for _, same := range []string{
		"/0x2e0x2e/admin", "/0x2e0x2e0x2fadmin", "/0x5c0x5cadmin", "/%25c0%25ae%25c1%259cadmin", "/%25c0%25afadmin", "/%252e%252e/admin",
		"/%252e%252e%252fadmin", "/%c1%9cadmin", "/%c0%ae%c0%ae/admin", "/%c0%afadmin", "/.../admin", "/..../admin", "/;/admin",
		"/admin;a=b", "/admin;a=b/xyz", "/admin,a=b/xyz", "/Admin", "/ADMIN",
	} {
		if got, ok := NormalizePath(same, snapshot.NormalizeDecodeAndMerge); !ok || got != same {
			t.Errorf("NormalizePath(%q) = %q, %t, want no change", same, got, ok)
		}
	}
}

// Of all escapes only those of characters that never need any are decoded.
func TestNormalizePath_escapes(t *testing.T) {
	const decodes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/\\"
	for b := 1; b <= 0xff; b++ {
		in := fmt.Sprintf("/admin%%%.2x", b)
		want := in
		if strings.ContainsRune(decodes, rune(b)) && b < 0x80 {
			unescaped, err := url.PathUnescape(in)
			if err != nil {
				t.Fatal(err)
			}
			want = strings.ReplaceAll(unescaped, `\`, "/")
		}
		if got, ok := NormalizePath(in, snapshot.NormalizeDecodeAndMerge); !ok || got != want {
			t.Errorf("NormalizePath(%q) = %q, %t, want %q", in, got, ok, want)
		}
	}
}

func TestNormalizePath_refused(t *testing.T) {
	for _, in := range []string{"/admin%00", "/xyz/.%00../abc", "/xyz/%00.%00./abc", "/xyz/AAAAA%%0000/abc", "admin", "", "*", "?a", "http://a/b", "/a\x00", "/a\nb"} {
		if got, ok := NormalizePath(in, snapshot.NormalizeBase); ok {
			t.Errorf("NormalizePath(%q) = %q, want it refused", in, got)
		}
		if in == "" {
			continue
		}
		got := compiled(t, nil).Decide(request(pathOf(in)))
		if got.Verdict != Denied || got.By() != "" || !strings.Contains(got.Why, "refuses the request by itself") {
			t.Errorf("Decide(%q) = %+v, want it denied by the proxy", in, got)
		}
	}
}

// Versions of Envoy differ over dot segments with parameters: where that decides, nothing is certain.
func TestDecide_dotSegmentsWithParameters(t *testing.T) {
	f := compiled(t, rules(t, "ALLOW", `- to: [{operation: {paths: ["/public/*"]}}]`))
	wantVerdict(t, f, request(pathOf("/public/..;/admin")), Unknown)
	wantVerdict(t, f, request(pathOf("/public/a/..;/b")), Allowed)
	wantVerdict(t, f, request(pathOf("/private/..;/admin")), Denied)
}

// Envoy's own tables for uri_template (test/extensions/path/uri_template_lib), without named variables.
func TestTemplate(t *testing.T) {
	for pattern, paths := range map[string]struct{ fits, not string }{
		"/{**}.m3u8":        {"/media/1234/manifest.m3u8 /.m3u8", "/media/manifest.mpd /m3u8"},
		"/{**}.mpd":         {"/manifest.mpd", "/manifest.mpd/x"},
		"/{*}/{**}.ts":      {"/foo/12314341/format/123/hls/segment_0000000001.ts", "/foo.ts"},
		"/api/{*}/{*}/{**}": {"/api/v1/1234/broadcasts/get /api/v1/1234/", "/api/v1/1234"},
		"/api/{*}/{*}/":     {"/api/v1/1234/", "/api/v1/1234 /api/v1/1234/x"},
		"/v1/{**}":          {"/v1/broadcasts/12345/live /v1/", "/v1"},
		"/media/{*}.m4s":    {"/media/a.b.m4s /media/m.m4s", "/media/12345/f/123/s00002.m4s /media/.m4s"},
		"/media/{*}":        {"/media/x /media/%20 /media/a=b;c,d@e:f!g$h&i'j(k)l+m*n~", "/media/eff456/ll-sd-out.js /media/ /media"},
		"/api/{*}/v1/{*}":   {"/api/x/v1/y", "/api/v1/1234/"},
		"/api/{*}/v1/{**}":  {"/api/x/v1/", "/api/v1/1234/"},
		"/api/*/1234/{**}":  {"/api/*/1234/ /api/x/1234/y", "/api/x/123/"},
		"/bar/{*}/{**}":     {"/bar/en/us* /bar/en/us** /bar/en*/us /bar/en/us== /bar/en==/us", "/bar//us"},
		"/a+b.c$d(e)/{*}":   {"/a+b.c$d(e)/x", "/aab.c$d(e)/x /a+bxc$d(e)/x"},
		"/{*}{*}":           {"/a /a/b /", "a"}, // two single stars are one double star
		"/{*}.x":            {"/a.x", "/.x /a/b.x"},
	} {
		compiled, err := template(pattern)
		if err != nil {
			t.Errorf("template(%q): %v", pattern, err)
			continue
		}
		for path := range strings.FieldsSeq(paths.fits) {
			if !compiled.MatchString(path) {
				t.Errorf("%q does not match %q", pattern, path)
			}
		}
		for path := range strings.FieldsSeq(paths.not) {
			if compiled.MatchString(path) {
				t.Errorf("%q matches %q", pattern, path)
			}
		}
	}
}

func TestTemplate_refused(t *testing.T) {
	for _, pattern := range []string{
		"/api/v{*}/1234", "/link/{*}/asset{*}", "/media/{**}/{*}/{**}", "/{**}/{**}", "/{**}{*}", "/media/{*}/index?a=2", "{*}", "media/{*}",
		"/a//{*}", "/{*}/{x}", "/{*}/ ", "/*({*}/{**}", "/{*}//b",
	} {
		if compiled, err := template(pattern); err == nil {
			t.Errorf("template(%q) = %v, want an error", pattern, compiled)
		}
	}
	f := compiled(t, rules(t, "DENY", `- to: [{operation: {paths: ["/v{*}"]}}]`))
	got := f.Decide(request())
	if got.Verdict != Unknown || len(got.Unknown) != 1 || !strings.Contains(got.Unknown[0], "which Envoy refuses") {
		t.Errorf("Decide = %+v, want it unknown for the template", got)
	}
}
