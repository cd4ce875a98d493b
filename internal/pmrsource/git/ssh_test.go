// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"berth.dev/berth/internal/pmrsource"
	"berth.dev/berth/internal/pmrsource/git"
)

// server is OpenSSH's own, for one user with one key.
type server struct {
	t         *testing.T
	dir       string
	port      int
	user      string
	hostKey   ssh.PublicKey
	clientKey []byte
	// url is that of a repository, at its absolute path.
	url func(path string) string
}

// newKey makes a key and returns it as ssh-keygen writes it.
func newKey(t *testing.T, passphrase string) (private []byte, public ssh.PublicKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "test")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "test", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), signer.PublicKey()
}

// startServer starts the server.
func startServer(t *testing.T) *server {
	t.Helper()
	const program = "/usr/sbin/sshd"
	if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) {
		const missing = "there is no " + program + ": install OpenSSH's server (apt-get install openssh-server)"
		if os.Getenv("CI") != "" {
			t.Fatal(missing)
		}
		t.Skip(missing) //nolint:forbidigo // a developer's machine need not have a server; CI must
	}
	who, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 { // sshd wants it to be there then, and packages make it only when the service starts
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := &server{t: t, dir: t.TempDir(), user: who.Username}
	hostKey, hostPublic := newKey(t, "")
	clientKey, clientPublic := newKey(t, "")
	s.hostKey, s.clientKey = hostPublic, clientKey
	s.port = freePort(t)
	s.file("host", string(hostKey))
	s.file("authorized", string(ssh.MarshalAuthorizedKey(clientPublic)))
	s.file("config", fmt.Sprintf("ListenAddress 127.0.0.1:%d\nHostKey %[2]s/host\nAuthorizedKeysFile %[2]s/authorized\nPidFile none\n"+
		"UsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nLogLevel INFO\n", s.port, s.dir))
	cmd := exec.CommandContext(t.Context(), program, "-D", "-e", "-f", filepath.Join(s.dir, "config"))
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	log := bufio.NewScanner(said)
	for log.Scan() {
		if strings.Contains(log.Text(), "Server listening") {
			go func() { _, _ = io.Copy(io.Discard, said) }()
			s.url = func(path string) string { return fmt.Sprintf("ssh://%s@127.0.0.1:%d%s", s.user, s.port, path) }
			return s
		}
		t.Log(log.Text())
	}
	t.Fatal("sshd does not start")
	return nil
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func (s *server) file(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// line is what known_hosts says of the server.
func (s *server) line(key ssh.PublicKey) []byte {
	return []byte(knownhosts.Line([]string{fmt.Sprintf("127.0.0.1:%d", s.port)}, key) + "\n")
}

func TestSource_ssh(t *testing.T) {
	s := startServer(t)
	r := newRepository(t)
	commit := r.commit("first")
	good := git.SSH{Key: s.clientKey, KnownHosts: s.line(s.hostKey)}
	options := git.Options{URL: s.url(r.dir), SSH: good}
	from := source(t, options)
	files := fetch(t, from)
	if files.Commit != commit || files.Revision != "main@sha1:"+commit || files.URL != options.URL {
		t.Errorf("got %+v", files.Provenance)
	}
	if !fetch(t, from).Unchanged {
		t.Error("what is the same is fetched anew")
	}
	second := r.commit("second")
	if got := fetch(t, from).Commit; got != second {
		t.Errorf("got %s, want what was pushed", got)
	}
	r.commit("third")
	for name, ref := range map[string]git.Ref{"with its branch": {Commit: second, Branch: "main"}, "without": {Commit: second}} {
		if got := fetch(t, source(t, git.Options{URL: options.URL, SSH: good, Ref: ref, Since: commit})); got.Commit != second {
			t.Errorf("a commit %s: got %s", name, got.Commit)
		}
	}
	_, err := source(t, git.Options{URL: s.url(r.dir + "/no"), SSH: good}).Fetch(t.Context())
	fails(t, err, pmrsource.NotFound, "/list/no", "does not appear to be a git repository")
}

func TestSource_sshCredentials(t *testing.T) {
	s := startServer(t)
	r := newRepository(t)
	r.commit("first")
	_, otherHost := newKey(t, "")
	stranger, _ := newKey(t, "")
	for name, tc := range map[string]struct {
		ssh    git.SSH
		reason pmrsource.Reason
		words  []string
	}{
		"a key that the server does not know": {git.SSH{Key: stranger, KnownHosts: s.line(s.hostKey)}, pmrsource.AuthenticationFailed, []string{s.user, "SHA256:"}},
		"a host that is not known":            {git.SSH{Key: s.clientKey, KnownHosts: []byte(knownhosts.Line([]string{"example.com"}, otherHost))}, pmrsource.HostKeyUnknown, []string{ssh.FingerprintSHA256(s.hostKey)}},
		"a host with another key":             {git.SSH{Key: s.clientKey, KnownHosts: s.line(otherHost)}, pmrsource.HostKeyUnknown, []string{ssh.FingerprintSHA256(s.hostKey), ssh.FingerprintSHA256(otherHost)}},
		"a key that is revoked":               {git.SSH{Key: s.clientKey, KnownHosts: append([]byte("@revoked "), s.line(s.hostKey)...)}, pmrsource.HostKeyUnknown, []string{"revoked"}},
		"a host that is not looked at":        {git.SSH{Key: s.clientKey, InsecureIgnoreHostKey: true}, "", nil},
		"a host that is hidden by a hash":     {git.SSH{Key: s.clientKey, KnownHosts: []byte(knownhosts.HashHostname(fmt.Sprintf("[127.0.0.1]:%d", s.port)) + " " + string(ssh.MarshalAuthorizedKey(s.hostKey)))}, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := source(t, git.Options{URL: s.url(r.dir), SSH: tc.ssh}).Fetch(t.Context())
			switch {
			case tc.reason != "":
				fails(t, err, tc.reason, tc.words...)
			case err != nil:
				t.Error(err)
			}
		})
	}
}

func TestSource_sshRewrites(t *testing.T) {
	s := startServer(t)
	for name, settings := range servers {
		t.Run(name, func(t *testing.T) {
			r := newRepository(t)
			for _, setting := range settings {
				r.git("config", setting[0], setting[1])
			}
			rewrites(t, r, git.Options{URL: s.url(r.dir), SSH: git.SSH{Key: s.clientKey, KnownHosts: s.line(s.hostKey)}})
		})
	}
}

func TestSource_sshLimits(t *testing.T) {
	s := startServer(t)
	r := newRepository(t)
	r.write("large", strings.Repeat("a: b\n", 1<<20))
	r.commit("first")
	options := git.Options{URL: s.url(r.dir), SSH: git.SSH{Key: s.clientKey, KnownHosts: s.line(s.hostKey)}, Limits: pmrsource.Limits{Transfer: 256 << 10}}
	_, err := source(t, options).Fetch(t.Context())
	fails(t, err, pmrsource.TooLarge)

	silent, err := net.Listen("tcp", "127.0.0.1:0") // it takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	options.URL = "ssh://git@" + silent.Addr().String() + "/list"
	options.Limits = pmrsource.Limits{Timeout: 200 * time.Millisecond}
	_, err = source(t, options).Fetch(t.Context())
	fails(t, err, pmrsource.Timeout, "200ms")
	options.URL = fmt.Sprintf("ssh://git@127.0.0.1:%d/list", freePort(t))
	_, err = source(t, options).Fetch(t.Context())
	fails(t, err, pmrsource.Unreachable, "refused")
}

// lineOf is a public key as it is in a file called *.pub.
func lineOf(key ssh.PublicKey) []byte { return ssh.MarshalAuthorizedKey(key) }
