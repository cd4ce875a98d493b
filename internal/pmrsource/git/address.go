// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"cmp"
	"context"
	"net"
	"net/url"
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/crypto/ssh"

	"berth.dev/berth/internal/pmrsource"
	"berth.dev/berth/internal/pmrsource/web"
)

// address is where a repository is, and all that it takes to get in.
type address struct {
	// shown is the URL without credentials.
	shown string
	host  string

	// client and base are for http and https.
	client *web.Client
	base   *url.URL

	// The rest is for ssh: the server as HOST:PORT, and the path as the server knows it.
	server string
	path   string
	config ssh.ClientConfig
	known  knownHosts
	// publicKey is that of our private key.
	publicKey ssh.PublicKey
	// blind means that any host key will do.
	blind bool
}

// short is the form USER@HOST:PATH.
var short = regexp.MustCompile(`^([\w.-]+)@([\w.-]+|\[[0-9A-Fa-f:.]+\]):([^:].*)$`)

func newAddress(options Options) (*address, error) {
	if strings.HasPrefix(options.URL, "ssh://") {
		target, err := url.Parse(options.URL)
		if err != nil || target.Hostname() == "" { // its text has the address, which may have a password
			return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "the url can't be read: write it as ssh://USER@HOST:PORT/PATH")
		}
		if _, has := target.User.Password(); has {
			return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "the url for %s has a password in it: use a key, in the Secret", target.Host)
		}
		path := target.Path
		if strings.HasPrefix(path, "/~") {
			path = path[1:] // a home directory of the server's
		}
		return newSSH(options.SSH, target.User.Username(), target.Hostname(), target.Port(), path,
			(&url.URL{Scheme: "ssh", User: target.User, Host: target.Host, Path: target.Path}).String())
	}
	if parts := short.FindStringSubmatch(options.URL); parts != nil {
		return newSSH(options.SSH, parts[1], strings.Trim(parts[2], "[]"), "", parts[3], options.URL)
	}
	if !strings.HasPrefix(options.URL, "https://") && !strings.HasPrefix(options.URL, "http://") {
		return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "the url is of no kind that is allowed: use https://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH")
	}
	target, err := web.Address(options.URL, options.AllowHTTP)
	if err != nil {
		return nil, err
	}
	if target.RawQuery != "" || target.Fragment != "" {
		return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "the url %q goes on with a query or fragment, which the address of a repository has not", web.Show(target))
	}
	client, err := web.NewClient(target, options.Web, options.Limits.Timeout)
	if err != nil {
		return nil, err
	}
	return &address{shown: web.Show(target), host: target.Host, client: client, base: target}, nil
}

func newSSH(options SSH, user, host, port, path, shown string) (*address, error) {
	if path == "" || path == "/" || strings.HasPrefix(path, "-") || strings.ContainsFunc(path, unicode.IsControl) {
		return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "the url %q has no path that could be a repository's", shown)
	}
	at := &address{
		shown:  shown,
		host:   host,
		server: net.JoinHostPort(host, cmp.Or(port, "22")),
		path:   path,
		blind:  options.InsecureIgnoreHostKey,
	}
	signer, err := options.signer()
	if err != nil {
		return nil, err
	}
	at.publicKey = signer.PublicKey()
	at.config = ssh.ClientConfig{User: cmp.Or(user, "git"), Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}}
	if at.blind {
		return at, nil
	}
	if at.known, err = readKnownHosts(options.KnownHosts); err != nil {
		return nil, err
	}
	at.config.HostKeyAlgorithms = at.known.algorithms(at.server)
	return at, nil
}

func (a *address) connect(ctx context.Context, meter *pmrsource.Meter) (remote, error) {
	if a.client != nil {
		return &webRemote{at: a, base: a.base, meter: meter}, nil
	}
	return dialSSH(ctx, a, meter)
}

// maxWords is how much of what a server says is passed on.
const maxWords = 200

// printable is what a server says, fit for a message.
func printable(words string) string {
	words = strings.Join(strings.FieldsFunc(words, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if len(words) > maxWords {
		words = strings.ToValidUTF8(words[:maxWords], "") + "…"
	}
	return words
}
