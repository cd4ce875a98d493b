// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"berth.dev/berth/internal/pmrsource"
)

// signatureNamespace is what git signs for. Signatures for other purposes are by the same keys and say other things.
const signatureNamespace = "git"

// keyring has the keys of those who may sign.
type keyring struct {
	pgp openpgp.EntityList
	ssh []ssh.PublicKey
}

func readKeys(texts map[string][]byte) (keyring, error) {
	var all keyring
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		text := bytes.TrimSpace(texts[name])
		read := all.readSSH
		if bytes.HasPrefix(text, []byte("-----BEGIN PGP ")) {
			read = all.readPGP
		}
		if err := read(name, text); err != nil {
			return keyring{}, err
		}
	}
	if len(all.pgp) == 0 && len(all.ssh) == 0 {
		return keyring{}, pmrsource.Errorf(pmrsource.BadConfiguration, "signatures are to be verified, and there are no keys: add public keys to the Secret")
	}
	return all, nil
}

func (k *keyring) readPGP(name string, text []byte) error {
	const begin = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
	if bytes.Contains(text, []byte("PRIVATE KEY")) {
		return pmrsource.Errorf(pmrsource.BadConfiguration, "the key %q is a private one, which nobody else should have: replace it with the public key", name)
	}
	for block := range strings.SplitSeq(string(text), begin) {
		if strings.TrimSpace(block) == "" {
			continue
		}
		read, err := openpgp.ReadArmoredKeyRing(strings.NewReader(begin + block))
		if err != nil {
			return pmrsource.Errorf(pmrsource.BadConfiguration, "the key %q can't be read as a public key of PGP: %v", name, err)
		}
		k.pgp = append(k.pgp, read...)
	}
	return nil
}

func (k *keyring) readSSH(name string, text []byte) error {
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		key, _, options, _, err := ssh.ParseAuthorizedKey(line)
		if bytes.Contains(line, []byte("PRIVATE KEY")) {
			return pmrsource.Errorf(pmrsource.BadConfiguration, "the key %q is a private one, which nobody else should have: replace it with the public key", name)
		}
		if err != nil {
			return pmrsource.Errorf(pmrsource.BadConfiguration, "the key %q is neither a public key of PGP, as gpg --export --armor prints it, nor lines like \"ssh-ed25519 AAAA…\"", name)
		}
		if len(options) > 0 { // which would have to be kept
			return pmrsource.Errorf(pmrsource.BadConfiguration, "the key %q has options before the key, which are not supported: begin the line with the kind of key", name)
		}
		k.ssh = append(k.ssh, key)
	}
	return nil
}

// verifySSH returns the fingerprint of the key that signed content.
func (k keyring) verifySSH(what string, content []byte, signature string) (string, error) {
	parsed, err := sshsig.Unarmor([]byte(signature))
	if err != nil {
		return "", pmrsource.Errorf(pmrsource.SignatureInvalid, "%s has a signature that can't be read as one of SSH", what)
	}
	fingerprint := ssh.FingerprintSHA256(parsed.PublicKey)
	at := slices.IndexFunc(k.ssh, func(key ssh.PublicKey) bool { return bytes.Equal(key.Marshal(), parsed.PublicKey.Marshal()) })
	if at < 0 {
		return "", pmrsource.Errorf(pmrsource.SignatureInvalid, "%s is signed by the SSH key %s, which is not one of the keys", what, fingerprint)
	}
	if err := sshsig.Verify(bytes.NewReader(content), parsed, k.ssh[at], parsed.HashAlgorithm, signatureNamespace); err != nil {
		return "", pmrsource.Errorf(pmrsource.SignatureInvalid, "%s has a signature by the SSH key %s that does not fit: it was changed since, or signed for something else", what, fingerprint)
	}
	return fingerprint, nil
}

// verifyPGP returns the fingerprint of the key that signed content. A key that has expired since does not count, either:
// whoever has it could set the clock back.
func (k keyring) verifyPGP(what string, content []byte, signature string) (string, error) {
	signer, err := openpgp.CheckArmoredDetachedSignature(k.pgp, bytes.NewReader(content), strings.NewReader(signature), nil)
	if err == nil {
		return fmt.Sprintf("%X", signer.PrimaryKey.Fingerprint), nil
	}
	id, ok := issuer(signature)
	if !ok {
		return "", pmrsource.Errorf(pmrsource.SignatureInvalid, "%s has a signature that can't be read as one of PGP", what)
	}
	why := "that does not fit: it was changed since"
	switch {
	case len(k.pgp.KeysById(id)) == 0:
		return "", pmrsource.Errorf(pmrsource.SignatureInvalid, "%s is signed by the PGP key %016X, which is not one of the keys", what, id)
	case errors.Is(err, pgperrors.ErrKeyExpired):
		why = "which has expired"
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		why = "which is revoked"
	case errors.Is(err, pgperrors.ErrSignatureExpired):
		why = "that was valid for a time and has expired"
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		why = "which may not sign: it has expired, is revoked or is for something else"
	}
	return "", pmrsource.Errorf(pmrsource.SignatureInvalid, "%s has a signature by the PGP key %016X %s", what, id, why)
}

// issuer is the short name of the key that made a signature.
func issuer(signature string) (uint64, bool) {
	block, err := armor.Decode(strings.NewReader(signature))
	if err != nil {
		return 0, false
	}
	for packets := packet.NewReader(block.Body); ; {
		next, err := packets.Next()
		if err != nil {
			return 0, false
		}
		if made, ok := next.(*packet.Signature); ok && made.IssuerKeyId != nil {
			return *made.IssuerKeyId, true
		}
	}
}
