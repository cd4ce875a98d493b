// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"berth.dev/berth/internal/pmrsource"
)

// Refused says why a status is not success; nil if it is. Of what the server wrote with it nothing is kept.
func (c *Client) Refused(status int) error {
	switch {
	case status >= http.StatusOK && status < http.StatusMultipleChoices:
		return nil
	case status == http.StatusUnauthorized && !c.credentials.secret():
		return pmrsource.Errorf(pmrsource.AuthenticationFailed, "%s wants credentials and there are none (status 401): add a Secret with them, or check the url, since some servers also answer so where there is nothing", c.host)
	case status == http.StatusUnauthorized:
		return pmrsource.Errorf(pmrsource.AuthenticationFailed, "%s does not accept the credentials (status 401): check whether they expired or were revoked", c.host)
	case status == http.StatusForbidden:
		return pmrsource.Errorf(pmrsource.AuthenticationFailed, "%s knows the credentials but does not let them read this (status 403): give them the right to read", c.host)
	case status == http.StatusNotFound || status == http.StatusGone:
		return pmrsource.Errorf(pmrsource.NotFound,
			"%s has nothing at this address (status %d): check the url; many servers also answer so where credentials are missing or may not read it", c.host, status)
	}
	return pmrsource.Errorf(pmrsource.Unreachable, "%s answers with status %d", c.host, status)
}

// Plain is Plain for the client's server.
func (c *Client) Plain(err error) error { return Plain(err, c.host, c.timeout) }

// Plain is err as an *Error, without what differs from one time to the next, such as ports of our own, and without the
// URL, whose query may have a secret.
func Plain(err error, host string, timeout time.Duration) error {
	var (
		ours      *pmrsource.Error
		expired   x509.CertificateInvalidError
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		dns       *net.DNSError
		record    tls.RecordHeaderError
		network   *net.OpError
		request   *url.Error
	)
	fail := func(reason pmrsource.Reason, what string) error {
		return pmrsource.Errorf(reason, "%s %s", host, what)
	}
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ours):
		return ours
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &request) && request.Timeout():
		return fail(pmrsource.Timeout, "did not answer within "+timeout.String())
	case errors.As(err, &expired) && expired.Reason == x509.Expired:
		return fail(pmrsource.CertificateInvalid, "has a certificate that has expired or is not valid yet")
	case errors.As(err, &authority):
		return fail(pmrsource.CertificateInvalid, "has a certificate of an authority that is not trusted: add the authority's certificate to the Secret")
	case errors.As(err, &name):
		return fail(pmrsource.CertificateInvalid, "has a certificate for another name")
	case errors.As(err, &dns):
		return fail(pmrsource.Unreachable, "can't be resolved: "+dns.Err)
	case errors.As(err, &record):
		return fail(pmrsource.Unreachable, "does not speak TLS on this port")
	case errors.As(err, &network) && network.Op == "remote error": // an alert of TLS: the server does not want us
		return fail(pmrsource.AuthenticationFailed, "ends the connection: "+network.Err.Error()+"; check the client certificate in the Secret")
	case errors.As(err, &network):
		return fail(pmrsource.Unreachable, "can't be reached: "+network.Op+": "+network.Err.Error())
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return fail(pmrsource.Unreachable, "closed the connection before the answer was there")
	case errors.As(err, &request):
		return fail(pmrsource.Unreachable, "can't be asked: "+request.Err.Error())
	}
	return fail(pmrsource.Unreachable, "can't be asked: "+err.Error())
}
