// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"strings"
	"testing"

	"berth.dev/berth/internal/pmrsource"
	"berth.dev/berth/internal/pmrsource/git"
	"berth.dev/berth/internal/pmrsource/web"
)

func TestNew(t *testing.T) {
	key, public := newKey(t, "")
	closed, _ := newKey(t, "open")
	known := []byte("example.com " + public.Type() + " AAAA\n# a comment\n" + "example.com ssh-ed25519 " + strings.Fields(string(lineOf(public)))[1] + "\n")
	login := git.SSH{Key: key, KnownHosts: known}
	tag := git.Ref{Tag: "v1"}
	for name, tc := range map[string]struct {
		options git.Options
		word    string // in the error; empty where there is none
	}{
		"https":                         {git.Options{URL: "https://example.com/list.git"}, ""},
		"http on this machine":          {git.Options{URL: "http://localhost:1/list"}, ""},
		"http elsewhere":                {git.Options{URL: "http://example.com/list"}, "not encrypted"},
		"http elsewhere, allowed":       {git.Options{URL: "http://example.com/list", AllowHTTP: true}, ""},
		"ssh":                           {git.Options{URL: "ssh://git@example.com:2222/list", SSH: login}, ""},
		"the short form of ssh":         {git.Options{URL: "git@example.com:team/list.git", SSH: login}, ""},
		"a protected key":               {git.Options{URL: "git@example.com:list", SSH: git.SSH{Key: closed, Passphrase: []byte("open\n"), KnownHosts: known}}, ""},
		"a protected key, shut":         {git.Options{URL: "git@example.com:list", SSH: git.SSH{Key: closed, KnownHosts: known}}, "passphrase"},
		"the wrong passphrase":          {git.Options{URL: "git@example.com:list", SSH: git.SSH{Key: closed, Passphrase: []byte("secret"), KnownHosts: known}}, "does not open"},
		"no key":                        {git.Options{URL: "git@example.com:list", SSH: git.SSH{KnownHosts: known}}, "private key"},
		"half a key":                    {git.Options{URL: "git@example.com:list", SSH: git.SSH{Key: key[:40], KnownHosts: known}}, "can't be read"},
		"no known hosts":                {git.Options{URL: "git@example.com:list", SSH: git.SSH{Key: key}}, "ssh-keyscan"},
		"known hosts that are none":     {git.Options{URL: "git@example.com:list", SSH: git.SSH{Key: key, KnownHosts: []byte("example.com\n")}}, "no line"},
		"a password in the url":         {git.Options{URL: "https://bot:secret@example.com/list"}, "Secret"},
		"a token in the url":            {git.Options{URL: "https://secret@example.com/list"}, "credentials"},
		"a password for ssh":            {git.Options{URL: "ssh://git:secret@example.com/list", SSH: login}, "password"},
		"a url that is broken":          {git.Options{URL: "https://bot:secret@exa mple.com/%zz"}, "can't be read"},
		"a file":                        {git.Options{URL: "file:///etc"}, "no kind that is allowed"},
		"a path":                        {git.Options{URL: "/srv/list"}, "no kind that is allowed"},
		"git's own protocol":            {git.Options{URL: "git://example.com/list"}, "no kind that is allowed"},
		"a command":                     {git.Options{URL: "ext::sh -c id"}, "no kind that is allowed"},
		"a command for a user":          {git.Options{URL: "ext::sh@example.com:list", SSH: login}, "no kind that is allowed"},
		"an option instead of a path":   {git.Options{URL: "git@example.com:--upload-pack=id", SSH: login}, "no path"},
		"a query":                       {git.Options{URL: "https://example.com/list?token=secret"}, "query"},
		"two kinds of credentials":      {git.Options{URL: "https://example.com/list", Web: web.Credentials{Token: "secret", Username: "bot"}}, "only one"},
		"a certificate without its key": {git.Options{URL: "https://example.com/list", Web: web.Credentials{Certificate: []byte("x")}}, "belong together"},
		"an authority that is none":     {git.Options{URL: "https://example.com/list", Web: web.Credentials{CA: []byte("x")}}, "PEM"},
		"a tag and a branch":            {git.Options{URL: "https://example.com/list", Ref: git.Ref{Tag: "v1", Branch: "main"}}, `"v1"`},
		"a short commit":                {git.Options{URL: "https://example.com/list", Ref: git.Ref{Commit: "abc123"}}, "40"},
		"a path that leads out":         {git.Options{URL: "https://example.com/list", Selection: pmrsource.Selection{Path: "../x"}}, `"../x"`},
		"a commit since that is none":   {git.Options{URL: "https://example.com/list", Since: "main"}, `"main"`},
		"signatures without keys":       {git.Options{URL: "https://example.com/list", Verify: git.Verify{Mode: git.VerifyHead}}, "no keys"},
		"signatures of a tag, without":  {git.Options{URL: "https://example.com/list", Verify: git.Verify{Mode: git.VerifyTag}}, "names no tag"},
		"signatures of another kind":    {git.Options{URL: "https://example.com/list", Verify: git.Verify{Mode: "Head"}}, `"Head"`},
		"a private key for signatures":  {git.Options{URL: "https://example.com/list", Verify: git.Verify{Mode: git.VerifyHead, Keys: map[string][]byte{"k": key}}}, "private"},
		"a key that is none":            {git.Options{URL: "https://example.com/list", Ref: tag, Verify: git.Verify{Mode: git.VerifyTag, Keys: map[string][]byte{"k": []byte("hello")}}}, `"k"`},
		"a key with options":            {git.Options{URL: "https://example.com/list", Verify: git.Verify{Mode: git.VerifyHead, Keys: map[string][]byte{"k": append([]byte("cert-authority "), lineOf(public)...)}}}, "options"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := git.New(tc.options)
			if tc.word == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			fails(t, err, pmrsource.BadConfiguration, tc.word)
		})
	}
}
