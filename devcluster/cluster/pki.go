// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const validity = 10 * 365 * 24 * time.Hour

// pki is the cluster's keys, certificates and tokens, as files in one directory. A cluster that starts again on its
// directory keeps them, so that kubeconfigs and tokens handed out before stay good.
type pki struct {
	dir string
}

func (p pki) caCert() string            { return filepath.Join(p.dir, "ca.crt") }
func (p pki) caKey() string             { return filepath.Join(p.dir, "ca.key") }
func (p pki) servingCert() string       { return filepath.Join(p.dir, "kube-apiserver.crt") }
func (p pki) servingKey() string        { return filepath.Join(p.dir, "kube-apiserver.key") }
func (p pki) serviceAccountKey() string { return filepath.Join(p.dir, "service-account.key") }
func (p pki) tokens() string            { return filepath.Join(p.dir, "tokens.csv") }

// The identities in the token file, in its order: user, groups.
var tokenUsers = []struct{ user, groups string }{
	{"devcluster-admin", "system:masters"},
	{"system:kube-controller-manager", ""},
}

// ensure makes what is missing. The CA and the certificate signed by it belong together, and so do all tokens.
func (p pki) ensure(now time.Time) error {
	_, servingErr := tls.LoadX509KeyPair(p.servingCert(), p.servingKey())
	_, caErr := tls.LoadX509KeyPair(p.caCert(), p.caKey())
	if servingErr != nil || caErr != nil {
		if err := p.createCertificates(now); err != nil {
			return fmt.Errorf("create certificates: %w", err)
		}
	}
	if _, err := os.Stat(p.serviceAccountKey()); err != nil {
		key, err := newKey()
		if err != nil {
			return err
		}
		if err := writeKey(p.serviceAccountKey(), key); err != nil {
			return err
		}
	}
	if _, err := os.Stat(p.tokens()); err != nil {
		return p.createTokens()
	}
	return nil
}

func (p pki) createCertificates(now time.Time) error {
	caKey, err := newKey()
	if err != nil {
		return err
	}
	ca := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "devcluster-ca"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(validity),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	servingKey, err := newKey()
	if err != nil {
		return err
	}
	serving := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "kube-apiserver"},
		NotBefore:    ca.NotBefore,
		NotAfter:     ca.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		DNSNames:     []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
	}
	// The serving pair goes last: it is what a start after an interruption looks for.
	if err := writeCertificate(p.caCert(), ca, ca, caKey.Public(), caKey); err != nil {
		return err
	}
	if err := writeKey(p.caKey(), caKey); err != nil {
		return err
	}
	if err := writeCertificate(p.servingCert(), serving, ca, servingKey.Public(), caKey); err != nil {
		return err
	}
	return writeKey(p.servingKey(), servingKey)
}

func (p pki) createTokens() error {
	var file strings.Builder
	for _, identity := range tokenUsers {
		secret := make([]byte, 24)
		if _, err := rand.Read(secret); err != nil {
			return err
		}
		fmt.Fprintf(&file, "%s,%s,%s,%q\n", hex.EncodeToString(secret), identity.user, identity.user, identity.groups)
	}
	return writeFile(p.tokens(), []byte(file.String()))
}

// token returns the token of the given user.
func (p pki) token(user string) (string, error) {
	file, err := os.ReadFile(p.tokens())
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(file)) {
		if fields := strings.Split(line, ","); len(fields) > 1 && fields[1] == user {
			return fields[0], nil
		}
	}
	return "", fmt.Errorf("no token of user %q in %q", user, p.tokens())
}

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key) // the API server reads no other form of such a key
	if err != nil {
		return err
	}
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

func writeCertificate(path string, cert, parent *x509.Certificate, pub crypto.PublicKey, signer crypto.Signer) error {
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, pub, signer)
	if err != nil {
		return err
	}
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
