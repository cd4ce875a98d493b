// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package web speaks to the web servers that have declared lists. Each client has connections, credentials and
// certificates of its own, so that sources don't get in each other's way.
package web

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"berth.dev/berth/internal/pmrsource"
)

const (
	// handshakeTimeout bounds the part of a request in which a dead server is noticed.
	handshakeTimeout = 10 * time.Second
	// maxRedirects bounds how often a server may send us elsewhere.
	maxRedirects = 3
)

// Credentials are what a server may ask for.
type Credentials struct {
	// Username and Password are sent as basic authentication. Most git servers take a token as the password.
	Username, Password string
	// Token is sent as a bearer token, instead of them.
	Token string
	// CA are the certificate authorities of the server, as PEM; the system's where it is empty.
	CA []byte
	// Certificate and Key are ours, as PEM.
	Certificate, Key []byte
}

// secret says whether c has something that only its server may see.
func (c Credentials) secret() bool {
	return c.Username != "" || c.Password != "" || c.Token != "" || len(c.Key) > 0
}

// Address reads the address of a web server. Without encryption, only this machine's own is one, unless plain.
func Address(raw string, plain bool) (*url.URL, error) {
	target, err := url.Parse(raw)
	switch {
	case err != nil: // its text has the address, which may have a password
		return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "the url can't be read: write it as https://HOST/PATH")
	case target.User != nil:
		return nil, pmrsource.Errorf(pmrsource.BadConfiguration,
			"the url for %s has credentials in it, which everybody can read who may read the object: put them into the Secret", target.Host)
	case target.Scheme != "https" && target.Scheme != "http" || target.Hostname() == "":
		return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "the url %q is not that of a web server: write it as https://HOST/PATH", Show(target))
	case target.Scheme == "http" && !plain && !loopback(target.Hostname()):
		return nil, pmrsource.Errorf(pmrsource.BadConfiguration,
			"the url %q is not encrypted, so that others could read the list and change it: use https, or allow it explicitly", Show(target))
	}
	return target, nil
}

// Show is an address without the parts that may have secrets.
func Show(target *url.URL) string {
	return (&url.URL{Scheme: target.Scheme, Host: target.Host, Path: target.Path}).String()
}

// loopback says whether host is this machine.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// Client asks one server.
type Client struct {
	host        string
	credentials Credentials
	timeout     time.Duration
	http        http.Client
}

// NewClient asks the server of target. The timeout is only what errors tell: it is kept by the contexts of requests.
func NewClient(target *url.URL, credentials Credentials, timeout time.Duration) (*Client, error) {
	for _, text := range []*string{&credentials.Username, &credentials.Password, &credentials.Token} {
		*text = strings.TrimRight(*text, "\r\n") // what an editor leaves in a Secret
	}
	if credentials.Token != "" && cmp.Or(credentials.Username, credentials.Password) != "" {
		return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "there is a token and a username or password, and only one of the two can be sent: take one away")
	}
	config, err := encryption(credentials)
	if err != nil {
		return nil, err
	}
	c := &Client{host: target.Host, credentials: credentials, timeout: timeout}
	c.http = http.Client{
		CheckRedirect: c.redirect,
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			TLSClientConfig:       config,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   2,
			IdleConnTimeout:       time.Minute,
			TLSHandshakeTimeout:   handshakeTimeout,
			ExpectContinueTimeout: time.Second,
		},
	}
	return c, nil
}

// encryption is how a server proves to us who it is, and we to it.
func encryption(credentials Credentials) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(credentials.CA) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(credentials.CA) {
			return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "the certificate authority has no certificate in PEM")
		}
	}
	if len(credentials.Certificate) == 0 && len(credentials.Key) == 0 {
		return config, nil
	}
	if len(credentials.Certificate) == 0 || len(credentials.Key) == 0 {
		return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "a client certificate and its key belong together, and one of them is missing")
	}
	pair, err := tls.X509KeyPair(credentials.Certificate, credentials.Key)
	if err != nil {
		return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "the client certificate and its key can't be used: %v", err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// Do sends r with the credentials. Its errors are in plain words.
func (c *Client) Do(r *http.Request) (*http.Response, error) {
	switch {
	case c.credentials.Token != "":
		r.Header.Set("Authorization", "Bearer "+c.credentials.Token)
	case cmp.Or(c.credentials.Username, c.credentials.Password) != "":
		r.SetBasicAuth(c.credentials.Username, c.credentials.Password)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return nil, c.Plain(err)
	}
	return response, nil
}

// Close ends connections that wait for another request.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// redirect lets a server send us elsewhere if nothing secret gets to another server, client certificates included.
func (c *Client) redirect(next *http.Request, before []*http.Request) error {
	first := before[0]
	elsewhere := next.URL.Host != first.URL.Host
	switch {
	case next.URL.Scheme != first.URL.Scheme:
		return pmrsource.Errorf(pmrsource.BadConfiguration, "%s redirects from %s to %s, which is not followed: set the url to %q",
			c.host, first.URL.Scheme, next.URL.Scheme, Show(next.URL))
	case elsewhere && (c.credentials.secret() || first.URL.Scheme != "https"):
		return pmrsource.Errorf(pmrsource.BadConfiguration, "%s redirects to another server, %s, which does not get the credentials: set the url to %q if that is meant",
			c.host, next.URL.Host, Show(next.URL))
	case first.Method != http.MethodGet:
		return pmrsource.Errorf(pmrsource.Unreachable, "%s redirects a request that can't be redirected: set the url to where it leads", c.host)
	case len(before) > maxRedirects:
		return pmrsource.Errorf(pmrsource.Unreachable, "%s redirects more than %d times", c.host, maxRedirects)
	}
	if elsewhere {
		next.Header.Del("Referer") // the address may have secrets in its query
	}
	return nil
}
