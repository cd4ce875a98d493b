// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // known_hosts hides names of hosts with it; nothing depends on its strength
	"encoding/base64"
	"net"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"berth.dev/berth/internal/pmrsource"
)

// knownHosts are the lines of a known_hosts file. The package of that name reads only from a disk, of which we want none.
type knownHosts []knownHost

// knownHost is one line: a key, and the hosts that have it.
type knownHost struct {
	// marker is empty, cert-authority or revoked.
	marker   string
	patterns []string
	key      ssh.PublicKey
}

// readKnownHosts reads the lines that it can. A kind of key that is too new or too old for us is no reason to refuse the
// others.
func readKnownHosts(data []byte) (knownHosts, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, pmrsource.Errorf(pmrsource.BadConfiguration,
			"ssh needs known_hosts, and there is none: add what `ssh-keyscan HOST` prints to the Secret, after comparing it with what the host publishes")
	}
	var known knownHosts
	for line := range bytes.Lines(data) {
		marker, patterns, key, _, _, err := ssh.ParseKnownHosts(line)
		if err == nil {
			known = append(known, knownHost{marker: marker, patterns: patterns, key: key})
		}
	}
	if known == nil {
		return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "known_hosts has no line that can be read: each is like \"github.com ssh-ed25519 AAAA…\"")
	}
	return known, nil
}

// check says why key is not that of the server.
func (k knownHosts) check(server string, key ssh.PublicKey) error {
	checker := ssh.CertChecker{
		IsHostAuthority: func(authority ssh.PublicKey, _ string) bool { return k.has("cert-authority", server, authority) },
		IsRevoked: func(certificate *ssh.Certificate) bool {
			return k.revoked(certificate.Key) || k.revoked(certificate.SignatureKey)
		},
		HostKeyFallback: func(string, net.Addr, ssh.PublicKey) error { return k.checkPlain(server, key) },
	}
	err := checker.CheckHostKey(server, &net.TCPAddr{}, key)
	if _, certified := key.(*ssh.Certificate); certified && err != nil {
		return pmrsource.Errorf(pmrsource.HostKeyUnknown, "%s has a certificate that no authority in known_hosts vouches for: %s", server, printable(err.Error()))
	}
	return err
}

func (k knownHosts) checkPlain(server string, key ssh.PublicKey) error {
	switch {
	case k.revoked(key):
		return pmrsource.Errorf(pmrsource.HostKeyUnknown, "%s has a key that known_hosts calls revoked, %s", server, ssh.FingerprintSHA256(key))
	case k.has("", server, key):
		return nil
	}
	var others []string
	for _, line := range k {
		if line.marker == "" && line.means(server) {
			others = append(others, ssh.FingerprintSHA256(line.key))
		}
	}
	if len(others) == 0 {
		return pmrsource.Errorf(pmrsource.HostKeyUnknown, "known_hosts has no key for %s, which has %s %s: if that is what the host publishes, add the line to the Secret",
			server, key.Type(), ssh.FingerprintSHA256(key))
	}
	return pmrsource.Errorf(pmrsource.HostKeyUnknown, "%s has the key %s %s, and known_hosts says %s: somebody may be in between; if the host publishes a new key, replace the line in the Secret",
		server, key.Type(), ssh.FingerprintSHA256(key), strings.Join(others, " or "))
}

func (k knownHosts) has(marker, server string, key ssh.PublicKey) bool {
	return slices.ContainsFunc(k, func(line knownHost) bool {
		return line.marker == marker && line.means(server) && bytes.Equal(line.key.Marshal(), key.Marshal())
	})
}

func (k knownHosts) revoked(key ssh.PublicKey) bool {
	return slices.ContainsFunc(k, func(line knownHost) bool {
		return line.marker == "revoked" && bytes.Equal(line.key.Marshal(), key.Marshal())
	})
}

// algorithms are those of the keys that are known of server: it shows only one, and has to choose one that we know. Where
// none is known, it may show what it likes, for the message.
func (k knownHosts) algorithms(server string) (names []string) {
	for _, line := range k {
		switch kind := line.key.Type(); {
		case !line.means(server) || line.marker == "revoked":
		case line.marker == "cert-authority":
			names = append(names, ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
				ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01)
		case kind == ssh.KeyAlgoRSA:
			names = append(names, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			names = append(names, kind)
		}
	}
	return names
}

// means says whether the line is about server, a HOST:PORT.
func (l knownHost) means(server string) bool {
	name := strings.ToLower(knownhosts.Normalize(server))
	means := false
	for _, pattern := range l.patterns {
		rest, not := strings.CutPrefix(pattern, "!")
		switch hit := matches(rest, name); {
		case hit && not:
			return false
		case hit:
			means = true
		}
	}
	return means
}

// matches says whether name is meant by pattern, which may be hashed, or have * and ?.
func matches(pattern, name string) bool {
	if hashed, ok := strings.CutPrefix(pattern, "|1|"); ok {
		salt, sum, _ := strings.Cut(hashed, "|")
		key, err := base64.StdEncoding.DecodeString(salt)
		if err != nil {
			return false
		}
		mac := hmac.New(sha1.New, key)
		_, _ = mac.Write([]byte(name)) // it can't fail
		return base64.StdEncoding.EncodeToString(mac.Sum(nil)) == sum
	}
	expression := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(strings.ToLower(pattern)))
	matched, err := regexp.MatchString(`^(?:`+expression+`)$`, name)
	return err == nil && matched
}
