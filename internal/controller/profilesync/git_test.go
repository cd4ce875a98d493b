// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/controller"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// repository is a git repository that git's own web server serves.
type repository struct {
	t   *testing.T
	dir string
	url string
}

func newRepository(t *testing.T) repository {
	t.Helper()
	root := t.TempDir()
	r := repository{t: t, dir: filepath.Join(root, "work")}
	r.git(root, "init", "-q", "-b", "main", "work")
	execPath := strings.TrimSpace(r.git(root, "--exec-path"))
	server := httptest.NewServer(&cgi.Handler{
		Path: filepath.Join(execPath, "git-http-backend"), Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"},
	})
	t.Cleanup(server.Close)
	r.url = server.URL + "/work/.git"
	return r
}

func (r repository) git(dir string, args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+r.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// commit puts a list in.
func (r repository) commit(list string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, "pmr.yaml"), []byte(list), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.git(r.dir, "add", "pmr.yaml")
	r.git(r.dir, "commit", "-q", "-m", "change")
}

func TestSync_followsARepository(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	c := start(t, func(o *controller.Options) { o.WebhookAddress = address })
	team, repo := testkit.Name(t, "team"), newRepository(t)
	list := func(contributors string) string {
		return fmt.Sprintf("profiles:\n- name: %s\n  owner: {kind: User, name: olga@example.com}\n  contributors: [%s]\n", team, contributors)
	}
	const ed, vic = "{name: ed@example.com, role: edit}", "{name: vic@example.com, role: view}"
	repo.commit(list(ed + ", " + vic))
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: team}, StringData: map[string]string{"token": "shared"}}
	create(t, c, secret)
	s := newSync(t, c, "", fmt.Sprintf("{interval: 1h, source: {git: {url: %q, ref: {branch: main}}}, webhook: {secretRef: {name: %s}}}", repo.url, team))
	awaitSync(t, c, s, berthv1alpha1.ConditionReady, berthv1alpha1.ReasonSucceeded)
	awaitAccess(t, c, team, "ed@example.com:edit", "vic@example.com:view")
	if head := strings.TrimSpace(repo.git(repo.dir, "rev-parse", "HEAD")); s.Status.Source.Commit != head {
		t.Errorf("the status has commit %q, want %q", s.Status.Source.Commit, head)
	}

	// A push is announced, and only then looked at.
	repo.commit(list(vic))
	if code := announce(t, address, s.Name, "wrong"); code != http.StatusUnauthorized {
		t.Errorf("with another secret, the answer is %d", code)
	}
	if code := announce(t, address, s.Name, "shared"); code != http.StatusAccepted {
		t.Errorf("the answer is %d", code)
	}
	awaitAccess(t, c, team, "vic@example.com:view")

	// The commit before would give access back that was taken away.
	repo.git(repo.dir, "reset", "-q", "--hard", "HEAD~1")
	announce(t, address, s.Name, "shared")
	message := awaitSync(t, c, s, berthv1alpha1.ConditionSourceReady, "RewrittenHistory")
	if !strings.Contains(message, "allow the rewrite") {
		t.Errorf("the message does not say what to do: %s", message)
	}
	awaitAccess(t, c, team, "vic@example.com:view")
	controllertest.AwaitReady(t, c, team)
}

// announce sends what anything but a well-known git server sends, and returns the answer's code.
func announce(t *testing.T, address, sync, secret string) int {
	t.Helper()
	const body = `{"pushed": true}`
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/hooks/"+sync, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := answer.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode
}
