// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"berth.dev/berth/internal/pmrsource"
)

// Verify says what has to be signed, and by whom.
type Verify struct {
	// Mode is empty where nothing has to be.
	Mode Mode
	// Keys are the public keys of those who may sign, by any names: PGP keys as gpg --export --armor prints them, and SSH
	// keys as they are in files called *.pub. One text may have several of a kind.
	Keys map[string][]byte
}

// Mode says what has to be signed.
type Mode string

const (
	// VerifyHead: the commit.
	VerifyHead Mode = "HEAD"
	// VerifyTag: the tag, which has to be an annotated one.
	VerifyTag Mode = "Tag"
	// VerifyTagAndHead: both of them.
	VerifyTagAndHead Mode = "TagAndHEAD"
)

// keyring reads the keys.
func (v Verify) keyring(ref Ref) (keyring, error) {
	switch v.Mode {
	case "":
		return keyring{}, nil
	case VerifyHead:
	case VerifyTag, VerifyTagAndHead:
		if ref.Tag == "" {
			return keyring{}, pmrsource.Errorf(pmrsource.BadConfiguration, "the signature of a tag is to be verified, and the ref names no tag: name one, or verify %q", VerifyHead)
		}
	default:
		return keyring{}, pmrsource.Errorf(pmrsource.BadConfiguration, "there is no way %q to verify: use %q, %q or %q", v.Mode, VerifyHead, VerifyTag, VerifyTagAndHead)
	}
	return readKeys(v.Keys)
}

// signer verifies what mode asks for and returns by whose keys. The name is that of the tag on the server: a tag that
// was signed can be copied to another name, and says under which one it was.
func (k keyring) signer(mode Mode, commit *object.Commit, tag *object.Tag, name string) (string, error) {
	var signers []string
	if mode == VerifyTag || mode == VerifyTagAndHead {
		if tag == nil {
			return "", pmrsource.Errorf(pmrsource.SignatureMissing, "the tag %q has no signature, because it is not an annotated one: make it with git tag --sign", name)
		}
		signer, err := k.verifyTag(tag, name)
		if err != nil {
			return "", err
		}
		signers = append(signers, signer)
	}
	if mode == VerifyHead || mode == VerifyTagAndHead {
		signer, err := k.verify(fmt.Sprintf("the commit %s", commit.Hash), commit.PGPSignature, commit.EncodeWithoutSignature)
		if err != nil {
			return "", err
		}
		if len(signers) == 0 || signers[0] != signer {
			signers = append(signers, signer)
		}
	}
	return strings.Join(signers, ", "), nil
}

func (k keyring) verifyTag(tag *object.Tag, name string) (string, error) {
	if tag.Name != name {
		return "", pmrsource.Errorf(pmrsource.SignatureInvalid, "the tag %q was signed as %q: somebody copied it", name, tag.Name)
	}
	return k.verify(fmt.Sprintf("the tag %q", name), tag.PGPSignature, tag.EncodeWithoutSignature)
}

// verify checks one signature of what encode writes.
func (k keyring) verify(what, signature string, encode func(plumbing.EncodedObject) error) (string, error) {
	if strings.TrimSpace(signature) == "" {
		return "", pmrsource.Errorf(pmrsource.SignatureMissing, "%s is not signed: sign it, or don't ask for signatures", what)
	}
	if strings.Count(signature, "-----BEGIN ") != 1 {
		return "", pmrsource.Errorf(pmrsource.SignatureInvalid, "%s has several signatures, or none that can be read", what)
	}
	var signed plumbing.MemoryObject
	if err := encode(&signed); err != nil {
		return "", fmt.Errorf("find out what was signed of %s: %w", what, err)
	}
	reader, err := signed.Reader()
	if err != nil {
		return "", fmt.Errorf("find out what was signed of %s: %w", what, err)
	}
	content, err := io.ReadAll(reader)
	if err != nil {
		return "", fmt.Errorf("find out what was signed of %s: %w", what, err)
	}
	switch {
	case strings.HasPrefix(signature, "-----BEGIN SSH SIGNATURE-----"):
		return k.verifySSH(what, content, signature)
	case strings.HasPrefix(signature, "-----BEGIN PGP "):
		return k.verifyPGP(what, content, signature)
	}
	return "", pmrsource.Errorf(pmrsource.SignatureInvalid, "%s is signed in a way that is not supported: sign with PGP or SSH", what)
}
