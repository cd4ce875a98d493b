// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"golang.org/x/crypto/ssh"

	"berth.dev/berth/internal/pmrsource"
)

// SSH are the credentials for a server that is reached by ssh.
type SSH struct {
	// Key is the private key, as ssh-keygen writes it.
	Key []byte
	// Passphrase opens the key, where it has one.
	Passphrase []byte
	// KnownHosts are the keys of servers, in the format of a known_hosts file. They are required.
	KnownHosts []byte
	// InsecureIgnoreHostKey takes any server for the right one, which lets whoever is on the way there hand out access. It
	// is for those who come from a tool that did so, until they have the keys.
	InsecureIgnoreHostKey bool
}

// signer is who we are.
func (s SSH) signer() (ssh.Signer, error) {
	if len(bytes.TrimSpace(s.Key)) == 0 {
		return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "ssh needs a private key, and there is none: add it to the Secret")
	}
	key := append(bytes.Clone(bytes.TrimSpace(s.Key)), '\n')
	signer, err := ssh.ParsePrivateKey(key)
	var missing *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &missing) && len(s.Passphrase) == 0:
		return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "the private key is protected by a passphrase, and there is none: add it to the Secret")
	case errors.As(err, &missing):
		signer, err = ssh.ParsePrivateKeyWithPassphrase(key, bytes.TrimRight(s.Passphrase, "\r\n"))
	}
	if errors.Is(err, x509.IncorrectPasswordError) {
		return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "the passphrase does not open the private key")
	}
	if err != nil { // whose text might quote the key
		return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "the private key can't be read: it has to be one that ssh-keygen made, whole and with its first and last line")
	}
	return signer, nil
}

// sshRemote is a repository on an SSH server.
type sshRemote struct {
	at     *address
	client *ssh.Client
	meter  *pmrsource.Meter
	stop   func() bool
	// open is the run of the server's program that told the refs and waits for a request; nil after that.
	open *run
}

// run is one run of the server's program.
type run struct {
	session *ssh.Session
	in      io.WriteCloser
	out     io.Reader
	words   words
}

// Read reads what the program writes.
func (r *run) Read(p []byte) (int, error) { return r.out.Read(p) }

// Close ends the program.
func (r *run) Close() error { return r.session.Close() }

// words are the first of those that a program complains with.
type words struct{ text []byte }

// Write keeps what there is room for.
func (w *words) Write(p []byte) (int, error) {
	if left := 4*maxWords - len(w.text); left > 0 {
		w.text = append(w.text, p[:min(left, len(p))]...)
	}
	return len(p), nil
}

func dialSSH(ctx context.Context, at *address, meter *pmrsource.Meter) (*sshRemote, error) {
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", at.server)
	if err != nil {
		return nil, err
	}
	// Reads and writes don't know of contexts: all of them end with the connection.
	stop := context.AfterFunc(ctx, func() { _ = connection.Close() })
	config := at.config
	config.SetDefaults()
	var (
		distrust error
		checked  bool
	)
	config.HostKeyCallback = func(_ string, _ net.Addr, key ssh.PublicKey) error {
		checked = true
		if !at.blind {
			distrust = at.known.check(at.server, key)
		}
		return distrust
	}
	inner, channels, requests, err := ssh.NewClientConn(connection, at.server, &config)
	if err == nil {
		return &sshRemote{at: at, client: ssh.NewClient(inner, channels, requests), meter: meter, stop: stop}, nil
	}
	stop()
	_ = connection.Close()
	var network net.Error
	switch {
	case distrust != nil:
		return nil, distrust
	case ctx.Err() != nil || errors.As(err, &network):
		return nil, err
	case checked: // what comes after the server's key is ours
		return nil, pmrsource.Errorf(pmrsource.AuthenticationFailed, "%s does not accept the private key for the user %q: add its public key, %s, to those that may read the repository",
			at.host, at.config.User, ssh.FingerprintSHA256(at.publicKey))
	}
	return nil, pmrsource.Errorf(pmrsource.Unreachable, "%s and we don't understand each other: %s", at.server, printable(err.Error()))
}

// quoted is a word for the shell of the server, in the way of git itself, which the limited shells of git servers undo.
func quoted(word string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(word) + "'"
}

// begin runs the server's program, and reads what it says at first.
func (s *sshRemote) begin() (*run, *packp.AdvRefs, error) {
	session, err := s.client.NewSession()
	if err != nil {
		return nil, nil, err
	}
	r := &run{session: session}
	session.Stderr = &r.words
	if r.in, err = session.StdinPipe(); err != nil {
		return nil, nil, err
	}
	if r.out, err = session.StdoutPipe(); err != nil {
		return nil, nil, err
	}
	if err := session.Start(service + " " + quoted(s.at.path)); err != nil {
		return nil, nil, err
	}
	refs, err := decodeRefs(s.meter.Reader(r.out))
	if errors.Is(err, packp.ErrEmptyInput) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		_ = session.Wait() // it has ended, and all that it complained about is there then
		return nil, nil, pmrsource.Errorf(pmrsource.NotFound, "the repository %q does not exist or the key may not read it; %s says: %s",
			s.at.shown, s.at.host, cmp.Or(printable(string(r.words.text)), "nothing"))
	}
	if err != nil {
		_ = session.Close()
		return nil, nil, err
	}
	return r, refs, nil
}

func (s *sshRemote) refs(context.Context) (*packp.AdvRefs, error) {
	r, refs, err := s.begin()
	s.open = r
	return refs, err
}

func (s *sshRemote) pack(_ context.Context, request *packp.UploadPackRequest) (io.ReadCloser, error) {
	r := s.open
	s.open = nil
	if r == nil { // one run of the program answers one request
		var err error
		if r, _, err = s.begin(); err != nil {
			return nil, err
		}
	}
	question, err := encode(request)
	if err != nil {
		return nil, err
	}
	if _, err := r.in.Write(question); err != nil {
		return nil, err
	}
	return r, nil
}

// anyReachable is false: the program remembers what it told.
func (*sshRemote) anyReachable() bool { return false }

func (s *sshRemote) close() {
	if s.open != nil {
		_, _ = io.WriteString(s.open.in, "0000") // nothing is wanted: the server does not take it for a failure then
	}
	s.stop()
	_ = s.client.Close()
}
