// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"golang.org/x/crypto/ssh"

	"berth.dev/berth/internal/pmrsource"
	"berth.dev/berth/internal/pmrsource/git"
)

// signWith has git sign with a new key of ssh-keygen's, and returns the public key.
func (r *repository) signWith(kind string) []byte {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), "key")
	if out, err := exec.CommandContext(r.t.Context(), "ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path).CombinedOutput(); err != nil {
		r.t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	r.git("config", "gpg.format", "ssh")
	r.git("config", "user.signingKey", path+".pub")
	public, err := os.ReadFile(path + ".pub")
	if err != nil {
		r.t.Fatal(err)
	}
	return public
}

func fingerprint(t *testing.T, public []byte) string {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return ssh.FingerprintSHA256(key)
}

func TestSource_sshSignatures(t *testing.T) {
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		t.Run(kind, func(t *testing.T) {
			r := newRepository(t)
			url := r.serve()
			stranger := r.signWith("ed25519")
			r.commit("by a stranger", "--gpg-sign")
			theirs := fingerprint(t, stranger)
			key := r.signWith(kind)
			both := bytes.Join([][]byte{[]byte("# those who may"), key}, []byte("\n"))
			options := git.Options{URL: url, Verify: git.Verify{Mode: git.VerifyHead, Keys: map[string][]byte{"ann": both}}}
			_, err := source(t, options).Fetch(t.Context())
			fails(t, err, pmrsource.SignatureInvalid, theirs)

			r.commit("signed", "--gpg-sign")
			if got := fetch(t, source(t, options)).Signer; got != fingerprint(t, key) {
				t.Errorf("got the signer %q", got)
			}
			changed := strings.Replace(r.git("cat-file", "commit", "HEAD"), "Ann", "Eve", 1) + "\n"
			r.git("update-ref", "HEAD", r.pipe(changed, "hash-object", "-t", "commit", "-w", "--stdin"))
			_, err = source(t, options).Fetch(t.Context())
			fails(t, err, pmrsource.SignatureInvalid, "does not fit")

			r.commit("not signed")
			_, err = source(t, options).Fetch(t.Context())
			fails(t, err, pmrsource.SignatureMissing)
		})
	}
}

// The same key signs files, too, and whoever gets one signed must not have signed a commit.
func TestSource_signatureForSomethingElse(t *testing.T) {
	r := newRepository(t)
	key := r.signWith("ed25519")
	r.commit("first")
	payload := r.git("cat-file", "commit", "HEAD") + "\n"
	sign := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", r.git("config", "user.signingKey"))
	sign.Stdin = strings.NewReader(payload)
	signature, err := sign.Output()
	if err != nil {
		t.Fatal(err)
	}
	r.git("update-ref", "HEAD", r.pipe(withSignature(payload, string(signature)), "hash-object", "-t", "commit", "-w", "--stdin"))
	_, err = source(t, git.Options{URL: r.serve(), Verify: git.Verify{Mode: git.VerifyHead, Keys: map[string][]byte{"ann": key}}}).Fetch(t.Context())
	fails(t, err, pmrsource.SignatureInvalid, "something else")
}

func TestSource_signedTags(t *testing.T) {
	r := newRepository(t)
	url := r.serve()
	committer := r.signWith("ed25519")
	r.commit("first", "--gpg-sign")
	r.git("tag", "light")
	r.git("tag", "--annotate", "--message", "m", "unsigned")
	r.git("tag", "--sign", "--message", "m", "same")
	releaser := r.signWith("ed25519")
	r.git("tag", "--sign", "--message", "m", "good")
	r.git("update-ref", "refs/tags/copied", "good")
	r.git("tag", "--annotate", "--message", "m", "nested", "good")
	keys := map[string][]byte{"committer.pub": committer, "releaser.pub": releaser}
	for name, tc := range map[string]struct {
		tag    string
		mode   git.Mode
		reason pmrsource.Reason
		signer string
	}{
		"the tag":               {"good", git.VerifyTag, "", fingerprint(t, releaser)},
		"both, by two":          {"good", git.VerifyTagAndHead, "", fingerprint(t, releaser) + ", " + fingerprint(t, committer)},
		"both, by one":          {"same", git.VerifyTagAndHead, "", fingerprint(t, committer)},
		"the commit":            {"light", git.VerifyHead, "", fingerprint(t, committer)},
		"a lightweight tag":     {"light", git.VerifyTag, pmrsource.SignatureMissing, ""},
		"a tag without":         {"unsigned", git.VerifyTag, pmrsource.SignatureMissing, ""},
		"a tag that was copied": {"copied", git.VerifyTag, pmrsource.SignatureInvalid, ""},
		"a tag of a tag":        {"nested", git.VerifyTag, pmrsource.NotFound, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := source(t, git.Options{URL: url, Ref: git.Ref{Tag: tc.tag}, Verify: git.Verify{Mode: tc.mode, Keys: keys}})
			if tc.reason != "" {
				_, err := s.Fetch(t.Context())
				fails(t, err, tc.reason)
				return
			}
			if got := fetch(t, s).Signer; got != tc.signer {
				t.Errorf("got the signer %q, want %q", got, tc.signer)
			}
		})
	}
}

// withSignature puts a signature into a commit.
func withSignature(commit, signature string) string {
	header, message, _ := strings.Cut(commit, "\n\n")
	return header + "\ngpgsig " + strings.ReplaceAll(strings.TrimSpace(signature), "\n", "\n ") + "\n\n" + message
}

// pgpKey makes a key.
func pgpKey(t *testing.T, config *packet.Config) *openpgp.Entity {
	t.Helper()
	config.Algorithm = packet.PubKeyAlgoEdDSA
	key, err := openpgp.NewEntity("Ann", "", "ann@example.com", config)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// public is what gpg --export --armor prints.
func public(t *testing.T, key *openpgp.Entity) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Serialize(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestSource_pgpSignatures(t *testing.T) {
	yesterday := func() time.Time { return time.Now().Add(-24 * time.Hour) }
	before := func() time.Time { return time.Now().Add(-48 * time.Hour) }
	good, stranger := pgpKey(t, &packet.Config{Time: before}), pgpKey(t, &packet.Config{})
	expired := pgpKey(t, &packet.Config{Time: yesterday, KeyLifetimeSecs: 3600})
	revoked := pgpKey(t, &packet.Config{Time: before})
	id := func(key *openpgp.Entity) string { return fmt.Sprintf("%016X", key.PrimaryKey.KeyId) }
	for name, tc := range map[string]struct {
		key    *openpgp.Entity
		config *packet.Config
		change bool
		words  []string
	}{
		"one of the keys":            {key: good},
		"a changed commit":           {key: good, change: true, words: []string{id(good), "does not fit"}},
		"a stranger":                 {key: stranger, words: []string{id(stranger), "not one of the keys"}},
		"a key that has expired":     {key: expired, config: &packet.Config{Time: yesterday}, words: []string{id(expired), "expired"}},
		"a key that is revoked":      {key: revoked, config: &packet.Config{Time: yesterday}, words: []string{id(revoked), "revoked"}},
		"a signature that has ended": {key: good, config: &packet.Config{Time: yesterday, SigLifetimeSecs: 60}, words: []string{id(good)}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepository(t)
			r.commit("first")
			payload := r.git("cat-file", "commit", "HEAD") + "\n"
			var signature bytes.Buffer
			if err := openpgp.ArmoredDetachSign(&signature, tc.key, strings.NewReader(payload), tc.config); err != nil {
				t.Fatal(err)
			}
			if tc.key == revoked {
				if err := revoked.RevokeKey(packet.KeyCompromised, "lost", nil); err != nil {
					t.Fatal(err)
				}
			}
			keys := bytes.Join([][]byte{public(t, good), public(t, expired), public(t, revoked)}, []byte("\n"))
			if tc.change {
				payload = strings.Replace(payload, "Ann", "Eve", 1)
			}
			r.git("update-ref", "HEAD", r.pipe(withSignature(payload, signature.String()), "hash-object", "-t", "commit", "-w", "--stdin"))
			s := source(t, git.Options{URL: r.serve(), Verify: git.Verify{Mode: git.VerifyHead, Keys: map[string][]byte{"keys.asc": keys}}})
			if tc.words != nil {
				_, err := s.Fetch(t.Context())
				fails(t, err, pmrsource.SignatureInvalid, tc.words...)
				return
			}
			if got, want := fetch(t, s).Signer, fmt.Sprintf("%X", tc.key.PrimaryKey.Fingerprint); got != want {
				t.Errorf("got the signer %q, want %q", got, want)
			}
		})
	}
}

func TestSource_otherSignatures(t *testing.T) {
	r := newRepository(t)
	key := r.signWith("ed25519")
	r.commit("signed", "--gpg-sign")
	commit := r.git("cat-file", "commit", "HEAD")
	_, rest, _ := strings.Cut(commit, "gpgsig ")
	block, _, _ := strings.Cut(rest, "\n\n")
	block = strings.ReplaceAll(block, "\n ", "\n")
	for name, signature := range map[string]string{
		"two signatures": block + "\n" + block,
		"X.509":          "-----BEGIN SIGNED MESSAGE-----\nAAAA\n-----END SIGNED MESSAGE-----",
		"nonsense":       "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----",
		"PGP nonsense":   "-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----",
		"no block":       "yes",
	} {
		t.Run(name, func(t *testing.T) {
			r.commit("plain", "--allow-empty")
			made := withSignature(r.git("cat-file", "commit", "HEAD")+"\n", signature)
			r.git("update-ref", "HEAD", r.pipe(made, "hash-object", "-t", "commit", "-w", "--stdin", "--literally"))
			_, err := source(t, git.Options{URL: r.serve(), Verify: git.Verify{Mode: git.VerifyHead, Keys: map[string][]byte{"ann": key}}}).Fetch(t.Context())
			fails(t, err, pmrsource.SignatureInvalid)
		})
	}
}
