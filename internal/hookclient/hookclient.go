// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package hookclient asks hooks over HTTP. Its errors name the host and what went wrong, in the same words each time,
// and nothing of what was sent or answered.
package hookclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
)

const (
	// MaxAnswer is how long an answer may be.
	MaxAnswer = 4 << 20
	// defaultTimeout is that of an endpoint that has none.
	defaultTimeout = 10 * time.Second
	// maxRedirects bounds how often a hook may send us elsewhere on its host.
	maxRedirects = 3
	// maxAuthorities bounds how many certificate authorities have connections kept for them.
	maxAuthorities = 32
)

// Client asks hooks. The zero value is ready.
type Client struct {
	mu sync.Mutex
	// transports are by certificate authority.
	transports map[string]*http.Transport
}

// Ask posts request to the endpoint as JSON and returns the answer.
func (c *Client) Ask(ctx context.Context, endpoint berthv1alpha1.HookEndpoint, request any) ([]byte, error) {
	target, err := url.Parse(endpoint.URL)
	if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
		return nil, errors.New("its url is not that of an HTTP server")
	}
	fail := func(err error) error { return fmt.Errorf("ask %s: %w", target.Host, err) }
	transport, err := c.transport(endpoint.CABundle)
	if err != nil {
		return nil, fail(err)
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fail(errors.New("the request can't be written as JSON"))
	}
	timeout := time.Duration(endpoint.TimeoutSeconds) * time.Second
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fail(errors.New("its url can't be used"))
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	answer, err := exchange(&http.Client{Transport: transport, CheckRedirect: sameHost}, r)
	if err != nil {
		return nil, fail(plain(err, timeout))
	}
	return answer, nil
}

// exchange sends r and reads the answer.
func exchange(client *http.Client, r *http.Request) ([]byte, error) {
	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, told(fmt.Sprintf("the answer has status %d", response.StatusCode))
	}
	answer, err := io.ReadAll(io.LimitReader(response.Body, MaxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(answer) > MaxAnswer {
		return nil, told(fmt.Sprintf("the answer is longer than %d MiB", MaxAnswer>>20))
	}
	return answer, nil
}

// told is an error in words of our own.
type told string

// Error is what is told.
func (t told) Error() string { return string(t) }

// sameHost lets a hook send us elsewhere on its own host only, and with the request that it was to get.
func sameHost(next *http.Request, before []*http.Request) error {
	first := before[0]
	switch {
	case next.URL.Host != first.URL.Host || next.URL.Scheme != first.URL.Scheme:
		return told("the answer is a redirect to another server, which is not followed")
	case next.Method != first.Method:
		return told("the answer is a redirect that drops the request, which is not followed")
	case len(before) > maxRedirects:
		return told("the answer is one redirect too many")
	}
	return nil
}

// plain is err without what differs from one time to the next, such as ports of our own and the time of day, and without
// the URL, which may hold a secret.
func plain(err error, timeout time.Duration) error {
	var (
		ours    told
		expired x509.CertificateInvalidError
		name    *net.DNSError
		network *net.OpError
		request *url.Error
	)
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &request) && request.Timeout():
		return fmt.Errorf("no answer within %s", timeout)
	case errors.As(err, &expired) && expired.Reason == x509.Expired:
		return errors.New("its certificate has expired or is not valid yet")
	case errors.As(err, &name):
		return errors.New("its name can't be resolved: " + name.Err)
	case errors.As(err, &network):
		return fmt.Errorf("%s: %w", network.Op, network.Err)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the connection was closed before the answer was there")
	case errors.As(err, &request):
		return request.Err
	}
	return err
}

// transport has the connections to servers of one certificate authority: the system's where bundle is empty.
func (c *Client) transport(bundle []byte) (*http.Transport, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if have := c.transports[string(bundle)]; have != nil {
		return have, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(bundle) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(bundle) {
			return nil, errors.New("its caBundle has no certificate in PEM")
		}
	}
	if len(c.transports) >= maxAuthorities { // those of classes that were changed since
		for _, old := range c.transports {
			old.CloseIdleConnections()
		}
		c.transports = nil
	}
	if c.transports == nil {
		c.transports = map[string]*http.Transport{}
	}
	made := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		TLSClientConfig:     config,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     time.Minute,
		TLSHandshakeTimeout: defaultTimeout,
	}
	c.transports[string(bundle)] = made
	return made, nil
}
